"""`framecast kubeflow submit` through KFP's client, against a fake KFP API server."""

import http.server
import json
import threading

import pytest
import yaml

from framecast.pipeline.kubeflow import submit as kubeflow_submit

_SPEC = {
    "pipelineInfo": {"name": "framecast-radar"},
    "schemaVersion": "2.1.0",
    "sdkVersion": "tfx-1.16.0",
    "deploymentSpec": {"executors": {"Trainer_executor": {"container": {"image": "image"}}}},
    "components": {"Trainer": {"executorLabel": "Trainer_executor"}},
    "root": {
        "inputDefinitions": {
            "parameters": {
                "train_data": {"parameterType": "STRING", "defaultValue": "/mnt/clips/*", "isOptional": True},
                "train_steps": {"parameterType": "NUMBER_INTEGER", "defaultValue": 30.0, "isOptional": True},
            }
        },
        "dag": {
            "tasks": {
                "Trainer": {"componentRef": {"name": "Trainer"}, "taskInfo": {"name": "Trainer"}},
                "InputFiles": {"inputs": {"parameters": {"volumes": {"runtimeValue": {"constant": '["/mnt"]'}}}}},
            }
        },
    },
}
_PLATFORM = {
    "platforms": {
        "kubernetes": {
            "deploymentSpec": {"executors": {"Trainer_executor": {"nodeSelector": {"labels": {"gpu": "l4"}}}}}
        }
    }
}


@pytest.fixture
def pipeline(tmp_path):
    file = tmp_path / "pipeline.yaml"
    file.write_text(yaml.safe_dump_all([_SPEC, _PLATFORM]))
    return file


@pytest.fixture
def kfp_api():
    """Answers as KFP's API does; yields its address and the bodies that were posted, by path."""
    posted = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            if self.path.endswith("/healthz"):
                self._answer({"multi_user": False})
            else:
                self._answer({"experiments": [], "total_size": 0})

        def do_POST(self):
            path = self.path.rpartition("/")[2]
            posted[path] = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self._answer(
                {
                    "experiments": {"experiment_id": "e-1", "display_name": "radar"},
                    "runs": {"run_id": "r-1"},
                    "recurringruns": {"recurring_run_id": "rr-1"},
                }[path]
            )

        def _answer(self, body):
            text = json.dumps(body).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", posted
        server.shutdown()


def _submit(framecast, pipeline, *arguments):
    return framecast("kubeflow", "submit", pipeline, "--experiment", "radar", *arguments)


def test_run_is_sent_with_documents_and_parameters(framecast, pipeline, kfp_api):
    address, posted = kfp_api
    answer = _submit(framecast, pipeline, "--host", address, "--parameter", "train_steps=7", "--json")
    assert answer.code == 0, answer.text
    sent = json.loads(answer.out)
    assert (sent["run"], sent["experiment"]) == ("r-1", "e-1")
    run = posted["runs"]
    assert run["experiment_id"] == "e-1"
    assert run["display_name"].startswith("framecast-radar-")
    assert run["runtime_config"]["parameters"] == {"train_data": "/mnt/clips/*", "train_steps": 7}
    assert run["pipeline_spec"]["platform_spec"] == _PLATFORM
    assert run["pipeline_spec"]["pipeline_spec"]["components"] == _SPEC["components"]


def test_schedule_is_sent_with_seconds(framecast, pipeline, kfp_api):
    address, posted = kfp_api
    answer = _submit(framecast, pipeline, "--host", address, "--cron", "0 6 * * *")
    assert answer.code == 0, answer.text
    assert "recurring_run: rr-1" in answer.text
    schedule = posted["recurringruns"]
    assert schedule["trigger"]["cron_schedule"]["cron"] == "0 0 6 * * *"
    assert (int(schedule["max_concurrency"]), schedule["no_catchup"]) == (1, True)


