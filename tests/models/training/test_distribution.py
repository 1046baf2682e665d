"""Training on several replicas, compared with one; workers are processes on the loopback interface."""

import contextlib
import json
import logging
import os
import pathlib
import signal
import socket
import subprocess
import sys
import types

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from framecast.models.networks.frame_forecaster import FrameForecaster
from framecast.models.spec import ClassifyTask, ForecastTask, RegressTask, TrainSpec
from framecast.models.tasks import define_task
from framecast.models.training import distribution, training_log
from framecast.models.training.loop import fit
from framecast.models.training.objectives import NextFrameObjective
from framecast.models.training.training_log import read_curves

TRAIN = TrainSpec(steps=20, sampling="scheduled")
FORECAST = NextFrameObjective(2, TRAIN)
STEPS, SAVED, KILLED = 20, 10, 13  # All steps, the step with a checkpoint, and the step at which a worker is killed.
BOUND = 180  # Seconds in which a job must detect a lost worker; half a minute on an idle machine.


class Clipped(NextFrameObjective):
    """A loss so large that gradients are clipped."""

    def totals(self, *arguments):
        return 100 * super().totals(*arguments)


class Dying(NextFrameObjective):
    """Kills its process at a step."""

    def totals(self, model, batch, step, training):
        def kill(step):
            if training and step + 1 == KILLED:
                os.kill(os.getpid(), signal.SIGKILL)

        tf.py_function(kill, [step], [])
        return super().totals(model, batch, step, training)


def clips(count, seed=0):
    """Clips of several lengths with missing pixels, so that every clip has another weight in a mean."""
    rng = np.random.default_rng(seed)
    frames = rng.random((count, 6, 8, 8, 1), "float32")
    known = rng.random(frames.shape) < 0.8
    return {"frames": np.where(known, frames, 0), "known": known, "length": rng.integers(4, 7, count, "int32")}


def forecaster(dtype="float32"):
    keras.utils.set_random_seed(0)
    return FrameForecaster(channels=1, filters=(8,), kernel_size=3, patch=2, dtype=dtype)


def train(folder, dtype="float32", objective=FORECAST, state="state", log="logs", **options):
    """Trains in the current strategy on batches of 3 clips, the last of 1, which replicas cannot share evenly."""
    model = forecaster(dtype)  # First, because it sets TensorFlow's seed, which decides the order.
    dataset = tf.data.Dataset.from_tensor_slices(clips(10)).shuffle(8, seed=1).batch(3).repeat()
    val_dataset = tf.data.Dataset.from_tensor_slices(clips(4, seed=1)).batch(3)
    fit(
        model,
        dataset,
        val_dataset,
        objective,
        TrainSpec(steps=STEPS, learning_rate=1e-2, eval_every=SAVED, ema=0.5, **options),
        state_dir=folder / state,
        log_dir=folder / log,
        draw=lambda: {"weight": np.zeros((2, 2, 3), np.uint8)},
    )
    return model


def weights(path):
    with np.load(path) as kept:
        return [kept[name] for name in kept.files]


