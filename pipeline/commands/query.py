"""Implements `framecast query`: predictions of a server for clips and media; scored and written."""

import collections
import dataclasses
from collections.abc import Sequence
from typing import Any

import grpc
import numpy as np
import tensorflow as tf

from framecast.clips import codec
from framecast.clips.convert.spec import ConvertSpec
from framecast.clips.declared import not_compared
from framecast.pipeline.commands import holdout_scores
from framecast.pipeline.commands.query_card import ModelCard, ModelCards
from framecast.pipeline.commands.query_sources import own_missing, read_sources
from framecast.pipeline.tables import columns
from framecast.schemas import features
from framecast.schemas.clip_spec import ANY_LENGTH, ClipSpec
from framecast.serving import versions
from framecast.serving.client.client import Client
from framecast.serving.client.signatures import ModelMetadata, TensorSpec
from framecast.serving.predictions import writers
from framecast.serving.predictions.prediction import FORECAST, Prediction
from framecast.serving.rpc import DEFAULT_SIGNATURE


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
    conversion: ConvertSpec | None = None,
) -> dict[str, Any]:
    """Requests predictions for clips from a server.

    Args:
        paths: TFRecords of clips, or videos, images, NumPy arrays or gridded files; files, folders or patterns.
        address: `host:port` of the server.
        model: Name of the served model.
        label: Label of the version; the newest version by default.
        deadline: Seconds that a request may take.
        holdout: Whether to cut the last frames off each clip and score the forecast against them.
        limit: Largest number of clips.
        to: Output files, see `framecast.serving.predictions.writers`.
        card: Path of the model's `framecast.json`, see `ModelCards`, for the physical value of a pixel; by default
            the clips' own.
        conversion: How clips are cut from videos, images, arrays and gridded files; by default `ANY_CLIP`.

    Returns:
        `clips`; `left_out`, the number of clips too short for the model; `limited`, whether `limit` was reached;
        `version`; `tally`, counts of changed or lost media frames; `to`; and `not_compared`, what the clips declare
        and the model does not (`framecast.clips.declared.not_compared`). For forecasts also `horizon`, and with
        `holdout` the scores of `holdout_scores.score`. For other tasks `answers`, the name and outputs of each clip,
        and `classes`, class names by number, as far as the clips have them.

    Raises:
        ValueError: If no clip is long enough, a clip or file breaks the contract of the served model, `holdout` or a
            format in `to` needs forecasts that the model does not make, or a format does not hold the outputs.
        FileNotFoundError: If a path matches nothing, or an output folder is missing.
        grpc.RpcError: If the request fails.
    """
    for path in to:
        writers.check_path(path)
    tally: collections.Counter[str] = collections.Counter()
    predictions: list[Prediction] = []
    left_out = 0
    with Client(address, model=model, label=label, deadline=deadline) as client:
        session = _open(client, model, ModelCards(card) if card else None, holdout, to)
        for example in read_sources(paths, session.spec, conversion, tally):
            prediction = session.predict(example)
            if prediction is None:
                left_out += 1
                continue
            predictions.append(prediction)
            if len(predictions) == limit:
                break
    lost = {name: count for name, count in sorted(tally.items()) if count and name != "frames"}
    if not predictions:
        received = ", ".join([f"{left_out} too short", *(f"{name}: {count}" for name, count in lost.items())])
        raise ValueError(f"{', '.join(paths)}: expected a clip long enough for the model, received {received}")
    for path in to:
        writers.write_predictions(path, predictions, model=model)
    return {
        "clips": len(predictions),
        "left_out": left_out,
        "limited": len(predictions) == limit,
        "version": predictions[-1].version,
        "tally": lost,
        "to": list(to),
        "not_compared": not_compared(predictions[0].example, session.spec),
        **_outputs(predictions),
        **(holdout_scores.score(predictions) if holdout else {}),
    }


def describe(found: dict[str, Any]) -> str:
    """Formats the result of `query` for the terminal."""
    lines = [
        f"{found['clips']} clips answered by version {found['version']}, {found['left_out']} too short left out"
        + (", stopped at --limit" if found["limited"] else "")
    ]
    lines += [f"{name}: {count}" for name, count in found["tally"].items()]
    lines += [f"not compared with the model, because no --card has it: {one}" for one in found["not_compared"]]
    lines += [_describe_outputs(clip, found["classes"]) for clip in found.get("answers", ())]
    if "mse" in found:
        rows = [["lead time", *map(str, range(1, found["horizon"] + 1))]]
        rows += [
            [name, *(f"{figure:.4f}" for figure in found[name])]
            for name in ("mse", "mse_persistence", "skill_persistence")
        ]
        lines.append(columns(rows))
    lines += [f"written: {path}" for path in found["to"]]
    return "\n".join(lines)


