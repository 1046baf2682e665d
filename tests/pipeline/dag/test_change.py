"""Edit -> components that run again: TFX's own drivers and cache, executors replaced by TFX's stubs."""

import itertools
import json
import pathlib
import shutil
import sys

import pytest
from tfx.experimental.pipeline_testing import pipeline_mock
from tfx.orchestration import metadata

from framecast.clips.demo.moving_digits import make_demo
from framecast.pipeline.component_names import COMPONENTS
from framecast.pipeline.config import config
from framecast.pipeline.config.inputs import find_inputs
from framecast.pipeline.dag import code_digest, dag
from framecast.pipeline.runs import gc, runner

_PACKAGES = ("schemas", "clips", "evaluation", "models", "serving", "components", "pipeline")
_TREE = pathlib.Path(code_digest.__file__).parent.parent
_CONFIG = """
data: {train: "clips/train/*", eval: "clips/eval/*"}
clip: {frames: {min: 8, max: 24}}
task: {horizon: 5, context: {min: 4}}
model: {builder: "edited_builder:build"}
train: {steps: 1}
push: {directory: serving}
"""

# Whatever follows from a component follows from its artifacts: a component that runs again takes along all these.
_FROM_TRAINER = {"Trainer", "Evaluator", "SavedModelInfraValidator", "Pusher"}
_FROM_TRANSFORM = {"Transform", *_FROM_TRAINER}
_FROM_INGEST = {
    "ClipExampleGen", "StatisticsGen", "SchemaGen", "ExampleValidator", "ValidationGate", *_FROM_TRANSFORM
}  # fmt: skip
_FROM_SERVING = {"ServingModel", "Evaluator", "Pusher"}


class _StubbedRunner(runner.LocalRunner):
    outputs = ""  # Not an argument: with any, TFX would make its legacy runner.

    def run_with_ir(self, pipeline, run_options=None):
        pipeline_mock.replace_executor_with_stub(pipeline, self.outputs, [])
        super().run_with_ir(pipeline, run_options)


class _Observer:
    def __init__(self):
        self.ran = set()

    def started(self, name):
        pass

    def finished(self, run):
        if not run.cached:
            self.ran.add(run.name)

    def failed(self, name, error, seconds, peak_memory):
        raise AssertionError(f"{name}: {error}")


class Project:
    """A configuration, clips, a builder and a copy of our code, all to be edited."""

    def __init__(self, folder, monkeypatch):
        self.folder = folder
        self._names = itertools.count()
        self.last = ""  # Name of the newest run.
        make_demo(folder / "clips", clips=14, seed=0, size=32)
        (folder / "config.yaml").write_text(_CONFIG)
        (folder / "edited_builder.py").write_text("build = None\n")
        for package in _PACKAGES:
            shutil.copytree(_TREE / package, folder / "code" / package)
        monkeypatch.setattr(code_digest, "_ROOT", folder / "code")
        monkeypatch.syspath_prepend(str(folder))
        monkeypatch.delitem(sys.modules, "edited_builder", raising=False)

    def pipeline(self, *overrides):
        resolved = config.load(str(self.folder / "config.yaml"), overrides)
        return dag.create_pipeline(
            resolved,
            find_inputs(resolved),
            name="framecast",
            root=str(self.folder / "artifacts"),
            workdir=str(self.folder),
            metadata=metadata.sqlite_metadata_connection_config(str(self.folder / "metadata.sqlite")),
            beam_flags=resolved.beam.beam_flags(),
        )

    def run(self, *overrides, from_node=None, to_node=None):
        """Returns the components that were not taken from the cache."""
        pipeline = self.pipeline(*overrides)
        for component in pipeline.components:
            for key in component.outputs:
                output = self.folder / "outputs" / component.id / key / "0"
                output.mkdir(parents=True, exist_ok=True)
                (output / "stub").touch()
        observer = _Observer()
        stubbed = _StubbedRunner()
        stubbed.outputs = str(self.folder / "outputs")
        self.last = f"{next(self._names):03}"
        stubbed.run_watched(pipeline, self.last, observer, from_node, to_node)
        return observer.ran

    def clean_up(self):
        """Removes what the last run does not need."""
        run = self.folder / "runs" / self.last
        run.mkdir(parents=True)
        (run / "run.json").write_text(json.dumps({"verdict": "failed", "components": []}))
        gc.remove(self.folder, gc.make_plan(self.folder, keep=1))

    def edit(self, path):
        file = self.folder / path
        file.write_text(file.read_text() + "# edited\n")


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    with pytest.MonkeyPatch.context() as monkeypatch:
        project = Project(tmp_path_factory.mktemp("change"), monkeypatch)
        assert project.run() == set(COMPONENTS)
        yield project


