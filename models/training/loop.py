"""The training loop: one `tf.function` step through `strategy.run`, with checkpoints that survive a kill.

    with strategy.scope():
        model = presets.build("convlstm-small", channels=1, dtype="mixed_bfloat16")
        fitted = fit(model, dataset, val_dataset, objective, steps=2000, learning_rate=1e-3, eval_every=200,
                     state_dir=state_dir, log_dir=log_dir)

Batches are dictionaries, as `framecast.models.training.input_pipeline` makes them and the objective takes them.

Progress goes to the logger `framecast.train`, about once a second, as records that carry a dictionary `progress`:
`step`, `steps`, `loss` (mean since the last record), `gradient_norm` (likewise; None when no step had a finite one),
`val_loss` (the last one, None before the first) and `learning_rate`.
"""

import contextlib
import dataclasses
import logging
import math
import os
import tempfile
import time
from collections.abc import Callable, Mapping

import keras
import numpy as np
import tensorflow as tf

from framecast.models.training import distribution
from framecast.models.training.objectives import Objective

_LOG = logging.getLogger("framecast.train")
_REPORT_SECONDS = 1.0
_WARM_UP = 0.1
_CLIP_NORM = 1.0


@dataclasses.dataclass(frozen=True)
class Fitted:
    """What training reached: the model holds the weights of `step`, the best on the val split.

    Args:
        step: Optimizer steps after which the val loss was lowest.
        val_loss: That loss.
    """

    step: int
    val_loss: float


