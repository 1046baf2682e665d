"""Compiled pipelines, parsed strictly by kfp's protos and loader."""

import json
import re

import pytest
import yaml
from google.protobuf import json_format
from kfp import compiler, components, dsl
from kfp.pipeline_spec import pipeline_spec_pb2

from framecast.pipeline.component_names import COMPONENTS
from framecast.pipeline.config.config import ConfigError, load
from framecast.pipeline.kubeflow.compile import (
    ENTRY,
    check_image,
    check_name,
    compile_pipeline,
    pipeline_name,
    write,
)

_IMAGE = "registry.example/framecast:1"
_ROOT = "minio://mlpipeline/framecast"
_TEXT = """
data: {train: /mnt/framecast/clips/train/*, eval: /mnt/framecast/clips/eval/*}
clip: {frames: {min: 8, max: 24}}
task: {horizon: 5, context: {min: 4}}
model: {preset: convlstm-tiny}
train: {steps: 30}
push: {directory: /mnt/framecast/serving}
kubeflow:
  state: /mnt/framecast/state
  default:
    cpu: 1
    memory: 4Gi
    volumes: [{claim: framecast, path: /mnt/framecast}]
    secrets: [{name: store, env: {AWS_ACCESS_KEY_ID: access-key}}]
  components:
    Trainer:
      cpu: 500m
      cpu_limit: 4
      memory: 12Gi
      memory_limit: 16Gi
      gpus: 2
      retries: 3
      env: {TF_FORCE_GPU_ALLOW_GROWTH: "true"}
      node_selector: {cloud.google.com/gke-accelerator: nvidia-l4}
      tolerations: [{key: nvidia.com/gpu, operator: Exists, effect: NoSchedule, toleration_seconds: 60}]
"""
# Fields that newer backends also read; the protos of kfp 2.5 (stack A) lack them.
_NEWER = {"resourceCpuRequest", "resourceCpuLimit", "resourceMemoryRequest", "resourceMemoryLimit"}
_NEWER |= {"resourceType", "resourceCount"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compile")
    (folder / "radar.yaml").write_text(_TEXT)
    return folder


def _compile(folder, *overrides):
    return compile_pipeline(load(str(folder / "radar.yaml"), overrides), "framecast-radar", _IMAGE, _ROOT)


@pytest.fixture(scope="module")
def documents(folder):
    return _compile(folder)


@pytest.fixture(scope="module")
def tasks(documents):
    return documents[0]["root"]["dag"]["tasks"]


@pytest.fixture(scope="module")
def containers(documents):
    executors = documents[0]["deploymentSpec"]["executors"]
    return {name.removesuffix("_executor"): executor["container"] for name, executor in executors.items()}


def _strict(message, document):
    return json_format.ParseDict(document, message)


def test_every_field_is_known_to_kfp(documents):
    spec, platform = documents
    pipeline = _strict(pipeline_spec_pb2.PipelineSpec(), spec)
    assert (pipeline.schema_version, pipeline.default_pipeline_root) == ("2.1.0", _ROOT)
    assert set(pipeline.components) == set(pipeline.root.dag.tasks)
    deployment = spec["deploymentSpec"]
    known = pipeline_spec_pb2.PipelineDeploymentConfig.PipelineContainerSpec.ResourceSpec.DESCRIPTOR.fields_by_name
    if "resource_cpu_limit" not in known:
        deployment = json.loads(json.dumps(deployment), object_hook=_without_newer)
    _strict(pipeline_spec_pb2.PipelineDeploymentConfig(), deployment)
    _strict(pipeline_spec_pb2.PlatformSpec(), platform)


def _without_newer(part):
    return {key: value for key, value in part.items() if key not in _NEWER}


def test_kfp_loads_the_file(documents, tmp_path):
    write(documents, str(tmp_path / "pipeline.yaml"))
    loaded = components.load_component_from_text((tmp_path / "pipeline.yaml").read_text())
    assert (loaded.name, set(loaded.component_spec.inputs)) == (
        "framecast-radar",
        {"train_data", "eval_data", "train_steps", "push_directory"},
    )
    assert json_format.MessageToDict(loaded.platform_spec) == documents[1]


def test_tuner_is_a_task_before_the_trainer(folder):
    tune = "tune={space: {train: {learning_rate: {min: 0.001, max: 0.1, sampling: log}}}, trials: 3}"
    spec, platform = _compile(folder, tune, "kubeflow.components.Tuner.gpus=1")
    tasks = spec["root"]["dag"]["tasks"]
    assert tasks["Tuner"]["dependentTasks"] == ["Transform"]
    given = {name: artifact["taskOutputArtifact"] for name, artifact in tasks["Trainer"]["inputs"]["artifacts"].items()}
    assert given["hyperparameters"] == {"outputArtifactKey": "best_hyperparameters", "producerTask": "Tuner"}
    assert tasks["Report"]["inputs"]["artifacts"]["tuner_results"]["taskOutputArtifact"]["producerTask"] == "Tuner"
    executors = spec["deploymentSpec"]["executors"]
    assert executors["Tuner_executor"]["container"]["resources"]["accelerator"]["resourceCount"] == "1"
    assert "pvcMount" in platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]["Tuner_executor"]
    with pytest.raises(ConfigError, match=r"kubeflow\.state: expected a folder on a volume of Tuner"):
        _compile(folder, tune, "kubeflow.components.Tuner.volumes=[]")


