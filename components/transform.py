"""Runs TFX's Transform in small batches, and writes the same bytes in every run."""

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
    """TFX's encoder of transformed batches, with the features of each record in alphabetical order.

    TFX's encoder writes features in hash order, which differs between processes, so equal records would have different
    digests.

    Args:
        schema: The schema of the batches.
    """

    def __init__(self, schema: schema_pb2.Schema):
        self._schema = schema
        self._encoder = _RecordBatchToExamplesEncoder(schema)

    def __reduce__(self) -> tuple[type["StableEncoder"], tuple[schema_pb2.Schema]]:
        # TFX's encoder cannot be pickled, because its class is patched while a pipeline is built.
        return StableEncoder, (self._schema,)

    def encode(self, batch: pa.RecordBatch) -> list[bytes]:
        """Returns a serialised `tf.train.Example` for each row."""
        examples = map(tf.train.Example.FromString, self._encoder.encode(batch))
        return [example.SerializeToString(deterministic=True) for example in examples]


class TransformExecutor(executor.Executor):
    """Decodes in batches of few clips and writes reproducible records."""

    def Do(self, input_dict: dict, output_dict: dict, exec_properties: dict[str, Any]) -> None:
        """Analyses the data and writes transformed examples."""
        # TFX has no setting for its encoder. It is created when a pipeline is built, and pickled for the workers.
        with few_clips(), mock.patch.object(example_coder, "RecordBatchToExamplesEncoder", StableEncoder):
            super().Do(input_dict, output_dict, exec_properties)


class Transform(component.Transform):
    """TFX's Transform with `TransformExecutor`; same arguments."""

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(TransformExecutor)
