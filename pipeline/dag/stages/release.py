"""Builds the components that evaluate, validate, push, report and use the candidate."""

from typing import Any

from tfx.components import Pusher, Trainer
from tfx.dsl.components.base import executor_spec
from tfx.orchestration.data_types import RuntimeParameter
from tfx.proto import pusher_pb2

from framecast.clips.fingerprint import known_digests
from framecast.components import bulk_inference as inference
from framecast.components import pusher as pusher_executor
from framecast.components.evaluator import Evaluator
from framecast.components.infra_validator import SavedModelInfraValidator
from framecast.components.report.component import Report
from framecast.components.serving_model import ServingModel
from framecast.components.tuner import Tuner
from framecast.evaluation.gate import thresholds
from framecast.pipeline.config.config import Config
from framecast.pipeline.dag.code_digest import code_digest
from framecast.pipeline.dag.contract import contract, serving_fingerprint
from framecast.pipeline.dag.runtime_parameters import PUSH_DIRECTORY, set_runtime_properties


def serving_model(config: Config, parameters: dict[str, RuntimeParameter]) -> Any:
    """Returns ServingModel: the model that is serving when the run starts, as baseline and for a warm start."""
    return ServingModel(
        directory=parameters.get(PUSH_DIRECTORY, config.push.directory),
        contract=contract(config),
        fingerprint="" if parameters else serving_fingerprint(config.push.directory),
        code=code_digest("framecast.components.serving_model"),
    )


def evaluator(config: Config, examples: Any, trained: Trainer, serving: Any) -> Evaluator:
    """Returns Evaluator: compares the candidate with the thresholds and with the baseline."""
    return Evaluator(
        examples=examples.outputs["examples"],
        model=trained.outputs["model"],
        baseline_model=serving.outputs["model"],
        eval_config=thresholds.build_eval_config(config.evaluate, horizon=config.task.horizon, task=config.task.kind),
        example_splits=["eval"],
        # TFMA imports the metrics' module by the name in the evaluation's configuration.
        code=code_digest("framecast.components.evaluator", "framecast.evaluation.gate.tfma_metrics"),
    )


def infra_validator(trained: Trainer) -> Any:
    """Returns SavedModelInfraValidator: serves the candidate in its own process and replays its warm-up requests."""
    return SavedModelInfraValidator(
        model=trained.outputs["model"], code=code_digest("framecast.components.infra_validator")
    )


def pusher(
    config: Config, parameters: dict[str, RuntimeParameter], trained: Trainer, evaluated: Evaluator, infra: Any
) -> Pusher:
    """Returns Pusher: releases the candidate if Evaluator and infra validation blessed it."""
    component = Pusher(
        model=trained.outputs["model"],
        model_blessing=evaluated.outputs["blessing"],
        infra_blessing=infra.outputs["blessing"],
        push_destination=pusher_pb2.PushDestination(
            filesystem=pusher_pb2.PushDestination.Filesystem(base_directory=config.push.directory)
        ),
        custom_config={
            "release": config.push.release,
            "task": config.task.kind,
            "code": code_digest("framecast.components.pusher"),
        },
        custom_executor_spec=executor_spec.ExecutorClassSpec(pusher_executor.PusherExecutor),
    )
    if PUSH_DIRECTORY in parameters:
        set_runtime_properties(component, **{pusher_executor.DIRECTORY: parameters[PUSH_DIRECTORY]})
    return component


def report(
    config: Config,
    examples: Any,
    gate: Any,
    search: Tuner | None,
    trained: Trainer,
    evaluated: Evaluator,
    infra: Any,
    pushed: Pusher,
) -> Any:
    """Returns Report: page and model card of the candidate, pushed or not."""
    return Report(
        examples=examples.outputs["examples"],
        gate=gate.outputs["gate"],
        model_run=trained.outputs["model_run"],
        model=trained.outputs["model"],
        evaluation=evaluated.outputs["evaluation"],
        infra_blessing=infra.outputs["blessing"],
        pushed_model=pushed.outputs["pushed_model"],
        **({"tuner_results": search.outputs["tuner_results"]} if search else {}),
        config=config.model_dump_json(),
        code=code_digest("framecast.components.report.component"),
    )


def bulk_inference(config: Config, workdir: str, parameters: dict[str, RuntimeParameter], pushed: Pusher) -> Any | None:
    """Returns BulkInference: runs the serving model on the clips of `infer`; None without `infer`."""
    if config.infer is None:
        return None
    return inference.BulkInference(
        pushed_model=pushed.outputs["pushed_model"],
        directory=parameters.get(PUSH_DIRECTORY, config.push.directory),
        infer=config.infer,
        skip_bad=config.data.on_bad_clip == "quarantine",
        fingerprint="" if parameters else inference.fingerprint(config.infer.data, known_digests(workdir)),
        code=code_digest("framecast.components.bulk_inference"),
    )
