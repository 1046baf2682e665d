"""A project to edit: a configuration, clips, a builder with a helper, and a copy of Framecast's code."""

import itertools
import json
import pathlib
import shutil
import sys

from tfx.experimental.pipeline_testing import pipeline_mock
from tfx.orchestration import metadata

import framecast
from framecast.clips.demo.moving_digits import make_demo
from framecast.components.clip_example_gen.driver import ClipExampleGenDriver
from framecast.pipeline.config import config, inputs
from framecast.pipeline.dag import dag, import_closure
from framecast.pipeline.runs import gc, runner

_TREE = pathlib.Path(framecast.__file__).parent
_CONFIG = """
data: {train: "clips/train/*", eval: "clips/eval/*"}
clip: {frames: {min: 8, max: 24}}
task: {horizon: 5, context: {min: 4}}
model: {builder: "edited_builder:build"}
train: {steps: 1, loss: {mse: 1, "edited_loss.py:loss": 1}}
push: {directory: serving}
"""

# The components downstream of one that runs again, and that one.
FROM_TRAINER = {"Trainer", "Evaluator", "SavedModelInfraValidator", "Pusher"}
FROM_TRANSFORM = {"Transform", *FROM_TRAINER}
FROM_STATISTICS = {"StatisticsGen", "SchemaGen", "ExampleValidator", "ValidationGate"}
FROM_SCHEMA = {"ImportSchemaGen", *FROM_STATISTICS, *FROM_TRANSFORM}
FROM_INGEST = {"ClipExampleGen", *FROM_STATISTICS, *FROM_TRANSFORM}
FROM_SERVING = {"ServingModel", "Evaluator", "Pusher"}


class _StubbedRunner(runner.LocalRunner):
    outputs = ""  # Not an argument: with any, TFX would make its legacy runner.

    def run_with_ir(self, pipeline, run_options=None):
        pipeline_mock.replace_executor_with_stub(pipeline, self.outputs, [])
        super().run_with_ir(pipeline, run_options)


class _Observer:
    def __init__(self):
        self.ran = set()

    def found_damage(self, line):
        self.damage = line

    def started(self, name):
        pass

    def finished(self, run):
        if not run.cached:
            self.ran.add(run.name)

    def failed(self, name, error, seconds, peak_memory):
        raise AssertionError(f"{name}: {error}")


class Project:
    def __init__(self, folder, monkeypatch):
        self.folder = folder
        self._names = itertools.count()
        self.last = ""  # Name of the newest run.
        make_demo(folder / "clips", clips=14, seed=0, size=32)
        (folder / "config.yaml").write_text(_CONFIG)
        (folder / "edited_builder.py").write_text("import builder_helper\nbuild = None\n")
        (folder / "builder_helper.py").write_text("")
        (folder / "edited_loss.py").write_text("loss = None\n")
        for package in _TREE.iterdir():
            if package.is_dir():
                shutil.copytree(
                    package, folder / "framecast" / package.name, ignore=shutil.ignore_patterns("__pycache__")
                )
        monkeypatch.setattr(import_closure, "_ROOT", folder / "framecast")
        monkeypatch.syspath_prepend(str(folder))
        monkeypatch.delitem(sys.modules, "edited_builder", raising=False)

    def pipeline(self, *overrides):
        resolved = config.load(str(self.folder / "config.yaml"), overrides)
        return dag.create_pipeline(
            resolved,
            inputs.find_inputs(resolved),
            name="framecast",
            root=str(self.folder / "artifacts"),
            workdir=str(self.folder),
            metadata=metadata.sqlite_metadata_connection_config(str(self.folder / "metadata.sqlite")),
            beam_flags=resolved.beam.beam_flags(),
        )

    def run(self, *overrides, from_node=None, to_node=None):
        """Runs the pipeline with stubs for executors; returns the components that were not taken from the cache."""
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
        """Removes the artifacts that the last run does not need."""
        run = self.folder / "runs" / self.last
        run.mkdir(parents=True)
        (run / "run.json").write_text(json.dumps({"verdict": "failed", "components": []}))
        gc.remove(self.folder, gc.make_plan(self.folder, keep=1))

    def edit(self, path):
        file = self.folder / path
        file.write_text(file.read_text() + "# edited\n")

    def push(self, version):
        """Makes a version the serving model."""
        folder = self.folder / "serving" / str(version)
        folder.mkdir(parents=True)
        (folder / "saved_model.pb").write_bytes(b"")


def stale(before, after):
    """Returns the components of `after` that cannot be taken from the cache of `before`.

    TFX takes a component from the cache if its parameters and input artifacts are the same. A component that runs makes
    new artifacts, so the components that read them run too.
    """
    keys = {component.id: _cache_key(component) for component in before.components}
    found = {component.id for component in after.components if _cache_key(component) != keys.get(component.id)}
    while True:
        following = {
            component.id
            for component in after.components
            if found & {channel.producer_component_id for channel in component.inputs.values()}
        }
        if following <= found:
            return found
        found |= following


def _cache_key(component):
    properties = dict(component.exec_properties)
    if component.id == "ClipExampleGen":
        properties = ClipExampleGenDriver(None).resolve_exec_properties(properties)
    producers = {key: channel.producer_component_id for key, channel in component.inputs.items()}
    return {key: str(value) for key, value in properties.items()}, producers
