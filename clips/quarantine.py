"""Bad clips kept aside: a TFRecord of `tf.train.Example`, one a fault, with the bytes that were read.

for fault in read_quarantine("quarantine-00000-of-00001.gz"):
    print(fault.file, fault.record, fault.reason, fault.message)
"""

import dataclasses
from collections.abc import Iterator

import tensorflow as tf

from framecast.clips.records import read_records


@dataclasses.dataclass(frozen=True)
class Fault:
    """What is wrong with a record or a file.

    Args:
        file: The file.
        record: Index of the record in it.
        reason: One word for all faults of a kind, such as `frame-count`.
        message: The fault in full: file, record, clip and frame, what was expected and what was received.
        data: The record as it stands in the file; empty where the file cannot be read there.
    """

    file: str
    record: int
    reason: str
    message: str
    data: bytes = b""


def encode_fault(fault: Fault) -> bytes:
    """Returns the fault as a serialized `tf.train.Example`, a feature a field."""
    feature = {"record": tf.train.Feature(int64_list=tf.train.Int64List(value=[fault.record]))}
    for name in ("file", "reason", "message", "data"):
        value = getattr(fault, name)
        value = value if isinstance(value, bytes) else value.encode(errors="surrogateescape")
        feature[name] = tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
    return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString(deterministic=True)


def read_quarantine(path: str) -> Iterator[Fault]:
    """Yields the faults in a file."""
    for _, record in read_records(path):
        feature = tf.train.Example.FromString(record).features.feature
        texts = {
            name: feature[name].bytes_list.value[0].decode(errors="surrogateescape")
            for name in ("file", "reason", "message")
        }
        yield Fault(**texts, record=feature["record"].int64_list.value[0], data=feature["data"].bytes_list.value[0])
