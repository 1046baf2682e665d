"""Tests the gzip files against Python's and TensorFlow's readers."""

import gzip
import io

import numpy as np
import pytest
import tensorflow as tf

from framecast.clips import records
from framecast.clips.gzip_writer import GzipWriter

_NOISE = np.random.default_rng(0).bytes(200_000)
_TEXT = b"clip " * 40_000


def _written(parts):
    file = io.BytesIO()
    with GzipWriter(file) as stream:
        for part in parts:
            stream.write(part)
    return file.getvalue()


@pytest.mark.parametrize("parts", [[], [b""], [_TEXT], [_NOISE], [_TEXT, _NOISE, _TEXT, _TEXT, b"x", _NOISE, _NOISE]])
def test_python_reads_stored_and_compressed_parts(parts):
    assert gzip.decompress(_written(parts)) == b"".join(parts)


def test_noise_is_stored_and_text_compressed():
    assert len(_NOISE) < len(_written([_NOISE])) < 1.001 * len(_NOISE)
    assert len(_written([_NOISE, _TEXT])) < 1.001 * len(_NOISE) + 0.02 * len(_TEXT)


def test_tensorflow_reads_mixed_records(tmp_path):
    path = str(tmp_path / "clips.tfrecord.gz")
    parts = [_TEXT, _NOISE, b"", _TEXT, _NOISE]
    assert records.write_records(path, parts) == len(parts)
    assert list(tf.data.TFRecordDataset(path, "GZIP").as_numpy_iterator()) == parts


def _failing():
    yield _TEXT
    raise RuntimeError("no more records")


def test_file_of_failed_writer_is_incomplete(tmp_path):
    with pytest.raises(RuntimeError, match="no more records"):
        records.write_records(tmp_path / "a.gz", _failing())
    with gzip.open(tmp_path / "a.gz") as file, pytest.raises(EOFError):
        file.read()
