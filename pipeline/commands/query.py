"""`framecast query`: what a server answers for recorded clips, videos, images and arrays; scored, shown and written."""

import collections
from collections.abc import Sequence
from typing import Any

import grpc
import numpy as np
import tensorflow as tf

from framecast.clips import codec
from framecast.clips.palette import unit_range
from framecast.pipeline.commands.query_card import ModelCard, ModelCards
from framecast.pipeline.commands.query_sources import MediaOptions, own_missing, read_sources
from framecast.schemas import features
from framecast.schemas.clip_spec import ANY_LENGTH, ClipSpec
from framecast.serving.client.client import Client
from framecast.serving.client.signatures import SIGNATURE, ModelMetadata, TensorSpec
from framecast.serving.predictions import writers
from framecast.serving.predictions.prediction import FORECAST, Prediction


def query(
    paths: Sequence[str],
    *,
    address: str,
    model: str,
    label: str | None = None,
    deadline: float = 60.0,
    holdout: bool = False,
    limit: int = 16,
    to: Sequence[str] = (),
    card: str | None = None,
    media: MediaOptions | None = None,
) -> dict[str, Any]:
    """Asks a server about clips.

    Args:
        paths: TFRecords of clips, or videos, images or NumPy arrays; files, folders or patterns.
        address: `host:port` of the server.
        model: Name of the served model.
        label: Label of the version to ask; the newest unless given.
        deadline: Seconds that a request may take.
        holdout: Cut the last frames off each clip, and score the forecast against them.
        limit: How many clips to ask about at most.
        to: Files to write the answers to, see `framecast.serving.predictions.writers`.
        card: Where the model's `framecast.json` is, see `ModelCards`: it says what a pixel stands for. Unless given, the
            clips themselves do, if they know.
        media: How clips are cut from videos, images and arrays.

    Returns:
        `clips`, `left_out` (clips too short for the model), `limited` (whether `limit` ended it), `version`, `tally` of
        what media lost, and the files in `to`. Of forecasts `horizon`, and with `holdout` by lead time `mse`,
        `mse_persistence` (per known pixel in [0, 1]) and `skill_persistence`. Of another task `answers`: for each clip
        its name and what the model answered; and `classes`, names of classes by number, as far as clips tell them.

    Raises:
        ValueError: When no clip is long enough, a clip or file breaks the contract of the served model, `holdout` or
            a kind of file in `to` is asked of a model that makes no forecasts, or the answers do not fit such a file.
        FileNotFoundError: When a path matches nothing, or a folder to write to is missing.
        grpc.RpcError: When the server does not answer.
    """
    for path in to:
        writers.check_path(path)
    cards = ModelCards(card) if card else None
    tally: collections.Counter[str] = collections.Counter()
    answers: list[Prediction] = []
    left_out = 0
    with Client(address, model=model, label=label, deadline=deadline) as forecaster:
        metadata = forecaster.metadata()
        spec = _clip_spec(model, metadata, cards.of(metadata.version) if cards else None)
        declared = metadata.signatures[SIGNATURE].outputs
        if FORECAST not in declared and (holdout or any(map(writers.needs_forecasts, to))):
            raise ValueError(f"--holdout, --to: expected a model that makes forecasts for these, received {model}")
        cut = _horizon(model, declared[FORECAST]) if holdout else 0
        series = frozenset(name for name, output in declared.items() if output.is_series)
        for example in read_sources(paths, spec, media or MediaOptions(), tally):
            frames = codec.decode_frames(example, spec)
            context, truth = frames[: len(frames) - cut], frames[len(frames) - cut :]
            outputs = _ask(forecaster, context) if len(context) else None
            if outputs is None:
                left_out += 1
                continue
            assert forecaster.version is not None
            said = cards.of(forecaster.version) if cards else None
            answers.append(
                Prediction(
                    example,
                    context,
                    truth if holdout else None,
                    outputs,
                    forecaster.version,
                    series=series,
                    missing=own_missing(example) if said is None or said.missing is None else said.missing,
                    value=(said.value if said else None) or codec.own_value(example),
                    frame_rate=said.frame_rate if said else None,
                )
            )
            if len(answers) == limit:
                break
    lost = {name: count for name, count in sorted(tally.items()) if count and name != "frames"}
    if not answers:
        received = ", ".join([f"{left_out} too short", *(f"{name}: {count}" for name, count in lost.items())])
        raise ValueError(f"{', '.join(paths)}: expected a clip long enough for the model, received {received}")
    for path in to:
        writers.write_predictions(path, answers, model=model)
    return {
        "clips": len(answers),
        "left_out": left_out,
        "limited": len(answers) == limit,
        "version": answers[-1].version,
        "tally": lost,
        "to": list(to),
        **({"horizon": len(answers[0].outputs[FORECAST])} if answers[0].is_forecast else _labels(answers)),
        **(_scores(answers) if holdout else {}),
    }


def describe(answer: dict[str, Any]) -> str:
    """Returns the answer as text for a person."""
    lines = [
        f"{answer['clips']} clips answered by version {answer['version']}, {answer['left_out']} too short left out"
        + (": as many as --limit allows" if answer["limited"] else "")
    ]
    lines += [f"{name}: {count}" for name, count in answer["tally"].items()]
    lines += [_describe_answer(clip, answer["classes"]) for clip in answer.get("answers", ())]
    if "mse" in answer:
        lines.append(f"{'lead time':<18}" + "".join(f"{lead:>9}" for lead in range(1, answer["horizon"] + 1)))
        for name in ("mse", "mse_persistence", "skill_persistence"):
            lines.append(f"{name:<18}" + "".join(f"{figure:9.4f}" for figure in answer[name]))
    lines += [f"written: {path}" for path in answer["to"]]
    return "\n".join(lines)


