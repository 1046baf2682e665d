"""Measures the overhead of the embedded server: `python benchmarks/serving.py`.

Requests to `framecast serve` alternate with calls of the bare SavedModel in this process on the same clips: latency at
batches of 1 and 16, for raw frames (`serving_default`) and encoded ones (`serve_examples`). Then 16 clients request one
clip at a time, without pause, from a server that batches. The bare model is measured at its best batch size up to 16,
because 16 clients can fill no larger batch. These requests are serialized in advance, because the clients of one Python
process would otherwise wait for each other more than for the server. Models are the demo's and `convlstm-s`, untrained,
at 64x64. Clients and server share the machine's cores.
"""

import argparse
import concurrent.futures
import pathlib
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from measuring import serving

from framecast.pipeline import quiet

_CONFIG = pathlib.Path(__file__).resolve().parent.parent / "configs/demo.yaml"
_FRAMES, _SIZE = 10, 64
_BATCHES = (1, 16)
_SIZES = (1, 2, 4, 8, 16)
_CLIENTS = 16
# No `allowed_batch_sizes`, because on a CPU padding a batch to an allowed size costs compute.
_BATCHING = """
max_batch_size { value: 16 }
batch_timeout_micros { value: 5000 }
max_enqueued_batches { value: 1000 }
num_batch_threads { value: 2 }
"""


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--presets", nargs="+", default=["convlstm-coarse", "convlstm-s"])
    parser.add_argument("--seconds", type=float, default=20, help="duration of each measurement")
    arguments = parser.parse_args()
    quiet.set_log_levels()
    for preset in arguments.presets:
        with tempfile.TemporaryDirectory() as folder:
            _measure(pathlib.Path(folder), preset, arguments.seconds)


def _measure(folder: pathlib.Path, preset: str, seconds: float) -> None:
    import tensorflow as tf

    _export(folder / "serving" / "1", preset)
    signatures = tf.saved_model.load(str(folder / "serving" / "1")).signatures
    print(f"{preset}: milliseconds, p50 and p99; {_FRAMES} frames of {_SIZE}x{_SIZE} per clip")
    print(f"{'batch':<8}{'signature':<18}{'bare':>16}{'served':>16}{'p50':>8}{'  over 1.1 x + 2 ms'}")
    with serving(folder / "serving") as (address, _):
        for batch in _BATCHES:
            for signature, inputs in _inputs(batch).items():
                tensors = {name: tf.constant(value) for name, value in inputs.items()}
                bare = lambda: signatures[signature](**tensors)["forecast"].numpy()  # noqa: B023, E731
                times = _alternate([bare, _requester(address, signature, inputs)], seconds)
                (own, own_99), (served, served_99) = (np.percentile(each, [50, 99]) for each in times)
                print(
                    f"{batch:<8}{signature:<18}{own:>8.1f}{own_99:>8.1f}{served:>8.1f}{served_99:>8.1f}"
                    f"{served / own:>7.2f}x{served - 1.1 * own - 2:>12.1f} ms",
                    flush=True,
                )
    best, size = max((_throughput_alone(signatures["serving_default"], size, seconds / 4), size) for size in _SIZES)
    print(f"bare: {best:.1f} clips/s at batches of {size}, its best of {', '.join(map(str, _SIZES))}")
    (folder / "batching.config").write_text(_BATCHING)
    flags = ["--enable_batching", f"--batching_parameters_file={folder / 'batching.config'}"]
    with serving(folder / "serving", *flags) as (address, _):
        served = _throughput_of_clients(address, seconds)
    again = _throughput_alone(signatures["serving_default"], size, seconds / 4)
    bare = (best + again) / 2
    print(f"{_CLIENTS} clients, batched: {served:.1f} clips/s, {served / bare:.2f} x the bare model's {bare:.1f}\n")


