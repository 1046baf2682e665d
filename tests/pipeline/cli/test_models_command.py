"""`framecast models`: list, promote and rollback."""

import json
import subprocess
import sys

import pytest

from framecast.serving import versions
from framecast.serving.releases import releases, version_folder


@pytest.fixture
def base(tmp_path, monkeypatch):
    """A folder with version 1 (without a log entry), 2 (stable) and 3 (canary)."""
    monkeypatch.setattr(releases.time, "sleep", lambda seconds: None)
    base = tmp_path / "serving"
    _model(base / "1")
    for number, label in ((2, "stable"), (3, "canary")):
        with releases.exclusive(str(base)):
            folder = base / f".{number}.incomplete"
            _model(folder)
            push = releases.PushRecord(
                versions.digest(str(folder)), f"run {number}", label, {"mse": number / 8, "skill": None}
            )
            releases.publish(str(base), number, push)
    return base


def _model(folder):
    folder.mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"x" * 2**19)


def test_list_is_newest_first(framecast, base):
    lines = framecast("models", "list", base).text.splitlines()
    assert lines[0].split() == ["version", "pushed", "state", "labels", "figures", "MiB", "by"]
    words = [[word for word in line.split() if ":" not in word and "-" not in word] for line in lines[1:]]
    assert words == [
        ["3", "served", "canary", "mse", "0.375,", "skill", "none", "0.5", "run", "3"],
        ["2", "served", "stable", "mse", "0.25,", "skill", "none", "0.5", "run", "2"],
        ["1", "kept", "0.5"],
    ]
    listed = json.loads(framecast("models", "list", base, "--json").out)
    assert [version["number"] for version in listed] == [3, 2, 1]
    assert (listed[0]["labels"], listed[0]["figures"]) == (["canary"], {"mse": 0.375, "skill": None})


def test_canary_is_promoted_and_rolled_back(framecast, base):
    answer = framecast("models", "promote", base)
    assert (answer.code, answer.text) == (0, "promote: version 3 is stable\n")
    answer = framecast("models", "rollback", base)
    assert answer.code == 0
    assert "waiting 10 s for servers to read the labels again" in answer.text
    assert answer.text.startswith("rollback: version 2 is stable; withdrawn: 3\n")
    record = json.loads(framecast("models", "promote", base, "3", "--json").out)
    assert (record["version"], record["labels"], record["withdrawn"]) == (3, {"stable": 3}, [])
    assert [entry["action"] for entry in version_folder.read_release_log(str(base))][2:] == [
        "promote",
        "rollback",
        "promote",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["promote", "{base}", "7"], "expected one of the versions 1, 2, 3, received 7"),
        (["list", "{base}/nowhere"], "nowhere: expected a folder of numbered versions, found none"),
        (["rollback", "s3://bucket/radar"], "s3://bucket/radar: expected a local folder"),
    ],
)
def test_impossible_release_is_an_error(framecast, base, arguments, message):
    answer = framecast("models", *(argument.format(base=base) for argument in arguments))
    assert answer.code == 1
    assert message in answer.text


def test_list_shows_the_states_of_a_server(framecast, base):
    from concurrent import futures

    import grpc
    from tensorflow_serving.apis import get_model_status_pb2

    from framecast.serving import rpc

    def status(request, context):
        response = get_model_status_pb2.GetModelStatusResponse()
        response.model_version_status.add(version=3, state=30)
        response.model_version_status.add(version=2, state=50).status.error_message = "no memory"
        return response

    def metadata(request, context):
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, "Unrecognized servable version label: stable")

    server = grpc.server(futures.ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers(rpc.handlers({rpc.STATUS: status, rpc.METADATA: metadata}))
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        lines = framecast("models", "list", base, "--address", address).text.splitlines()
    finally:
        server.stop(None).wait()
    assert lines[0].split()[-1] == address
    assert [line.rsplit("  ", 1)[1] for line in lines[1:]] == ["AVAILABLE", "END: no memory", "not seen"]


def test_list_imports_nothing_heavy(base):
    code = (
        "import sys\n"
        "from framecast.pipeline.cli import main as cli\n"
        f"sys.argv = ['framecast', 'models', 'list', {str(base)!r}]\n"
        "try:\n    cli.main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        "loaded = [name for name in ('tensorflow', 'tfx', 'apache_beam', 'keras', 'grpc') if name in sys.modules]\n"
        "assert not loaded, loaded\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
