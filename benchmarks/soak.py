"""Runs a soak test of the embedded server: `python benchmarks/soak.py`, or `make soak`.

Clients send requests without pause and without retries, while the Pusher's code pushes one version after the other. One
version is corrupt, one is rolled back. Every response is compared with the forecast of the version that it names,
computed in this process; the server's memory is read after each swap. Exits with 1 if a request failed, a response
differed from its version's forecast, a version was not served, or memory grew by more than a quarter.
"""

import argparse
import dataclasses
import itertools
import pathlib
import random
import shutil
import sys
import tempfile
import threading
import time

import grpc
import numpy as np
import psutil
from measuring import serving

from framecast.pipeline import quiet

_WEIGHTS = 3  # Different weights, used in turn, so that successive versions give different forecasts.
_SIZE, _LENGTHS = 32, (4, 6, 9)
_TOLERANCE = 1e-5
_GROWTH = 1.25
_CONFIG = """
data: {train: none, shares: {train: 8, val: 1, eval: 1}}
clip: {frames: {min: 4, max: 12}}
task: {horizon: 3, context: {min: 2}}
model: {preset: convlstm-tiny}
train: {steps: 1}
push: {directory: none}
"""
_BATCHING = """
max_batch_size { value: 16 }
batch_timeout_micros { value: 2000 }
max_enqueued_batches { value: 1000 }
num_batch_threads { value: 2 }
allowed_batch_sizes: 1
allowed_batch_sizes: 4
allowed_batch_sizes: 16
"""


@dataclasses.dataclass
class Tally:
    """Counts the responses that the clients received.

    Args:
        responses: Number of responses per version.
        failures: Errors of failed requests.
        wrong: Version and largest difference of each response that differs from its version's forecast.
    """

    responses: dict[int, int] = dataclasses.field(default_factory=dict)
    failures: list[str] = dataclasses.field(default_factory=list)
    wrong: list[tuple[int, float]] = dataclasses.field(default_factory=list)


