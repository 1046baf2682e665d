"""`framecast query`: forecasts of recorded clips from a server, scored and drawn."""

import itertools
from collections.abc import Sequence
from typing import Any

import grpc
import numpy as np

from framecast.clips import codec
from framecast.clips.check import read_clips
from framecast.schemas import features
from framecast.schemas.spec import ClipSpec, FrameRange, PixelValue
from framecast.serving.animation import Row, write_gif
from framecast.serving.client import Forecaster

_ROWS = 3  # Clips drawn.
# A query takes clips of any length: the server says which contexts are too short for its model.
_ANY_LENGTH = FrameRange(min=1, max=2**31 - 1)


def query(
    paths: Sequence[str],
    *,
    address: str,
    model: str,
    holdout: bool,
    limit: int,
    gif: str | None = None,
    value: PixelValue | None = None,
) -> dict[str, Any]:
    """Asks for forecasts of the clips in TFRecords.

    Args:
        paths: TFRecord files.
        address: `host:port` of the server.
        model: Name of the served model.
        holdout: Cut the last frames off each clip, and score the forecast against them.
        limit: How many clips to forecast at most.
        gif: Where to write an animation of the first clips.
        value: Physical meaning of a pixel, for the animation.

    Returns:
        `clips`, `left_out` (clips too short for the model), `version`, and with `holdout` by lead time `mse`,
        `mse_persistence` (per pixel in [0, 1]) and `skill_persistence`.

    Raises:
        ValueError: When no clip is long enough, or a clip or file breaks the contract of the served model.
        grpc.RpcError: When the server does not answer.
    """
    with Forecaster(address, model=model) as forecaster:
        spec, horizon = _declared(forecaster)
        cut = horizon if holdout else 0
        rows: list[Row] = []
        ids: list[str] = []
        left_out = 0
        for example in itertools.chain.from_iterable(read_clips(path, spec) for path in paths):
            frames = codec.decode_frames(example, spec)
            context, truth = frames[: len(frames) - cut], frames[len(frames) - cut :]
            forecast = _forecast(forecaster, context) if len(context) else None
            if forecast is None:
                left_out += 1
                continue
            example_id = example.context.feature[features.EXAMPLE_ID].bytes_list.value[0].decode(errors="replace")
            rows.append(Row(context=context, truth=truth if holdout else None, forecast=forecast, label=example_id))
            ids.append(example_id)
            if len(rows) == limit:
                break
        version = forecaster.version
    if not rows:
        raise ValueError(f"{', '.join(paths)}: expected a clip long enough to forecast, received {left_out} too short")
    answer: dict[str, Any] = {"clips": len(rows), "left_out": left_out, "version": version, "horizon": horizon}
    if holdout:
        answer.update(_scores(rows, spec))
    if gif:
        write_gif(gif, rows[:_ROWS], value=value)
        answer["gif"] = gif
    return answer


def describe(answer: dict[str, Any]) -> str:
    """Returns the answer as text for a person."""
    lines = [
        f"{answer['clips']} clips forecast by version {answer['version']}, {answer['left_out']} too short left out"
    ]
    if "mse" in answer:
        lines.append(f"{'lead time':<18}" + "".join(f"{lead:>9}" for lead in range(1, answer["horizon"] + 1)))
        for name in ("mse", "mse_persistence", "skill_persistence"):
            lines.append(f"{name:<18}" + "".join(f"{figure:9.4f}" for figure in answer[name]))
    if "gif" in answer:
        lines.append(f"animation: {answer['gif']}")
    return "\n".join(lines)


def _declared(forecaster: Forecaster) -> tuple[ClipSpec, int]:
    """Reads dtype, channels and horizon from what the server declares of its model."""
    signature = forecaster.metadata().signatures["serving_default"]
    frames, forecast = signature.inputs["frames"], signature.outputs["forecast"]
    assert frames.shape is not None
    assert forecast.shape is not None
    channels, horizon = frames.shape[-1], forecast.shape[1]
    assert channels is not None
    assert horizon is not None
    return ClipSpec.model_validate({"channels": channels, "dtype": frames.dtype, "frames": _ANY_LENGTH}), horizon


def _forecast(forecaster: Forecaster, context: np.ndarray) -> np.ndarray | None:
    """Returns the forecast; None when the server finds the context too short."""
    try:
        (forecast,) = forecaster.forecast([context])
    except grpc.RpcError as error:
        if error.code() is grpc.StatusCode.INVALID_ARGUMENT and "frames of context" in error.details():
            return None
        raise
    return forecast


def _scores(rows: Sequence[Row], spec: ClipSpec) -> dict[str, list[float]]:
    errors, persistence = [], []
    for row in rows:
        assert row.truth is not None
        truth = row.truth / np.float32(spec.max_pixel)
        last = row.context[-1] / np.float32(spec.max_pixel)
        errors.append(np.mean((row.forecast - truth) ** 2, axis=(1, 2, 3)))
        persistence.append(np.mean((last - truth) ** 2, axis=(1, 2, 3)))
    mse, mse_persistence = np.mean(errors, axis=0), np.mean(persistence, axis=0)
    return {
        "mse": mse.tolist(),
        "mse_persistence": mse_persistence.tolist(),
        "skill_persistence": (1 - mse / np.maximum(mse_persistence, 1e-12)).tolist(),
    }