def test_every_task_runs_the_entrypoint_in_the_image(containers):
    assert set(containers) == {*COMPONENTS, "InputFiles"}
    for container in containers.values():
        assert (container["image"], container["command"]) == (_IMAGE, list(ENTRY))
        assert container["args"][container["args"].index("--json_serialized_invocation_args") + 1] == "{{$}}"
        assert "lifecycle" not in container


def test_tasks_depend_on_inputs_and_gate(tasks):
    assert {name: task.get("dependentTasks", []) for name, task in tasks.items()} == {
        "InputFiles": [],
        "ClipExampleGen": ["InputFiles"],
        "ImportSchemaGen": [],
        "StatisticsGen": ["ClipExampleGen", "ImportSchemaGen"],
        "SchemaGen": ["StatisticsGen"],
        "ExampleValidator": ["ImportSchemaGen", "StatisticsGen"],
        "ValidationGate": ["ExampleValidator", "InputFiles", "StatisticsGen"],
        "Transform": ["ClipExampleGen", "ImportSchemaGen", "ValidationGate"],
        "Trainer": ["Transform"],
        "ServingModel": [],
        "Evaluator": ["ClipExampleGen", "ServingModel", "Trainer"],
        "SavedModelInfraValidator": ["Trainer"],
        "Pusher": ["Evaluator", "SavedModelInfraValidator", "Trainer"],
        "Report": [
            "ClipExampleGen", "Evaluator", "Pusher", "SavedModelInfraValidator", "Trainer", "ValidationGate"
        ],
    }  # fmt: skip


def test_input_files_and_serving_model_are_never_cached(tasks):
    uncached = {name for name, task in tasks.items() if not task["cachingOptions"].get("enableCache")}
    assert uncached == {"InputFiles", "ServingModel"}


def test_ingest_cache_key_contains_the_found_files(tasks, documents):
    files = tasks["ClipExampleGen"]["inputs"]["parameters"]["files"]["taskOutputParameter"]
    assert files == {"producerTask": "InputFiles", "outputParameterKey": "files"}
    outputs = documents[0]["components"]["InputFiles"]["outputDefinitions"]["parameters"]
    assert outputs["files"] == {"parameterType": "STRING"}


