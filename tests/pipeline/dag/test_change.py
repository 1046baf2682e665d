"""Edit -> components with another cache key, and the components that read their outputs."""

import json
import pathlib
import shutil
from unittest import mock

import pytest

from framecast.pipeline.dag.stages import data
from framecast.schemas import schema
from tests.pipeline.dag.project import (
    FROM_INGEST,
    FROM_SCHEMA,
    FROM_SERVING,
    FROM_TRAINER,
    FROM_TRANSFORM,
    Project,
    stale,
)

_TUNE = "tune={space: {train: {learning_rate: {min: 0.1, max: 1}}}, trials: 2, steps: 1}"


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    with pytest.MonkeyPatch.context() as monkeypatch:
        yield Project(tmp_path_factory.mktemp("change"), monkeypatch)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("evaluate.thresholds.mse.max=0.5", {"Evaluator", "Pusher"}),
        # Models that count other events are not to be compared.
        ("evaluate.events={thresholds: [0.5]}", FROM_TRAINER | FROM_SERVING),
        ("train.learning_rate=0.5", FROM_TRAINER),
        ("train.warm_start=true", FROM_TRAINER),
        ("export.precision=mixed_bfloat16", FROM_TRAINER),
        ("export.batch_sizes=[1]", FROM_TRAINER),
        ("model={builder: null, preset: convlstm-tiny}", FROM_TRAINER),
        ("task.horizon=4", {*FROM_INGEST, *FROM_SERVING}),
        ("clip.frames.max=30", {*FROM_INGEST, *FROM_SERVING, "ImportSchemaGen"}),
        ("clip.missing=255", {*FROM_INGEST, *FROM_SERVING}),
        ("data.shares={train: 3, val: 1}", FROM_INGEST),
        ("push.directory=elsewhere", {"ServingModel", "Evaluator", "Pusher"}),
        ("push.release=canary", {"Pusher"}),
    ],
)
def test_edited_configuration_runs_what_depends_on_it(project, override, expected):
    # The report shows all components and the configuration.
    assert stale(project.pipeline(), project.pipeline(override)) == {*expected, "Report"}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("edited_builder.py", FROM_TRAINER),
        ("builder_helper.py", FROM_TRAINER),
        ("edited_loss.py", FROM_TRAINER),
        ("framecast/schemas/clip.pbtxt", FROM_TRAINER),  # The export writes the schema; see below for ImportSchemaGen.
        ("framecast/schemas/features.py", FROM_INGEST),
        ("framecast/clips/codec.py", FROM_INGEST),
        ("framecast/components/clip_example_gen/summary.py", FROM_INGEST),
        ("framecast/components/clip_example_gen/file_check.py", FROM_INGEST),
        ("framecast/components/import_schema_gen.py", FROM_SCHEMA),
        # Transform waits for the gate, but reads nothing from it.
        ("framecast/components/validation_gate/component.py", {"ValidationGate"}),
        ("framecast/components/validation_gate/drift.py", {"ValidationGate"}),
        ("framecast/components/transform.py", FROM_TRANSFORM),
        ("framecast/components/batches.py", FROM_TRANSFORM),
        ("framecast/models/preprocessing.py", FROM_TRANSFORM),
        ("framecast/models/length_buckets.py", FROM_TRANSFORM),
        ("framecast/models/frame_decoding.py", FROM_TRANSFORM),
        ("framecast/components/trainer.py", FROM_TRAINER),
        ("framecast/models/convlstm.py", FROM_TRAINER),
        ("framecast/models/motion.py", FROM_TRAINER),
        ("framecast/models/training/losses.py", FROM_TRAINER),
        ("framecast/models/networks/presets.py", FROM_TRAINER),
        ("framecast/models/export/module.py", FROM_TRAINER),
        ("framecast/models/training/warm_start.py", {*FROM_TRAINER, "ServingModel"}),
        ("framecast/evaluation/metrics/forecast.py", FROM_TRAINER),
        ("framecast/evaluation/sums/ssim.py", FROM_TRAINER),
        ("framecast/components/evaluator.py", {"Evaluator", "Pusher"}),
        ("framecast/evaluation/gate/tfma_metrics.py", {"Evaluator", "Pusher"}),
        ("framecast/evaluation/gate/verdict.py", {"Evaluator", "Pusher"}),
        ("framecast/components/serving_model.py", FROM_SERVING),
        ("framecast/components/infra_validator.py", {"SavedModelInfraValidator", "Pusher"}),
        ("framecast/serving/server/server.py", {"SavedModelInfraValidator", "Pusher"}),  # Started as `python -m`.
        ("framecast/components/pusher.py", {"Pusher"}),
        ("framecast/serving/releases/releases.py", {"Pusher"}),
        ("framecast/components/push_decision.py", set()),
        ("framecast/evaluation/report/charts.py", set()),
        ("framecast/evaluation/report/report.html.jinja", set()),
        ("framecast/serving/predictions/animation.py", set()),
    ],
)
def test_edited_code_runs_what_depends_on_it(project, path, expected):
    before = project.pipeline()
    project.edit(path)
    assert stale(before, project.pipeline()) == {*expected, "Report"}