def test_dry_run_prints_submission_without_server(framecast, pipeline):
    arguments = ["--host", "http://127.0.0.1:1", "--namespace", "team", "--parameter", "train_data=/mnt/day2/*"]
    answer = _submit(framecast, pipeline, *arguments, "--cron", "0 30 6 * * *", "--dry-run", "--json")
    sent = json.loads(answer.out)
    assert answer.code == 0
    assert sent["parameters"] == {"train_data": "/mnt/day2/*", "train_steps": 30}
    assert {key: sent[key] for key in ("host", "namespace", "cron", "pipeline", "tasks")} == {
        "host": "http://127.0.0.1:1",
        "namespace": "team",
        "cron": "0 30 6 * * *",
        "pipeline": "framecast-radar",
        "tasks": ["InputFiles", "Trainer"],
    }
    assert "nothing was sent" in _submit(framecast, pipeline, *arguments, "--dry-run").text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--parameter", "steps=7"], "--parameter steps=7: expected NAME=VALUE, NAME one of train_data, train_steps"),
        (["--parameter", "train_steps"], "--parameter train_steps: expected NAME=VALUE"),
        (["--parameter", "train_steps=many"], "--parameter train_steps=many: expected NUMBER_INTEGER, received many"),
        (["--parameter", "train_steps=-3"], "--parameter train_steps: expected at least 1, received -3"),
        (["--parameter", "train_data=/mnt/{SPAN}/*"], "--parameter train_data: expected a pattern without {SPAN}"),
        (["--cron", "0 0 31 2 *"], "--cron 0 0 31 2 *: failed to find next date"),
        (["--cron", "61 * * * *"], "--cron 61 * * * *: [0 61 * * * *] is not acceptable, out of range"),
        (["--cron", "6 * * *"], "--cron: expected 5 fields, or 6 with seconds first, received 6 * * *"),
    ],
)
def test_wrong_argument_is_named(framecast, pipeline, arguments, message):
    answer = _submit(framecast, pipeline, *arguments, "--dry-run")
    assert answer.code == 2
    assert message in answer.text


@pytest.mark.parametrize(
    ("text", "message"),
    [("a: [", "expected YAML"), ("train: {steps: 1}", "expected a compiled pipeline"), (None, "No such file")],
)
def test_file_without_pipeline_is_rejected(framecast, tmp_path, text, message):
    file = tmp_path / "radar.yaml"
    if text:
        file.write_text(text)
    answer = _submit(framecast, file, "--dry-run")
    assert answer.code == 2
    assert message in answer.text


def test_unreachable_server_is_named(framecast, pipeline):
    answer = _submit(framecast, pipeline, "--host", "http://127.0.0.1:1")
    assert answer.code == 1
    assert "--host http://127.0.0.1:1: expected the API of Kubeflow Pipelines" in answer.text


_LOGIN = "use an address that needs no login, such as that of kubectl port-forward"


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((401, {}, b"{}"), f"Kubeflow Pipelines answered 401 Unauthorized; {_LOGIN}"),
        ((403, {}, b"{}"), "Kubeflow Pipelines answered 403 Forbidden; the user may not do this in the namespace"),
        ((404, {}, b"{}"), "Kubeflow Pipelines answered 404 Not Found; expected the API of Kubeflow Pipelines 2"),
        ((500, {}, b"{}"), "Kubeflow Pipelines answered 500 Internal Server Error; see the log of ml-pipeline"),
        ((302, {"Location": "/dex/auth?state=s3cret"}, b""), f"redirected to /dex/auth, probably a login; {_LOGIN}"),
        ((200, {"Content-Type": "text/html"}, b"<form>"), "expected JSON of Kubeflow Pipelines, received a page"),
        (None, "expected the API of Kubeflow Pipelines, received: "),
    ],
    ids=["401", "403", "404", "500", "redirect to a login", "login page", "silence"],
)
def test_refusal_is_one_line(framecast, pipeline, monkeypatch, answer, message):
    ended = threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            if answer is None:
                ended.wait()
                return
            status, headers, body = answer
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    monkeypatch.setattr(kubeflow_submit, "_TIMEOUT", 0.2)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        refused = _submit(framecast, pipeline, "--host", f"http://127.0.0.1:{server.server_port}")
        ended.set()
        server.shutdown()
    assert refused.code == 1
    assert message in refused.text
    assert len(refused.text.splitlines()) == 1
    assert "s3cret" not in refused.text
