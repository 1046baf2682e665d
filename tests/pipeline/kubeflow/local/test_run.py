"""`framecast kubeflow run-local` on tiny pipelines whose tasks are lines of Python."""

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import threading

import pytest
import typer
from kfp import compiler, dsl
from typer.testing import CliRunner

from framecast.pipeline.cli.kubeflow_run_local import run_local as command
from framecast.pipeline.config.config import ConfigError
from framecast.pipeline.kubeflow.local import run as runs
from tests.pipeline.kubeflow.local import kfp_pipelines as kfp

_PARAMETER = "{{$.inputs.parameters['p']}}"


def _log(result, task):
    (log,) = (run.log for run in result.tasks if run.task == task)
    return pathlib.Path(log).read_text()


def test_artifacts_are_uploaded_and_downloaded(run, tmp_path):
    tasks = {
        "write": kfp.task(kfp.WRITE, kfp.output_path("x"), "hello", makes=["x"]),
        "read": kfp.task(kfp.READ, kfp.input_path("x"), reads=["write.x"]),
    }
    result = run(tasks)
    assert result.state == "succeeded"
    uri = result.tasks[0].artifacts["x"]
    assert uri == f"minio://mlpipeline/v2/artifacts/tiny/{result.run}/write/x"
    assert (tmp_path / "work/store/minio" / uri.removeprefix("minio://")).read_text() == "hello"
    assert _log(result, "read") == "hello\n"
    assert not list((tmp_path / "work/runs").rglob("pod"))  # The files of a task are deleted.


def test_task_gets_executor_input_and_returns_executor_output(run):
    code = (
        "import json, os, sys\n"
        "given = json.loads(sys.argv[1])\n"
        "made = given['outputs']['artifacts']['x']['artifacts'][0]\n"
        "made['metadata'] = {'count': 3, 'yes': True, 'list': [1], 'struct': {'a': 1}}\n"
        "output = {'artifacts': {'x': {'artifacts': [made]}}, 'parameterValues': {'n': 7}}\n"
        "os.makedirs(os.path.dirname(given['outputs']['outputFile']), exist_ok=True)\n"
        "open(given['outputs']['outputFile'], 'w').write(json.dumps(output))\n"
    )
    tasks = {
        "make": kfp.task(code, "{{$}}", makes=["x"], returns={"n": "NUMBER_INTEGER"}),
        "read": kfp.task(
            "import sys; print(sys.argv[1])",
            "{{$}}",
            reads=["make.x"],
            parameters={"n": ("NUMBER_INTEGER", kfp.output("make", "n")), "s": ("STRING", kfp.output("make", "n"))},
        ),
    }
    result = run(tasks)
    given = json.loads(_log(result, "read"))
    assert given["inputs"]["parameterValues"] == {"n": 7, "s": "7"}
    (artifact,) = given["inputs"]["artifacts"]["x"]["artifacts"]
    assert (
        artifact.pop("metadata").items()
        >= {
            "count": 3,
            "yes": 1,
            "list": {"list": [1]},
            "struct": {"struct": {"a": 1}},
            "display_name": "x",
        }.items()
    )
    # As on a cluster: a number for a name, and no type (github.com/tensorflow/tfx/issues/7768).
    assert artifact == {"name": "1", "type": {"instanceSchema": ""}, "uri": result.tasks[0].artifacts["x"]}
    assert given["outputs"]["outputFile"].endswith(f"/tiny/{result.run}/read/output_metadata.json")
    assert result.tasks[0].without_files == ["x"]