def test_nothing_edited_runs_nothing(project):
    assert project.run() == set()


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("evaluate.thresholds.mse.max=0.5", {"Evaluator", "Pusher"}),
        # Models that count other events are not to be compared.
        ("evaluate.events={thresholds: [0.5]}", _FROM_TRAINER | _FROM_SERVING),
        ("train.learning_rate=0.5", _FROM_TRAINER),
        ("train.warm_start=true", _FROM_TRAINER),
        ("export.precision=mixed_bfloat16", _FROM_TRAINER),
        ("export.batch_sizes=[1]", _FROM_TRAINER),
        ("model={builder: null, preset: convlstm-tiny}", _FROM_TRAINER),
        ("task.horizon=4", {*_FROM_INGEST, *_FROM_SERVING}),
        ("clip.frames.max=30", {*_FROM_INGEST, *_FROM_SERVING, "ImportSchemaGen"}),
        ("clip.missing=255", {*_FROM_INGEST, *_FROM_SERVING}),
        ("data.shares={train: 3, val: 1}", _FROM_INGEST),
        ("push.directory=elsewhere", {"ServingModel", "Evaluator", "Pusher"}),
        ("push.release=canary", {"Pusher"}),
    ],
)
def test_an_edit_of_the_configuration_runs_what_depends_on_it(project, override, expected):
    assert project.run(override) == {*expected, "Report"}  # It shows all of them, and the configuration.


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("edited_builder.py", _FROM_TRAINER),
        ("code/schemas/clip.pbtxt", _FROM_INGEST),
        ("code/clips/codec.py", _FROM_INGEST),
        ("code/components/clip_example_gen.py", _FROM_INGEST),
        ("code/components/validation_gate.py", {"ValidationGate"}),  # What waits for it takes nothing from it.
        ("code/components/drift.py", {"ValidationGate"}),
        ("code/models/preprocessing.py", _FROM_TRANSFORM),
        ("code/models/convlstm.py", _FROM_TRAINER),
        ("code/models/losses.py", _FROM_TRAINER),
        ("code/models/warm_start.py", _FROM_TRAINER),
        ("code/evaluation/metrics.py", _FROM_TRAINER),
        ("code/components/evaluator.py", {"Evaluator", "Pusher"}),
        ("code/serving/server.py", {"SavedModelInfraValidator", "Pusher"}),
        ("code/components/pusher.py", {"Pusher"}),
        ("code/serving/releases.py", {"SavedModelInfraValidator", "Pusher"}),
        ("code/pipeline/screen.py", set()),
    ],
)
def test_an_edit_of_code_runs_what_depends_on_it(project, path, expected):
    project.edit(path)
    assert project.run() == ({*expected, "Report"} if expected else set())


def test_an_edit_of_one_input_file_runs_what_depends_on_it(project):
    project.run()
    path = next((project.folder / "clips" / "train").iterdir())
    path.write_bytes(path.read_bytes() + path.read_bytes())
    assert project.run() == {*_FROM_INGEST, "Report"}


