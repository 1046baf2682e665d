"""Kills, Ctrl-C and concurrent runs: finished components stay finished, and nothing half-written is pushed."""

import contextlib
import json
import os
import pathlib
import random
import select
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf

from framecast.clips.demo.moving_digits import make_demo

_CONFIG = """
data: {{train: "{clips}/train/*", eval: "{clips}/eval/*"}}
clip: {{frames: {{min: 8, max: 24}}}}
task: {{horizon: 5, context: {{min: 4}}}}
model: {{preset: convlstm-tiny}}
train: {{steps: 60, batch_frames: 96, learning_rate: 0.01, eval_every: 10, deterministic: true}}
push: {{directory: {folder}/serving}}
"""
_KILLS = (7, 6)  # Per chain: one kill for each component.
# Components whose inputs no push changes: once finished, they never run again.
_LASTING = {
    "ClipExampleGen", "StatisticsGen", "SchemaGen", "ImportSchemaGen", "ExampleValidator", "ValidationGate",
    "Transform", "Trainer", "SavedModelInfraValidator",
}  # fmt: skip
_PATIENCE = 300  # Timeout in seconds, long enough for a loaded machine.


class Zygote:
    """Runs commands in forks of a process that has imported all modules."""

    def __init__(self):
        command = [sys.executable, "-W", "ignore", str(pathlib.Path(__file__).parent / "zygote.py")]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        while (line := self._process.stdout.readline()) != b"ready\n":
            assert line, "the zygote ended before it was ready"

    def start(self, folder, *arguments) -> "Command":
        output = str(folder / "output.txt")
        pathlib.Path(output).write_text("")
        command = {"arguments": ["run", str(folder / "config.yaml"), "--workdir", str(folder / "work"), *arguments]}
        self._process.stdin.write(json.dumps({**command, "output": output}).encode() + b"\n")
        self._process.stdin.flush()
        return Command(int(self._process.stdout.readline()), self._process.stdout, output)

    def close(self):
        self._process.stdin.close()
        assert self._process.wait() == 0


class Command:
    """A running command."""

    def __init__(self, pid, answers, output):
        self.pid = pid
        self._answers = answers
        self._output = output
        self.code: int | None = None

    def wait(self, seconds) -> int | None:
        """Returns the exit code, or None if the command still runs after the timeout."""
        if self.code is None and select.select([self._answers], [], [], seconds)[0]:
            self.code = int(self._answers.readline())
        return self.code

    def end(self, number) -> int | None:
        if self.code is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)
        return self.wait(_PATIENCE)

    def text(self) -> str:
        return pathlib.Path(self._output).read_text()

    def lines(self) -> list[str]:
        """Returns the lines of components that ran or were cached."""
        return [line for line in self.text().splitlines() if line.startswith(("+ ", "= "))]

    def finished(self) -> set[str]:
        """Returns the components that ran and finished."""
        return {line.split()[1] for line in self.lines() if line.startswith("+ ")}

    def descendants(self) -> list[str]:
        """Returns the command lines of the other processes in the command's session."""
        found = []
        for folder in pathlib.Path("/proc").iterdir():
            with contextlib.suppress(OSError, ValueError):
                session = int((folder / "stat").read_text().rpartition(")")[2].split()[3])
                if session == self.pid and int(folder.name) != self.pid:
                    found.append((folder / "cmdline").read_text())
        return found

    def wait_for(self, condition) -> bool:
        """Waits until `condition()` is true or the command ends; returns whether it still runs."""
        deadline = time.monotonic() + _PATIENCE
        while not condition():
            assert time.monotonic() < deadline, self.text()
            if self.wait(0.05) is not None:
                return False
        return True


@pytest.fixture(scope="module")
def zygote():
    zygote = Zygote()
    yield zygote
    zygote.close()


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("interruption") / "clips"
    make_demo(folder, clips=63, seed=3, size=32)
    return folder


@pytest.fixture
def folder(tmp_path, clips):
    return _prepare(tmp_path / "chain", clips)


def _prepare(folder, clips):
    folder.mkdir()
    (folder / "config.yaml").write_text(_CONFIG.format(folder=folder, clips=clips))
    return folder


def _pushed(folder):
    """Returns the forecasts of every version that a server would load."""
    forecasts = []
    frames = tf.constant(np.random.default_rng(0).integers(0, 256, (1, 4, 32, 32, 1), np.uint8))
    for path in sorted((folder / "serving").glob("[0-9]*")):
        model = tf.saved_model.load(str(path))
        forecasts.append(model.signatures["serving_default"](frames=frames, length=[4])["forecast"].numpy())
    return forecasts