def main() -> int:
    """Runs the soak test, prints its results and returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--swaps", type=int, default=20)
    parser.add_argument("--clients", type=int, default=16)
    arguments = parser.parse_args()
    quiet.set_log_levels()
    with tempfile.TemporaryDirectory() as folder:
        return soak(pathlib.Path(folder), arguments.seconds, arguments.swaps, arguments.clients)


def soak(folder: pathlib.Path, seconds: float, swaps: int, clients: int) -> int:
    """Runs the soak test in `folder` and returns the exit code."""
    from framecast.components import pusher
    from framecast.serving import versions
    from framecast.serving.releases import releases

    exports = _export(folder / "exports")
    clips = [np.random.default_rng(length).integers(0, 256, (length, _SIZE, _SIZE, 1), np.uint8) for length in _LENGTHS]
    expected = [_forecasts(export, clips) for export in exports]
    difference = min(np.abs(a - b).max() for one, other in itertools.pairwise(expected) for a, b in zip(one, other))
    base = folder / "serving"
    weights: dict[int, int] = {}

    def push() -> int:
        number = len(weights) % _WEIGHTS
        export = str(exports[number])
        pushed = pusher.push(export, str(base), releases.PushRecord(versions.digest(export), by="soak"))
        weights[pushed["version"]] = number
        return pushed["version"]

    first = push()
    print(
        f"versions differ by at least {difference:.1e}; {clients} clients, {seconds:.0f} s, {swaps} swaps", flush=True
    )
    tally, stop = Tally(), threading.Event()
    (folder / "batching.config").write_text(_BATCHING)
    flags = ["--enable_batching", f"--batching_parameters_file={folder / 'batching.config'}"]
    with serving(base, *flags) as (address, pid):
        process = psutil.Process(pid)
        threads = [
            threading.Thread(target=_send_requests, args=(address, clips, expected, weights, tally, stop, seed))
            for seed in range(clients)
        ]
        for thread in threads:
            thread.start()
        memory, started = [], time.monotonic()
        try:
            _wait_for(tally, first)
            for swap in range(swaps):
                if swap == swaps // 3:
                    _push_corrupt(base, exports[0])
                if swap == 2 * swaps // 3:
                    _roll_back(base, address, tally)
                _wait_for(tally, push())
                memory.append(process.memory_info().rss)
                print(
                    f"swap {swap + 1}: {memory[-1] / 2**20:.0f} MiB, {sum(tally.responses.values())} responses",
                    flush=True,
                )
                # Swaps are spread evenly over the time.
                stop.wait(max(0.0, started + seconds * (swap + 1) / swaps - time.monotonic()))
        finally:
            stop.set()
            for thread in threads:
                thread.join()
    growth = np.median(memory[-3:]) / np.median(memory[len(memory) // 4 : len(memory) // 4 + 3])
    total = sum(tally.responses.values())
    print(
        f"{total} responses of {len(tally.responses)} versions, {total / (time.monotonic() - started):.0f} per second"
    )
    print(f"failed: {len(tally.failures)}; not their version's: {len(tally.wrong)}; memory x {growth:.2f}")
    for failure in tally.failures[:5]:
        print(f"failed: {failure}")
    return int(bool(tally.failures or tally.wrong or growth > _GROWTH))


def _export(folder: pathlib.Path) -> list[pathlib.Path]:
    import keras

    from framecast.models.export.module import save_module
    from framecast.models.networks import builders
    from framecast.pipeline.commands import check
    from framecast.pipeline.config import config

    folder.mkdir()
    (folder / "config.yaml").write_text(_CONFIG)
    resolved = config.load(str(folder / "config.yaml"))
    exports = []
    for number in range(_WEIGHTS):
        keras.utils.set_random_seed(number)
        model = builders.build(resolved.model, resolved.task, resolved.clip, keras.DTypePolicy("float32"))
        exports.append(folder / str(number))
        save_module(check.untrained_module(model, resolved), str(exports[-1]), {})
    return exports


def _forecasts(export: pathlib.Path, clips: list[np.ndarray]) -> list[np.ndarray]:
    import tensorflow as tf

    model = tf.saved_model.load(str(export))
    return [
        model.signatures["serving_default"](frames=tf.constant(clip[None]), length=tf.constant([len(clip)]))[
            "forecast"
        ].numpy()[0]
        for clip in clips
    ]


def _send_requests(
    address: str,
    clips: list[np.ndarray],
    expected: list[list[np.ndarray]],
    weights: dict[int, int],
    tally: Tally,
    stop: threading.Event,
    seed: int,
) -> None:
    import tensorflow as tf

    from framecast.models.export.warmup import predict_request
    from framecast.serving.client.client import predict_stub

    predict, draw = predict_stub(address), random.Random(seed)
    while not stop.is_set():
        number = draw.randrange(len(clips))
        clip = clips[number]
        request = predict_request({"frames": clip[None], "length": np.int32([len(clip)])}, model="framecast")
        try:
            response = predict(request, timeout=60)
        except grpc.RpcError as error:
            tally.failures.append(f"{error.code().name}: {error.details()}")
            continue
        version = response.model_spec.version.value
        difference = np.abs(tf.make_ndarray(response.outputs["forecast"])[0] - expected[weights[version]][number]).max()
        if not difference <= _TOLERANCE:
            tally.wrong.append((version, float(difference)))
        tally.responses[version] = tally.responses.get(version, 0) + 1


def _push_corrupt(base: pathlib.Path, export: pathlib.Path) -> None:
    """Adds a newest version with truncated weights."""
    broken = base / str(max(int(path.name) for path in base.iterdir() if path.name.isdigit()) + 1)
    shutil.copytree(export, base / ".broken")
    with (base / ".broken/variables/variables.data-00000-of-00001").open("r+b") as file:
        file.truncate(100)
    (base / ".broken").rename(broken)


def _roll_back(base: pathlib.Path, address: str, tally: Tally) -> None:
    """Rolls back to the previous version, as `framecast models rollback`, and waits until it is served again."""
    from framecast.serving.releases import releases, server_sync, version_folder

    with server_sync.ModelServers([address]) as servers:
        previous = releases.rollback(str(base), servers)["labels"][version_folder.STABLE]
    count = tally.responses.get(previous, 0)
    _wait(lambda: tally.responses.get(previous, 0) > count, f"version {previous} to be served again")


def _wait_for(tally: Tally, version: int) -> None:
    _wait(lambda: version in tally.responses, f"version {version} to be served")


def _wait(condition, expected: str) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited 120 s for {expected}")
        time.sleep(0.05)


if __name__ == "__main__":
    sys.exit(main())
