"""Trains a model: one `tf.function` step through `strategy.run`, with checkpoints that survive a kill.

    with strategy.scope():
        model = presets.build("convlstm-small", channels=1, dtype="mixed_bfloat16")
        train = OptimizerSpec(steps=2000, learning_rate=1e-3, eval_every=200)
        fitted = fit(model, dataset, val_dataset, objective, train, state_dir=state_dir, log_dir=log_dir)

Batches are dictionaries, as `framecast.models.training.input_pipeline` makes them and the objective takes them.
"""

import contextlib
import dataclasses
import logging
import math
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping

import keras
import numpy as np
import tensorflow as tf

from framecast.models.optimizer_spec import OptimizerSpec
from framecast.models.training import distribution
from framecast.models.training.objectives import Objective
from framecast.models.training.optimization.optimizer import averaged, make_optimizer
from framecast.models.training.optimization.schedule import Schedule
from framecast.models.training.optimization.steps import TrainStep, ValStep
from framecast.models.training.train_state import TrainState, WeightsMetric
from framecast.models.training.training_log import TrainLog

_LOG = logging.getLogger("framecast.train")


@dataclasses.dataclass(frozen=True)
class Fitted:
    """The result of a training; the model has the weights of `step`.

    Args:
        step: Optimizer steps after which the weights were the best.
        val_loss: Their val loss.
        stopped: The step at which training ended early; None if it took all steps.
        metric: The metric that chose them and their value of it, by its name; empty if the val loss did.
    """

    step: int
    val_loss: float
    stopped: int | None = None
    metric: dict[str, float] = dataclasses.field(default_factory=dict)


def fit(
    model: keras.Model,
    dataset: tf.data.Dataset,
    val_dataset: tf.data.Dataset,
    objective: Objective,
    train: OptimizerSpec,
    *,
    state_dir: str | os.PathLike,
    log_dir: str | os.PathLike,
    metric: WeightsMetric | None = None,
    draw: Callable[[], Mapping[str, np.ndarray]] | None = None,
    evaluated: Callable[[int, float], None] | None = None,
) -> Fitted:
    """Trains `model` in place, from the last checkpoint in `state_dir` if there is one, and loads the best weights.

    A checkpoint is written at every evaluation and holds weights and their averages, optimizer, schedule, step, best
    weights and the position in `dataset`.

    Call it on every worker, in the scope of the `tf.distribute` strategy in which `model` was built. All replicas
    together learn what one replica learns from the whole batches. All workers restore the chief's checkpoint; only the
    chief draws, and writes to the folders.

    Args:
        model: A built model with the call contract that `objective` expects.
        dataset: Endless batches for training, the same global batches on every worker; without Python or stateful
            random operations, so that the position can be saved.
        val_dataset: Finite batches, whose loss chooses the best weights unless `metric` does.
        objective: The loss. Training adds the model's own losses, such as regularizers'; the reported losses do not.
        train: How the weights are updated and for how long; a learning rate of 0 leaves them unchanged.
        state_dir: Folder of the checkpoints, shared by all workers.
        log_dir: Folder of the TensorBoard summaries: `loss`, `added_loss` (of the model, if it adds any),
            `gradient_norm` (global norm of a step's gradients before clipping), `val_loss`, the metric,
            `learning_rate`, and the images of `draw`.
        metric: Chooses the best weights; computed by the chief.
        draw: Called at every evaluation for images of the model's outputs: `(height, width, 3)` uint8, by tag.
        evaluated: Called at every evaluation with the step and its val loss, before the checkpoint, so a resumed
            training calls it again for an unsaved evaluation. An error in it ends the training.

    Raises:
        FloatingPointError: If a loss is not finite; the message names the step.
        ValueError: If `dataset` ends, `val_dataset` is empty, workers find different checkpoints, or `metric` is nan.
        WorkerLost: If another worker died; start all workers again to resume from the last checkpoint.
    """
    strategy = tf.distribute.get_strategy()
    chief = distribution.is_chief(strategy)
    schedule = Schedule(train)
    optimizer = make_optimizer(model, train, schedule, strategy.num_replicas_in_sync)
    dataset = dataset.with_options(_without_autotuning())
    train_step = TrainStep(model, optimizer, objective, strategy, dataset.element_spec, train.accumulate)
    val_step = ValStep(model, objective, strategy, val_dataset.element_spec)
    batches = iter(dataset)
    state = TrainState(model, optimizer, schedule, batches)
    log = TrainLog(train.steps, objective)
    with contextlib.ExitStack() as stack:
        stack.enter_context(distribution.naming_lost_workers(strategy, state.step))
        # Every worker saves, because TensorFlow may gather a variable from all of them; only the chief's copy is kept.
        folder = os.fspath(state_dir) if chief else stack.enter_context(tempfile.TemporaryDirectory())
        checkpoints = state.make_manager(folder)
        state.restore(strategy, os.fspath(state_dir), train.steps)
        stack.enter_context(log.writing(log_dir if chief else None))
        step = int(state.step.numpy())
        while step < train.steps and not _is_stalled(state, train):
            step += 1
            rate = float(schedule(step - 1))
            sums = train_step(_next_batches(batches, step, train), step - 1)
            state.step.assign(step)
            _check_finite("loss", float(objective.combine(sums.totals, sums.counts)) + sums.added, step)
            log.add_step(sums)
            evaluate = step % train.eval_every == 0 or step == train.steps
            if evaluate:
                with averaged(model, optimizer):
                    val_loss = _evaluate(val_step, val_dataset, objective, step)
                    figures = {"val_loss": val_loss, **_measure(metric, model, strategy)}
                    log.add_evaluation(step, figures, draw() if draw and chief else {})
                    schedule.observe(improved=_keep_if_best(state, figures, metric))
                if evaluated:
                    evaluated(step, val_loss)
                checkpoints.save(step)
            log.report(step, rate, force=evaluate)
    return _load_best(state, step, train, metric)


