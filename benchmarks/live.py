"""Compares the latency of a stream's next forecast by `step` and by `serving_default` on its last 24 frames.

python benchmarks/live.py  # 1 minute on 2 cores

Weights are random; requests go over gRPC to an embedded server in this process.
"""

import pathlib
import tempfile
import time
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from framecast.models.export.forecast import ForecastModule, ReferenceConstants
from framecast.models.networks import presets
from framecast.models.spec import ForecastTask
from framecast.schemas.clip_spec import ClipSpec, FrameRange
from framecast.serving.client import Client, LiveForecast
from framecast.serving.server.server import Server

CONTEXT = 24
FRAMES, WARM_UP = 20, 3  # Timed frames, and frames before them.
MODELS = (("convlstm-coarse", 64, 5), ("convlstm-advected", 128, 6))  # Preset, side in pixels, horizon.


def export(preset: str, horizon: int, folder: str) -> None:
    """Writes a SavedModel with random weights and the two signatures."""
    clip = ClipSpec(frames=FrameRange(min=1, max=CONTEXT))
    model = presets.build(preset, channels=1, dtype="float32")
    constants = ReferenceConstants(np.zeros(1, np.float32), [0.0] * horizon)
    module = ForecastModule(model, lambda inputs: inputs, clip, ForecastTask(horizon=horizon), constants)
    frames, length = tf.TensorSpec([None, None, None, None, 1], tf.uint8, "frames"), tf.TensorSpec([None], tf.int32)
    signatures = {
        "serving_default": tf.function(module.serve).get_concrete_function(frames, length),
        "step": module.step.signature(),
    }
    tf.saved_model.save(module, folder, signatures=signatures)


def milliseconds(request: Callable[[], object]) -> float:
    """Returns the duration of `request`."""
    started = time.perf_counter()
    request()
    return 1000 * (time.perf_counter() - started)


def compare(preset: str, side: int, horizon: int) -> str:
    """Returns a row of the table: medians of both, measured in turn, so that other load slows both alike."""
    frames = np.random.default_rng(0).integers(0, 256, (CONTEXT + WARM_UP + FRAMES, side, side, 1), np.uint8)
    steps, wholes = [], []
    with tempfile.TemporaryDirectory() as folder:
        export(preset, horizon, str(pathlib.Path(folder) / "1"))
        with Server("m", folder) as server:
            address = f"127.0.0.1:{server.port}"
            with Client(address, model="m") as clips, LiveForecast(address, model="m") as stream:
                stream.push(frames[:CONTEXT])
                for number in range(CONTEXT, len(frames)):
                    frame, clip = frames[number], frames[number - CONTEXT + 1 : number + 1]
                    steps.append(milliseconds(lambda frame=frame: stream.push(frame)))
                    wholes.append(milliseconds(lambda clip=clip: clips.forecast([clip])))
    step, whole = np.median(steps[WARM_UP:]), np.median(wholes[WARM_UP:])
    return f"{preset:18} {side:3}x{side:<3} {step:8.1f} {whole:8.1f} {whole / step:8.1f}"


if __name__ == "__main__":
    print(f"{'preset':18} {'frames':7} {'step ms':>8} {'whole ms':>8} {'ratio':>8}")
    for model in MODELS:
        print(compare(*model), flush=True)
