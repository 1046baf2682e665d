"""Later candidates in the work directory of a first run: verdict, exit code, record and report of each."""

import json
import pathlib

import pytest

from framecast.evaluation.gate.verdict import read_verdict
from framecast.pipeline.config import config as configuration
from framecast.pipeline.runs import run as runs


def test_identical_second_run_is_unchanged(chain, first_run):
    versions = chain.versions
    result = chain.run()
    assert (result.verdict, result.exit_code) == ("unchanged", 0)
    states = {component["name"]: component["state"] for component in result.components}
    assert states["Trainer"] == states["Transform"] == states["ClipExampleGen"] == "cached"
    assert chain.versions == versions
    for component in result.components:
        assert (component["peak_memory"] is None) == (component["state"] == "cached")
    first, second = (pathlib.Path(run.log).parent.name for run in (first_run[1], result))
    made = {
        (execution["component"], artifact["key"]): artifact["run"]
        for execution in result.lineage
        for artifact in execution["outputs"]
    }
    assert made["ClipExampleGen", "examples"] == made["Trainer", "model"] == first
    assert made["Pusher", "pushed_model"] == second


def test_worse_candidate_is_rejected_every_time(chain):
    versions = chain.versions
    for _ in range(2):
        result = chain.run("train.learning_rate=0")
        assert (result.verdict, result.exit_code) == ("rejected", 3)
        (miss,) = result.misses
        assert (miss["metric"], miss["lead_time"], miss["slice"]) == ("mse", None, "overall")
        assert miss["value"] > 0
        assert "mse: expected an increase of at most 0 against the serving model, received" in result.why
        assert chain.versions == versions
    assert chain.record()["verdict"] == "rejected"
    page = pathlib.Path(result.report).read_text()
    assert '<header id="verdict" class="rejected">' in page
    assert f'<td>{miss["value"]:.6g}</td><td class="text">{miss["bound"]}</td>' in page
    # The Report is cached, and shows the figures of this run.
    assert page.count("data:image/gif;base64,") == 3


def test_better_candidate_replaces_the_serving_model(chain, first_run):
    versions = chain.versions
    result = chain.run("train.steps=80")
    assert (result.verdict, result.exit_code) == ("pushed", 0), result.why
    assert chain.versions == [*versions, int(result.version)]
    assert int(result.version) > versions[-1]
    page = pathlib.Path(result.report).read_text()
    assert "Compared with the serving model" in page
    assert "candidate - serving" in page
    assert f"(serving {first_run[1].figures['mse']:.4g})" in page


def test_partial_run_uses_artifacts_of_earlier_runs(chain):
    result = chain.run(to_node="ValidationGate")
    assert (result.verdict, result.exit_code) == ("unchanged", 0)
    names = [component["name"] for component in result.components]
    assert set(names) == {
        "ClipExampleGen", "StatisticsGen", "ImportSchemaGen", "ExampleValidator", "ValidationGate"
    }  # fmt: skip
    versions = chain.versions
    # The newest run has no model: the artifacts come from the newest run that has one.
    result = chain.run("train.steps=80", from_node="Evaluator")
    assert (result.verdict, result.exit_code) == ("unchanged", 0), result.why
    assert {component["name"] for component in result.components} == {"Evaluator", "Pusher", "Report"}
    assert chain.versions == versions


@pytest.mark.slow
def test_missed_slice_threshold_rejects_and_exits_3(chain, framecast):
    versions = chain.versions
    slices = read_verdict(str(chain.artifact("Evaluator", "evaluation"))).slices
    missed, met = sorted(int(name.removeprefix("length: ")) for name in slices if name.startswith("length: "))[-2:]
    lengths = f"{{{missed}: {{max: 1.0e-09}}, {met}: {{max: 1.0}}}}"
    bounds = f"{{mse: {{max: 1.0, slices: {{length: {lengths}, content: {{each: {{max: 1.0}}}}}}}}}}"
    answer = framecast(
        "run", chain.path, "--workdir", chain.folder / "work", "--json", "--set", f"evaluate.thresholds={bounds}"
    )
    record = chain.record()
    assert json.loads(answer.out) == record
    assert (answer.code, record["verdict"]) == (3, "rejected")
    (miss,) = record["misses"]
    assert (miss["metric"], miss["slice"], miss["bound"]) == ("mse", f"length: {missed}", "at most 1e-09")
    assert record["why"].endswith(f"mse (length: {missed}): expected at most 1e-09, received {miss['value']:.6g}")
    page = pathlib.Path(record["report"]).read_text()
    assert (
        f'<td class="text">length: {missed}</td><td>{miss["value"]:.6g}</td><td class="text">at most 1e-09</td>' in page
    )
    states = {part["name"]: part["state"] for part in record["components"]}
    assert states["Trainer"] == "cached"
    assert chain.versions == versions


@pytest.mark.slow
def test_candidate_with_nan_forecasts_is_rejected(chain):
    versions = chain.versions
    result = chain.run("model.preset=null", f"model.builder={chain.folder}/builder.py:build", "train.steps=3")
    assert (result.verdict, result.exit_code) == ("rejected", 3)
    assert {(miss["metric"], miss["value"]) for miss in result.misses} >= {("mse", None)}
    assert "mse: expected at most 1, received no finite number" in result.why
    assert result.figures["mse"] is None
    page = pathlib.Path(result.report).read_text()
    assert '<header id="verdict" class="rejected">' in page
    assert "no finite number" in page
    assert chain.versions == versions


def test_candidate_that_diverges_in_training_fails(chain):
    versions = chain.versions
    result = chain.run("train.learning_rate=1e30", "train.steps=3")
    assert (result.verdict, result.exit_code) == ("failed", 1)
    assert "Trainer: loss at step 2: expected a finite number, received" in result.why
    page = pathlib.Path(result.report).read_text()
    assert '<header id="verdict" class="failed">' in page
    assert "No figures: the run ended before the Evaluator." in page
    assert chain.versions == versions


def test_changed_events_reuse_the_trained_weights(chain, first_run):
    states = {path.name for path in (chain.folder / "work" / "state").iterdir()}
    result = chain.run("evaluate.events.thresholds=[0.2]")
    assert (result.verdict, result.exit_code) == ("pushed", 0), result.why
    notes = {component["name"]: component["note"] for component in result.components}
    assert "has another contract" in notes["ServingModel"]
    assert {path.name for path in (chain.folder / "work" / "state").iterdir()} == states
    before = first_run[1].figures
    assert result.figures == {name: before[name] for name in before if "_0.8" not in name}


def test_partial_run_without_earlier_run_names_missing_component(chain, tmp_path):
    result = runs.run(configuration.load(str(chain.path), ()), str(tmp_path), from_node="Transform", quiet=True)
    assert (result.verdict, result.exit_code) == ("failed", 1)
    assert "a run from Transform: expected an earlier run in this workdir that finished ClipExampleGen" in result.why
    page = pathlib.Path(result.report).read_text()
    assert '<header id="verdict" class="failed">' in page
    assert "expected an earlier run in this workdir" in page
    assert "No figures: the run ended before the Evaluator." in page
