"""The TFX Trainer's `run_fn`: learns what the references need, trains, exports."""

import dataclasses
import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tensorflow_transform as tft

from framecast.evaluation.baselines import in_graph
from framecast.evaluation.events_spec import EventsSpec
from framecast.models.export import anomaly as export_anomaly
from framecast.models.export import forecast as export_forecast
from framecast.models.export import labels as export_labels
from framecast.models.export import module as export
from framecast.models.export import warmup
from framecast.models.export.warmup_requests import warmup_requests
from framecast.models.networks import builders
from framecast.models.spec import ExportSpec, ForecastTask, ModelSpec, TrainSpec, parse_task
from framecast.models.training import checkpoint_users, distribution, loop, precision, warm_start
from framecast.models.training.input_pipeline import InputPipeline, normalise
from framecast.models.training.objectives import make_objective
from framecast.models.training.tensorboard_images import ForecastImages
from framecast.models.tuning import spec as tune_spec
from framecast.schemas.clip_spec import ClipSpec

SUMMARY = "training.json"  # In the model run's folder, beside the TensorBoard logs.

# Sigmas in pixels that the blurred reference is fitted over.
_BLURS = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0)
# Clips that the blur is fitted on: enough for one number a lead time, whatever the size of the data.
_BLUR_CLIPS = 256


def run_fn(fn_args: Any) -> None:
    """Trains on the transformed train split, selects on val, and exports the best weights.

    On all the GPUs of the machine, or on all workers of `TF_CONFIG` (see `models.training.distribution`), of which the
    chief exports.

    Args:
        fn_args: TFX's FnArgs; `base_model` is where a model may be that `train.warm_start` starts from;
            `hyperparameters`, where a Tuner found some, replace what `train` and `model` say; `custom_config` holds the
            sections `clip`, `task`, `model`, `train`, `export` and `evaluate.events`, the `contract`, the `state`
            folder and the `code` digest.

    Raises:
        ValueError: When a split holds no clip that is long enough.
        FloatingPointError: When the loss stops being a number, naming the step.
        WorkerLost: When another worker went away.
    """
    strategy = distribution.from_environment()  # First, since it connects the workers.
    settings = fn_args.custom_config
    if fn_args.hyperparameters:
        settings = tune_spec.with_values(settings, tune_spec.read_values(fn_args.hyperparameters))
    clip = ClipSpec.model_validate(settings["clip"])
    task = parse_task(settings["task"])
    train = TrainSpec.model_validate(settings["train"])
    pipeline = InputPipeline(clip, task, train)
    train_files, val_files = list_files(fn_args.train_files), list_files(fn_args.eval_files)
    clips: dict[int, tuple[np.ndarray, int]] = {}
    summary = survey(pipeline, train_files, val_files, clips)
    model_spec = ModelSpec.model_validate(settings["model"])
    model = build_model(strategy, model_spec, pipeline)
    with strategy.scope():
        start = warm_start.begin(model, fn_args.base_model) if train.warm_start else warm_start.Start()
    if start.note:
        logging.getLogger("framecast.train").info(start.note)
    state = os.path.join(settings["state"], _state_digest(settings, train_files, start.digest))
    if distribution.is_chief(strategy):
        checkpoint_users.add(state, fn_args.model_run_dir)
    fitted = fit(
        strategy,
        model,
        pipeline,
        train_files,
        pipeline.evaluation(val_files),
        state_dir=state,
        log_dir=fn_args.model_run_dir,
        draw=_images(model, pipeline, val_files),
    )
    if distribution.is_chief(strategy):
        summary["best"] = dataclasses.asdict(fitted)
        summary["start"] = start.note
        summary["precision"] = model.dtype_policy.name
        with tf.io.gfile.GFile(os.path.join(fn_args.model_run_dir, SUMMARY), "w") as file:
            file.write(json.dumps(summary, indent=1))
        exported = _with_precision(model, model_spec, clip, task, ExportSpec.model_validate(settings["export"]))
        _export(exported, pipeline, fn_args, summary, clips)
    distribution.wait_for_all(strategy)


