"""Builds the components that prepare examples, search hyperparameters and train."""

import os
from typing import Any

# Not `tfx.v1`: it imports Google Cloud's AI Platform, which takes as long as TensorFlow.
from tfx.components import Trainer
from tfx.dsl.components.base import executor_spec
from tfx.orchestration.data_types import RuntimeParameter
from tfx.proto import trainer_pb2, transform_pb2

from framecast.components import trainer as trainer_executor
from framecast.components.transform import Transform
from framecast.components.tuner import Tuner
from framecast.models import loss_spec
from framecast.pipeline.config.config import Config
from framecast.pipeline.config.inputs import Inputs
from framecast.pipeline.dag.code_digest import builder_digest, code_digest
from framecast.pipeline.dag.contract import contract, events
from framecast.pipeline.dag.runtime_parameters import TRAIN_STEPS, set_runtime_properties
from framecast.serving import versions

_PREPROCESSING = "framecast.models.preprocessing"
_TRAINING = "framecast.models.training.run_fn"
_TUNING = "framecast.models.tuning.tuner_fn"


def transform(config: Config, examples: Any, schema: Any, gate: Any) -> Transform:
    """Returns Transform: decodes clips, computes length buckets, and writes padded examples as compact bytes.

    It waits for the gate. It leaves out eval, because the Evaluator reads the ingested clips.
    """
    label = config.task.label
    component = Transform(
        examples=examples.outputs["examples"],
        schema=schema.outputs["schema"],
        preprocessing_fn=f"{_PREPROCESSING}.preprocessing_fn",
        splits_config=transform_pb2.SplitsConfig(analyze=["train"], transform=["train", "val"]),
        custom_config={
            "clip": config.clip.model_dump(mode="json"),
            "label": label.model_dump(mode="json") if label else None,
            "code": code_digest("framecast.components.transform", _PREPROCESSING),
        },
        disable_statistics=True,
    )
    component.add_upstream_node(gate)
    return component


def tuner(config: Config, inputs: Inputs | None, workdir: str, transformed: Transform) -> Tuner | None:
    """Returns Tuner, which trains trials as Trainer does; None without `tune`.

    Its cache key has only the settings that trials use, so that other settings of Trainer do not repeat a search.
    """
    tune = config.tune
    if tune is None:
        return None
    settings = _settings(config, inputs, workdir)
    return Tuner(
        tuner_fn=f"{_TUNING}.tuner_fn",
        examples=transformed.outputs["transformed_examples"],
        train_args=trainer_pb2.TrainArgs(splits=["train"]),
        eval_args=trainer_pb2.EvalArgs(splits=["val"]),
        custom_config={
            **settings,
            "train": tune.of_trials(settings["train"]),
            "tune": tune.model_dump(mode="json"),
            "code": code_digest(_TUNING),
            # Apart from `code`: it does not invalidate the trials that a killed search has finished.
            "component": code_digest("framecast.components.tuner"),
        },
    )


def trainer(
    config: Config,
    inputs: Inputs | None,
    workdir: str,
    parameters: dict[str, RuntimeParameter],
    transformed: Transform,
    serving: Any,
    search: Tuner | None,
) -> Trainer:
    """Returns Trainer: trains, and exports one SavedModel with all signatures.

    Args:
        config: The configuration.
        inputs: The files that the run reads; None in a compiled pipeline.
        workdir: Where checkpoints are stored.
        parameters: The runtime parameters of a compiled pipeline, else empty.
        transformed: Transform.
        serving: ServingModel, whose weights a warm start begins with.
        search: Tuner, whose best hyperparameters are used.
    """
    component = Trainer(
        run_fn=f"{_TRAINING}.run_fn",
        custom_executor_spec=executor_spec.ExecutorClassSpec(trainer_executor.TrainerExecutor),
        examples=transformed.outputs["transformed_examples"],
        transform_graph=transformed.outputs["transform_graph"],
        base_model=serving.outputs["model"] if config.train.warm_start else None,
        train_args=trainer_pb2.TrainArgs(splits=["train"]),
        eval_args=trainer_pb2.EvalArgs(splits=["val"]),
        hyperparameters=search.outputs["best_hyperparameters"] if search else None,
        custom_config={
            **_settings(config, inputs, workdir),
            "code": code_digest("framecast.components.trainer", _TRAINING),
            "export": config.export.model_dump(mode="json"),
            "events": events(config),
            "contract": contract(config),
        },
    )
    if TRAIN_STEPS in parameters:
        set_runtime_properties(component, **{trainer_executor.STEPS: parameters[TRAIN_STEPS]})
    return component


def _settings(config: Config, inputs: Inputs | None, workdir: str) -> dict[str, Any]:
    """Returns the custom configuration that Trainer and Tuner share.

    A compiled pipeline has `train.init_from` as configured, because the model is on the cluster.
    """
    sections = {key: getattr(config, key).model_dump(mode="json") for key in ("clip", "task", "model", "train")}
    initial = inputs.initial_model if inputs else None
    if initial is not None:
        sections["train"]["init_from"] = initial
    return {
        **sections,
        "initial": versions.digest(initial) if initial else None,
        "state": os.path.join(workdir, "state"),
        "builder": builder_digest(config.model.builder) if config.model.builder else None,
        "losses": [builder_digest(name) for name in loss_spec.functions_of(config.train.loss)],
    }