def _measure(metric: WeightsMetric | None, model: keras.Model, strategy: tf.distribute.Strategy) -> dict[str, float]:
    """Returns the metric by its key, the same on every worker; empty without a metric."""
    if metric is None:
        return {}
    weights = model.get_weights()  # On every worker, because TensorFlow may gather a variable from all of them.
    value = metric(weights) if distribution.is_chief(strategy) else math.nan
    return {metric.key: distribution.from_chief(strategy, value)}


def _keep_if_best(state: TrainState, figures: dict[str, float], metric: WeightsMetric | None) -> bool:
    val_loss = figures["val_loss"]
    if metric is None:
        return state.keep_if_best(val_loss, val_loss, math.nan)
    value = figures[metric.key]
    return state.keep_if_best(metric.cost(value), val_loss, value)


def _load_best(state: TrainState, step: int, train: OptimizerSpec, metric: WeightsMetric | None) -> Fitted:
    """Loads the best weights into the model.

    Raises:
        ValueError: If the metric was undefined at every evaluation.
    """
    done = int(state.best_step.numpy())
    if metric is not None and not done:
        raise ValueError(
            f"train.best_by: {metric.name}: expected a value on the val split, received none at any evaluation, "
            "because the val split lacks what it counts, such as events or labels; choose another metric or val_loss"
        )
    state.load_best()
    stopped = step if step < train.steps else None
    if stopped:
        better = f"better {metric.key}" if metric else "lower val loss"
        _LOG.info("stopped at step %d: no %s in %d evaluations", stopped, better, train.patience)
    chosen = {metric.name: float(state.best_metric.numpy())} if metric else {}
    return Fitted(step=done, val_loss=float(state.best_val_loss.numpy()), stopped=stopped, metric=chosen)


def _is_stalled(state: TrainState, train: OptimizerSpec) -> bool:
    """Checks whether the last `patience` evaluations had no better weights."""
    if train.patience is None:
        return False
    done, best = (int(step.numpy()) // train.eval_every for step in (state.step, state.best_step))
    return done - best >= train.patience


def _without_autotuning() -> tf.data.Options:
    # TensorFlow's autotuner sleeps up to a minute, and deleting an iterator waits for it.
    options = tf.data.Options()
    options.autotune.enabled = False
    return options


def _next_batches(batches: Iterator, step: int, train: OptimizerSpec) -> list[dict[str, tf.Tensor]]:
    taken: list[dict[str, tf.Tensor]] = []
    try:
        while len(taken) < train.accumulate:
            taken.append(next(batches))
    except StopIteration:
        received = (step - 1) * train.accumulate + len(taken)
        raise ValueError(f"dataset: expected {train.steps * train.accumulate} batches, received {received}") from None
    return taken


def _evaluate(val_step: ValStep, val_dataset: tf.data.Dataset, objective: Objective, step: int) -> float:
    sums = [val_step(batch) for batch in val_dataset]
    if not sums:
        raise ValueError("val_dataset: expected at least 1 batch, received none")
    totals, counts = (np.sum(values, axis=0) for values in zip(*((one.totals, one.counts) for one in sums)))
    val_loss = float(objective.combine(totals, counts))
    _check_finite("val_loss", val_loss, step)
    return val_loss


def _check_finite(name: str, value: float, step: int) -> None:
    if not math.isfinite(value):
        raise FloatingPointError(f"{name} at step {step}: expected a finite number, received {value}")