def test_pipeline_of_kfps_compiler_runs(tmp_path):
    @dsl.container_component
    def count(text: str, made: dsl.Output[dsl.Artifact], letters: dsl.OutputPath(int)):
        code = "import sys; [open(p, 'w').write(str(len(sys.argv[1]))) for p in sys.argv[2:]]"
        return dsl.ContainerSpec(image="image:1", command=["python", "-c", code], args=[text, made.path, letters])

    @dsl.container_component
    def show(made: dsl.Input[dsl.Artifact], letters: int, times: float = 0.5):
        code = "import sys; print(open(sys.argv[1]).read(), *sys.argv[2:])"
        return dsl.ContainerSpec(image="image:1", command=["python3", "-c", code], args=[made.path, letters, times])

    @dsl.pipeline(name="letters")
    def letters(text: str = "four", times: float = 0.25):
        counted = count(text=text)
        show(made=counted.outputs["made"], letters=counted.outputs["letters"], times=times)
        show(made=counted.outputs["made"], letters=counted.outputs["letters"])

    compiler.Compiler().compile(letters, str(tmp_path / "letters.yaml"))
    result = runs.run_local(
        str(tmp_path / "letters.yaml"), str(tmp_path / "work"), parameters=["text=fiver"], quiet=True
    )
    assert result.parameters == {"text": "fiver", "times": 0.25}
    assert result.tasks[0].parameters == {"letters": 5}
    assert (_log(result, "show"), _log(result, "show-2")) == ("5 5 0.25\n", "5 5 0.5\n")


def test_failure_stops_run_and_shows_log_tail(run):
    tasks = {
        "a": kfp.task(),
        "b": kfp.task("print('what went wrong'); exit(3)", after=["a"]),
        "c": kfp.task(after=["b"]),
    }
    result = run(tasks)
    assert (result.state, result.exit_code) == ("failed", 1)
    assert kfp.states(result) == {"a": "done", "b": "failed"}
    assert result.why.startswith("b: python: exit code 3\n  what went wrong\nlog ")


def test_task_sees_only_its_inputs(run):
    tasks = {
        "a": kfp.task(kfp.WRITE, kfp.output_path("x"), "1", makes=["x"]),
        "b": kfp.task(kfp.WRITE, kfp.output_path("y"), "1", makes=["y"]),
        "c": kfp.task(
            "import os; print(sorted(f for _, _, files in os.walk('.') for f in files))", reads=["a.x"], after=["b"]
        ),
    }
    assert _log(run(tasks), "c") == "['x']\n"


def test_empty_folder_is_not_stored(run):
    tasks = {
        "a": kfp.task("import os, sys; os.mkdir(sys.argv[1])", kfp.output_path("x"), makes=["x"]),
        "b": kfp.task("import os, sys; print(os.path.exists(sys.argv[1]))", kfp.input_path("x"), reads=["a.x"]),
    }
    result = run(tasks)
    assert result.tasks[0].without_files == ["x"]
    assert _log(result, "b") == "False\n"


def test_environment_and_retries_follow_the_spec(run, tmp_path):
    counter = tmp_path / "counter"
    code = (
        f"import os; open({str(counter)!r}, 'a').write(os.environ['WORD']); exit(os.path.getsize({str(counter)!r}) < 3)"
    )
    flaky = kfp.task(code, retryPolicy={"maxRetryCount": 2})
    flaky["executor"]["container"]["env"] = [{"name": "WORD", "value": "x"}]
    result = run({"flaky": flaky})
    assert (result.state, result.tasks[0].attempts, counter.read_text()) == ("succeeded", 3, "xxx")


def test_retries_are_limited(run):
    result = run({"a": kfp.task("exit(1)", retryPolicy={"maxRetryCount": 1})})
    assert (result.state, result.tasks[0].attempts) == ("failed", 2)


def test_entrypoint_receives_the_launcher_root(run):
    code = f"import os, sys; print(os.path.join(os.environ[{runs.launcher.LAUNCHER_ROOT!r}], 'minio') in sys.argv[1])"
    assert _log(run({"a": kfp.task(code, kfp.output_path("x"), makes=["x"])}), "a") == "True\n"