def assert_the_same(found, expected):
    assert len(found) == len(expected) == 4
    for left, right in zip(found, expected, strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-5, atol=1e-5 * np.abs(right).max())


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The weights that one device learns."""
    return train(tmp_path_factory.mktemp("alone")).get_weights()


class Replicas:
    """A strategy that can only split batches."""

    def __init__(self, count):
        self.num_replicas_in_sync = count

    def experimental_distribute_values_from_function(self, take):
        contexts = [
            types.SimpleNamespace(replica_id_in_sync_group=number) for number in range(self.num_replicas_in_sync)
        ]
        return [take(context) for context in contexts]


@pytest.mark.parametrize("replicas", [2, 3, 8])
@pytest.mark.parametrize("count", [1, 2, 3, 5, 8])
def test_every_clip_of_batch_counts_once(replicas, count):
    shares = distribution.share_out(Replicas(replicas), {name: tf.constant(v) for name, v in clips(count).items()})
    assert len(shares) == replicas
    counted = [share for share, weight in shares if weight > 0]
    np.testing.assert_array_equal(np.concatenate([share["place"] for share in counted]), np.arange(count))
    np.testing.assert_array_equal(np.concatenate([share["frames"] for share in counted]), clips(count)["frames"])
    sizes = [len(share["place"]) for share in counted]
    assert len(sizes) == min(replicas, count)
    assert max(sizes) - min(sizes) <= 1
    assert {float(weight) for _, weight in shares} <= {0, 1}


@pytest.mark.parametrize(
    "task",
    [ForecastTask(horizon=2), *[ClassifyTask(kind="classify", per=per, classes=3) for per in ("clip", "frame")]]
    + [RegressTask(kind="regress", per=per) for per in ("clip", "frame")],
    ids=lambda task: f"{task.kind}-{getattr(task, 'per', '')}",
)
def test_weighted_totals_of_shares_sum_to_batch_totals(task):
    batch = {name: tf.constant(value) for name, value in clips(5).items()}
    if task.kind == "forecast":
        model = forecaster()
    else:
        rng = np.random.default_rng(2)
        shape = (5,) if task.per == "clip" else (5, 6)
        labels = rng.integers(0, 3, shape) if task.kind == "classify" else rng.random(shape, "float32")
        batch["label"] = tf.constant(labels)
        dense = keras.layers.Dense(3 if task.kind == "classify" else 1)

        def model(frames, length, training):
            outputs = dense(frames[..., 0])
            return tf.reduce_mean(outputs, [1, 2] if task.per == "clip" else [2])

        model.mean, model.spread = 0.0, 1.0

    objective = define_task(task).make_objective(TrainSpec(steps=20, sampling="scheduled"))
    step = tf.constant(7, tf.int64)
    shares = distribution.share_out(Replicas(3), batch)
    total = sum(float(objective.totals(model, share, step, True)[0]) * weight for share, weight in shares)
    np.testing.assert_allclose(total, float(objective.totals(model, batch, step, True)[0]), rtol=1e-5)


@pytest.mark.parametrize("config", [None, {}, {"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 0}}])
def test_single_machine_uses_default_strategy(monkeypatch, config):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if config is not None:
        monkeypatch.setenv("TF_CONFIG", json.dumps(config))
    strategy = distribution.from_environment()
    assert strategy is tf.distribute.get_strategy()
    assert distribution.is_chief(strategy)


def test_unknown_task_type_is_rejected_with_its_name(monkeypatch):
    cluster = {"worker": ["a:1"], "ps": ["b:1"]}
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster, "task": {"type": "worker", "index": 0}}))
    with pytest.raises(ValueError, match="TF_CONFIG: expected tasks chief and worker, received ps"):
        distribution.from_environment()


@pytest.mark.parametrize(
    ("jobs", "chief"),
    [(("chief", "worker"), ("chief", 0)), (("worker",), ("worker", 0))],
    ids=["chief", "first worker"],
)
def test_one_worker_is_the_chief(jobs, chief):
    spec = tf.train.ClusterSpec({job: ["a:1"] if job == "chief" else ["b:1", "c:1"] for job in jobs})
    for job in jobs:
        for number in range(spec.num_tasks(job)):
            resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(spec, task_type=job, task_id=number)
            strategy = types.SimpleNamespace(cluster_resolver=resolver)
            assert distribution.is_chief(strategy) == ((job, number) == chief)


def on_two_devices(folder):
    """Trains with two replicas in this process, whose devices are split before their first use."""
    training_log._REPORT_SECONDS = 0
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    with tf.distribute.MirroredStrategy(["cpu:0", "cpu:1"]).scope():
        np.savez(folder / "weights.npz", *train(folder).get_weights())
        np.savez(
            folder / "clipped.npz",
            *train(folder, objective=Clipped(2, TRAIN), state="clipped", log="two", accumulate=2).get_weights(),
        )
        train(folder, "mixed_float16", state="float16")  # Each replica scales its loss.


@pytest.fixture(scope="module")
def two_devices(tmp_path_factory):
    """Folder with the weights that two devices learn."""
    folder = tmp_path_factory.mktemp("devices")
    subprocess.run([sys.executable, __file__, "devices", folder], check=True)
    return folder


def test_two_devices_learn_same_as_one(two_devices, alone):
    assert_the_same(weights(two_devices / "weights.npz"), alone)


def test_two_devices_clip_gradients_as_one(two_devices, tmp_path, monkeypatch):
    monkeypatch.setattr(training_log, "_REPORT_SECONDS", 0)
    alone = train(tmp_path, objective=Clipped(2, TRAIN), accumulate=2)
    assert_the_same(weights(two_devices / "clipped.npz"), alone.get_weights())
    one, two = (dict(read_curves(folder)["gradient_norm"]) for folder in (tmp_path / "logs", two_devices / "two"))
    assert list(one) == list(two) == list(range(1, STEPS + 1))
    assert min(one.values()) > 1  # Else nothing is clipped.
    np.testing.assert_allclose(list(two.values()), list(one.values()), rtol=1e-3)


def as_worker(folder, doomed, state):
    """Trains as one worker of `TF_CONFIG`, which may kill itself at a step."""
    strategy = distribution.from_environment()
    number = json.loads(os.environ["TF_CONFIG"])["task"]["index"]

    with strategy.scope():
        model = train(folder, objective=Dying(2, TRAIN) if number == doomed else FORECAST, state=state)
    np.savez(folder / f"weights-{number}.npz", *model.get_weights())
    assert distribution.from_chief(strategy, number + 0.1) == 0.1
    distribution.wait_for_all(strategy)


def start_workers(folder, doomed=None, states=("state", "state")):
    with contextlib.ExitStack() as stack:  # All open at the same time, so that the ports differ.
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in states]
        addresses = [f"127.0.0.1:{own.getsockname()[1]}" for own in sockets]
    workers = []
    for number, state in enumerate(states):
        config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": number}}
        command = [sys.executable, __file__, "worker", folder, str(doomed), state]
        environment = {**os.environ, "TF_CONFIG": json.dumps(config)}
        log = folder / f"{number}.log"  # Not a pipe, because the writer of a full pipe blocks.
        with log.open("w") as file:
            workers.append((subprocess.Popen(command, env=environment, stderr=file), log))
    return workers


def end(worker):
    """Returns the exit code and the log of a worker."""
    process, log = worker
    try:
        process.wait(timeout=BOUND)
    finally:
        process.kill()
    return process.returncode, log.read_text()


@pytest.mark.slow
def test_two_workers_learn_same_and_chief_alone_writes(tmp_path, alone):
    for worker in start_workers(tmp_path):
        assert end(worker)[0] == 0
    for number in range(2):
        assert_the_same(weights(tmp_path / f"weights-{number}.npz"), alone)
    assert tf.train.latest_checkpoint(tmp_path / "state").endswith(f"-{STEPS}")
    (log,) = (tmp_path / "logs").iterdir()
    accumulator = EventAccumulator(str(log))
    accumulator.Reload()
    assert [event.step for event in accumulator.Tensors("weight")] == [SAVED, STEPS]


@pytest.mark.slow
def test_killed_worker_is_reported_and_training_resumes(tmp_path, alone):
    chief, lost = start_workers(tmp_path, doomed=1)
    assert end(lost)[0] == -signal.SIGKILL
    code, text = end(chief)
    assert code not in (0, -signal.SIGKILL)
    assert f"WorkerLost: after step {KILLED - 1}: expected a response from every worker in" in text
    assert tf.train.latest_checkpoint(tmp_path / "state").endswith(f"-{SAVED}")
    assert not list(tmp_path.glob("weights-*"))
    for worker in start_workers(tmp_path):
        code, text = end(worker)
        assert code == 0
        assert "resumed" in text
    for number in range(2):
        assert_the_same(weights(tmp_path / f"weights-{number}.npz"), alone)


@pytest.mark.slow
def test_workers_with_different_checkpoints_are_rejected(tmp_path):
    train(tmp_path, state="own")
    for worker in start_workers(tmp_path, states=("own", "other")):
        code, text = end(worker)
        assert code == 1
        assert "expected one folder of checkpoints that all workers share, received checkpoints of steps 0, 20" in text


if __name__ == "__main__":
    if sys.argv[1] == "devices":
        on_two_devices(pathlib.Path(sys.argv[2]))
    else:
        logging.basicConfig()
        logging.getLogger("framecast").setLevel(logging.INFO)
        as_worker(pathlib.Path(sys.argv[2]), None if sys.argv[3] == "None" else int(sys.argv[3]), sys.argv[4])
