"""Steps a second of training by one worker and by two, on the same global batches, and how well that scales.

python benchmarks/workers.py    # 4 minutes on 2 busy cores

Workers are processes of this machine that share its cores, so two of them show the mechanism and its cost, not the gain
that a second machine brings: on that, each step would take half as long, plus what the exchange of gradients takes.
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

BATCH, TIME, SIDE = 16, 12, 32  # Clips of all workers together, their frames, and their height and width in pixels.
STEPS = 40
ROUNDS = 3
WARM_UP = 5  # Steps at the beginning that no rate counts: the first makes the graph.


def worker(folder: pathlib.Path) -> None:
    """Trains as one worker of `TF_CONFIG`; the chief prints steps a second."""
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
    with strategy.scope():
        loop.fit(
            presets.build("convlstm-tiny", channels=1, dtype="float32"),
            tf.data.Dataset.from_tensors(batch).repeat(),
            tf.data.Dataset.from_tensors(batch),
            define_task(ForecastTask(horizon=4)).make_objective(TrainSpec(steps=STEPS)),
            steps=STEPS,
            learning_rate=1e-3,
            eval_every=STEPS,
            state_dir=folder / "state",
            log_dir=folder / "logs",
        )
    distribution.wait_for_all(strategy)
    if distribution.is_chief(strategy):
        last = STEPS - 1  # The last step comes with an evaluation.
        print((last - WARM_UP) / (times[last] - times[WARM_UP]))


def rate(workers: int) -> float:
    """Returns steps a second of a job of that many workers."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(workers)]
    addresses = [f"127.0.0.1:{own.getsockname()[1]}" for own in sockets]
    for own in sockets:
        own.close()
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
    """Prints the table: medians of rounds in turn, so that a busy machine slows both alike."""
    rates: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(ROUNDS):
        for workers, found in rates.items():
            found.append(rate(workers))
    one, two = (statistics.median(found) for found in rates.values())
    print(f"{BATCH} clips of {TIME} frames of {SIDE}x{SIDE} a step, convlstm-tiny, float32, {os.cpu_count()} cores")
    print(f"1 worker   {one:6.2f} steps/s")
    print(f"2 workers  {two:6.2f} steps/s, scaling efficiency {two / one / 2:.2f}")
    print("On one machine, whose cores the workers share, this shows the mechanism, not the gain.")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        worker(pathlib.Path(sys.argv[1]))
    else:
        main()
