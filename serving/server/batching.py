"""Defines the batching parameters and reads them from TensorFlow Serving's file.

parameters = read_batching("batching.config")
"""

import dataclasses
import os
from typing import Any

from google.protobuf import descriptor_pb2, message_factory, text_format, wrappers_pb2

from framecast.clips.filesystem import open_path


@dataclasses.dataclass(frozen=True)
class BatchingParameters:
    """How requests of equal shapes are batched; defaults are TensorFlow Serving's.

    Args:
        max_batch_size: Most clips in a batch; a larger request is refused.
        batch_timeout_micros: How long the first request of a batch waits for others, in microseconds.
        max_enqueued_batches: Batches that may wait for a thread; further requests are refused as UNAVAILABLE.
        num_batch_threads: Batches that run at the same time.
        allowed_batch_sizes: Sizes to which batches are padded, ascending, ending with `max_batch_size`; empty for any.

    Raises:
        ValueError: If a value is out of range.
    """

    max_batch_size: int = 1000
    batch_timeout_micros: int = 0
    max_enqueued_batches: int = 10
    num_batch_threads: int = dataclasses.field(default_factory=lambda: os.cpu_count() or 1)
    allowed_batch_sizes: tuple[int, ...] = ()

    def __post_init__(self):
        sizes = self.allowed_batch_sizes
        if sizes and (list(sizes) != sorted(set(sizes)) or sizes[0] < 1 or sizes[-1] != self.max_batch_size):
            raise ValueError(
                f"allowed_batch_sizes: expected ascending sizes that end with max_batch_size {self.max_batch_size}, "
                f"received {', '.join(map(str, sizes))}"
            )
        for name in ("max_batch_size", "max_enqueued_batches", "num_batch_threads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected at least 1, received {getattr(self, name)}")


def read_batching(path: str) -> BatchingParameters:
    """Reads a batching file, as TensorFlow Serving takes with `--batching_parameters_file`.

    `pad_variable_length_inputs` is accepted and ignored: requests of unequal shapes are answered in separate batches.

    Raises:
        ValueError: If the file is no text of a BatchingParameters message, or a field is unknown or out of range.
    """
    with open_path(path, "rb") as file:
        text = file.read().decode()
    try:
        message = text_format.Parse(text, _message_class()())
        given = {
            name: getattr(message, name).value
            for name in ("max_batch_size", "batch_timeout_micros", "max_enqueued_batches", "num_batch_threads")
            if message.HasField(name)
        }
        return BatchingParameters(**given, allowed_batch_sizes=tuple(message.allowed_batch_sizes))
    except (text_format.ParseError, ValueError) as error:
        raise ValueError(f"{path}: expected the text of a BatchingParameters message, received {error}") from error


def _message_class() -> Any:
    """Builds the message class of session_bundle_config.proto, which tensorflow-serving-api lacks."""
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name="framecast/batching_parameters.proto",
        package="framecast",
        syntax="proto3",
        dependency=[wrappers_pb2.DESCRIPTOR.name],
    )
    message = file.message_type.add(name="BatchingParameters")
    wrapped = {
        "max_batch_size": (1, "Int64Value"),
        "batch_timeout_micros": (2, "Int64Value"),
        "max_enqueued_batches": (3, "Int64Value"),
        "num_batch_threads": (4, "Int64Value"),
        "thread_pool_name": (5, "StringValue"),
        "enable_large_batch_splitting": (8, "BoolValue"),
        "max_execution_batch_size": (9, "Int64Value"),
    }
    for name, (number, kind) in wrapped.items():
        message.field.add(
            name=name,
            number=number,
            label=field.LABEL_OPTIONAL,
            type=field.TYPE_MESSAGE,
            type_name=f".google.protobuf.{kind}",
        )
    message.field.add(name="allowed_batch_sizes", number=6, label=field.LABEL_REPEATED, type=field.TYPE_INT64)
    message.field.add(name="pad_variable_length_inputs", number=7, label=field.LABEL_OPTIONAL, type=field.TYPE_BOOL)
    wrappers = descriptor_pb2.FileDescriptorProto.FromString(wrappers_pb2.DESCRIPTOR.serialized_pb)
    return message_factory.GetMessages([wrappers, file])["framecast.BatchingParameters"]
