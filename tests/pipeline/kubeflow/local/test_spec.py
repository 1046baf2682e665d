"""Compiled pipelines: order of tasks, and unsupported features; written by kfp's compiler where it can."""

import pytest
import yaml
from kfp import compiler, dsl

from framecast.pipeline.config.config import ConfigError
from framecast.pipeline.kubeflow.local import spec as kfp_spec
from tests.pipeline.kubeflow.local import kfp_pipelines as kfp


@dsl.container_component
def echo(text: str):
    return dsl.ContainerSpec(image="image:1", command=["echo"], args=[text])


@dsl.container_component
def make(made: dsl.Output[dsl.Artifact]):
    return dsl.ContainerSpec(image="image:1", command=["touch"], args=[made.path])


@dsl.container_component
def optional(text: str = None):  # noqa: RUF013, as kfp wants it.
    return dsl.ContainerSpec(
        image="image:1", command=["echo"], args=[dsl.IfPresentPlaceholder(input_name="text", then=["--text"])]
    )


@dsl.container_component
def joined(text: str):
    return dsl.ContainerSpec(image="image:1", command=["echo"], args=[dsl.ConcatPlaceholder(["--text=", text])])


@dsl.pipeline
def inner():
    echo(text="a")


@dsl.pipeline(name="tiny")
def condition(text: str = "a"):
    with dsl.Condition(text == "a"):
        echo(text="b")


@dsl.pipeline(name="tiny")
def loop():
    with dsl.ParallelFor(["a", "b"]) as text:
        echo(text=text)


@dsl.pipeline(name="tiny")
def nested():
    inner()


@dsl.pipeline(name="tiny")
def exit_handler():
    with dsl.ExitHandler(echo(text="end")):
        echo(text="a")


@dsl.pipeline(name="tiny")
def if_present():
    optional(text="a")


@dsl.pipeline(name="tiny")
def concat():
    joined(text="a")


@dsl.pipeline(name="tiny")
def outputs() -> dsl.Artifact:
    return make().outputs["made"]


@pytest.mark.parametrize(
    ("pipeline", "refused"),
    [
        (condition, "condition-1: a condition (inputs.parameter_values['pipelinechannel--text'] == 'a')"),
        (loop, "a loop (parameter_iterator)"),
        (nested, "inner: a nested DAG"),
        (exit_handler, "echo: an exit handler (trigger strategy ALL_UPSTREAM_TASKS_COMPLETED)"),
        (if_present, "optional: an argument composed at run time"),
        (concat, "joined: an argument composed at run time"),
        (outputs, "root: outputs of the pipeline (Output)"),
    ],
)
def test_unsupported_feature_is_named(tmp_path, pipeline, refused):
    path = str(tmp_path / "pipeline.yaml")
    compiler.Compiler().compile(pipeline, path)
    with pytest.raises(ConfigError) as caught:
        kfp_spec.read(path)
    assert refused in str(caught.value)
    assert "run-local does not support this" in str(caught.value)


def _changed(change):
    tasks = {"a": kfp.task(makes=["x"], parameters={"p": ("STRING", kfp.constant("v"))})}
    change(tasks["a"])
    return tasks


@pytest.mark.parametrize(
    ("change", "refused"),
    [
        (lambda a: a.update(executor={"resolver": {}}), "a: a resolver executor"),
        (lambda a: a.update(executor={"customJob": {}}), "a: a custom_job executor"),
        (lambda a: a["executor"]["container"].update(image="argostub/createpvc"), "a: a Kubernetes operation"),
        (
            lambda a: a["executor"]["container"]["args"].append("{{$.inputs.artifacts['x'].value}}"),
            "a: the placeholder",
        ),
        (lambda a: a["executor"]["container"].update(command=[], args=[]), "a: a container without a command"),
        (
            lambda a: a["task"]["inputs"]["parameters"].update(p=kfp.constant("{{$.workspace_path}}/x")),
            "p: a workspace",
        ),
        (
            lambda a: a["task"]["inputs"]["parameters"].update(p={"runtimeValue": {"runtimeParameter": "q"}}),
            "a: parameter p: a value of kind runtime_parameter",
        ),
        (
            lambda a: a["task"]["inputs"]["parameters"].update(p={"taskFinalStatus": {"producerTask": "b"}}),
            "a: parameter p: an input of kind task_final_status",
        ),
        (
            lambda a: a["component"]["outputDefinitions"]["artifacts"]["x"].update(isArtifactList=True),
            "a: output x: a list of artifacts",
        ),
        (lambda a: a["executor"]["container"].update(sidecar="b"), "sidecar"),
        (lambda a: a["task"].update(noSuchField=1), "noSuchField"),
        (lambda a: a["task"].update(dependentTasks=["b"]), "a: depends on task 'b', which does not exist"),
        (lambda a: a["task"].update(dependentTasks=["a"]), "tasks form a cycle: a <- a"),
        (
            lambda a: a["task"]["inputs"]["parameters"].update(p=kfp.parameter("q")),
            "a: input p: reads the pipeline's parameter 'q', which does not exist",
        ),
    ],
)
def test_invalid_spec_is_named(tmp_path, change, refused):
    path = kfp.write(tmp_path / "pipeline.yaml", _changed(change))
    with pytest.raises(ConfigError) as caught:
        kfp_spec.read(path)
    assert refused in str(caught.value)
    assert path in str(caught.value)


def test_other_schema_version_is_rejected(tmp_path):
    path = kfp.write(tmp_path / "pipeline.yaml", {"a": kfp.task()})
    spec = yaml.safe_load((tmp_path / "pipeline.yaml").read_text())
    (tmp_path / "pipeline.yaml").write_text(yaml.safe_dump({**spec, "schemaVersion": "2.0.0"}))
    with pytest.raises(ConfigError, match=r"schemaVersion: expected 2\.1\.0, received '2\.0\.0'"):
        kfp_spec.read(path)


def test_tasks_are_sorted_topologically(tmp_path):
    tasks = {
        "a": kfp.task(reads=["d.x"]),
        "b": kfp.task(after=["a"]),
        "c": kfp.task(),
        "d": kfp.task(makes=["x"], parameters={"p": ("STRING", kfp.output("e", "p"))}),
        "e": kfp.task(returns={"p": "STRING"}),
    }
    ordered = kfp_spec.read(kfp.write(tmp_path / "pipeline.yaml", tasks)).tasks
    assert [task.name for task in ordered] == ["c", "e", "d", "a", "b"]


def test_platform_settings_belong_to_their_task(tmp_path):
    mounts = [{"constant": "models", "mountPath": "/models"}, {"constant": "data", "mountPath": "/data"}]
    path = kfp.write(
        tmp_path / "pipeline.yaml", {"a": kfp.task(), "b": kfp.task()}, platform={"b": {"pvcMount": mounts}}
    )
    a, b = kfp_spec.read(path).tasks
    assert (a.claims, b.claims) == ([], ["data", "models"])
