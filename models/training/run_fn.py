"""Trains and exports a model: the TFX Trainer's `run_fn`."""

import dataclasses
import hashlib
import json
import logging
import os
from typing import Any

import keras
import tensorflow as tf
import tensorflow_transform as tft

from framecast.evaluation.events_spec import EventsSpec
from framecast.models import hyperparameters
from framecast.models.export import warmup
from framecast.models.export.module import save_module
from framecast.models.export.served_difference import describe_served_difference
from framecast.models.export.val_metric import ValMetric
from framecast.models.export.warmup_requests import warmup_requests
from framecast.models.optimizer_spec import VAL_LOSS
from framecast.models.spec import ExportSpec, ModelSpec, TrainSpec, parse_task
from framecast.models.tasks import define_task
from framecast.models.training import checkpoint_users, distribution, precision, summary, train_model, warm_start
from framecast.models.training.input_pipeline import InputPipeline, SplitFiles
from framecast.models.training.survey import SplitSurvey, survey_splits
from framecast.schemas.clip_spec import ClipSpec


def run_fn(fn_args: Any) -> None:
    """Trains on the transformed train split, selects the best weights on val, and exports them.

    It uses all GPUs of the machine, or all workers of `TF_CONFIG` (see `framecast.models.training.distribution`), of
    which the chief exports.

    Args:
        fn_args: TFX's FnArgs. `base_model` is the folder of the model that `train.warm_start` starts from;
            `hyperparameters` from a Tuner, if any, replace settings of `train` and `model`; `custom_config` holds the
            sections `clip`, `task`, `model`, `train`, `export` and `evaluate.events`, the `contract`, the `state`
            folder and the `code` digest.

    Raises:
        ValueError: If no clip of a split is long enough for the task, or `train.init_from` has no matching weight.
        FloatingPointError: If the loss is not finite; the message names the step.
        WorkerLost: If another worker died.
    """
    strategy = distribution.from_environment()  # First, because it connects the workers.
    settings = fn_args.custom_config
    if fn_args.hyperparameters:
        settings = hyperparameters.with_values(settings, hyperparameters.read_values(fn_args.hyperparameters))
    pipeline = make_pipeline(settings)
    files = SplitFiles.match(fn_args.train_files, fn_args.eval_files)
    survey = survey_splits(pipeline, files)
    spec = ModelSpec.model_validate(settings["model"])
    model, start = train_model.build_model(strategy, spec, pipeline, files.train)
    if pipeline.train.warm_start:
        start = _warm_start(strategy, model, spec, pipeline, fn_args.base_model)
    state = os.path.join(settings["state"], _state_digest(settings, files.digests(), start.digest))
    with checkpoint_users.using(state, fn_args.model_run_dir, writes=distribution.is_chief(strategy)):
        fitted = train_model.fit_model(
            strategy,
            model,
            pipeline,
            files.train,
            pipeline.evaluation(files.val),
            state_dir=state,
            log_dir=fn_args.model_run_dir,
            metric=_val_metric(model, spec, pipeline, files, settings),
            draw=define_task(pipeline.task).make_images(model, pipeline.evaluation(files.val), pipeline.clip),
        )
    if distribution.is_chief(strategy):
        result = {
            "best": dataclasses.asdict(fitted),
            "start": start.note,
            "random": start.random,
            "unused": start.unused,
            "precision": precision.describe(model),
        }
        exporting = ExportSpec.model_validate(settings["export"])
        exported = train_model.with_precision(model, spec, pipeline, exporting.precision)
        result["warning"] = define_task(pipeline.task).describe_gap(exported, pipeline, files)
        if result["warning"]:
            logging.getLogger("framecast.train").warning(result["warning"])
        summary.write(fn_args.model_run_dir, {**survey.counts, **result})
        _export(exported, pipeline, files, survey, settings, fn_args)
    distribution.wait_for_all(strategy)


def make_pipeline(settings: dict[str, Any]) -> InputPipeline:
    """Returns the input pipeline of the sections `clip`, `task` and `train`."""
    return InputPipeline(
        ClipSpec.model_validate(settings["clip"]),
        parse_task(settings["task"]),
        TrainSpec.model_validate(settings["train"]),
    )