def test_runtime_parameters_default_to_the_configuration(documents, tasks):
    definitions = documents[0]["root"]["inputDefinitions"]["parameters"]
    assert {name: (own["parameterType"], own["defaultValue"]) for name, own in definitions.items()} == {
        "train_data": ("STRING", "/mnt/framecast/clips/train/*"),
        "eval_data": ("STRING", "/mnt/framecast/clips/eval/*"),
        "train_steps": ("NUMBER_INTEGER", 30),
        "push_directory": ("STRING", "/mnt/framecast/serving"),
    }
    taken = {
        (task, name): parameter["componentInputParameter"]
        for task, own in tasks.items()
        for name, parameter in own["inputs"].get("parameters", {}).items()
        if "componentInputParameter" in parameter
    }
    assert taken == {
        ("InputFiles", "train"): "train_data",
        ("InputFiles", "eval"): "eval_data",
        ("InputFiles", "train_steps"): "train_steps",
        ("InputFiles", "push_directory"): "push_directory",
        ("Trainer", "train_steps"): "train_steps",
        ("ServingModel", "directory"): "push_directory",
        ("Pusher", "directory"): "push_directory",
    }


def test_resources_equal_those_of_kfps_compiler(containers, tmp_path):
    @dsl.container_component
    def train():
        return dsl.ContainerSpec(image="image", command=["true"])

    @dsl.pipeline
    def theirs():
        task = train()
        task.set_cpu_request("500m").set_cpu_limit("4").set_memory_request("12Gi").set_memory_limit("16Gi")
        task.set_accelerator_type("nvidia.com/gpu").set_accelerator_limit(2)

    compiler.Compiler().compile(theirs, str(tmp_path / "theirs.yaml"))
    executors = yaml.safe_load((tmp_path / "theirs.yaml").read_text())["deploymentSpec"]["executors"]
    expected = executors["exec-train"]["container"]["resources"]
    received = containers["Trainer"]["resources"]
    if "resourceType" not in expected["accelerator"]:
        received = json.loads(json.dumps(received), object_hook=_without_newer)
    assert received == expected


def test_old_and_new_backends_read_the_accelerators(containers):
    assert containers["Trainer"]["resources"]["accelerator"] == {
        "type": "nvidia.com/gpu", "count": "2", "resourceType": "nvidia.com/gpu", "resourceCount": "2"
    }  # fmt: skip
    assert containers["Transform"]["resources"] == {
        "cpuRequest": 1, "resourceCpuRequest": "1", "memoryRequest": 4.294967296, "resourceMemoryRequest": "4Gi"
    }  # fmt: skip


