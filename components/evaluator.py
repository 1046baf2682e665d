"""Runs TFX's Evaluator with a baseline that may be absent."""

import json
from typing import Any

from tensorflow_model_analysis.proto import config_pb2
from tfx import types
from tfx.components.evaluator import executor
from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.types import artifact_utils, component_spec, standard_artifacts, standard_component_specs
from tfx.utils import json_utils, path_utils

from framecast.components.artifact_properties import FIGURES, NO_BASELINE, PRESENT
from framecast.components.batches import few_clips
from framecast.evaluation.gate.verdict import read_verdict
from framecast.evaluation.metrics import figures as metric_figures
from framecast.schemas.intervals import other_intervals
from framecast.serving import versions


class EvaluatorSpec(standard_component_specs.EvaluatorSpec):
    """TFX's spec with a digest of the code, so that an edited metric repeats the evaluation."""

    PARAMETERS = {
        **standard_component_specs.EvaluatorSpec.PARAMETERS,
        "code": component_spec.ExecutionParameter(type=str, optional=True),
    }


class EvaluatorExecutor(executor.Executor):
    """Evaluates in batches of few clips; without a baseline if no comparable model is serving."""

    def Do(self, input_dict: dict, output_dict: dict, exec_properties: dict[str, Any]) -> None:
        """Evaluates, and adds the candidate's metrics to the blessing, for Pusher."""
        key = standard_component_specs.BASELINE_MODEL_KEY
        present = [model for model in input_dict.get(key, []) if model.get_int_custom_property(PRESENT)]
        candidate = artifact_utils.get_single_instance(input_dict[standard_component_specs.MODEL_KEY])
        differs = "; ".join(filter(None, (_other_interval(candidate, model) for model in present)))
        if differs:
            present = []
        inputs = {name: value for name, value in input_dict.items() if name != key}
        if present:
            inputs[key] = present
        with few_clips():
            super().Do(inputs, output_dict, exec_properties)
        evaluation = artifact_utils.get_single_instance(output_dict[standard_component_specs.EVALUATION_KEY])
        blessing = artifact_utils.get_single_instance(output_dict[standard_component_specs.BLESSING_KEY])
        overall = metric_figures.overall(read_verdict(evaluation.uri).figures)
        blessing.set_string_custom_property(FIGURES, json.dumps(overall))
        blessing.set_string_custom_property(NO_BASELINE, differs)


def _other_interval(candidate: types.Artifact, serving: types.Artifact) -> str:
    """Returns why two models cannot be compared: intervals between frames without a common one. Empty if they can."""
    ours, theirs = (
        versions.intervals(versions.read_card(path_utils.serving_model_path(model.uri)))
        for model in (candidate, serving)
    )
    differ = other_intervals(ours, theirs)
    return f"not compared with the serving model: {differ}" if differ else ""


class Evaluator(base_beam_component.BaseBeamComponent):
    """TFX's Evaluator with a baseline that may be absent.

    Args:
        examples: The ingested clips.
        model: The candidate.
        baseline_model: ServingModel's output, whose property `present` says whether there is a baseline.
        eval_config: Metrics, slices and thresholds.
        example_splits: Splits to evaluate on.
        code: Digest of the component's code; part of the cache key.
    """

    SPEC_CLASS = EvaluatorSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(EvaluatorExecutor)

    def __init__(
        self,
        examples: types.BaseChannel,
        model: types.BaseChannel,
        baseline_model: types.BaseChannel,
        eval_config: config_pb2.EvalConfig,
        example_splits: list[str],
        code: str = "",
    ):
        spec = EvaluatorSpec(
            examples=examples,
            model=model,
            baseline_model=baseline_model,
            eval_config=eval_config,
            example_splits=json_utils.dumps(example_splits),
            evaluation=types.Channel(type=standard_artifacts.ModelEvaluation),
            blessing=types.Channel(type=standard_artifacts.ModelBlessing),
            code=code,
        )
        super().__init__(spec=spec)
