"""A search with real and simulated trainings: what it finds and stops, and how it resumes after a kill."""

import itertools
import json
import logging
import math
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time
import types

import numpy as np
import pytest

from framecast.clips import files
from framecast.models.training import run_fn, survey, train_model

# Imported as a module, because TFX's Tuner reloads it, also in other tests.
from framecast.models.tuning import tuner_fn

_STEPS = 24
_PLANTED = 0.1  # The only one of these learning rates that learns in so few steps.
_SPACE = {"train": {"learning_rate": {"values": [0.0, 1e-7, 1e-6, 1e-5, _PLANTED]}}}
_RANDOM = {"space": _SPACE, "trials": 5, "algorithm": "random"}
_PATIENCE = 300  # Seconds.


def write_clips(folder, seed, count=8, time=6):
    """Writes transformed clips of a bright column that moves one pixel per frame and wraps around."""
    from tests.models.transformed import write_transformed  # Here, because this file also runs as a script.

    folder.mkdir(parents=True)
    clips = []
    for start in np.random.default_rng(seed).integers(0, 8, count):
        frames = np.zeros((time, 8, 8, 1), np.uint8)
        frames[np.arange(time), :, (start + np.arange(time)) % 8] = 255
        clips.append((frames, time))
    write_transformed(folder / "clips.tfrecord", clips)


def fn_args(folder, tune, **train):
    settings = {
        "clip": {"frames": {"min": 4, "max": 6}},
        "task": {"horizon": 2, "context": {"min": 2}},
        "model": {"builder": f"{pathlib.Path(__file__).parents[1] / 'column.py'}:build"},
        "train": {"steps": _STEPS, "batch_frames": 24, "eval_every": 6, "deterministic": True, **train},
        "tune": tune,
        "state": str(folder / "state"),
        "code": "a",
    }
    patterns = [[str(folder / f"Split-{split}" / "*")] for split in ("train", "val")]
    return types.SimpleNamespace(custom_config=settings, train_files=patterns[0], eval_files=patterns[1])


def search(folder, tune, **train):
    """Runs or resumes a search, and returns the tuner."""
    found = tuner_fn.tuner_fn(fn_args(folder, tune, **train))
    found.tuner.search(**found.fit_kwargs)
    return found.tuner


def best(done):
    (record,) = (record for record in done.records() if record["best"])
    return record


def alike(records):
    """Removes the times, which two searches of the same seed do not share."""
    return [{key: value for key, value in record.items() if key != "seconds"} for record in records]


def prepared(folder):
    write_clips(folder / "Split-train", seed=0)
    write_clips(folder / "Split-val", seed=1)
    return folder


@pytest.fixture
def folder(tmp_path):
    return prepared(tmp_path)


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """A search with real trainings, and its folder."""
    folder = prepared(tmp_path_factory.mktemp("planted"))
    return search(folder, _RANDOM), folder


@pytest.fixture
def simulated(monkeypatch):
    """Simulates trials: `loss(values, step)` returns their val losses, `trained` collects their values."""
    found = types.SimpleNamespace(loss=None, trained=[])

    def train(self, values, folder, evaluated):
        found.trained.append(values)
        for step in range(6, self.steps + 1, 6):
            evaluated(step, found.loss(values, step))

    monkeypatch.setattr(tuner_fn.Trials, "train", train)
    return found


def test_search_finds_planted_learning_rate(planted):
    done, folder = planted
    records = done.records()
    assert len(records) == 5  # Every value once.
    assert best(done)["values"] == {"train.learning_rate": _PLANTED}
    others = [record["val_loss"] for record in records if not record["best"]]
    assert best(done)["val_loss"] < 0.5 * min(others)
    assert best(done)["status"] == "finished"
    assert best(done)["steps"] == _STEPS
    assert not list((folder / "state").rglob("*.index"))  # No checkpoints of ended trials.