def test_kubernetes_settings_are_in_kfps_fields(documents, containers, tasks):
    """Field names are those of kubernetes_executor_config.proto in kubeflow/pipelines."""
    executors = documents[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    everywhere = {
        "pvcMount": [{"constant": "framecast", "mountPath": "/mnt/framecast"}],
        "secretAsEnv": [
            {"secretName": "store", "keyToEnv": [{"secretKey": "access-key", "envVar": "AWS_ACCESS_KEY_ID"}]}
        ],
    }
    assert executors["Trainer_executor"] == {
        **everywhere,
        "nodeSelector": {"labels": {"cloud.google.com/gke-accelerator": "nvidia-l4"}},
        "tolerations": [
            {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule", "tolerationSeconds": 60}
        ],
    }
    assert executors["Transform_executor"] == everywhere
    assert set(executors) == {f"{name}_executor" for name in containers}
    assert containers["Trainer"]["env"] == [{"name": "TF_FORCE_GPU_ALLOW_GROWTH", "value": "true"}]
    assert tasks["Trainer"]["retryPolicy"]["maxRetryCount"] == 3
    assert "retryPolicy" not in tasks["Transform"]


def test_spans_are_resolved_on_the_cluster(folder):
    (spec, _) = _compile(folder, "data.train=/mnt/framecast/day{SPAN}/*", "data.spans=7")
    tasks = spec["root"]["dag"]["tasks"]
    given = tasks["InputFiles"]["inputs"]["parameters"]
    assert given["newest"] == {"componentInputParameter": "span"}
    assert given["count"] == {"runtimeValue": {"constant": 7}}
    assert spec["root"]["inputDefinitions"]["parameters"]["span"]["defaultValue"] == -1
    gate = tasks["ValidationGate"]
    assert gate["inputs"]["parameters"]["spans"]["taskOutputParameter"]["producerTask"] == "InputFiles"
    assert gate["inputs"]["parameters"]["kept"]["runtimeValue"]["constant"].startswith("/mnt/framecast/state/")
    assert not gate["cachingOptions"].get("enableCache")  # It reads statistics of earlier spans, which are no input.


def test_span_marker_is_checked_on_the_cluster(folder):
    settings = ["data.train=/mnt/framecast/day{SPAN}/*.gz", "data.span_done=_SUCCESS", "data.newest_span=7"]
    (spec, _) = _compile(folder, *settings)
    given = spec["root"]["dag"]["tasks"]["InputFiles"]["inputs"]["parameters"]
    assert given["marker"] == {"runtimeValue": {"constant": "_SUCCESS"}}
    assert spec["root"]["inputDefinitions"]["parameters"]["span"]["defaultValue"] == 7


def test_warm_start_depends_on_the_serving_model(folder):
    (spec, _) = _compile(folder, "train.warm_start=true")
    trainer = spec["root"]["dag"]["tasks"]["Trainer"]
    assert trainer["dependentTasks"] == ["ServingModel", "Transform"]
    base = trainer["inputs"]["artifacts"]["base_model"]["taskOutputArtifact"]
    assert base == {"producerTask": "ServingModel", "outputArtifactKey": "model"}


def test_compiling_twice_gives_equal_files(folder, documents, tmp_path):
    for name, own in (("a", documents), ("b", _compile(folder))):
        write(own, str(tmp_path / name))
    assert (tmp_path / "a").read_text() == (tmp_path / "b").read_text()


@pytest.mark.parametrize(
    ("root", "overrides", "message"),
    [
        ("/srv/root", [], r"--pipeline-root: expected gs://, s3://, minio:// and a bucket, received /srv/root"),
        (_ROOT, ["kubeflow.state=null"], r"kubeflow.state: expected a folder on a volume.*received none"),
        (
            _ROOT,
            ["kubeflow.state=/state"],
            r"kubeflow.state: .*volume of Trainer .*: /mnt/framecast\), received /state",
        ),
        (_ROOT, ["kubeflow.components.Trainer.volumes=[]"], r"kubeflow.state: .*Trainer.volumes: none\), received"),
        (
            _ROOT,
            ["kubeflow.state=s3://b/state"],
            r"kubeflow.state: expected a folder on a volume, received s3://b/state",
        ),
        (
            _ROOT,
            ["push.directory=minio://b/m"],
            r"push.directory: .*, s3:// or gs://, received minio://b/m \(for MinIO, use s3:",
        ),
        (
            _ROOT,
            ["data.train=minio://b/*"],
            r"data.train: .*, s3:// or gs://, received minio://b/\* \(for MinIO, use s3:",
        ),
        (_ROOT, ["push.directory=/serving"], r"push.directory: .*volume of ServingModel .*received /serving"),
        (_ROOT, ["train.init_from=/models/7"], r"train.init_from: .*volume of Trainer .*received /models/7"),
        (_ROOT, ["kubeflow.components.Pusher={volumes: []}"], r"push.directory: .*volume of Pusher "),
        (
            _ROOT,
            ["beam.engine=flink"],
            r"beam.engine flink: --pipeline-root: .*volume of ClipExampleGen .*received /minio$",
        ),
        (
            _ROOT,
            ["beam={engine: dataflow, dataflow: {project: p, region: r, temp_location: gs://b, image: i}}"],
            r"beam.engine: expected local, flink or spark, received dataflow",
        ),
    ],
)
def test_configuration_unfit_for_a_cluster_is_rejected(framecast, folder, root, overrides, message):
    settings = [part for override in overrides for part in ("--set", override)]
    answer = framecast(
        "kubeflow", "compile", folder / "radar.yaml", "--image", _IMAGE, "--pipeline-root", root, *settings
    )
    assert answer.code == 2

    assert re.search(message, answer.text)


def test_object_store_paths_need_no_volume(folder):
    given = {
        "train_data": "s3://clips/day{SPAN}/*",
        "eval_data": "s3://clips/eval/*",
        "push_directory": "s3://models/a",
    }
    spec, platform = _compile(
        folder,
        f"data.train={given['train_data']}",
        f"data.eval={given['eval_data']}",
        f"push.directory={given['push_directory']}",
        "kubeflow.default.volumes=[]",
        "kubeflow.components.Trainer.volumes=[{claim: framecast, path: /mnt/framecast}]",
        "kubeflow.components.ValidationGate.volumes=[{claim: framecast, path: /mnt/framecast}]",
    )
    parameters = spec["root"]["inputDefinitions"]["parameters"]
    assert {name: parameters[name]["defaultValue"] for name in given} == given
    executors = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    for name in ("InputFiles", "ClipExampleGen", "ServingModel", "Pusher"):
        # Its credentials.
        assert executors[f"{name}_executor"]["secretAsEnv"][0]["keyToEnv"][0]["envVar"] == "AWS_ACCESS_KEY_ID"
        assert "pvcMount" not in executors[f"{name}_executor"]


def test_command_writes_file_and_prints_parameters(framecast, folder, documents):
    output = folder / "radar.pipeline.yaml"
    arguments = ["--image", _IMAGE, "--pipeline-root", _ROOT, "--output", output, "--json"]
    answer = framecast("kubeflow", "compile", folder / "radar.yaml", *arguments)
    assert answer.code == 0, answer.text
    assert json.loads(answer.out)["parameters"]["train_steps"] == 30
    assert list(yaml.safe_load_all(output.read_text())) == documents


def test_pipeline_names_are_valid_in_kfp():
    assert pipeline_name("configs/radar-2.yaml") == "framecast-radar-2"
    stems = ["KNMI radar_2", "knmi-radar_2", "knmi radar 2", "レーダー", "радар", "-"]
    names = {pipeline_name(f"configs/{stem}.yaml") for stem in stems}
    assert len(names) == len(stems)
    for name in names:
        check_name(name)


@pytest.mark.parametrize("image", ["framecast:1", "host:5000/team/framecast:1.0-gpu", f"framecast@sha256:{'0a' * 32}"])
def test_image_with_tag_or_digest_is_accepted(image):
    check_image(image)


@pytest.mark.parametrize(
    "image", ["", "framecast", "host:5000/team/framecast", "framecast:", "frame cast:1", "f@sha256:0"]
)
def test_image_without_tag_is_rejected(framecast, folder, image):
    answer = framecast("kubeflow", "compile", folder / "radar.yaml", "--image", image, "--pipeline-root", _ROOT)
    assert answer.code == 2
    assert f"--image: expected an image with a tag or a digest, such as framecast:1, received {image!r}" in answer.text


def test_bulk_inference_follows_push_and_is_never_cached(folder):
    infer = "infer={data: /mnt/framecast/clips/day/*, to: /mnt/framecast/answers}"
    root = _compile(folder, infer)[0]["root"]["dag"]["tasks"]
    task = root["BulkInference"]
    assert task["dependentTasks"] == ["Pusher"]
    assert not task["cachingOptions"].get("enableCache")
    assert task["inputs"]["parameters"]["directory"] == {"componentInputParameter": "push_directory"}
    assert root["Pusher"]["cachingOptions"]["enableCache"]
    elsewhere = infer.replace("/mnt/framecast/answers", "/tmp/answers")
    with pytest.raises(ConfigError, match=r"infer\.to: expected a folder on a volume of BulkInference"):
        _compile(folder, elsewhere)
