"""Training on several GPUs and on several machines: which strategy, whose clips, and what becomes of a lost worker.

    strategy = from_environment()
    with strategy.scope():
        model = presets.build("convlstm-small", channels=1, dtype="float32")
        fit(model, dataset, val_dataset, objective, ...)
    if is_chief(strategy):
        ...  # export

Every worker reads the same global batches in the same order, and each replica computes its share of their clips. So no
clip is lost or seen twice however clips fall into batches, all take the same number of steps, the sum over the replicas
is what one device computes of the whole batch, and a checkpoint of one number of workers is one of any other number.
The price is that each worker reads, crops and augments every clip, which costs little beside a step of a ConvLSTM.
"""

import contextlib
import json
import os
from collections.abc import Iterator

import tensorflow as tf

from framecast.models.training.objectives import count_errors

# Seconds that a worker waits for the others in one step: far longer than the chief takes to draw and to save.
_STEP_TIMEOUT = 600
# Seconds that the others wait for the chief to export.
_EXPORT_TIMEOUT = 24 * 3600
_LOST = (
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.FailedPreconditionError,
    tf.errors.InternalError,
    tf.errors.UnavailableError,
)


class WorkerLost(RuntimeError):
    """Another worker went away or does not answer: start all workers again."""


def from_environment() -> tf.distribute.Strategy:
    """Returns the strategy that the machine and `TF_CONFIG` ask for; call it before any other TensorFlow operation.

    With several workers in `TF_CONFIG`, as Kubeflow's TFJob sets it, MultiWorkerMirroredStrategy over all their GPUs;
    else with several GPUs MirroredStrategy; else the default strategy.

    Raises:
        ValueError: When `TF_CONFIG` gives this process or others a part that is none of `chief` and `worker`.
    """
    config = json.loads(os.environ.get("TF_CONFIG") or "{}")
    cluster = {job: tasks for job, tasks in config.get("cluster", {}).items() if tasks}
    if sum(map(len, cluster.values())) > 1:
        unknown = {*cluster, config["task"]["type"]} - {"chief", "worker"}
        if unknown:
            raise ValueError(f"TF_CONFIG: expected tasks chief and worker, received {', '.join(sorted(unknown))}")
        options = tf.distribute.experimental.CommunicationOptions(timeout_seconds=_STEP_TIMEOUT)
        return tf.distribute.MultiWorkerMirroredStrategy(communication_options=options)
    if len(tf.config.list_physical_devices("GPU")) > 1:
        return tf.distribute.MirroredStrategy()
    return tf.distribute.get_strategy()


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process is the one that writes checkpoints and logs, and exports."""
    resolver = strategy.cluster_resolver
    if resolver is None:
        return True
    leader = ("chief", 0) if "chief" in resolver.cluster_spec().jobs else ("worker", 0)
    return (resolver.task_type, resolver.task_id) == leader


def share_out(
    strategy: tf.distribute.Strategy, batch: dict[str, tf.Tensor]
) -> tuple[dict[str, tf.distribute.DistributedValues], tf.distribute.DistributedValues]:
    """Gives each replica its share of a global batch, in a graph.

    Args:
        strategy: Its replicas take consecutive clips, as many each as the others or one less.
        batch: As `framecast.models.training.input_pipeline` makes them.

    Returns:
        `(share, weight)`, for `strategy.run`. The objective of the shares times their weights sums to the objective of
        the batch. Each share has `place`, int32 `(batch,)`: where its clips stand in the global batch. Of a batch with
        fewer clips than replicas, some replicas get its first clip with weight 0, since an empty one is a special case
        for every layer. With one replica, the batch as it is.
    """
    replicas = strategy.num_replicas_in_sync
    clips = tf.shape(batch["length"])[0]
    errors = tf.maximum(count_errors(batch), 1.0)

    def take(context):
        if replicas == 1:
            return batch, 1.0
        replica = context.replica_id_in_sync_group
        first, end = clips * replica // replicas, clips * (replica + 1) // replicas
        empty = first == end
        first, end = tf.where(empty, 0, first), tf.where(empty, 1, end)
        share = {name: value[first:end] for name, value in batch.items()}
        weight = tf.where(empty, 0.0, count_errors(share) / errors)
        return {**share, "place": tf.range(first, end)}, weight

    with tf.device("CPU:0"):  # So that only its share travels to each GPU.
        return strategy.experimental_distribute_values_from_function(take)


def require_one_checkpoint(strategy: tf.distribute.Strategy, latest: str | None, folder: str) -> None:
    """Checks that all workers start from one checkpoint.

    Args:
        strategy: Of all workers.
        latest: The checkpoint that this worker found, `.../ckpt-STEP`; None for none.
        folder: Where it looked.

    Raises:
        ValueError: When they do not, as where each has a `folder` of its own.
    """
    if strategy.cluster_resolver is None:
        return
    own = tf.constant([int(latest.rpartition("-")[2]) if latest else 0])

    @tf.function
    def gather():
        return tf.distribute.get_replica_context().all_gather(own, axis=0)

    steps = sorted(set(strategy.experimental_local_results(strategy.run(gather))[0].numpy().tolist()))
    if len(steps) > 1:
        raise ValueError(
            f"{folder}: expected one folder of checkpoints that all workers share, "
            f"received checkpoints of steps {', '.join(map(str, steps))}"
        )


def wait_for_all(strategy: tf.distribute.Strategy) -> None:
    """Returns when every worker is here: a worker that ends before the chief has exported counts as lost."""
    if strategy.cluster_resolver is None:
        return
    options = tf.distribute.experimental.CommunicationOptions(timeout_seconds=_EXPORT_TIMEOUT)

    @tf.function
    def meet():
        context = tf.distribute.get_replica_context()
        return context.all_reduce(tf.distribute.ReduceOp.SUM, tf.ones([]), options)

    strategy.run(meet)


@contextlib.contextmanager
def naming_lost_workers(strategy: tf.distribute.Strategy, step: tf.Variable) -> Iterator[None]:
    """Turns what TensorFlow raises when a worker is lost into `WorkerLost`, which says what to do.

    TensorFlow notices a process that died by its connection or its missing heartbeat, within seconds, and a worker that
    hangs after ten minutes.
    """
    try:
        yield
    except _LOST as error:
        if strategy.cluster_resolver is None:
            raise
        raise WorkerLost(
            f"after step {int(step.numpy())}: expected an answer of every worker in "
            f"{json.dumps(strategy.cluster_resolver.cluster_spec().as_dict())}, received "
            f"{type(error).__name__}: {error.message}. Start all workers again: "
            "training goes on from the last checkpoint"
        ) from error
