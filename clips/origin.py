"""Adds a clip's origin (source, recording, span) to its context."""

import collections
import os
import re
from collections.abc import Iterable

import tensorflow as tf

from framecast.schemas import features

_MAX_SOURCES = 32  # More slices than this are not inspected one by one.
_SHARD = re.compile(r"(-\d{5})?-\d{5}(-of-\d{5})?$")


def source_names(paths: Iterable[str]) -> dict[str, str]:
    """Returns the source name of each file: its name without the shard number, `fmi` for `fmi-00000-of-00004.gz`.

    With more than 32 distinct names, folder names are used; with more than 32 folders, every source is `many`.
    """
    files = dict.fromkeys(paths)
    for name in (_stem, _folder):
        named = {path: name(path) for path in files}
        if len(collections.Counter(named.values())) <= _MAX_SOURCES:
            return named
    return dict.fromkeys(files, "many")


def write_origin(example: tf.train.SequenceExample, source: str, recording: bytes, span: int | None = None) -> None:
    """Sets source, recording and span in the context, and removes those of an earlier ingest."""
    context = example.context.feature
    for name, value in ((features.SOURCE, source.encode()), (features.RECORDING, recording)):
        context[name].CopyFrom(tf.train.Feature(bytes_list=tf.train.BytesList(value=[value])))
    context.pop(features.SPAN, None)
    if span is not None:
        context[features.SPAN].int64_list.value.append(span)


def _stem(path: str) -> str:
    name = os.path.basename(path).partition(".")[0]
    return _SHARD.sub("", name) or name


def _folder(path: str) -> str:
    return os.path.basename(os.path.dirname(path))
