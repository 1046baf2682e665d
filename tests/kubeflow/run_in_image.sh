# In the image, as its user: a pipeline is compiled, and each of its tasks run by its own command, up to the push.
set -eu
/opt/framecast/bin/framecast-beam-worker --help >/dev/null  # By this name flink/cluster.yaml starts it.
cd
mkdir -p volume
python -m framecast.clips.demo.moving_digits clips --clips 63 --size 32 --seed 3
framecast kubeflow compile /opt/framecast/configs/demo.yaml --image framecast:test --pipeline-root minio://bucket/artifacts \
    -o pipeline.yaml --set "data.train=$HOME/clips/train/*" --set "data.eval=$HOME/clips/eval/*" \
    --set clip.height=32 --set clip.width=32 --set train.steps=4 --set train.eval_every=2 \
    --set evaluate.thresholds.skill.min=-1e9 --set "push.directory=$HOME/volume/serving" \
    --set "kubeflow={state: $HOME/volume/state, default: {volumes: [{claim: shared, path: $HOME/volume}]}}"
framecast kubeflow run-local pipeline.yaml --workdir work
framecast models list volume/serving
test -f volume/serving/[0-9]*/saved_model.pb