def test_trainer_uses_found_values(folder, monkeypatch):
    class Reached(Exception):
        pass

    def catch(strategy, spec, pipeline, train_files):
        raise Reached(spec.arguments, pipeline.train.learning_rate, pipeline.train.augment, pipeline.train.steps)

    space = {
        "train": {"learning_rate": {"min": 0.01, "max": 0.2}, "augment": {"values": [["flip"], ["flip", "subclip"]]}},
        "model": {"arguments": {"size": {"min": 3, "max": 5}}},
    }
    found = tuner_fn.tuner_fn(fn_args(folder, {"space": space, "trials": 1}))
    monkeypatch.setattr(tuner_fn.Trials, "train", lambda self, values, folder, evaluated: evaluated(6, 0.1))
    found.tuner.search()
    arguments = fn_args(folder, None)
    arguments.model_run_dir = str(folder / "run")
    # As JSON, like the artifact between Tuner and Trainer.
    arguments.hyperparameters = json.loads(json.dumps(found.tuner.get_best_hyperparameters()[0].get_config()))
    monkeypatch.setattr(train_model, "build_model", catch)
    with pytest.raises(Reached) as reached:
        run_fn.run_fn(arguments)
    values = best(found.tuner)["values"]
    assert reached.value.args == (
        {"size": values["model.arguments.size"]},
        values["train.learning_rate"],
        tuple(values["train.augment"]),
        _STEPS,
    )
    assert 0.01 <= values["train.learning_rate"] <= 0.2
    assert values["model.arguments.size"] in (3, 4, 5)


@pytest.mark.parametrize("trials", [14])
def test_bayesian_search_comes_close_to_planted_minimum(folder, simulated, trials):
    def loss(values, step):
        return (math.log10(values["train.learning_rate"]) + 2.5) ** 2 + (values["train.batch_frames"] - 40) ** 2 / 1e3

    simulated.loss = loss
    space = {
        "train": {
            "learning_rate": {"min": 1e-6, "max": 1.0, "sampling": "log"},
            "batch_frames": {"min": 24, "max": 96},
        }
    }
    found = {}
    for algorithm in ("random", "bayesian"):
        tune = {"space": space, "trials": trials, "algorithm": algorithm, "stop_early": False}
        found[algorithm] = best(search(folder, tune))
    assert found["bayesian"]["val_loss"] < 0.1 < found["random"]["val_loss"], found
    assert isinstance(found["bayesian"]["values"]["train.batch_frames"], int)


def test_search_with_more_trials_continues(folder, simulated):
    simulated.loss = lambda values, step: values["train.learning_rate"]
    few = search(folder, {**_RANDOM, "trials": 2})
    assert len(simulated.trained) == 2
    more = search(folder, {**_RANDOM, "trials": 4})
    assert len(simulated.trained) == 4
    assert alike(more.records())[0]["values"] == few.records()[0]["values"]
    again = search(folder, {**_RANDOM, "trials": 4})
    assert len(simulated.trained) == 4
    assert again.records() == more.records()
    # Other settings start another search.
    assert len(search(folder, {**_RANDOM, "trials": 4}, batch_frames=48).records()) == 4
    assert len(simulated.trained) == 8


@pytest.mark.parametrize("algorithm", ["random", "bayesian"])
def test_tried_values_are_not_repeated(folder, simulated, algorithm):
    simulated.loss = lambda values, step: values["train.learning_rate"]
    search(folder, {**_RANDOM, "trials": 50, "algorithm": algorithm})
    assert sorted(values["train.learning_rate"] for values in simulated.trained) == [0.0, 1e-7, 1e-6, 1e-5, _PLANTED]


def test_no_trial_starts_after_time_budget(folder, simulated, monkeypatch):
    clock = types.SimpleNamespace(now=0.0, monotonic=lambda: clock.now)

    def loss(values, step):
        clock.now += 5.0
        return 1.0

    simulated.loss = loss
    monkeypatch.setattr(tuner_fn, "time", clock)
    space = {"train": {"learning_rate": {"min": 0.1, "max": 1.0}}}
    tune = {"space": space, "minutes": 1, "stop_early": False}
    assert [record["seconds"] for record in search(folder, tune).records()] == [20.0, 20.0, 20.0]
    assert len(search(folder, {**tune, "minutes": 1.4}).records()) == 5


def test_trial_above_median_is_stopped(folder, simulated):
    order = []

    def loss(values, step):
        if values["train.learning_rate"] not in order:
            order.append(values["train.learning_rate"])
        # The fourth loss is between the others, the fifth far above them.
        return {0: 1.0, 1: 2.0, 2: 3.0, 3: 1.5, 4: 9.0}[order.index(values["train.learning_rate"])] / step

    simulated.loss = loss
    records = search(folder, _RANDOM).records()
    assert [record["status"] for record in records] == ["finished"] * 4 + ["stopped"]
    assert records[4]["steps"] == 6
    assert records[4]["why"] == "stopped at step 6: val loss 1.5, above 0.2917, the median of 4"
    assert records[4]["val_loss"] == 1.5
    assert records[0]["best"]


