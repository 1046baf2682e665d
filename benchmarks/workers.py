"""Measures training steps per second with one worker and with two on the same global batches.

python benchmarks/workers.py  # 4 minutes on 2 busy cores

Workers are processes that share this machine's cores, so two workers show the cost of the mechanism, not the gain of a
second machine. On two machines a step takes half the time plus the exchange of gradients.
"""

import json
import logging
import os
import pathlib
import socket
import statistics
import subprocess
import sys
import tempfile
import time

BATCH, TIME, SIDE = 16, 12, 32  # Clips of all workers together, frames per clip, height and width in pixels.
STEPS = 40
ROUNDS = 3
WARM_UP = 5  # First steps that the rate excludes, because the first traces the graph.


def worker(folder: pathlib.Path) -> None:
    """Trains as one worker of `TF_CONFIG`; the chief prints the steps per second."""
    from framecast.models.training import distribution

    strategy = distribution.from_environment()
    import keras
    import tensorflow as tf

    from framecast.models.networks import presets
    from framecast.models.spec import ForecastTask, TrainSpec
    from framecast.models.tasks import define_task
    from framecast.models.training import loop, training_log

    keras.utils.set_random_seed(0)
    frames = tf.random.uniform([BATCH, TIME, SIDE, SIDE, 1])
    batch = {"frames": frames, "known": tf.ones_like(frames, tf.bool), "length": tf.fill([BATCH], TIME)}
    times: dict[int, float] = {}
    training_log._REPORT_SECONDS = 0  # A record after every step.
    log = logging.getLogger("framecast.train")
    log.setLevel(logging.INFO)
    log.addFilter(lambda record: times.setdefault(record.progress["step"], time.monotonic()) < 0)
    train = TrainSpec(steps=STEPS, learning_rate=1e-3, eval_every=STEPS)
    with strategy.scope():
        loop.fit(
            presets.build("convlstm-tiny", channels=1, dtype="float32"),
            tf.data.Dataset.from_tensors(batch).repeat(),
            tf.data.Dataset.from_tensors(batch),
            define_task(ForecastTask(horizon=4)).make_objective(train),
            train,
            state_dir=folder / "state",
            log_dir=folder / "logs",
        )
    distribution.wait_for_all(strategy)
    if distribution.is_chief(strategy):
        last = STEPS - 1  # The last step includes an evaluation.
        print((last - WARM_UP) / (times[last] - times[WARM_UP]))


def rate(workers: int) -> float:
    """Returns the steps per second of a job of `workers` workers."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(workers)]
    addresses = [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]
    for each in sockets:
        each.close()
    with tempfile.TemporaryDirectory() as folder:
        jobs = []
        for number in range(workers):
            config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": number}}
            environment = {**os.environ, "TF_CONFIG": json.dumps(config)}
            command = [sys.executable, "-W", "ignore", __file__, folder]
            jobs.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True))
        outputs = [job.communicate()[0] for job in jobs]
    if any(job.returncode for job in jobs):
        raise RuntimeError(f"workers: expected exit codes 0, received {[job.returncode for job in jobs]}")
    return float(outputs[0])


def main() -> None:
    """Prints medians over alternating rounds, so that other load slows both alike."""
    rates: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(ROUNDS):
        for workers, found in rates.items():
            found.append(rate(workers))
    one, two = (statistics.median(found) for found in rates.values())
    print(f"{BATCH} clips of {TIME} frames of {SIDE}x{SIDE} per step, convlstm-tiny, float32, {os.cpu_count()} cores")
    print(f"1 worker   {one:6.2f} steps/s")
    print(f"2 workers  {two:6.2f} steps/s, scaling efficiency {two / one / 2:.2f}")
    print("On one machine, whose cores the workers share, this shows the mechanism, not the gain.")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        worker(pathlib.Path(sys.argv[1]))
    else:
        main()
