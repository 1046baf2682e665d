"""Where a clip comes from, written into its context by whoever reads the files."""

import collections
import os
import re
from collections.abc import Iterable

import tensorflow as tf

from framecast.schemas import features

_MANY = 32  # More sources than these are no parts that anybody looks at one by one.
_SHARD = re.compile(r"(-\d{5})?-\d{5}(-of-\d{5})?$")


def source_names(paths: Iterable[str]) -> dict[str, str]:
    """Names the source of each file: what its name says before the number of a shard, `fmi` of `fmi-00000-of-00004.gz`.

    Of more than 32 of them the folders' names take the place; `many` where those are more than 32 too.
    """
    files = dict.fromkeys(paths)
    for name in (_stem, _folder):
        named = {path: name(path) for path in files}
        if len(collections.Counter(named.values())) <= _MANY:
            return named
    return dict.fromkeys(files, "many")


def tag(example: tf.train.SequenceExample, source: str, recording: bytes, span: int | None = None) -> None:
    """Writes source, recording and span into the context; an earlier ingest's go."""
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
