"""Makes the warm-up requests of a model: every batch size and length that clients send, and every other signature.

warmup.write_warmup("export", warmup_requests(module, clips, batch_sizes=(1, 4, 16)))

The first call of a signature, and of each larger batch, is slow, because memory is allocated and kernels are chosen.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from framecast.clips.codec import encode_clip
from framecast.models.export.module import ExportModule
from framecast.models.export.step import Step

# Bytes of frames. More would be copied with every version and, on a CPU, delay serving by a minute.
_MAX_BYTES = 32 * 2**20


def warmup_requests(
    module: ExportModule, clips: Mapping[int, tuple[np.ndarray, int]], batch_sizes: Sequence[int]
) -> list[dict[str, Any]]:
    """Returns arguments of `predict_request`, the cheapest of a signature first.

    `serving_default` is called with every batch size at every padded length of a legal request, and at the shortest
    legal length. If that exceeds 32 MiB of frames, batches larger than the smallest are sent at the longest length
    only: after that, the first call at another length is as fast as any (measured on a CPU), because the loop over time
    runs the same step of one batch, height and width.

    Args:
        module: The module that is exported.
        clips: By padded length, a real clip, `(padded time, height, width, channel)` in the clips' dtype, and its
            number of frames without padding.
        batch_sizes: Ascending; a clip is repeated to fill a batch.
    """
    longest, length = clips[max(clips)]
    clip = longest[: max(length, module.shortest)]
    legal = {time: served for time, served in clips.items() if time > module.shortest}
    legal[module.shortest] = (longest[: module.shortest], module.shortest)
    grid = list(itertools.product(batch_sizes, sorted(legal)))
    if sum(batch * legal[time][0].nbytes for batch, time in grid) > _MAX_BYTES:
        grid = [(batch, time) for batch, time in grid if batch == batch_sizes[0] or time == max(legal)]
    return [
        *(_batch(*legal[time], batch, module.shortest) for batch, time in grid),
        _encoded(clip),
        *(_stream(module.step, clip, module.shortest) if module.step is not None else []),
    ]


def _batch(frames: np.ndarray, length: int, batch: int, shortest: int) -> dict[str, Any]:
    lengths = np.full(batch, max(length, shortest), np.int32)
    return {"inputs": {"frames": np.repeat(frames[None], batch, axis=0), "length": lengths}}


def _encoded(clip: np.ndarray) -> dict[str, Any]:
    example = encode_clip(clip, example_id="warm-up", media_id="warm-up", frame_rate=1.0)
    return {"inputs": {"examples": [example.SerializeToString()]}, "signature_name": "serve_examples"}


def _stream(step: Step, clip: np.ndarray, shortest: int) -> list[dict[str, Any]]:
    """Returns two requests: a stream's first frames, and one more frame with the state after them."""
    first = {"frames": tf.constant(clip[None, :shortest]), **step.start(1)}
    answer = step(**first)
    following = {"frames": tf.constant(clip[None, -1:]), **{name: answer[name] for name in step.states_spec()}}
    return [
        {"inputs": {name: value.numpy() for name, value in inputs.items()}, "signature_name": "step"}
        for inputs in (first, following)
    ]