def _log(folder):
    return "".join(path.read_text() for path in sorted((folder / "work" / "runs").glob("*/log.txt")))


def _checkpointed(folder):
    # TensorFlow writes this file last, after the checkpoint that it names.
    return any((folder / "work").glob("state/*/checkpoint"))


@pytest.mark.slow
def test_ctrl_c_is_recorded_and_training_resumes(zygote, folder):
    run = zygote.start(folder)
    assert run.wait_for(lambda: _checkpointed(folder))
    pressed = time.monotonic()
    assert run.end(signal.SIGINT) == 128 + signal.SIGINT
    assert time.monotonic() - pressed < 10
    assert "failed: SIGINT during Trainer; the same command resumes there" in run.text()
    assert run.descendants() == []
    assert not (folder / "serving").exists()
    (record,) = (folder / "work" / "runs").glob("*/run.json")
    assert json.loads(record.read_text())["verdict"] == "failed"

    again = zygote.start(folder)
    assert again.wait(_PATIENCE) == 0, again.text()
    assert again.finished() & (_LASTING - {"SavedModelInfraValidator"}) == {"Trainer"}
    assert "resumed from" in _log(folder)


@pytest.mark.slow
def test_killed_run_takes_its_validation_server_along(zygote, folder):
    run = zygote.start(folder, "--set", "train.steps=1")
    assert run.wait_for(lambda: any("framecast.serving.server.child" in command for command in run.descendants()))
    run.end(signal.SIGKILL)
    deadline = time.monotonic() + 5
    while run.descendants():
        assert time.monotonic() < deadline, run.descendants()


def test_second_run_in_work_directory_is_rejected(zygote, folder):
    run = zygote.start(folder)
    assert run.wait_for(lambda: (folder / "work" / "runs").exists())
    command = [sys.executable, "-m", "framecast.pipeline.cli.main", "run", str(folder / "config.yaml")]
    second = subprocess.run([*command, "--workdir", str(folder / "work")], capture_output=True, text=True)
    run.end(signal.SIGKILL)
    assert second.returncode == 1
    holder = f"process {run.pid} on {socket.gethostname()}, running since"
    assert f"expected no other run in this folder, found {holder}" in second.stderr
    assert len(second.stderr.splitlines()) == 1


@pytest.mark.slow
def test_killed_anywhere_the_command_resumes_to_equal_model(zygote, tmp_path, clips):
    untouched = _prepare(tmp_path / "untouched", clips)
    run = zygote.start(untouched)
    assert run.wait(_PATIENCE) == 0, run.text()
    (expected,) = _pushed(untouched)
    (record,) = (untouched / "work" / "runs").glob("*/run.json")
    seconds = [component["seconds"] for component in json.loads(record.read_text())["components"]]

    # A random moment of each component: random moments of the whole run would nearly all hit Transform and Trainer.
    moments = random.Random(0)
    places = moments.sample(range(len(seconds)), len(seconds))
    killed_in = set()
    for number, kills in enumerate(_KILLS):
        folder = _prepare(tmp_path / f"chain-{number}", clips)
        done: set[str] = set()
        chain, places = sorted(places[:kills]), places[kills:]
        for kill in range(kills + 1):
            checkpointed = _checkpointed(folder)
            resumed = _log(folder).count("resumed from")
            run = zygote.start(folder)
            if kill < kills:
                place = chain[kill]
                run.wait_for(lambda: len(run.lines()) >= place)  # noqa: B023 - called at once
                run.wait(moments.uniform(0, seconds[place]))
                code = run.end(signal.SIGKILL)
                killed_in.add(len(run.lines()))
            else:
                code = run.wait(_PATIENCE)
            where = f"chain {number}, run {kill}: {run.text()}"
            assert not run.finished() & done & _LASTING, f"finished components ran again: {where}"
            if checkpointed and "Trainer" in run.finished():
                assert _log(folder).count("resumed from") > resumed, where
            done |= run.finished()
            for forecast in _pushed(folder):
                np.testing.assert_array_equal(forecast, expected)
        assert code == 0, where
        assert len(_pushed(folder)) == 1
        assert not list((folder / "serving").glob(".*"))
    # The kills are spread over the components.
    assert len(killed_in) >= len(seconds) // 2, killed_in