def test_diverged_trial_fails_and_search_continues(folder, simulated):
    def loss(values, step):
        if values["train.learning_rate"] != _PLANTED:
            raise FloatingPointError("loss at step 3: expected a finite number, received nan")
        return 0.5

    simulated.loss = loss
    done = search(folder, _RANDOM)
    assert sorted(record["status"] for record in done.records()) == ["failed"] * 4 + ["finished"]
    assert best(done)["values"] == {"train.learning_rate": _PLANTED}
    assert {record["why"] for record in done.records()} == {
        "",
        "loss at step 3: expected a finite number, received nan",
    }


def test_search_without_finite_loss_fails_with_reasons(folder, simulated):
    def loss(values, step):
        raise FloatingPointError("loss at step 3: expected a finite number, received nan")

    simulated.loss = loss
    with pytest.raises(ValueError, match="expected a trial with a finite val loss, received none: trial 1: loss at"):
        search(folder, {**_RANDOM, "trials": 2})


def test_other_errors_end_the_search_unchanged(folder, simulated):
    def loss(values, step):
        raise PermissionError("no such bucket")

    simulated.loss = loss
    with pytest.raises(PermissionError, match="no such bucket"):
        search(folder, _RANDOM)
    assert len(simulated.trained) == 1
    simulated.loss = lambda values, step: 1.0
    assert len(search(folder, _RANDOM).records()) == 5


def test_invalid_model_is_rejected_before_first_trial(folder, simulated):
    space = {"model": {"arguments": {"sizes": {"values": [3, 5]}}}}
    with pytest.raises(ValueError, match=r"model.arguments: expected arguments of build, received \{'sizes': 3\}"):
        search(folder, {"space": space, "trials": 2})
    assert simulated.trained == []


def test_split_of_short_clips_is_rejected(folder):
    write_clips(folder / "short" / "Split-train", seed=0, time=3)
    write_clips(folder / "short" / "Split-val", seed=0)
    with pytest.raises(ValueError, match="split train: expected clips of at least 4 frames, received 8 clips"):
        search(folder / "short", _RANDOM)


def pause_in_the_second_trial(folder):
    """Runs a search up to the second trial's second evaluation, which has no checkpoint yet."""

    def write(path, content):
        if path.endswith("trial_1/progress.json") and len(json.loads(content)["evaluations"]) == 2:
            (folder / "paused").touch()
            signal.pause()
        writes(path, content)

    writes, files.write_whole = files.write_whole, write
    search(folder, _RANDOM)


@pytest.mark.slow
def test_killed_search_resumes_from_trial_checkpoint(folder, planted, caplog):
    process = subprocess.Popen([sys.executable, "-W", "ignore", __file__, folder])
    deadline = time.monotonic() + _PATIENCE
    while not (folder / "paused").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
    process.send_signal(signal.SIGKILL)
    process.wait()
    with caplog.at_level(logging.INFO, "framecast.train"):
        resumed = search(folder, _RANDOM)
    assert alike(resumed.records()) == alike(planted[0].records())
    (message,) = (record.getMessage() for record in caplog.records if "resumed" in record.getMessage())
    assert re.fullmatch(r"resumed from .*/trial_1/state/ckpt-6", message)


class Killed(BaseException):
    """Like a kill, passes every `except Exception`."""


def test_kill_at_any_write_loses_no_trial(folder, simulated, monkeypatch):
    simulated.loss = lambda values, step: values["train.learning_rate"] + 1 / step
    writes = files.write_whole
    left = math.inf

    def dying(path, content):
        nonlocal left
        left -= 1
        if left < 0:
            pathlib.Path(f"{path}.part").write_text(content[:20])
            raise Killed
        writes(path, content)

    monkeypatch.setattr(files, "write_whole", dying)
    monkeypatch.setattr(files.os, "fsync", lambda descriptor: None)  # Slow, and this kill loses no power.
    monkeypatch.setattr(survey, "survey_splits", lambda *arguments: None)  # Slow, and writes nothing.
    tune = {**_RANDOM, "trials": 3, "steps": 6, "stop_early": False}
    expected = alike(search(folder, tune).records())
    for written in itertools.count():
        shutil.rmtree(folder / "state")
        simulated.trained.clear()
        left = written
        try:
            search(folder, tune)
        except Killed:
            pass
        else:
            break
        left = math.inf
        assert alike(search(folder, tune).records()) == expected
        assert len(simulated.trained) in (3, 4)
    assert written > 3 * 3  # Each trial writes its start, an evaluation and its end.


if __name__ == "__main__":
    pause_in_the_second_trial(pathlib.Path(sys.argv[1]))
