"""The definition of each kind of task: facts, objective and exported module."""

import pytest

from framecast.evaluation.metrics.registry import TASKS
from framecast.models.export.anomaly import AnomalyModule
from framecast.models.export.forecast import ForecastModule
from framecast.models.export.labels import ClassifyModule, RegressModule
from framecast.models.networks import builders
from framecast.models.spec import ModelSpec, TrainSpec, parse_task
from framecast.models.tasks import define_task
from framecast.models.training.objectives import LabelObjective, NextFrameObjective
from framecast.models.training.precision import policy
from framecast.schemas.clip_spec import ClipSpec, FrameRange

_CLIP = ClipSpec(frames=FrameRange(min=1, max=8))
_FORECAST = {"horizon": 6, "context": {"min": 4}}
_ANOMALY = {"kind": "anomaly", "context": {"min": 2}}
_CLASSIFY = {"kind": "classify", "classes": 3}
_REGRESS = {"kind": "regress", "per": "frame"}


@pytest.mark.parametrize(
    ("section", "shortest", "shortest_served"),
    [(_FORECAST, 10, 4), (_ANOMALY, 3, 3), (_CLASSIFY, 1, 1), (_REGRESS, 1, 1)],
)
def test_task_decides_shortest_clip(section, shortest, shortest_served):
    task = parse_task(section)
    assert (task.min_frames, task.min_served_frames) == (shortest, shortest_served)
    assert task.is_long_enough(shortest)
    assert not task.is_long_enough(shortest - 1)


@pytest.mark.parametrize("section", [_FORECAST, _ANOMALY, _CLASSIFY, _REGRESS], ids=lambda section: str(section))
def test_metrics_are_those_of_the_registry(section):
    task = parse_task(section)
    assert define_task(task).metrics is task.metrics is TASKS[task.kind]
    assert task.metrics.lead_times == task.is_forecast == (task.horizon > 0)


@pytest.mark.parametrize(
    ("section", "preset", "module", "objective", "described"),
    [
        (_FORECAST, "convlstm-tiny", ForecastModule, NextFrameObjective, {"horizon", "forecast_channels"}),
        (_ANOMALY, "convlstm-tiny", AnomalyModule, NextFrameObjective, {"thresholds"}),
        (_CLASSIFY, "cnn-convlstm-small", ClassifyModule, LabelObjective, {"label"}),
        (_REGRESS, "cnn-convlstm-small", RegressModule, LabelObjective, {"label"}),
    ],
)
def test_definition_makes_objective_and_module(section, preset, module, objective, described):
    task = define_task(parse_task(section))
    model = builders.build(ModelSpec(preset=preset), task.spec, _CLIP, policy("float32"))
    constants = task.neutral_constants(_CLIP)
    assert type(task.make_module(model, lambda inputs: inputs, _CLIP, constants)) is module
    assert type(task.make_objective(TrainSpec(steps=1))) is objective
    assert set(task.describe(constants)) == described