def test_resources_are_reported_but_not_enforced(run):
    asking = kfp.task()
    asking["executor"]["container"]["resources"] = {
        "cpuLimit": 4.0,
        "accelerator": {"type": "nvidia.com/gpu", "resourceType": "nvidia.com/gpu", "resourceCount": "1"},
    }
    result = run({"a": asking}, platform={"a": {"nodeSelector": {"labels": {"pool": "gpu"}}}})
    assert result.tasks[0].not_enforced["accelerator"]["resourceCount"] == "1"
    assert result.tasks[0].not_enforced["nodeSelector"] == {"labels": {"pool": "gpu"}}


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("STRING", "1", "1"),
        ("NUMBER_INTEGER", "3", 3),
        ("NUMBER_DOUBLE", "1e-3", 0.001),
        ("BOOLEAN", "True", True),
        ("LIST", '["a", 1]', ["a", 1]),
        ("STRUCT", '{"a": 1}', {"a": 1}),
    ],
)
def test_runtime_parameters_are_typed(run, kind, text, value):
    tasks = {"a": kfp.task("import sys; print(sys.argv[1])", _PARAMETER, parameters={"p": (kind, kfp.parameter("q"))})}
    result = run(tasks, f"q={text}", pipeline={"q": {"parameterType": kind}})
    assert result.parameters == {"q": value}
    shown = _log(result, "a").strip()
    assert shown == text if kind == "STRING" else json.loads(shown) == value


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["r=1"], r"--parameter r=1: expected NAME=VALUE with a parameter of the pipeline \(q\)"),
        (["q=x"], "--parameter q: expected NUMBER_INTEGER, received 'x'"),
        ([], r"expected --parameter q=VALUE \(NUMBER_INTEGER\), which has no default"),
    ],
)
def test_wrong_runtime_parameters_are_rejected_before_any_task(run, tmp_path, given, message):
    with pytest.raises(ConfigError, match=message):
        run({"a": kfp.task()}, *given, pipeline={"q": {"parameterType": "NUMBER_INTEGER"}})
    assert not (tmp_path / "work").exists()


def test_input_of_wrong_type_fails_the_task(run):
    result = run({"a": kfp.task(parameters={"p": ("NUMBER_INTEGER", kfp.constant("x"))})})
    assert result.why == "a: input p: expected NUMBER_INTEGER, received 'x'"


def test_run_placeholders_are_replaced(run):
    source = kfp.constant("{{$.pipeline_task_name}}")
    tasks = {"a": kfp.task("import sys; print(sys.argv[1])", _PARAMETER, parameters={"p": ("STRING", source)})}
    assert _log(run(tasks), "a") == "a\n"


def test_invalid_metadata_fails_the_task(run):
    code = (
        "import json, os, sys\n"
        "outputs = json.loads(sys.argv[1])['outputs']\n"
        "os.makedirs(os.path.dirname(outputs['outputFile']), exist_ok=True)\n"
        "output = {'artifacts': {'x': {'artifacts': [{'metadata': {'k': None}}]}}}\n"
        "open(outputs['outputFile'], 'w').write(json.dumps(output))\n"
    )
    result = run({"a": kfp.task(code, "{{$}}", makes=["x"])})
    assert "a: output x: metadata k: expected a value, found null" in result.why


def test_missing_output_parameter_fails_the_task(run):
    result = run({"a": kfp.task(returns={"n": "NUMBER_INTEGER"})})
    assert "a: output parameter n: expected a value in" in result.why


def test_importer_reads_from_the_store(run, tmp_path):
    variables = tmp_path / "work/store/s3/bucket/model/variables"
    variables.mkdir(parents=True)
    (variables / "weights").write_text("w")
    tasks = {
        "bring": kfp.importer("s3://bucket/model", metadata={"kind": "tiny"}),
        "read": kfp.task(
            "import os, sys; print(os.listdir(sys.argv[1] + '/variables'), sys.argv[2])",
            kfp.input_path("model"),
            "{{$}}",
            reads=["bring.model"],
        ),
    }
    first = run(tasks)
    assert _log(first, "read").startswith("['weights']")
    assert '"kind": "tiny"' in _log(first, "read")
    # The earlier artifact is used again, so that tasks that read it can be cached.
    assert '"name": "1"' in _log(run(tasks), "read")
    assert '"name": "1"' not in _log(run({**tasks, "bring": kfp.importer("s3://bucket/model", reimport=True)}), "read")


@pytest.mark.parametrize(
    ("uri", "expected"), [("minio://b/none", "which does not exist"), ("/tmp", "in an object store")]
)
def test_importer_of_missing_object_fails(run, uri, expected):
    result = run({"bring": kfp.importer(uri)})
    assert result.why.startswith(f"bring: import of {uri}: expected ")
    assert expected in result.why


