"""`framecast query`: what a server answers for recorded clips; forecasts scored and drawn."""

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
    """Asks a server about the clips in TFRecords.

    Args:
        paths: TFRecord files.
        address: `host:port` of the server.
        model: Name of the served model.
        holdout: Cut the last frames off each clip, and score the forecast against them.
        limit: How many clips to ask about at most.
        gif: Where to write an animation of the first clips.
        value: Physical meaning of a pixel, for the animation.

    Returns:
        `clips`, `left_out` (clips too short for the model) and `version`. Of forecasts `horizon`, and with `holdout` by
        lead time `mse`, `mse_persistence` (per pixel in [0, 1]) and `skill_persistence`. Of another task `answers`: for
        each clip its name and what the model answered.

    Raises:
        ValueError: When no clip is long enough, a clip or file breaks the contract of the served model, or `holdout` or
            `gif` is asked of a model that makes no forecasts.
        grpc.RpcError: When the server does not answer.
    """
    with Forecaster(address, model=model) as forecaster:
        spec, horizon = _declared(forecaster)
        if horizon is None and (holdout or gif):
            raise ValueError(f"--holdout, --gif: expected a model that makes forecasts, received {model}")
        cut = horizon if holdout and horizon else 0
        rows: list[Row] = []
        answers: list[dict[str, Any]] = []
        left_out = 0
        for example in itertools.chain.from_iterable(read_clips(path, spec) for path in paths):
            frames = codec.decode_frames(example, spec)
            context, truth = frames[: len(frames) - cut], frames[len(frames) - cut :]
            outputs = _ask(forecaster, context) if len(context) else None
            if outputs is None:
                left_out += 1
                continue
            name = example.context.feature[features.EXAMPLE_ID].bytes_list.value[0].decode(errors="replace")
            if horizon is None:
                answers.append({"clip": name, **{key: value.tolist() for key, value in sorted(outputs.items())}})
            else:
                truth_or_none = truth if holdout else None
                rows.append(Row(context=context, truth=truth_or_none, forecast=outputs["forecast"], label=name))
            if len(rows) + len(answers) == limit:
                break
        version = forecaster.version
    if not rows and not answers:
        raise ValueError(
            f"{', '.join(paths)}: expected a clip long enough for the model, received {left_out} too short"
        )
    answer: dict[str, Any] = {"clips": len(rows) + len(answers), "left_out": left_out, "version": version}
    if horizon is None:
        return {**answer, "answers": answers}
    answer["horizon"] = horizon
    if holdout:
        answer.update(_scores(rows, spec))
    if gif:
        write_gif(gif, rows[:_ROWS], value=value)
        answer["gif"] = gif
    return answer


def describe(answer: dict[str, Any]) -> str:
    """Returns the answer as text for a person."""
    lines = [
        f"{answer['clips']} clips answered by version {answer['version']}, {answer['left_out']} too short left out"
    ]
    lines += [_describe_answer(clip) for clip in answer.get("answers", ())]
    if "mse" in answer:
        lines.append(f"{'lead time':<18}" + "".join(f"{lead:>9}" for lead in range(1, answer["horizon"] + 1)))
        for name in ("mse", "mse_persistence", "skill_persistence"):
            lines.append(f"{name:<18}" + "".join(f"{figure:9.4f}" for figure in answer[name]))
    if "gif" in answer:
        lines.append(f"animation: {answer['gif']}")
    return "\n".join(lines)


def _describe_answer(clip: dict[str, Any]) -> str:
    if "clip_anomaly_score" in clip:
        alarms = [frame for frame, score in enumerate(clip["anomaly_score"]) if score >= 1]
        frames = f", frames {', '.join(map(str, alarms))}" if alarms else ""
        verdict = "anomalous" if clip["clip_anomaly_score"] >= 1 else "normal"
        return f"{clip['clip']}: {verdict}, score {clip['clip_anomaly_score']:.3g}{frames}"
    if "probabilities" in clip:
        shares = np.array(clip["probabilities"])
        best, share = shares.argmax(-1), shares.max(-1)
        if shares.ndim == 1:
            return f"{clip['clip']}: class {best} ({share:.1%})"
        return f"{clip['clip']}: classes {' '.join(map(str, best))}"
    return f"{clip['clip']}: " + " ".join(f"{value:.4g}" for value in np.atleast_1d(clip["value"]))


def _declared(forecaster: Forecaster) -> tuple[ClipSpec, int | None]:
    """Reads dtype, channels and horizon from what the server declares of its model; no horizon of another task."""
    signature = forecaster.metadata().signatures["serving_default"]
    frames, forecast = signature.inputs["frames"], signature.outputs.get("forecast")
    assert frames.shape is not None
    channels, horizon = frames.shape[-1], forecast.shape[1] if forecast is not None and forecast.shape else None
    assert channels is not None
    return ClipSpec.model_validate({"channels": channels, "dtype": frames.dtype, "frames": _ANY_LENGTH}), horizon


def _ask(forecaster: Forecaster, context: np.ndarray) -> dict[str, np.ndarray] | None:
    """Returns the model's outputs; None when the server finds the clip too short."""
    try:
        (outputs,) = forecaster.answer([context])
    except grpc.RpcError as error:
        if error.code() is grpc.StatusCode.INVALID_ARGUMENT and "length: expected at least" in error.details():
            return None
        raise
    return outputs


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