def build_model(strategy: tf.distribute.Strategy, spec: ModelSpec, pipeline: InputPipeline) -> keras.Model:
    """Builds a model to be trained by `pipeline.train`, the same weights for the same seed."""
    train = pipeline.train
    keras.utils.set_random_seed(train.seed)
    if train.deterministic:
        tf.config.experimental.enable_op_determinism()
    with strategy.scope():
        return builders.build(spec, pipeline.task, pipeline.clip, precision.policy(train.precision))


def fit(
    strategy: tf.distribute.Strategy,
    model: keras.Model,
    pipeline: InputPipeline,
    train_files: list[str],
    val_dataset: tf.data.Dataset,
    *,
    state_dir: str,
    log_dir: str,
    draw: ForecastImages | None = None,
    evaluated: Callable[[int, float], None] | None = None,
) -> loop.Fitted:
    """Trains a model by `pipeline.train`.

    Args:
        strategy: Where.
        model: From `build_model`.
        pipeline: Clip contract, task and training settings.
        train_files: Transformed clips to learn from.
        val_dataset: See `framecast.models.training.loop.fit`, as the arguments below.
        state_dir: Folder of the checkpoints.
        log_dir: Folder of the TensorBoard summaries.
        draw: Draws the model as it trains.
        evaluated: Is told of every evaluation.
    """
    train = pipeline.train
    with strategy.scope():
        return loop.fit(
            model,
            pipeline.training(train_files),
            val_dataset,
            make_objective(pipeline.task, train),
            steps=train.steps,
            learning_rate=train.learning_rate,
            eval_every=train.eval_every,
            state_dir=state_dir,
            log_dir=log_dir,
            draw=draw,
            evaluated=evaluated,
        )


def _export(
    model: keras.Model,
    pipeline: InputPipeline,
    fn_args: Any,
    summary: dict[str, Any],
    longest: dict[int, tuple[np.ndarray, int]],
) -> None:
    """Writes the SavedModel with what else it needs of the data, and its warm-up requests."""
    settings, clip, task = fn_args.custom_config, pipeline.clip, pipeline.task
    train_files, val_files = list_files(fn_args.train_files), list_files(fn_args.eval_files)
    transform = tft.TFTransformOutput(fn_args.transform_graph_path).transform_features_layer()
    events = EventsSpec.model_validate(settings["events"]) if settings["events"] else None
    module, learned = _make_module(model, transform, pipeline, events, train_files, val_files)
    example = next(iter(pipeline.whole(val_files)))
    card = _card(settings, clip, task, module.shortest, summary, float(example["frame_rate"]))
    export.save(module, fn_args.serving_model_dir, {**card, **learned})
    requests = warmup_requests(module, longest, settings["export"]["batch_sizes"])
    warmup.write_warmup(fn_args.serving_model_dir, requests)


def _images(model: keras.Model, pipeline: InputPipeline, val_files: list[str]) -> ForecastImages | None:
    """Returns what draws the model's forecasts as it trains; None for labels, of which there is no picture."""
    if pipeline.task.kind not in ("forecast", "anomaly"):
        return None
    horizon = getattr(pipeline.task, "horizon", 0)
    return ForecastImages(model, pipeline.evaluation(val_files), horizon, pipeline.clip)


def _make_module(
    model: keras.Model,
    transform: Any,
    pipeline: InputPipeline,
    events: EventsSpec | None,
    train_files: list[str],
    val_files: list[str],
) -> tuple[export.ExportModule, dict[str, Any]]:
    """Returns what is exported, and what clients should know of it besides."""
    clip, task = pipeline.clip, pipeline.task
    if task.kind == "forecast":
        constants = _reference_constants(pipeline, task, train_files)
        module: export.ExportModule = export_forecast.ForecastModule(model, transform, clip, task, constants, events)
        return module, {"horizon": task.horizon}
    if task.kind == "anomaly":
        long_enough = pipeline.whole(val_files).filter(lambda clip: clip["length"] >= task.min_frames)
        thresholds = export_anomaly.calibrate(model, _normalised(long_enough, clip), task)
        module = export_anomaly.AnomalyModule(model, transform, clip, task, thresholds)
        return module, {"thresholds": dataclasses.asdict(thresholds)}
    return export_labels.LabelModule(model, transform, clip, task), {"label": task.label.model_dump(mode="json")}


def list_files(patterns: list[str]) -> list[str]:
    """Returns the files that match, sorted."""
    return sorted(name for pattern in patterns for name in tf.io.gfile.glob(pattern))


