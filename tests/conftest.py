"""The command line in this process, so that TFX is imported once for all tests."""

import dataclasses
import logging
import sys
import uuid
from typing import Any

import pytest

from framecast.pipeline import quiet

quiet.set_log_levels()  # As every command does, before any test imports TensorFlow, which reads some of it once.


# Files that share a run of the pipeline, in this order; see tests/end_to_end/conftest.py.
_SHARED_RUN = ("tests/end_to_end/test_first_run", "tests/end_to_end/test_later_candidates")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Keeps the tests of a file on one worker, and the files that share a run, because these share what takes long."""
    if config.getoption("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class SharedRunScheduling(LoadFileScheduling):
        def _split_scope(self, nodeid):  # Made to be overridden, as xdist documents.
            return "shared run" if nodeid.startswith(_SHARED_RUN) else super()._split_scope(nodeid)

    return SharedRunScheduling(config, log)


@dataclasses.dataclass
class CommandResult:
    """What a command ended with and printed: `out` to stdout alone, which scripts read."""

    code: int
    text: str
    out: str


@pytest.fixture
def framecast(capfd, monkeypatch):
    """Runs `framecast ARGUMENTS` as a shell would."""
    from framecast.pipeline.cli import (
        main as cli,  # Here: the benchmarks' peers environment, which has no typer, reads this file.
    )

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["framecast", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as caught:
            cli.main()
        out, err = capfd.readouterr()
        return CommandResult(caught.value.code, out + err, out)

    return run


@dataclasses.dataclass
class Bucket:
    """An empty bucket of an S3 that runs here."""

    client: Any
    name: str

    @property
    def uri(self):
        return f"s3://{self.name}"

    def put(self, key, data=b""):
        self.client.put_object(Bucket=self.name, Key=key, Body=data)

    def get(self, key):
        return self.client.get_object(Bucket=self.name, Key=key)["Body"].read()

    def list(self):
        return [one["Key"] for one in self.client.list_objects_v2(Bucket=self.name).get("Contents", ())]


@pytest.fixture(scope="session")
def s3_address():
    from moto.moto_server.threaded_moto_server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # A line a request.
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(s3_address, monkeypatch):
    """A bucket, in the environment that its users would set."""
    import boto3

    for name, value in {
        "AWS_ENDPOINT_URL": s3_address,
        "AWS_ACCESS_KEY_ID": "framecast",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    bucket = Bucket(boto3.client("s3"), f"framecast-{uuid.uuid4()}")
    bucket.client.create_bucket(Bucket=bucket.name)
    return bucket
