"""Soak of the embedded server: `python benchmarks/soak.py`, or `make soak`.

Clients ask without pause and without retries while versions are pushed one after the other, by the Pusher's own code,
one of them corrupt and one rolled back. Every answer is compared with that of the version which it names, computed
in this process; the server's memory is read after each swap. Exits with 1 when a request failed, an answer was not
its version's, a version did not come to serve, or memory grew by more than a quarter.
"""

import argparse
import contextlib
import dataclasses
import itertools
import json
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator

import grpc
import numpy as np
import psutil

from framecast.pipeline import quiet

_WEIGHTS = 3  # Different ones, used in turn: neighbouring versions never answer alike.
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
    """What the clients saw.

    Args:
        answers: How many answers each version gave.
        failures: What requests failed with.
        wrong: Versions, largest differences of answers that were not those of the version which they named.
    """

    answers: dict[int, int] = dataclasses.field(default_factory=dict)
    failures: list[str] = dataclasses.field(default_factory=list)
    wrong: list[tuple[int, float]] = dataclasses.field(default_factory=list)


def main() -> int:
    """Prints what happened; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--swaps", type=int, default=20)
    parser.add_argument("--clients", type=int, default=16)
    arguments = parser.parse_args()
    quiet.set_log_levels()
    with tempfile.TemporaryDirectory() as folder:
        return soak(pathlib.Path(folder), arguments.seconds, arguments.swaps, arguments.clients)


def soak(folder: pathlib.Path, seconds: float, swaps: int, clients: int) -> int:
    """Runs the soak in `folder`; returns the exit code."""
    from framecast.components import pusher
    from framecast.serving import versions
    from framecast.serving.releases import releases

    exports = _export(folder / "exports")
    clips = [np.random.default_rng(length).integers(0, 256, (length, _SIZE, _SIZE, 1), np.uint8) for length in _LENGTHS]
    expected = [_answers(export, clips) for export in exports]
    apart = min(np.abs(a - b).max() for one, other in itertools.pairwise(expected) for a, b in zip(one, other))
    base = folder / "serving"
    weights: dict[int, int] = {}

    def push() -> int:
        number = len(weights) % _WEIGHTS
        export = str(exports[number])
        pushed = pusher.push(export, str(base), releases.PushRecord(versions.digest(export), by="soak"))
        weights[pushed["version"]] = number
        return pushed["version"]

    first = push()
    print(f"versions differ by {apart:.1e} at least; {clients} clients, {seconds:.0f} s, {swaps} swaps", flush=True)
    tally, stop = Tally(), threading.Event()
    with _server(folder, base) as (address, process):
        threads = [
            threading.Thread(target=_ask, args=(address, clips, expected, weights, tally, stop, seed))
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
                    f"swap {swap + 1}: {memory[-1] / 2**20:.0f} MiB, {sum(tally.answers.values())} answers", flush=True
                )
                # The rest of the time is shared out evenly among the swaps.
                stop.wait(max(0.0, started + seconds * (swap + 1) / swaps - time.monotonic()))
        finally:
            stop.set()
            for thread in threads:
                thread.join()
    growth = np.median(memory[-3:]) / np.median(memory[len(memory) // 4 : len(memory) // 4 + 3])
    asked = sum(tally.answers.values())
    print(f"{asked} answers by {len(tally.answers)} versions, {asked / (time.monotonic() - started):.0f} a second")
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


def _answers(export: pathlib.Path, clips: list[np.ndarray]) -> list[np.ndarray]:
    import tensorflow as tf

    model = tf.saved_model.load(str(export))
    return [
        model.signatures["serving_default"](frames=tf.constant(clip[None]), length=tf.constant([len(clip)]))[
            "forecast"
        ].numpy()[0]
        for clip in clips
    ]


@contextlib.contextmanager
def _server(folder: pathlib.Path, base: pathlib.Path) -> Iterator[tuple[str, psutil.Process]]:
    """Runs `framecast serve` as a user would; yields its address and process."""
    (folder / "batching.config").write_text(_BATCHING)
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "framecast.pipeline.cli.main",
        "serve",
        str(base),
        "--port=0",
        "--json",
    ]
    command += ["--enable_batching", f"--batching_parameters_file={folder / 'batching.config'}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            banner = json.loads(server.stdout.readline())
            yield f"127.0.0.1:{banner['port']}", psutil.Process(server.pid)
        finally:
            server.terminate()


def _ask(
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
        tally.answers[version] = tally.answers.get(version, 0) + 1


def _push_corrupt(base: pathlib.Path, export: pathlib.Path) -> None:
    """Puts a version on top whose weights are cut short, as no push of ours would."""
    broken = base / str(max(int(path.name) for path in base.iterdir() if path.name.isdigit()) + 1)
    shutil.copytree(export, base / ".broken")
    with (base / ".broken/variables/variables.data-00000-of-00001").open("r+b") as file:
        file.truncate(100)
    (base / ".broken").rename(broken)


def _roll_back(base: pathlib.Path, address: str, tally: Tally) -> None:
    """Goes back to the version before, as `framecast models rollback` does, and waits until it answers again."""
    from framecast.serving.releases import releases, server_sync, version_folder

    with server_sync.ModelServers([address]) as servers:
        before = releases.rollback(str(base), servers)["labels"][version_folder.STABLE]
    answered = tally.answers.get(before, 0)
    _wait(lambda: tally.answers.get(before, 0) > answered, f"version {before} to answer again")


def _wait_for(tally: Tally, version: int) -> None:
    _wait(lambda: version in tally.answers, f"version {version} to answer")


def _wait(condition, what: str) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited 120 s for {what}")
        time.sleep(0.05)


if __name__ == "__main__":
    sys.exit(main())
