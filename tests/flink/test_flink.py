"""The pipeline on a real Flink cluster equals a single-process run, also when parts of the cluster are killed."""

import math

import pytest

from framecast.pipeline.commands import evaluate as evaluation
from framecast.pipeline.config.inputs import find_inputs
from framecast.serving.exported_model import find_model

pytestmark = pytest.mark.flink

_SPLITS = {
    ("ClipExampleGen", "examples"): ("train", "val", "eval"),
    ("Transform", "transformed_examples"): ("train", "val"),
}
# The step of Transform's job that pads clips and writes them.
_WRITING = "{Transform[TransformIndex0], EncodeAndWrite[TransformIndex0]}"


def _assert_same_records(run, expected):
    for (component, output), splits in _SPLITS.items():
        for split in splits:
            received = run.records(component, output, split)
            assert received
            assert received == expected.records(component, output, split), (component, split)


def _assert_same_figures(received, expected):
    assert received.keys() == expected.keys()
    for name, value in expected.items():
        assert received[name] == value or math.isclose(received[name], value, rel_tol=1e-6, abs_tol=1e-6), name


def test_records_and_metrics_are_those_of_one_process(cluster, start, local_run, resolved):
    run = start("flink", cluster.section)
    record = run.wait()
    assert record["verdict"] == "pushed", record
    _assert_same_records(run, local_run)
    # Val losses are rounded in the order of the val files, so the model may be another step's: here the same one is
    # evaluated in one process.
    model = find_model(str(run.serving))
    config = resolved()
    found = evaluation.evaluate(model, find_inputs(config).files["eval"], spec=config.evaluate)
    _assert_same_figures(record["figures"], found.verdict.figures)


def test_evaluate_on_flink_finds_the_same(cluster, local_run, resolved):
    model = find_model(str(local_run.serving))
    config = resolved(f"beam={cluster.section}")
    files = find_inputs(config).files["eval"]
    found = evaluation.evaluate(model, files, spec=config.evaluate, beam_flags=config.beam.beam_flags())
    assert found.clips == len(local_run.records("ClipExampleGen", "examples", "eval"))
    _assert_same_figures(found.verdict.figures, local_run.record()["figures"])


def _kill_task_manager(cluster):
    cluster.kill_task_manager(0)
    cluster.replace_task_manager(0)


def _kill_worker(cluster):
    for worker in cluster.workers(0):
        worker.kill()


@pytest.mark.parametrize("kill", [_kill_task_manager, _kill_worker])
def test_lost_task_manager_keeps_every_record_once(cluster, start, local_run, kill, await_):
    name = kill.__name__.strip("_")
    run = start(name, cluster.section, to="Transform")
    await_("clips to be written", lambda: _WRITING in " ".join(cluster.running_steps()), run.check, 600)
    kill(cluster)
    record = run.wait()
    cluster.await_task_managers()
    if record["verdict"] == "failed":
        assert record["why"].startswith("Transform: ")
        record = start(name, cluster.section, to="Transform").wait()
    assert record["verdict"] == "unchanged", record
    _assert_same_records(run, local_run)
