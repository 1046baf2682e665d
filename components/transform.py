"""Runs TFX's Transform in small batches, and writes the same records in every run, for random access."""

from typing import Any
from unittest import mock

import apache_beam as beam
import pyarrow as pa
import tensorflow as tf
from tensorflow_metadata.proto.v0 import schema_pb2
from tfx.components.transform import component, executor
from tfx.dsl.components.base import executor_spec
from tfx_bsl.coders import example_coder

from framecast.components.batches import few_clips
from framecast.models import tensors
from framecast.schemas import features


class ClipEncoder:
    """TFX's encoder of transformed batches, with compressed frames, and features in alphabetical order.

    TFX's encoder writes features in hash order, which differs between processes, so equal records would have different
    digests.

    Args:
        schema: The schema of the batches.
    """

    def __init__(self, schema: schema_pb2.Schema):
        self._schema = schema
        self._encoder = example_coder.RecordBatchToExamplesEncoder(schema)

    def __reduce__(self) -> tuple[type["ClipEncoder"], tuple[schema_pb2.Schema]]:
        # TFX's encoder cannot be pickled.
        return ClipEncoder, (self._schema,)

    def encode(self, batch: pa.RecordBatch) -> list[bytes]:
        """Returns a serialised `tf.train.Example` for each row."""
        return [_packed(tf.train.Example.FromString(example)) for example in self._encoder.encode(batch)]


def _packed(example: tf.train.Example) -> bytes:
    frames = example.features.feature[features.FRAMES].bytes_list
    frames.value[0] = tensors.compress(frames.value[0])
    return example.SerializeToString(deterministic=True)


@beam.ptransform_fn
def _encode_and_write(
    batches: beam.PCollection,
    schema: schema_pb2.Schema,
    file_format: str,  # noqa: ARG001 - TFX passes it
    output_path: str,
) -> beam.PCollection:
    """Writes TFRecord files without compression, because a compressed file has no random access."""
    encoder = ClipEncoder(schema)
    return (
        batches
        | "Encode" >> beam.FlatMap(lambda batch: encoder.encode(batch[0]))
        | "Write" >> beam.io.WriteToTFRecord(output_path, file_name_suffix=".tfrecord")
    )


class TransformExecutor(executor.Executor):
    """Decodes in batches of few clips and writes reproducible records, compressed one by one."""

    def Do(self, input_dict: dict, output_dict: dict, exec_properties: dict[str, Any]) -> None:
        """Analyses the data and writes transformed examples."""
        # TFX has no setting for the records and files that it writes.
        write = mock.patch.object(executor.TransformProcessor, "_EncodeAndWrite", staticmethod(_encode_and_write))
        with few_clips(), write:
            super().Do(input_dict, output_dict, exec_properties)


class Transform(component.Transform):
    """TFX's Transform with `TransformExecutor`; same arguments."""

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(TransformExecutor)