class OneCycle(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up to `peak` over the first tenth of the steps, then half a cosine down to 0.

    Args:
        peak: The largest learning rate.
        steps: Optimizer steps in all.
    """

    def __init__(self, peak: float, steps: int):
        self.peak = peak
        self.steps = steps

    def __call__(self, step):
        step = tf.cast(step, tf.float32)
        warm_up = max(1.0, _WARM_UP * self.steps)
        rising = (step + 1.0) / warm_up
        done = (step - warm_up) / max(1.0, self.steps - warm_up)
        falling = 0.5 + 0.5 * tf.cos(math.pi * tf.clip_by_value(done, 0.0, 1.0))
        return self.peak * tf.where(step < warm_up, tf.minimum(rising, 1.0), falling)

    def get_config(self):
        return {"peak": self.peak, "steps": self.steps}


def fit(
    model: keras.Model,
    dataset: tf.data.Dataset,
    val_dataset: tf.data.Dataset,
    objective: Objective,
    *,
    steps: int,
    learning_rate: float,
    eval_every: int,
    state_dir: str | os.PathLike,
    log_dir: str | os.PathLike,
    draw: Callable[[], Mapping[str, np.ndarray]] | None = None,
    evaluated: Callable[[int, float], None] | None = None,
) -> Fitted:
    """Trains `model` in place, from the last checkpoint in `state_dir` if there is one, and leaves the best weights.

    The optimizer is Adam with a one-cycle learning rate and gradients clipped to a global norm of 1.
    A checkpoint holds weights, optimizer, step, best val loss and the position in `dataset`, and is written at every
    evaluation.

    Call it in the scope of the `tf.distribute` strategy in which `model` was built, on every worker alike. Its replicas
    learn together what one learns from the whole batches. All workers restore the chief's checkpoint; it alone draws,
    and writes to the folders.

    Args:
        model: A built model with the call contract that `objective` expects.
        dataset: Batches for training, without an end; without Python or stateful random operations, so that its
            position can be saved. The same global batches on every worker.
        val_dataset: Batches whose mean loss chooses the weights, with an end.
        objective: The loss of a batch; called with the number of the step in training, and without training for val.
        steps: Optimizer steps.
        learning_rate: Peak of the schedule; 0 leaves the weights as they are.
        eval_every: Steps between evaluations; there is one after the last step too.
        state_dir: Folder of the checkpoints, one that all workers share.
        log_dir: Folder of the TensorBoard summaries: `loss`, `gradient_norm` (the global norm of a batch's gradients
            before clipping), `val_loss`, `learning_rate`, and the images of `draw`.
        draw: Called at every evaluation for images of what the model does by then: `(height, width, 3)` uint8, by tag.
        evaluated: Called at every evaluation with the step and its val loss, before the checkpoint: a training that is
            resumed evaluates again what it has told but not saved. What it raises ends the training.

    Raises:
        FloatingPointError: When a loss is not finite; the message names the step.
        ValueError: When `dataset` ends or `val_dataset` has no batch, or workers find different checkpoints.
        WorkerLost: When another worker went away; started anew, all go on from the last checkpoint.
    """
    strategy = tf.distribute.get_strategy()
    chief = distribution.is_chief(strategy)
    schedule = OneCycle(learning_rate, steps)
    # Squared gradients are averaged over 100 steps, not 1000: runs have hundreds of steps.
    optimizer = keras.optimizers.Adam(schedule, beta_2=0.99, global_clipnorm=_CLIP_NORM / strategy.num_replicas_in_sync)
    if model.compute_dtype == "float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    optimizer.build(model.trainable_variables)

    # TensorFlow's autotuner sleeps up to a minute between two looks, and an iterator that goes away waits for it.
    options = tf.data.Options()
    options.autotune.enabled = False
    dataset = dataset.with_options(options)
    train_step = _train_step(model, optimizer, objective, strategy, dataset.element_spec)
    val_step = _val_step(model, objective, strategy, val_dataset.element_spec)

    batches = iter(dataset)
    step = tf.Variable(0, dtype=tf.int64, trainable=False)
    best = tf.Variable(math.inf, dtype=tf.float64, trainable=False)
    best_step = tf.Variable(0, dtype=tf.int64, trainable=False)
    best_weights = [tf.Variable(tf.convert_to_tensor(weight), trainable=False) for weight in model.weights]
    # By their variables: the tracking of a Keras model misses the layers that it holds in a list. All of it in one
    # checkpoint, so that a kill between two writes leaves nothing that does not fit together.
    state = tf.train.Checkpoint(
        weights=model.weights,
        optimizer=optimizer.variables,
        step=step,
        best=best,
        best_step=best_step,
        best_weights=best_weights,
        batches=batches,
    )

    val_loss = None
    losses, norms = [], []
    reported = time.monotonic()
    with contextlib.ExitStack() as stack:
        stack.enter_context(distribution.naming_lost_workers(strategy, step))
        # Every worker saves, because TensorFlow may have to gather a variable from all of them; one copy is kept.
        folder = os.fspath(state_dir) if chief else stack.enter_context(tempfile.TemporaryDirectory())
        manager = tf.train.CheckpointManager(state, folder, max_to_keep=2)
        latest = tf.train.latest_checkpoint(os.fspath(state_dir))
        distribution.require_one_checkpoint(strategy, latest, os.fspath(state_dir))
        if latest:
            state.restore(latest).assert_existing_objects_matched()
            _LOG.info("resumed from %s", latest)

        writer = tf.summary.create_file_writer(os.fspath(log_dir)) if chief else tf.summary.create_noop_writer()
        stack.enter_context(writer.as_default())
        for done in range(int(step.numpy()) + 1, steps + 1):
            try:
                batch = next(batches)
            except StopIteration:
                raise ValueError(f"dataset: expected {steps} batches, received {done - 1}") from None
            rate = float(schedule(done - 1))
            loss, norm = train_step(batch, tf.constant(done - 1, tf.int64)).numpy().tolist()
            step.assign(done)
            _check_finite("loss", loss, done)
            losses.append(loss)
            # Where float16 overflows, the norm is infinite, and the optimizer skips the step.
            if math.isfinite(norm):
                norms.append(norm)
            evaluate = done % eval_every == 0 or done == steps
            if evaluate:
                val_loss = _mean([float(val_step(batch)) for batch in val_dataset])
                _check_finite("val_loss", val_loss, done)
                tf.summary.scalar("val_loss", val_loss, done)
                for tag, image in (draw() if draw and chief else {}).items():
                    tf.summary.image(tag, image[None], done)
                if val_loss < best.numpy():
                    best.assign(val_loss)
                    best_step.assign(done)
                    for kept, weight in zip(best_weights, model.weights):
                        kept.assign(tf.convert_to_tensor(weight))
                if evaluated:
                    evaluated(done, val_loss)
                manager.save(done)
            if evaluate or time.monotonic() - reported >= _REPORT_SECONDS:
                progress = {
                    "step": done,
                    "steps": steps,
                    "loss": _mean(losses),
                    "gradient_norm": _mean(norms) if norms else None,
                    "val_loss": val_loss,
                    "learning_rate": rate,
                }
                _LOG.info(" ".join(f"{name} {value}" for name, value in progress.items()), extra={"progress": progress})
                for name in ("loss", "gradient_norm", "learning_rate"):
                    if progress[name] is not None:
                        tf.summary.scalar(name, progress[name], done)
                losses.clear()
                norms.clear()
                reported = time.monotonic()
    writer.close()
    model.set_weights([kept.numpy() for kept in best_weights])
    return Fitted(step=int(best_step.numpy()), val_loss=float(best.numpy()))


def _train_step(model, optimizer, objective, strategy, spec):
    """Returns the step: from a global batch and the step's number to `[loss, gradient norm]`, float32."""
    replicas = strategy.num_replicas_in_sync

    def replica_step(share, weight, number):
        with tf.GradientTape() as tape:
            value = objective(model, share, number, True) * weight
            scaled = optimizer.scale_loss(value)
        gradients = tape.gradient(scaled, model.trainable_variables)
        # Keras clips each replica's gradients, and looks there for overflow, before it sums them: hand every replica
        # its equal part of the sum.
        context = tf.distribute.get_replica_context()
        gradients, value = context.all_reduce(tf.distribute.ReduceOp.SUM, (gradients, value))
        # The scale is of this step: applying the gradients may change it.
        norm = tf.linalg.global_norm(gradients) / optimizer.scale_loss(tf.ones([]))
        parts = [gradient / replicas for gradient in gradients]
        optimizer.apply_gradients(zip(parts, model.trainable_variables))
        return tf.stack([value, norm])

    @tf.function(input_signature=[spec, tf.TensorSpec([], tf.int64)], autograph=False)
    def step(batch, number):
        share, weight = distribution.share_out(strategy, batch)
        return strategy.experimental_local_results(strategy.run(replica_step, (share, weight, number)))[0]

    return step


def _val_step(model, objective, strategy, spec):
    def replica_step(share, weight):
        value = objective(model, share, tf.zeros([], tf.int64), False) * weight
        return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, value)

    @tf.function(input_signature=[spec], autograph=False)
    def step(batch):
        share, weight = distribution.share_out(strategy, batch)
        return strategy.experimental_local_results(strategy.run(replica_step, (share, weight)))[0]

    return step


def _mean(values: list[float]) -> float:
    if not values:
        raise ValueError("val_dataset: expected at least 1 batch, received none")
    return sum(values) / len(values)


def _check_finite(name: str, value: float, step: int) -> None:
    if not math.isfinite(value):
        raise FloatingPointError(f"{name} at step {step}: expected a finite number, received {value}")
