"""A model that is busy for as long as a test needs."""

import grpc
import tensorflow as tf

LONG = 200_000  # Steps; about a second.


class Counter(tf.Module):
    """Counts to `steps`."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int32, "steps")])
    def serve(self, steps):
        """Returns `reached`, the number counted to, for each of `steps`."""
        last = tf.reduce_max(steps)
        return {"reached": tf.while_loop(lambda i: i < last, lambda i: i + 1, [0])[0] + 0 * steps}


def is_refused(call) -> bool:
    """Returns whether a call ended with RESOURCE_EXHAUSTED."""
    return call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
