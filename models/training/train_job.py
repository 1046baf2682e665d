"""Runs the Trainer on several machines: every pod of a Kubeflow TFJob runs this command with the same arguments.

    python -m framecast.models.training.train_job
        --examples /data/transformed_examples --transform-graph /data/transform_graph
        --custom-config /config/custom_config.json --output /data/trained

`TF_CONFIG`, which the TFJob sets, lists the pods; without it the job trains alone. Any number of workers learns the
same weights, because `train.batch_frames` is the size of their global batch; choose a larger one for more workers.

`--examples` and `--transform-graph` are outputs of Transform; `--custom-config` is a file with the Trainer's parameter
of this name. All folders, and `state` of the custom configuration, are on a volume that the pods share. The chief
writes the Trainer's outputs, `model` and `model_run`, to `--output`.

If a worker is lost, all workers end with an error; with `restartPolicy: OnFailure` the job resumes from its last
checkpoint.
"""

import argparse
import json
import logging
import os
from collections.abc import Sequence

from tfx.components.trainer.fn_args_utils import FnArgs

from framecast.models.training import run_fn


def parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="framecast.models.training.train_job", description="Runs one worker of the Trainer."
    )
    parser.add_argument("--examples", required=True, help="folder of Transform's transformed_examples")
    parser.add_argument("--transform-graph", required=True, help="folder of Transform's transform_graph")
    parser.add_argument("--custom-config", required=True, help="JSON file, the Trainer's parameter custom_config")
    parser.add_argument("--base-model", help="folder of the exported model that train.warm_start starts from")
    parser.add_argument("--output", required=True, help="folder for model and model_run")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains and exports as the Trainer component does."""
    options = parser().parse_args(arguments)
    logging.basicConfig(format="%(asctime)s %(name)s %(message)s")
    logging.getLogger("framecast").setLevel(logging.INFO)
    with open(options.custom_config) as file:
        settings = json.load(file)
    run_fn.run_fn(
        FnArgs(
            train_files=[os.path.join(options.examples, "Split-train", "*")],
            eval_files=[os.path.join(options.examples, "Split-val", "*")],
            transform_graph_path=options.transform_graph,
            serving_model_dir=os.path.join(options.output, "model", "Format-Serving"),
            model_run_dir=os.path.join(options.output, "model_run"),
            base_model=options.base_model,
            custom_config=settings,
        )
    )


if __name__ == "__main__":
    main()
