"""Metric names, keys and the definition of each kind of task."""

import pytest

from framecast.evaluation.metrics import registry
from framecast.evaluation.metrics.registry import TASKS


@pytest.mark.parametrize("kind", TASKS)
def test_headline_and_error_are_metrics_of_the_task(kind):
    task = TASKS[kind]
    assert {*task.headline, task.error} <= set(task.names) <= set(registry.names_of(kind))
    assert registry.direction(task.error) == "lower"


@pytest.mark.parametrize(
    ("received", "closest"), [("skil", "skill"), ("MSE", "mse"), ("skill_persistance", "skill_persistence")]
)
def test_typo_gets_the_closest_name(received, closest):
    with pytest.raises(ValueError, match=f"received {received}; the closest is {closest}$"):
        registry.check_names([received])


def test_parse_key_inverts_key():
    assert [registry.parse_key(registry.key(*pair)) for pair in (("mse", None), ("mse_frame", 12))] == [
        ("mse", None),
        ("mse_frame", 12),
    ]