def _describe_answer(clip: dict[str, Any], classes: dict[int, str]) -> str:
    if "clip_anomaly_score" in clip:
        alarms = [frame for frame, score in enumerate(clip["anomaly_score"]) if score >= 1]
        frames = f", frames {', '.join(map(str, alarms))}" if alarms else ""
        verdict = "anomalous" if clip["clip_anomaly_score"] >= 1 else "normal"
        return f"{clip['clip']}: {verdict}, score {clip['clip_anomaly_score']:.3g}{frames}"
    if "probabilities" in clip:
        shares = np.array(clip["probabilities"])
        best, share = shares.argmax(-1), shares.max(-1)
        if shares.ndim == 1:
            return f"{clip['clip']}: class {classes.get(int(best), best)} ({share:.1%})"
        return f"{clip['clip']}: classes {' '.join(str(classes.get(int(number), number)) for number in best)}"
    return f"{clip['clip']}: " + " ".join(f"{value:.4g}" for value in np.atleast_1d(clip["value"]))


def _clip_spec(model: str, metadata: ModelMetadata, card: ModelCard | None) -> ClipSpec:
    """Returns what clips must be: dtype and channels as the server declares, the meaning of pixels as the card says.

    They may have any length: the server says which contexts are too short for its model.
    """
    signature = metadata.signatures.get(SIGNATURE)
    frames = signature.inputs.get("frames") if signature else None
    if frames is None or frames.shape is None or frames.shape[-1] is None:
        raise ValueError(
            f"model {model} version {metadata.version}: expected a model that takes frames of a known number of "
            f"channels, received {signature.inputs if signature else f'none with a signature {SIGNATURE}'}"
        )
    declared = {"channels": frames.shape[-1], "dtype": frames.dtype}
    if card is not None:
        of_card = {"channels": card.channels, "dtype": card.dtype}
        if of_card != declared:
            raise ValueError(
                f"--card: expected that of model {model} version {metadata.version}, with {declared}, "
                f"received {of_card}"
            )
        declared |= {"missing": card.missing, "value": card.value}
    return ClipSpec.model_validate({**declared, "frames": ANY_LENGTH})


def _horizon(model: str, forecast: TensorSpec) -> int:
    """Returns how many frames a model forecasts, as it declares."""
    horizon = forecast.shape[1] if forecast.shape else None
    if horizon is None:
        raise ValueError(f"--holdout: expected a model that declares its horizon, received {model}: {forecast}")
    return horizon


def _ask(forecaster: Client, context: np.ndarray) -> dict[str, np.ndarray] | None:
    """Returns the model's outputs; None when the server finds the clip too short."""
    try:
        (outputs,) = forecaster.answer([context])
    except grpc.RpcError as error:
        if error.code() is grpc.StatusCode.INVALID_ARGUMENT and "length: expected at least" in error.details():
            return None
        raise
    return outputs


def _labels(answers: Sequence[Prediction]) -> dict[str, Any]:
    found = [
        {"clip": answer.name, **{name: value.tolist() for name, value in sorted(answer.outputs.items())}}
        for answer in answers
    ]
    return {"answers": found, "classes": _class_names([answer.example for answer in answers])}


def _class_names(examples: Sequence[tf.train.SequenceExample]) -> dict[int, str]:
    """Returns names of classes by number, from clips that are labelled with one class by both."""
    names = {}
    for example in examples:
        context = example.context.feature
        if features.LABEL_INDEX in context and features.LABEL_STRING in context:
            numbers = context[features.LABEL_INDEX].int64_list.value
            texts = context[features.LABEL_STRING].bytes_list.value
            if len(numbers) == len(texts) == 1:
                names[numbers[0]] = texts[0].decode(errors="replace")
    return names


def _scores(answers: Sequence[Prediction]) -> dict[str, list[float]]:
    """Returns errors by lead time, over the pixels of all clips whose truth is known."""
    sums: dict[str, Any] = {"mse": 0.0, "mse_persistence": 0.0}
    pixels: Any = 0
    for answer in answers:
        assert answer.truth is not None
        last = answer.context[-1]
        known = np.ones(answer.truth.shape, bool)
        if answer.missing is not None:
            missing = answer.context.dtype.type(answer.missing)
            known = answer.truth != missing
            last = np.where(last == missing, 0, last)  # As the model sees it.
        truth = unit_range(answer.truth)
        for name, forecast in (("mse", answer.outputs[FORECAST]), ("mse_persistence", unit_range(last)[None])):
            sums[name] = sums[name] + np.sum(np.where(known, np.square(forecast - truth), 0), axis=(1, 2, 3))
        pixels = pixels + np.count_nonzero(known, axis=(1, 2, 3))
    mse, mse_persistence = (sums[name] / np.maximum(pixels, 1) for name in ("mse", "mse_persistence"))
    return {
        "mse": mse.tolist(),
        "mse_persistence": mse_persistence.tolist(),
        "skill_persistence": (1 - mse / np.maximum(mse_persistence, 1e-12)).tolist(),
    }
