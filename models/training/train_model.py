"""Builds and fits a model by the configuration's `model` and `train` sections, for the Trainer and the Tuner.

model = build_model(strategy, spec, pipeline, train_files)
fitted = fit_model(strategy, model, pipeline, train_files, val_dataset, state_dir=..., log_dir=...)
"""

from collections.abc import Callable, Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from framecast.models.networks import builders
from framecast.models.spec import ModelSpec
from framecast.models.tasks import define_task
from framecast.models.training import loop, precision
from framecast.models.training.input_pipeline import InputPipeline
from framecast.models.training.optimization.freezing import freeze
from framecast.models.training.train_state import WeightsMetric


def build_model(
    strategy: tf.distribute.Strategy, spec: ModelSpec, pipeline: InputPipeline, train_files: Sequence[str]
) -> keras.Model:
    """Builds a model to be trained by `pipeline.train` on `train_files`; the same seed gives the same weights."""
    train = pipeline.train
    keras.utils.set_random_seed(train.seed)
    if train.deterministic:
        tf.config.experimental.enable_op_determinism()
    with strategy.scope():
        model = builders.build(spec, pipeline.task, pipeline.clip, precision.policy(train.precision))
        define_task(pipeline.task).prepare(model, pipeline, train_files)
    freeze(model, train.freeze)
    return model


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
            define_task(pipeline.task).make_objective(train),
            train,
            state_dir=state_dir,
            log_dir=log_dir,
            metric=metric,
            draw=draw,
            evaluated=evaluated,
        )


def with_precision(model: keras.Model, spec: ModelSpec, pipeline: InputPipeline, exported: str) -> keras.Model:
    """Rebuilds a trained model in the precision of the export, with its weights."""
    rebuilt = builders.build(spec, pipeline.task, pipeline.clip, keras.DTypePolicy(exported))
    rebuilt.set_weights(model.get_weights())
    return rebuilt