def test_a_new_span_runs_what_depends_on_it_once(project):
    spans = f"data.train={project.folder}/clips/day{{SPAN}}/*"
    source = next((project.folder / "clips" / "train").iterdir())
    for day in (9, 10):
        (project.folder / "clips" / f"day{day}").mkdir()
        shutil.copy(source, project.folder / "clips" / f"day{day}")
        assert project.run(spans) == {*_FROM_INGEST, "Report"}
        assert project.run(spans) == set()
    assert project.run(spans, "data.drift.threshold=0.5") == {"ValidationGate", "Report"}
    (gate,) = (part for part in project.pipeline(spans).components if part.id == "ValidationGate")
    kept = pathlib.Path(gate.exec_properties["kept"])
    kept.mkdir(parents=True)
    (kept / "span-10.pb").touch()
    assert project.run(spans) == set()
    (kept / "span-9.pb").touch()  # Statistics of the span before it: to be compared with.
    assert project.run(spans) == {"ValidationGate", "Report"}


def test_a_search_runs_again_for_what_its_trials_have(project):
    tune = "tune={space: {train: {learning_rate: {min: 0.1, max: 1}}}, trials: 2, steps: 1}"
    assert project.run(tune) == {"Tuner", *_FROM_TRAINER, "Report"}
    assert project.run(tune) == set()
    # Trials have steps of their own, and export nothing.
    assert project.run(tune, "train.steps=2") == {*_FROM_TRAINER, "Report"}
    assert project.run(tune, "export.batch_sizes=[2]") == {*_FROM_TRAINER, "Report"}
    assert project.run(tune, "tune.trials=3") == {"Tuner", *_FROM_TRAINER, "Report"}
    assert project.run(tune, "train.batch_frames=90") == {"Tuner", *_FROM_TRAINER, "Report"}
    project.edit("code/components/tuner.py")
    assert project.run(tune) == {"Tuner", *_FROM_TRAINER, "Report"}


def test_a_new_serving_model_is_compared_with(project):
    project.run()
    version = project.folder / "serving" / "1"
    version.mkdir(parents=True)
    (version / "saved_model.pb").write_bytes(b"")
    assert project.run() == {*_FROM_SERVING, "Report"}


def test_a_warm_start_trains_again_from_a_new_serving_model(project):
    warm = "train.warm_start=true"
    project.run(warm)
    assert project.run(warm) == set()
    version = project.folder / "serving" / "2"
    version.mkdir(parents=True)
    (version / "saved_model.pb").write_bytes(b"")
    assert project.run(warm) == {*_FROM_SERVING, *_FROM_TRAINER, "Report"}


def test_what_is_cleaned_up_is_made_anew_and_nothing_else(project):
    project.run("train.steps=2")
    project.run()
    project.clean_up()
    assert project.run() == set()
    assert project.run("train.steps=2") == {*_FROM_TRAINER, "Report"}


def test_what_a_part_of_the_pipeline_went_on_from_is_not_cleaned_up(project):
    project.run()
    project.run("evaluate.thresholds.mse.max=0.25", from_node="Evaluator")
    project.clean_up()
    assert project.run() == {"Evaluator", "Pusher", "Report"}


def test_a_run_whose_artifacts_are_gone_is_not_gone_on_from(project):
    project.run()
    project.run(to_node="Transform")
    project.clean_up()
    with pytest.raises(
        LookupError, match=r"expected an earlier run in this workdir that finished .*Trainer.*found none"
    ):
        project.run(from_node="Evaluator")


def test_clips_are_answered_anew_when_they_or_the_model_change(project):
    asked = project.folder / "asked"
    shutil.copytree(project.folder / "clips" / "eval", asked)
    infer = f"infer={{data: {asked}, to: {project.folder}/answers}}"
    project.run()
    assert project.run(infer) == {"BulkInference", "Report"}
    assert project.run(infer) == set()
    path = next(asked.iterdir())
    path.write_bytes(path.read_bytes() * 2)
    assert project.run(infer) == {"BulkInference"}
    project.edit("code/components/bulk_inference.py")
    assert project.run(infer) == {"BulkInference"}
    assert project.run(infer, "train.learning_rate=0.25") == {*_FROM_TRAINER, "BulkInference", "Report"}
