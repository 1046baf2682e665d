"""TFX's Transform, in batches of few clips."""

from typing import Any

from tfx.components.transform import component, executor
from tfx.dsl.components.base import executor_spec

from framecast.components.batches import few_clips


class Executor(executor.Executor):
    """Decodes few clips at once, whatever their size on disk."""

    def Do(self, input_dict: dict, output_dict: dict, exec_properties: dict[str, Any]) -> None:
        """Learns and materialises."""
        with few_clips():
            super().Do(input_dict, output_dict, exec_properties)


class Transform(component.Transform):
    """TFX's Transform with that executor; the same arguments."""

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)