def _warm_start(
    strategy: tf.distribute.Strategy,
    model: keras.Model,
    spec: ModelSpec,
    pipeline: InputPipeline,
    base_model: str | None,
) -> warm_start.Start:
    """Loads the weights of the serving model, if the new model has its function."""
    random = model.get_weights()
    with strategy.scope():
        start = warm_start.begin(model, base_model)
    if start.digest is not None and (difference := _function_difference(model, spec, pipeline, base_model)):
        name = start.note.removeprefix("warm start from ")
        start = warm_start.Start(f"cold start: {name} computes another function with the same weights: {difference}")
        model.set_weights(random)
    logging.getLogger("framecast.train").info(start.note)
    return start


def _function_difference(model: keras.Model, spec: ModelSpec, pipeline: InputPipeline, exported: str | None) -> str:
    """Returns how the answers of the model, with the weights of an exported one, differ from that model's."""
    assert exported is not None
    task = define_task(pipeline.task)
    rebuilt = train_model.with_precision(model, spec, pipeline, "float32")
    # Only the answers to decoded frames are compared.
    module = task.make_module(rebuilt, dict, pipeline.clip, task.neutral_constants(pipeline.clip))
    return describe_served_difference(module, exported, pipeline.clip)


def _val_metric(
    model: keras.Model, spec: ModelSpec, pipeline: InputPipeline, files: SplitFiles, settings: dict[str, Any]
) -> ValMetric | None:
    """Returns the metric that chooses the best weights, of the model in the precision of the export."""
    if pipeline.train.best_by == VAL_LOSS:
        return None
    exported = train_model.with_precision(model, spec, pipeline, settings["export"]["precision"])
    return define_task(pipeline.task, _events(settings)).make_val_metric(exported, pipeline, files)


def _events(settings: dict[str, Any]) -> EventsSpec | None:
    return EventsSpec.model_validate(settings["events"]) if settings["events"] else None


def _state_digest(settings: dict[str, Any], clips: dict[str, str], start: str | None) -> str:
    """Names a checkpoint folder by everything that decides its weights, so that only the same training resumes it.

    These are the transformed clips, not the paths of their files; the graph that transformed them only matters for
    export. Settings of export and evaluation do not count: if only they change, the trained model is exported again.
    But a metric that chooses the weights depends on the events and on the precision of the export.
    """
    sections = {key: value for key, value in settings.items() if key not in ("state", "events", "export", "contract")}
    if settings["train"].get("best_by", VAL_LOSS) != VAL_LOSS:
        sections |= {"events": settings["events"], "precision": settings["export"]["precision"]}
    return hashlib.sha256(json.dumps([sections, clips, start], sort_keys=True).encode()).hexdigest()[:16]


def _export(
    model: keras.Model,
    pipeline: InputPipeline,
    files: SplitFiles,
    survey: SplitSurvey,
    settings: dict[str, Any],
    fn_args: Any,
) -> None:
    """Writes the SavedModel with the constants learned from the data, its card, and its warm-up requests."""
    transform = tft.TFTransformOutput(fn_args.transform_graph_path).transform_features_layer()
    task = define_task(pipeline.task, _events(settings))
    constants = task.learn_constants(model, pipeline, files)
    module = task.make_module(model, transform, pipeline.clip, constants)
    example = next(iter(pipeline.whole(files.val)))
    card = _card(settings, pipeline, survey, float(example["frame_rate"]))
    save_module(module, fn_args.serving_model_dir, {**card, **task.describe(constants)})
    requests = warmup_requests(module, survey.longest, settings["export"]["batch_sizes"])
    warmup.write_warmup(fn_args.serving_model_dir, requests)


def _card(settings: dict[str, Any], pipeline: InputPipeline, survey: SplitSurvey, frame_rate: float) -> dict[str, Any]:
    """Returns what `framecast.json` says about a model of any task."""
    clip, task = pipeline.clip, pipeline.task
    return {
        "task": task.kind,
        "context": {"min": task.min_served_frames, "max": clip.frames.max},
        "dtype": clip.dtype,
        "channels": clip.channels,
        "height": clip.height,
        "width": clip.width,
        "missing": clip.missing,
        "value": clip.value.model_dump() if clip.value else None,
        "frame_rate": frame_rate or None,
        "intervals": list(clip.intervals) or ([1 / frame_rate] if frame_rate else []),
        "batch_sizes": settings["export"]["batch_sizes"],
        "contract": settings["contract"],
        "code": settings["code"],
        "trained_on": {split: counts["clips"] for split, counts in survey.counts.items()},
    }