def _invoke(*arguments):
    app = typer.Typer()
    app.command()(command)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_command_prints_tasks_and_exit_code(tmp_path):
    path = kfp.write(tmp_path / "pipeline.yaml", {"a": kfp.task(), "b": kfp.task("exit(1)", after=["a"])})
    answer = _invoke(path, "--workdir", tmp_path / "work")
    assert answer.exit_code == 1
    assert [line[:36].split() for line in answer.stdout.splitlines()[2:4]] == [["+", "a", "done"], ["x", "b", "failed"]]
    assert "failed: b: python: exit code 1" in answer.stdout
    as_json = json.loads(_invoke(path, "--workdir", tmp_path / "work", "--json").stdout)
    assert [task["state"] for task in as_json["tasks"]] == ["done", "failed"]
    record = json.loads((tmp_path / "work/runs" / as_json["run"] / "run.json").read_text())
    assert record == as_json


def test_settings_not_enforced_are_printed_once(tmp_path):
    mount = {"pvcMount": [{"constant": "models", "mountPath": "/models"}]}
    tasks = {"a": kfp.task(), "b": kfp.task()}
    tasks["b"]["executor"]["container"]["resources"] = {"accelerator": {"type": "nvidia.com/gpu", "count": "1"}}
    path = kfp.write(tmp_path / "pipeline.yaml", tasks, platform={"a": mount, "b": mount})
    answer = _invoke(path, "--workdir", tmp_path / "work").stdout.splitlines()
    assert answer[1:4] == [
        "not enforced: image image:1 (every task)",
        "not enforced: pvcMount constant models mountPath /models (every task)",
        "not enforced: accelerator count 1 type nvidia.com/gpu (b)",
    ]


def test_root_outside_object_store_is_rejected(tmp_path):
    path = kfp.write(tmp_path / "pipeline.yaml", {"a": kfp.task()})
    answer = _invoke(path, "--workdir", tmp_path / "work", "--pipeline-root", "/tmp")
    assert isinstance(answer.exception, ConfigError)


def test_ending_the_run_kills_its_task(tmp_path):
    ready = tmp_path / "ready"
    os.mkfifo(ready)  # Opening it waits for the task.
    code = "import os, signal, sys; open(sys.argv[1], 'w').write(str(os.getpid())); signal.pause()"
    path = kfp.write(tmp_path / "pipeline.yaml", {"a": kfp.task(code, str(ready))})
    call = "import sys; from framecast.pipeline.kubeflow.local import run; run.run_local(*sys.argv[1:], quiet=True)"
    with subprocess.Popen([sys.executable, "-W", "ignore", "-c", call, path, str(tmp_path / "work")]) as process:
        task = int(ready.read_text())
        process.send_signal(signal.SIGTERM)
        try:
            assert process.wait(timeout=60) == 128 + signal.SIGTERM
            with pytest.raises(ProcessLookupError):
                os.kill(task, 0)
        finally:  # If the run did not kill its task.
            process.kill()
            with contextlib.suppress(ProcessLookupError):
                os.kill(task, signal.SIGKILL)
    (record,) = (tmp_path / "work/runs").glob("*/run.json")
    assert json.loads(record.read_text())["why"] == "interrupted during a"


def test_signal_during_start_kills_the_task(run, monkeypatch):
    started = []

    def interrupt():  # On a thread of its own, because the kernel delivers to any thread that does not block.
        signal.pthread_kill(threading.get_ident(), signal.SIGTERM)

    class InterruptedPopen(subprocess.Popen):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            started.append(self.pid)
            thread = threading.Thread(target=interrupt)
            thread.start()
            thread.join()

    monkeypatch.setattr(subprocess, "Popen", InterruptedPopen)
    with pytest.raises(SystemExit):
        run({"a": kfp.task("import signal; signal.pause()")})
    try:
        with pytest.raises(ProcessLookupError):
            os.kill(started[0], 0)
    finally:  # If the run did not kill its task.
        with contextlib.suppress(ProcessLookupError):
            os.kill(started[0], signal.SIGKILL)