def _export(folder: pathlib.Path, preset: str) -> None:
    import keras

    from framecast.models.export.module import save_module
    from framecast.models.networks import builders
    from framecast.pipeline.commands import check
    from framecast.pipeline.config import config

    resolved = config.load(str(_CONFIG), [f"model.preset={preset}"])
    keras.utils.set_random_seed(0)
    model = builders.build(resolved.model, resolved.task, resolved.clip, keras.DTypePolicy("float32"))
    save_module(check.untrained_module(model, resolved), str(folder), {})


def _inputs(batch: int) -> dict[str, dict[str, Any]]:
    """Returns the same clips as inputs of both signatures."""
    from framecast.clips.codec import encode_clip

    frames = _clips(batch)
    encoded = [
        encode_clip(clip, example_id=str(number), media_id="m", frame_rate=10.0).SerializeToString()
        for number, clip in enumerate(frames)
    ]
    return {
        "serving_default": {"frames": frames, "length": np.full(batch, _FRAMES, np.int32)},
        "serve_examples": {"examples": encoded},
    }


def _clips(batch: int) -> np.ndarray:
    """Returns moving digits `(batch, time, height, width, 1)` uint8."""
    from framecast.clips.demo.moving_digits import digit_paths, draw_digits, source_digits

    random, digits = np.random.default_rng(0), source_digits(None)
    clips = []
    for _ in range(batch):
        moving = [(digits[random.integers(len(digits))], path) for path in digit_paths(random, _FRAMES)]
        clips.append(draw_digits(moving, _FRAMES, _SIZE))
    return np.stack(clips)


def _requester(address: str, signature: str, inputs: dict[str, Any]) -> Callable[[], np.ndarray]:
    """Returns a function that builds a request, sends it and decodes its response, as TF Serving's client example."""
    import tensorflow as tf

    from framecast.models.export.warmup import predict_request
    from framecast.serving.client.client import predict_stub

    predict = predict_stub(address)

    def request():
        response = predict(predict_request(inputs, model="framecast", signature_name=signature))
        return tf.make_ndarray(response.outputs["forecast"])

    return request


def _alternate(functions: Sequence[Callable[[], Any]], seconds: float) -> list[list[float]]:
    """Calls the functions in turn and returns the milliseconds of each function's calls."""
    for function in functions:
        for _ in range(3):
            function()
    times: list[list[float]] = [[] for _ in functions]
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for function, milliseconds in zip(functions, times):
            started = time.perf_counter()
            function()
            milliseconds.append(1000 * (time.perf_counter() - started))
    return times


def _throughput_alone(signature: Callable[..., Any], batch: int, seconds: float) -> float:
    import tensorflow as tf

    tensors = {name: tf.constant(value) for name, value in _inputs(batch)["serving_default"].items()}
    (times,) = _alternate([lambda: signature(**tensors)["forecast"].numpy()], seconds)
    return batch * len(times) / (sum(times) / 1000)


def _throughput_of_clients(address: str, seconds: float) -> float:
    import grpc

    from framecast.models.export.warmup import predict_request
    from framecast.serving import rpc

    request = predict_request(_inputs(1)["serving_default"], model="framecast").SerializeToString()
    started = threading.Barrier(_CLIENTS)

    def count_responses(_):
        # A separate connection, because channels of one process to one address share theirs by default.
        options = [*rpc.ANY_SIZE, ("grpc.use_local_subchannel_pool", 1)]
        with grpc.insecure_channel(address, options=options) as channel:
            predict = channel.unary_unary(f"/{rpc.PREDICT.service}/{rpc.PREDICT.name}")
            for _ in range(3):
                predict(request)
            started.wait()
            end, count = time.monotonic() + seconds, 0
            while time.monotonic() < end:
                predict(request)
                count += 1
            return count

    with concurrent.futures.ThreadPoolExecutor(_CLIENTS) as pool:
        return sum(pool.map(count_responses, range(_CLIENTS))) / seconds


if __name__ == "__main__":
    main()
