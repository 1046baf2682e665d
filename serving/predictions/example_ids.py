"""Reads the `example/id` of each clip from a file that `framecast.serving.predictions.writers` wrote."""

from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

from framecast.clips.codec import clip_name
from framecast.clips.records import read_records


def read_example_ids(path: str) -> list[str]:
    """Reads the `example/id` of each prediction in a file, in file order, with duplicates.

    Raises:
        ValueError: If the file name has another extension.
    """
    for suffix, read in _READERS.items():
        if path.endswith(suffix):
            return list(read(path))
    raise ValueError(f"{path}: expected a file name with extension {', '.join(_READERS)}")


def _from_records(path: str) -> Iterator[str]:
    for _, record in read_records(path):
        yield clip_name(tf.train.SequenceExample.FromString(record)) or ""


def _from_npz(path: str) -> Iterator[str]:
    with np.load(path) as data:
        yield from map(str, data["example_id"])


def _from_netcdf(path: str) -> Iterator[str]:
    import netCDF4

    with netCDF4.Dataset(path) as data:
        yield from map(str, data["example_id"][:])


def _from_parquet(path: str) -> Iterator[str]:
    from pyarrow import parquet

    yield from parquet.read_table(path, columns=["example_id"])["example_id"].to_pylist()


_READERS: dict[str, Callable[[str], Iterator[str]]] = {
    ".tfrecord": _from_records,
    ".tfrecord.gz": _from_records,
    ".npz": _from_npz,
    ".nc": _from_netcdf,
    ".parquet": _from_parquet,
}
