"""Distributes training over GPUs and machines: the strategy, the split of batches, and the loss of a worker.

    strategy = from_environment()
    with strategy.scope():
        model = presets.build("convlstm-small", channels=1, dtype="float32")
        fit(model, dataset, val_dataset, objective, ...)
    if is_chief(strategy):
        ...  # export

Every worker reads the same global batches in the same order, and each replica computes its share of the clips. So every
clip counts once, all workers take the same number of steps, the sum over replicas equals the result of one device on
the whole batch, and a checkpoint works with any number of workers. The cost is that each worker reads, crops and
augments every clip, which is small compared with a step of a ConvLSTM.
"""

import contextlib
import json
import os
from collections.abc import Iterator

import tensorflow as tf

# Seconds that a worker waits for the others in one step: far longer than the chief needs to draw and save.
_STEP_TIMEOUT = 600
# Seconds that the other workers wait for the chief to export.
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
    """Another worker died or does not respond; start all workers again."""


def from_environment() -> tf.distribute.Strategy:
    """Returns the strategy for the machine and `TF_CONFIG`; call it before any other TensorFlow operation.

    With several workers in `TF_CONFIG`, which Kubeflow's TFJob sets, this is MultiWorkerMirroredStrategy over all their
    GPUs; else with several GPUs MirroredStrategy; else the default strategy.

    Raises:
        ValueError: If `TF_CONFIG` names a task other than `chief` and `worker`.
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
    """Checks whether this process writes checkpoints and logs, and exports."""
    resolver = strategy.cluster_resolver
    if resolver is None:
        return True
    leader = ("chief", 0) if "chief" in resolver.cluster_spec().jobs else ("worker", 0)
    return (resolver.task_type, resolver.task_id) == leader


def share_out(
    strategy: tf.distribute.Strategy, batch: dict[str, tf.Tensor]
) -> tuple[dict[str, tf.distribute.DistributedValues], tf.distribute.DistributedValues]:
    """Splits a global batch over the replicas, in a graph.

    Args:
        strategy: Its replicas take consecutive clips; their counts differ by at most one.
        batch: See `framecast.models.training.input_pipeline.InputPipeline`.

    Returns:
        `(share, weight)`, for `strategy.run`. The totals of the shares times their weights sum to the totals of the
        batch. Each share has `place`, int32 `(batch,)`: the index of its clips in the global batch. If a batch has
        fewer clips than replicas, some replicas get its first clip with weight 0, because empty batches are a special
        case in every layer. With one replica, the share is the batch itself.
    """
    replicas = strategy.num_replicas_in_sync
    clips = tf.shape(batch["length"])[0]

    def take(context):
        if replicas == 1:
            return batch, 1.0
        replica = context.replica_id_in_sync_group
        first, end = clips * replica // replicas, clips * (replica + 1) // replicas
        empty = first == end
        first, end = tf.where(empty, 0, first), tf.where(empty, 1, end)
        share = {name: value[first:end] for name, value in batch.items()}
        return {**share, "place": tf.range(first, end)}, tf.where(empty, 0.0, 1.0)

    with tf.device("CPU:0"):  # So that each GPU receives only its share.
        return strategy.experimental_distribute_values_from_function(take)


def require_one_checkpoint(strategy: tf.distribute.Strategy, latest: str | None, folder: str) -> None:
    """Checks that all workers start from one checkpoint.

    Args:
        strategy: The strategy of all workers.
        latest: The checkpoint that this worker found, `.../ckpt-STEP`, or None.
        folder: Folder of the checkpoints.

    Raises:
        ValueError: If workers found different checkpoints, such as in folders that are not shared.
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


def from_chief(strategy: tf.distribute.Strategy, value: float) -> float:
    """Returns the chief's `value` on every worker, and waits for it as long as for an export.

    Every worker calls it, because workers that compute a number on their own may differ in its last digits, and so
    in which weights are the best.
    """
    if strategy.cluster_resolver is None:
        return value
    gathered = strategy.run(_gather, (tf.constant([value], tf.float64),))
    # The chief is the first worker.
    return float(strategy.experimental_local_results(gathered)[0].numpy()[0])


@tf.function  # Traced once, because every evaluation calls it.
def _gather(own: tf.Tensor) -> tf.Tensor:
    options = tf.distribute.experimental.CommunicationOptions(timeout_seconds=_EXPORT_TIMEOUT)
    # A copy, because `all_gather` needs a tensor with a device, and an argument has none.
    return tf.distribute.get_replica_context().all_gather(tf.identity(own), axis=0, options=options)


def wait_for_all(strategy: tf.distribute.Strategy) -> None:
    """Waits until every worker calls it, because a worker that ends before the chief has exported counts as lost."""
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
    """Raises `WorkerLost`, which says what to do, in place of TensorFlow's errors after the loss of a worker.

    TensorFlow detects a dead process by its connection or heartbeat within seconds, and a worker that hangs after ten
    minutes.
    """
    try:
        yield
    except _LOST as error:
        if strategy.cluster_resolver is None:
            raise
        raise WorkerLost(
            f"after step {int(step.numpy())}: expected a response from every worker in "
            f"{json.dumps(strategy.cluster_resolver.cluster_spec().as_dict())}, received "
            f"{type(error).__name__}: {error.message}. Start all workers again to resume from the last checkpoint"
        ) from error