@pytest.mark.parametrize(
    "path",
    [
        "framecast/clips/inspection.py",
        "framecast/clips/convert/pipeline.py",
        "framecast/clips/demo/moving_digits.py",
        "framecast/models/training/train_job.py",
        "framecast/models/tuning/tuner_fn.py",
        "framecast/serving/client/stream.py",
        "framecast/serving/bulk/inference.py",
        "framecast/pipeline/dag/dag.py",
        "framecast/pipeline/runs/screen.py",
        "framecast/models/__init__.pyi",
    ],
)
def test_edited_code_outside_the_pipeline_runs_nothing(project, path):
    before = project.pipeline()
    if path.endswith(".pyi"):
        (project.folder / path).touch()
    project.edit(path)
    assert stale(before, project.pipeline()) == set()


def test_edited_schema_runs_what_reads_it(project):
    before = project.pipeline()
    edited = schema.build_schema

    def with_one_more_feature(*arguments):
        built = edited(*arguments)
        built.feature.add(name="added")
        return built

    with mock.patch.object(data, "build_schema", with_one_more_feature):
        assert stale(before, project.pipeline()) == {*FROM_SCHEMA, "Report"}


def test_every_component_of_ours_has_a_code_digest(project):
    infer = f"infer={{data: {project.folder}/clips/eval, to: {project.folder}/predictions}}"
    pipeline = project.pipeline(_TUNE, infer)
    without = {component.id for component in pipeline.components if "code" not in str(component.exec_properties)}
    # TFX's own code; StatisticsGen's options, which are ours, are a parameter.
    assert without == {"StatisticsGen", "SchemaGen", "ExampleValidator"}


def test_new_span_changes_files_statistics_options_and_drift(project):
    source = next((project.folder / "clips" / "train").iterdir())
    for day in (9, 10):
        (project.folder / "clips" / f"day{day}").mkdir()
        shutil.copy(source, project.folder / "clips" / f"day{day}")
    spans = f"data.train={project.folder}/clips/day{{SPAN}}/*"
    first, second = project.pipeline(spans, "data.newest_span=9"), project.pipeline(spans)
    assert stale(project.pipeline(), second) == {*FROM_INGEST, "Report"}
    assert stale(first, second) == {*FROM_INGEST, "Report"}
    assert stale(second, project.pipeline(spans, "data.drift.threshold=0.5")) == {"ValidationGate", "Report"}
    (gate,) = (part for part in second.components if part.id == "ValidationGate")
    kept = pathlib.Path(gate.exec_properties["kept"])
    kept.mkdir(parents=True)
    (kept / "span-10.pb").touch()
    assert stale(second, project.pipeline(spans)) == set()
    (kept / "span-9.pb").touch()  # Statistics of the span before it, which it is compared with.
    assert stale(second, project.pipeline(spans)) == {"ValidationGate", "Report"}


