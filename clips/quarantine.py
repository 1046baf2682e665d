"""Encodes and reads quarantined clips: one `tf.train.Example` per fault, with the original bytes.

for fault in read_quarantine("quarantine-00000-of-00001.gz"):
    print(fault.file, fault.record, fault.reason, fault.message)
"""

import dataclasses
from collections.abc import Iterator

import tensorflow as tf

from framecast.clips.records import read_records


@dataclasses.dataclass(frozen=True)
class Fault:
    """A bad record or file.

    Args:
        file: The file.
        record: Index of the record in the file.
        reason: Short code for this kind of fault, such as `frame-count`.
        message: Full message: file, record, clip, frame, expected and received value.
        data: The record's bytes; empty if they cannot be read.
    """

    file: str
    record: int
    reason: str
    message: str
    data: bytes = b""


def encode_fault(fault: Fault) -> bytes:
    """Serializes a fault as a `tf.train.Example` with one feature per field."""
    feature = {"record": tf.train.Feature(int64_list=tf.train.Int64List(value=[fault.record]))}
    for name in ("file", "reason", "message", "data"):
        value = getattr(fault, name)
        value = value if isinstance(value, bytes) else value.encode(errors="surrogateescape")
        feature[name] = tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
    return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString(deterministic=True)


def read_quarantine(path: str) -> Iterator[Fault]:
    """Yields the faults in a quarantine file."""
    for _, record in read_records(path):
        feature = tf.train.Example.FromString(record).features.feature
        texts = {
            name: feature[name].bytes_list.value[0].decode(errors="surrogateescape")
            for name in ("file", "reason", "message")
        }
        yield Fault(**texts, record=feature["record"].int64_list.value[0], data=feature["data"].bytes_list.value[0])
