"""TFX's Evaluator, told by ServingModel's property whether there is a baseline."""

from typing import Any

from tfx.components.evaluator import component, executor
from tfx.dsl.components.base import executor_spec
from tfx.types import component_spec, standard_component_specs

from framecast.components.serving_model import PRESENT


class EvaluatorSpec(standard_component_specs.EvaluatorSpec):
    """The Evaluator's spec with a digest of the metrics' code, so that an edited metric is evaluated anew."""

    PARAMETERS = {
        **standard_component_specs.EvaluatorSpec.PARAMETERS,
        "code": component_spec.ExecutionParameter(type=str, optional=True),
    }


class Executor(executor.Executor):
    """Leaves the baseline out when ServingModel's artifact says that nothing comparable is serving."""

    def Do(self, input_dict: dict, output_dict: dict, exec_properties: dict[str, Any]) -> None:  # noqa: N802
        """Evaluates with or without a baseline."""
        key = standard_component_specs.BASELINE_MODEL_KEY
        present = [model for model in input_dict.get(key, []) if model.get_int_custom_property(PRESENT)]
        inputs = {name: value for name, value in input_dict.items() if name != key}
        if present:
            inputs[key] = present
        super().Do(inputs, output_dict, exec_properties)


class Evaluator(component.Evaluator):
    """TFX's Evaluator whose baseline may be absent.

    Args:
        code: Digest of the code behind the metrics; a part of the cache key.
        **kwargs: As TFX's Evaluator.
    """

    SPEC_CLASS = EvaluatorSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)

    def __init__(self, *, code: str = "", **kwargs: Any):
        super().__init__(**kwargs)
        self.spec.exec_properties["code"] = code
