"""TFX's Transform, in batches of few clips, its records the same bytes in every run."""

from typing import Any
from unittest import mock

import pyarrow as pa
import tensorflow as tf
from tensorflow_metadata.proto.v0 import schema_pb2
from tfx.components.transform import component, executor
from tfx.dsl.components.base import executor_spec
from tfx_bsl.coders import example_coder

from framecast.components.batches import few_clips

_RecordBatchToExamplesEncoder = example_coder.RecordBatchToExamplesEncoder


class StableEncoder:
    """TFX's encoder of transformed batches, with the features of each record in the order of their names.

    TFX's own writes them in the order of a hash table, another one in each process: equal records would differ in bytes
    from run to run, and no digest of them would mean anything.

    Args:
        schema: What the batches hold.
    """

    def __init__(self, schema: schema_pb2.Schema):
        self._schema = schema
        self._encoder = _RecordBatchToExamplesEncoder(schema)

    def __reduce__(self) -> tuple[type["StableEncoder"], tuple[schema_pb2.Schema]]:
        # TFX's own is not pickled: its class does not go by its name while this one stands there.
        return StableEncoder, (self._schema,)

    def encode(self, batch: pa.RecordBatch) -> list[bytes]:
        """Returns a serialised `tf.train.Example` for each row."""
        examples = map(tf.train.Example.FromString, self._encoder.encode(batch))
        return [example.SerializeToString(deterministic=True) for example in examples]


class TransformExecutor(executor.Executor):
    """Decodes few clips at once, whatever their size on disk, and writes stable records."""

    def Do(self, input_dict: dict, output_dict: dict, exec_properties: dict[str, Any]) -> None:
        """Learns and materialises."""
        # TFX has no setting for its encoder, which is made where a pipeline is built and travels to workers with it.
        with few_clips(), mock.patch.object(example_coder, "RecordBatchToExamplesEncoder", StableEncoder):
            super().Do(input_dict, output_dict, exec_properties)


class Transform(component.Transform):
    """TFX's Transform with that executor; the same arguments."""

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(TransformExecutor)
