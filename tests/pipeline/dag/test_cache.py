"""TFX's drivers and cache, with stubs for executors: runs take unchanged components from the cache."""

import shutil

import pytest

from framecast.pipeline.component_names import COMPONENTS
from tests.pipeline.dag.project import FROM_INGEST, FROM_TRAINER, Project


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    with pytest.MonkeyPatch.context() as monkeypatch:
        project = Project(tmp_path_factory.mktemp("change"), monkeypatch)
        assert project.run() == set(COMPONENTS)
        yield project


def test_unrelated_edit_runs_nothing(project):
    project.edit("framecast/clips/inspection.py")
    assert project.run() == set()


def test_edited_model_trains_again(project):
    project.edit("framecast/models/motion.py")
    assert project.run() == {*FROM_TRAINER, "Report"}


def test_edited_template_runs_report_only(project):
    project.edit("framecast/evaluation/report/report.html.jinja")
    assert project.run() == {"Report"}


def test_damaged_artifact_is_made_again(project):
    project.run()
    stubs = (project.folder / "artifacts" / "Transform" / "transform_graph").glob("*/stub")
    max(stubs, key=lambda stub: int(stub.parent.name)).unlink()
    assert project.run() == {"Transform", *FROM_TRAINER, "Report"}
    assert project.run() == set()


def test_touched_input_file_runs_nothing(project):
    path = next((project.folder / "clips" / "train").iterdir())
    path.write_bytes(path.read_bytes())
    assert project.run() == set()


def test_edited_input_file_ingests_again(project):
    path = next((project.folder / "clips" / "train").iterdir())
    path.write_bytes(path.read_bytes() + path.read_bytes())
    assert project.run() == {*FROM_INGEST, "Report"}


def test_new_span_is_ingested_once(project):
    spans = f"data.train={project.folder}/clips/day{{SPAN}}/*"
    source = next((project.folder / "clips" / "train").iterdir())
    for day in (9, 10):
        (project.folder / "clips" / f"day{day}").mkdir()
        shutil.copy(source, project.folder / "clips" / f"day{day}")
        assert project.run(spans) == {*FROM_INGEST, "Report"}
    assert project.run(spans) == set()


def test_deleted_artifacts_are_made_again(project):
    project.run("train.steps=2")
    project.run()
    project.clean_up()
    assert project.run() == set()
    assert project.run("train.steps=2") == {*FROM_TRAINER, "Report"}


def test_artifacts_that_a_partial_run_used_are_kept(project):
    project.run()
    project.run("evaluate.thresholds.mse.max=0.25", from_node="Evaluator")
    project.clean_up()
    assert project.run() == {"Evaluator", "Pusher", "Report"}


def test_partial_run_ignores_runs_with_deleted_artifacts(project):
    project.run()
    project.run(to_node="Transform")
    project.clean_up()
    with pytest.raises(
        LookupError, match=r"expected an earlier run in this workdir that finished .*Trainer.*found none"
    ):
        project.run(from_node="Evaluator")
