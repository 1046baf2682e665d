"""Runs a signature of a loaded model on NumPy arrays, with batching if it is enabled.

runner = SignatureRunner(session, model.signatures["serving_default"], ["frames", "length"], BatchingParameters())
outputs = runner({"frames": frames, "length": length}, seconds=60)
"""

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from framecast.serving.server import errors
from framecast.serving.server.batching import BatchingParameters

_MOST_SHAPES = 64  # Each batched shape adds operations to the graph, and clients choose the shapes.
_Tensors = dict[str, tf.Tensor]


class SignatureRunner:
    """Runs a signature; thread-safe.

    With batching, TensorFlow's batch operation joins concurrent calls whose arrays have equal shapes after the first
    axis. If the graph refuses a batch, each of its calls is run again unbatched, so that a bad input fails alone.

    Args:
        session: Session of the graph into which the signature was loaded.
        signature: The loaded `tf.ConcreteFunction`.
        inputs: Names of its inputs.
        batching: How calls are batched; None for no batching.
    """

    def __init__(
        self,
        session: tf.compat.v1.Session,
        signature: Any,
        inputs: Sequence[str],
        batching: BatchingParameters | None,
    ):
        self._session = session
        self._signature = signature
        self._batching = batching
        self._lock = threading.Lock()
        declared = signature.structured_input_signature[1]
        self._specs = {name: declared[name] for name in inputs}
        self._unbatched = self._build({name: spec.shape for name, spec in self._specs.items()}, signature)
        self._batched: dict[tuple[tuple[int, ...], ...], tuple[_Tensors, _Tensors]] = {}

    def __call__(self, inputs: Mapping[str, np.ndarray], seconds: float | None) -> dict[str, np.ndarray]:
        """Returns the outputs, keyed by their names.

        Args:
            inputs: An array for each input.
            seconds: Time limit of the run; None for no limit.

        Raises:
            ServingError: If the arrays have more than `max_batch_size` clips.
            tf.errors.OpError: If the graph refuses the arrays, the queue of batches is full, or the time is over.
        """
        options = tf.compat.v1.RunOptions(timeout_in_ms=max(1, round(1000 * seconds))) if seconds is not None else None
        batched = self._batched_graph(inputs)
        if batched is not None:
            try:
                return self._run(batched, inputs, options)
            except tf.errors.InvalidArgumentError:
                pass
        return self._run(self._unbatched, inputs, options)

    def _run(self, graph, inputs, options):
        feeds, outputs = graph
        return self._session.run(outputs, {feeds[name]: inputs[name] for name in feeds}, options=options)

    def _batched_graph(self, inputs: Mapping[str, np.ndarray]) -> tuple[_Tensors, _Tensors] | None:
        """Returns placeholders and outputs that batch inputs of these shapes; None if they must run unbatched."""
        batching = self._batching
        if batching is None or not all(value.ndim for value in inputs.values()):
            return None
        sizes = {value.shape[0] for value in inputs.values()}
        if len(sizes) != 1 or sizes == {0}:
            return None
        (size,) = sizes
        if size > batching.max_batch_size:
            raise errors.batch_too_large(size, batching.max_batch_size)
        shapes = tuple(inputs[name].shape[1:] for name in self._specs)
        with self._lock:
            if shapes not in self._batched and len(self._batched) < _MOST_SHAPES:
                with self._session.graph.as_default():
                    free = {name: [None, *shape] for name, shape in zip(self._specs, shapes)}
                    self._batched[shapes] = self._build(free, self._batch)
            return self._batched.get(shapes)

    def _build(self, shapes, function) -> tuple[_Tensors, _Tensors]:
        """Returns placeholders by input name, and the outputs of `function` on them by output name."""
        feeds = {name: tf.compat.v1.placeholder(spec.dtype, shapes[name], name) for name, spec in self._specs.items()}
        return feeds, function(**feeds)

    def _batch(self, **feeds: tf.Tensor) -> _Tensors:
        assert self._batching is not None
        names = sorted(self._signature.structured_outputs)

        @tf.nondifferentiable_batch_function(
            self._batching.num_batch_threads,
            self._batching.max_batch_size,
            self._batching.batch_timeout_micros,
            list(self._batching.allowed_batch_sizes) or None,
            self._batching.max_enqueued_batches,
            autograph=False,
            enable_large_batch_splitting=False,
        )
        def run(*inputs):
            outputs = self._signature(**dict(zip(feeds, inputs)))
            return [outputs[name] for name in names]

        return dict(zip(names, run(*feeds.values())))