def test_statistics_options_are_in_the_cache_key(project):
    (project.folder / "clips" / "hour1").mkdir()
    shutil.copy(next((project.folder / "clips" / "train").iterdir()), project.folder / "clips" / "hour1")
    options = [
        component.exec_properties["stats_options_json"]
        for override in ("train.steps=1", f"data.train={project.folder}/clips/hour{{SPAN}}/*")
        for component in project.pipeline(override).components
        if component.id == "StatisticsGen"
    ]
    assert options[0] is None
    assert "clip/span" in options[1]


def test_search_runs_for_what_its_trials_use(project):
    before = project.pipeline(_TUNE)
    searched = {"Tuner", *FROM_TRAINER, "Report"}
    assert stale(project.pipeline(), before) == searched
    # Trials have their own number of steps, and export nothing.
    assert stale(before, project.pipeline(_TUNE, "train.steps=2")) == {*FROM_TRAINER, "Report"}
    assert stale(before, project.pipeline(_TUNE, "export.batch_sizes=[2]")) == {*FROM_TRAINER, "Report"}
    assert stale(before, project.pipeline(_TUNE, "tune.trials=3")) == searched
    assert stale(before, project.pipeline(_TUNE, "train.batch_frames=90")) == searched
    for path in ("components/tuner.py", "models/tuning/tuner_fn.py", "models/tuning/oracle.py"):
        before = project.pipeline(_TUNE)
        project.edit(f"framecast/{path}")
        assert stale(before, project.pipeline(_TUNE)) == searched


def test_new_serving_model_is_compared_and_trained_from(project):
    warm = "train.warm_start=true"
    cold, warmed = project.pipeline(), project.pipeline(warm)
    project.push(1)
    assert stale(cold, project.pipeline()) == {*FROM_SERVING, "Report"}
    assert stale(warmed, project.pipeline(warm)) == {*FROM_SERVING, *FROM_TRAINER, "Report"}


def test_changed_initial_model_trains_and_searches_again(project):
    source = project.folder / "source" / "3"
    source.mkdir(parents=True)
    (source / "saved_model.pb").write_bytes(b"one")
    options = (f"train.init_from={source.parent}", _TUNE)
    before = project.pipeline(*options)
    trainer = next(component for component in before.components if component.id == "Trainer")
    custom = json.loads(trainer.exec_properties["custom_config"])
    assert custom["train"]["init_from"] == str(source)
    assert stale(before, project.pipeline(*options)) == set()
    (source / "saved_model.pb").write_bytes(b"two")
    assert stale(before, project.pipeline(*options)) == {"Tuner", *FROM_TRAINER, "Report"}


def test_changed_clips_or_code_are_predicted_again(project):
    asked = project.folder / "asked"
    shutil.copytree(project.folder / "clips" / "eval", asked)
    infer = f"infer={{data: {asked}, to: {project.folder}/predictions}}"
    before = project.pipeline(infer)
    assert stale(project.pipeline(), before) == {"BulkInference", "Report"}
    path = next(asked.iterdir())
    path.write_bytes(path.read_bytes() * 2)
    assert stale(before, project.pipeline(infer)) == {"BulkInference"}
    for path in ("components/bulk_inference.py", "serving/bulk/inference.py", "serving/predictions/parquet.py"):
        before = project.pipeline(infer)
        project.edit(f"framecast/{path}")
        assert stale(before, project.pipeline(infer)) == {"BulkInference"}
    before = project.pipeline(infer)
    assert stale(before, project.pipeline(infer, "train.learning_rate=0.25")) == {
        *FROM_TRAINER, "BulkInference", "Report"
    }  # fmt: skip
