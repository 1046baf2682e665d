"""Builds and fits a model by the configuration's `model` and `train` sections, for the Trainer and the Tuner.

model, start = build_model(strategy, spec, pipeline, train_files)
fitted = fit_model(strategy, model, pipeline, train_files, val_dataset, state_dir=..., log_dir=...)
"""

import logging
from collections.abc import Callable, Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from framecast.models.networks import builders
from framecast.models.spec import ModelSpec, TrainSpec
from framecast.models.tasks import define_task
from framecast.models.training import loop, precision, warm_start
from framecast.models.training.input_pipeline import InputPipeline
from framecast.models.training.optimization.freezing import freeze
from framecast.models.training.train_state import WeightsMetric


def build_model(
    strategy: tf.distribute.Strategy, spec: ModelSpec, pipeline: InputPipeline, train_files: Sequence[str]
) -> tuple[keras.Model, warm_start.Start]:
    """Builds a model to be trained by `pipeline.train` on `train_files`; the same seed gives the same weights.

    Returns:
        The model, and the weights that it has from `train.init_from`.

    Raises:
        ValueError: If the model does not fit the task or the settings of `train`.
    """
    train = pipeline.train
    keras.utils.set_random_seed(train.seed)
    if train.deterministic:
        tf.config.experimental.enable_op_determinism()
    with strategy.scope():
        model = builders.build(spec, pipeline.task, pipeline.clip, precision.policy(train.precision))
        start = warm_start.Start() if train.init_from is None else warm_start.load_matching(model, train.init_from)
        # After the weights, because it sets those that describe the train split.
        define_task(pipeline.task).prepare(model, pipeline, train_files)
    freeze(model, train.freeze)
    _log(start)
    return model, start


def fit_model(
    strategy: tf.distribute.Strategy,
    model: keras.Model,
    pipeline: InputPipeline,
    train_files: Sequence[str],
    val_dataset: tf.data.Dataset,
    *,
    state_dir: str,
    log_dir: str,
    metric: WeightsMetric | None = None,
    draw: Callable[[], Mapping[str, np.ndarray]] | None = None,
    evaluated: Callable[[int, float], None] | None = None,
) -> loop.Fitted:
    """Trains a model by `pipeline.train`.

    Args:
        strategy: The replicas.
        model: From `build_model`.
        pipeline: Clip contract, task and training settings.
        train_files: Transformed clips of the train split.
        val_dataset: See `framecast.models.training.loop.fit`, as for the arguments below.
        state_dir: Folder of the checkpoints.
        log_dir: Folder of the TensorBoard summaries.
        metric: Chooses the best weights, instead of the val loss.
        draw: Draws the model's forecasts.
        evaluated: Called at every evaluation.
    """
    train = pipeline.train
    with strategy.scope():
        return loop.fit(
            model,
            pipeline.training(train_files),
            val_dataset,
            define_task(pipeline.task).make_objective(_with_class_weights(pipeline, train_files)),
            train,
            state_dir=state_dir,
            log_dir=log_dir,
            metric=metric,
            draw=draw,
            evaluated=evaluated,
        )


def _log(start: warm_start.Start) -> None:
    """Logs the weights from `train.init_from`, and all others."""
    logger = logging.getLogger("framecast.train")
    if start.note:
        logger.info(start.note)
    if start.random:
        logger.info("weights that start random: %s", ", ".join(start.random))
    if start.unused:
        logger.info("weights of train.init_from that match none: %s", ", ".join(start.unused))


def _with_class_weights(pipeline: InputPipeline, train_files: Sequence[str]) -> TrainSpec:
    """Returns the settings of training, with numbers for `balanced` class weights.

    As in scikit-learn, the weight of a class is the number of labels divided by the number of classes and by the labels
    of the class. A class without labels has the weight that one label would give it.
    """
    train, classes = pipeline.train, getattr(pipeline.task, "classes", None)
    if train.class_weights != "balanced" or classes is None:
        return train
    counts = np.zeros(classes, np.int64)
    for clip in pipeline.whole(train_files):
        if pipeline.task.is_long_enough(clip["length"]):
            labels = clip["label"] if pipeline.task.per == "clip" else clip["label"][: clip["length"]]
            counts += np.bincount(np.ravel(labels), minlength=classes)
    weights = (counts.sum() / (classes * np.maximum(counts, 1))).tolist()
    logging.getLogger("framecast.train").info("class weights: %s", ", ".join(f"{weight:.3g}" for weight in weights))
    return train.model_copy(update={"class_weights": tuple(weights)})


def with_precision(model: keras.Model, spec: ModelSpec, pipeline: InputPipeline, exported: str) -> keras.Model:
    """Rebuilds a trained model in the precision of the export, with its weights."""
    rebuilt = builders.build(spec, pipeline.task, pipeline.clip, keras.DTypePolicy(exported))
    rebuilt.set_weights(model.get_weights())
    return rebuilt