def survey(
    pipeline: InputPipeline,
    train_files: list[str],
    val_files: list[str],
    longest: dict[int, tuple[np.ndarray, int]],
) -> dict[str, Any]:
    """Counts what Transform materialised, by split; `longest` takes a clip for each padded length, see `_survey`.

    Raises:
        ValueError: When a split holds no clip that is long enough.
    """
    found = {}
    for split, files in (("train", train_files), ("val", val_files)):
        found[split] = _survey(pipeline, files, longest)
        if found[split]["clips"] == found[split]["short"]:
            raise ValueError(
                f"split {split}: expected clips of at least {pipeline.task.min_frames} frames, "
                f"received {found[split]['clips']} clips, all of them shorter"
            )
    return found


def _survey(pipeline: InputPipeline, files: list[str], longest: dict[int, tuple[np.ndarray, int]]) -> dict[str, Any]:
    """Counts what Transform materialised, in one pass that decodes nothing.

    `longest` takes for each padded length the clip with the most frames, and their number.
    """
    clips = frames = padded = pixels = stored = short = 0
    for clip in pipeline.whole(files):
        shape = clip["frames"].shape
        length = int(clip["length"])
        if length > longest.get(shape[0], (None, 0))[1]:
            longest[shape[0]] = (clip["frames"].numpy(), length)
        clips += 1
        frames += length
        padded += shape[0] - length
        pixels += length * int(np.prod(shape[1:]))
        stored += int(np.prod(shape)) * clip["frames"].dtype.size
        short += length < pipeline.task.min_frames
    return {
        "clips": clips,
        "short": short,
        "frames": frames,
        "padded_frames": padded,
        "padding_share": padded / max(padded + frames, 1),
        "bytes_per_pixel": stored / max(pixels, 1),
    }


def _reference_constants(
    pipeline: InputPipeline, task: ForecastTask, files: list[str]
) -> export_forecast.ReferenceConstants:
    clips = pipeline.whole(files)
    long_enough = clips.filter(lambda clip: clip["length"] >= task.min_frames).take(_BLUR_CLIPS)
    return export_forecast.ReferenceConstants(
        climatology=in_graph.fit_climatology(_normalised(clips, pipeline.clip)),
        blur_sigmas=in_graph.fit_blur(_normalised(long_enough, pipeline.clip), task.horizon, task.context.min, _BLURS),
    )


def _normalised(clips: tf.data.Dataset, spec: ClipSpec) -> Iterator[dict[str, tf.Tensor]]:
    """Yields batches of one whole clip."""
    for clip in clips:
        frames, known = normalise(clip["frames"][None], clip["length"][None], spec)
        yield {"frames": frames, "known": known, "length": clip["length"][None]}


def _state_digest(settings: dict[str, Any], files: list[str], start: str | None) -> str:
    """Names the checkpoints by everything that decides them, so that a restarted run finds its own and no other's.

    What is made or measured of the weights decides none: with other events, a trained model is only exported anew.
    """
    sections = {key: value for key, value in settings.items() if key not in ("state", "events", "export", "contract")}
    return hashlib.sha256(json.dumps([sections, files, start], sort_keys=True).encode()).hexdigest()[:16]


def _with_precision(
    model: keras.Model, spec: ModelSpec, clip: ClipSpec, task: Any, exporting: ExportSpec
) -> keras.Model:
    """Rebuilds the model in the export precision with the trained weights."""
    exported = builders.build(spec, task, clip, keras.DTypePolicy(exporting.precision))
    exported.set_weights(model.get_weights())
    return exported


def _card(
    settings: dict[str, Any], clip: ClipSpec, task: Any, shortest: int, summary: dict[str, Any], frame_rate: float
) -> dict[str, Any]:
    return {
        "task": task.kind,
        "context": {"min": shortest, "max": clip.frames.max},
        "dtype": clip.dtype,
        "channels": clip.channels,
        "height": clip.height,
        "width": clip.width,
        "missing": clip.missing,
        "value": clip.value.model_dump() if clip.value else None,
        "frame_rate": frame_rate or None,
        "batch_sizes": settings["export"]["batch_sizes"],
        "contract": settings["contract"],
        "code": settings["code"],
        "trained_on": {split: summary[split]["clips"] for split in ("train", "val")},
    }