@dataclasses.dataclass(frozen=True)
class _Session:
    """A connection to a server, with the facts that its model declares.

    Args:
        client: The client.
        cards: Model cards by version; None without `--card`.
        spec: The clip contract of the served model.
        holdout: Number of frames to cut off each clip.
        series: Names of the per-frame outputs.
    """

    client: Client
    cards: ModelCards | None
    spec: ClipSpec
    holdout: int
    series: frozenset[str]

    def predict(self, example: tf.train.SequenceExample) -> Prediction | None:
        """Requests a prediction for a clip; None if the clip is too short."""
        frames = codec.decode_frames(example, self.spec)
        cut = len(frames) - self.holdout
        context, truth = frames[:cut], frames[cut:]
        outputs = self._request(context) if len(context) else None
        if outputs is None:
            return None
        version = self.client.version
        assert version is not None
        card = self.cards.of(version) if self.cards else None
        if card is not None and card.forecast_channels is not None:
            context, truth = (values[..., list(card.forecast_channels)] for values in (context, truth))
        return Prediction(
            example,
            context,
            truth if self.holdout else None,
            outputs,
            version,
            series=self.series,
            missing=own_missing(example) if card is None or card.missing is None else card.missing,
            value=(card.value if card else None) or codec.declared_value(example),
            frame_rate=card.frame_rate if card else None,
        )

    def _request(self, context: np.ndarray) -> dict[str, np.ndarray] | None:
        """Returns the model's outputs; None if the server rejects the clip as too short."""
        try:
            (outputs,) = self.client.answer([context])
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.INVALID_ARGUMENT and "length: expected at least" in error.details():
                return None
            raise
        return outputs


def _open(client: Client, model: str, cards: ModelCards | None, holdout: bool, to: Sequence[str]) -> _Session:
    """Reads the model's metadata and checks the options against it."""
    metadata = client.metadata()
    spec = _clip_spec(model, metadata, cards.of(metadata.version) if cards else None)
    declared = metadata.signatures[DEFAULT_SIGNATURE].outputs
    if FORECAST not in declared and (holdout or any(map(writers.needs_forecasts, to))):
        raise ValueError(f"--holdout, --to: expected a model that makes forecasts, received {model}")
    if cards is None and FORECAST in declared and _channels(declared[FORECAST]) not in (None, spec.channels):
        raise ValueError(
            f"--card: expected the card of model {model}, because it forecasts some channels only, received none"
        )
    series = frozenset(name for name, output in declared.items() if output.is_series)
    return _Session(client, cards, spec, _horizon(model, declared[FORECAST]) if holdout else 0, series)


def _clip_spec(model: str, metadata: ModelMetadata, card: ModelCard | None) -> ClipSpec:
    """Returns the clip contract: dtype and channels from the server, physical values from the card.

    Clips may have any length, because only the server knows the shortest context of its model.
    """
    signature = metadata.signatures.get(DEFAULT_SIGNATURE)
    frames = signature.inputs.get("frames") if signature else None
    if frames is None or frames.shape is None or frames.shape[-1] is None:
        raise ValueError(
            f"model {model} version {metadata.version}: expected a model that takes frames with a fixed number of "
            f"channels, received {signature.inputs if signature else f'no signature {DEFAULT_SIGNATURE}'}"
        )
    declared = {"channels": frames.shape[-1], "dtype": frames.dtype}
    if card is not None:
        of_card = {"channels": card.channels, "dtype": card.dtype}
        if of_card != declared:
            raise ValueError(
                f"--card: expected the card of model {model} version {metadata.version}, with {declared}, "
                f"received {of_card}"
            )
        intervals = versions.intervals(card.model_dump())
        declared |= {"missing": card.missing, "value": card.value, "intervals": intervals}
    return ClipSpec.model_validate({**declared, "frames": ANY_LENGTH})


def _channels(forecast: TensorSpec) -> int | None:
    """Returns the number of channels that a model declares for its forecast."""
    return forecast.shape[-1] if forecast.shape else None


def _horizon(model: str, forecast: TensorSpec) -> int:
    """Returns the horizon that a model declares."""
    horizon = forecast.shape[1] if forecast.shape else None
    if horizon is None:
        raise ValueError(f"--holdout: expected a model that declares its horizon, received {model}: {forecast}")
    return horizon


def _outputs(predictions: Sequence[Prediction]) -> dict[str, Any]:
    if predictions[0].is_forecast:
        return {"horizon": len(predictions[0].outputs[FORECAST])}
    outputs = [
        {"clip": prediction.name, **{name: value.tolist() for name, value in sorted(prediction.outputs.items())}}
        for prediction in predictions
    ]
    return {"answers": outputs, "classes": _class_names([prediction.example for prediction in predictions])}


def _class_names(examples: Sequence[tf.train.SequenceExample]) -> dict[int, str]:
    """Returns class names by number, from clips with one numeric and one text label."""
    names = {}
    for example in examples:
        context = example.context.feature
        if features.LABEL_INDEX in context and features.LABEL_STRING in context:
            numbers = context[features.LABEL_INDEX].int64_list.value
            texts = context[features.LABEL_STRING].bytes_list.value
            if len(numbers) == len(texts) == 1:
                names[numbers[0]] = texts[0].decode(errors="replace")
    return names


def _describe_outputs(clip: dict[str, Any], classes: dict[int, str]) -> str:
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
