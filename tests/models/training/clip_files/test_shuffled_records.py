"""The shuffled order of records, compared with fair random draws."""

import os
import resource
import struct

import google_crc32c
import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from framecast.models.training.clip_files.record_index import index_records
from framecast.models.training.clip_files.shuffled_records import shuffled_order, shuffled_records

_BATCH = 32


def _places(count, seed, epochs=1):
    order = shuffled_order(count, seed).map(lambda _, place: place).batch(count).take(epochs)
    return np.stack(list(order.as_numpy_iterator()))


@pytest.mark.parametrize(("count", "epochs"), [(1, 3), (2, 30), (17, 300), (1000, 3)])
def test_every_epoch_is_another_permutation(count, epochs):
    places = _places(count, 0, epochs)
    np.testing.assert_array_equal(np.sort(places), np.tile(np.arange(count), (epochs, 1)))
    if count >= 17:
        assert len({epoch.tobytes() for epoch in places}) == epochs


def test_records_are_equally_likely_at_every_place():
    epochs = _places(16, 0, epochs=600)
    counts = [np.bincount(column, minlength=16) for column in epochs.T]
    steps = np.bincount(((epochs[:, 1:] - epochs[:, :-1]) % 16).ravel(), minlength=16)[1:]
    assert stats.chisquare(np.ravel(counts)).pvalue > 1e-4
    assert stats.chisquare(steps).pvalue > 1e-4


@pytest.mark.parametrize("count", [100, 1000, 10_000, 100_000])
def test_batches_of_sorted_labels_are_fair_draws(count):
    places, drawn = _places(count, seed=0)[0], np.arange(_BATCH + 1)
    for classes in (2, 4):
        labels = np.arange(count) * classes // count
        batches = labels[places][: count // _BATCH * _BATCH].reshape(-1, _BATCH)
        for label in range(classes):
            fair = stats.hypergeom(count, (labels == label).sum(), _BATCH)
            deviations = ((batches == label).sum(axis=1) - fair.mean()) / fair.std()
            if classes == 2:
                assert np.abs(deviations).max() <= 4
            # Of thousands of fair draws of a rare label, a few deviate by more.
            tails = fair.pmf(drawn)[np.abs(drawn - fair.mean()) > 4 * fair.std()].sum()
            assert (np.abs(deviations) > 4).sum() <= 4 * len(batches) * tails
            if count >= 10_000:
                np.testing.assert_allclose(deviations.var(), 1, atol=4 * np.sqrt(2 / len(batches)))


def _zeros(path, count, size):
    """Records of zeros that take no space on disk; returns the file."""
    length = struct.pack("<Q", size)
    header, footer = (length + _masked_crc(length), _masked_crc(bytes(size)))
    with open(path, "wb") as file:
        for _ in range(count):
            file.write(header)
            file.seek(size, os.SEEK_CUR)
            file.write(footer)
    return str(path)


def _masked_crc(data):
    crc = google_crc32c.value(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def test_memory_does_not_grow_with_data(tmp_path):
    """Of 1 GiB, a buffer of 256 records would hold half."""
    records = shuffled_records(index_records([_zeros(tmp_path / "large", 512, 2**21)]), seed=0)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    read = sum(len(record.numpy()) for _, record in records.take(512))
    assert read == 2**30
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**18  # KiB.


def test_order_continues_after_checkpoint(tmp_path):
    path = str(tmp_path / "records")
    with tf.io.TFRecordWriter(path) as writer:
        for number in range(50):
            writer.write(str(number).encode())

    def read(iterator, count):
        return [(int(number), int(record.numpy())) for number, record in (next(iterator) for _ in range(count))]

    iterator = iter(shuffled_records(index_records([path]), seed=3))
    read(iterator, 70)
    saved = tf.train.Checkpoint(position=iterator).save(str(tmp_path / "checkpoint"))
    expected = read(iterator, 60)
    assert [number for number, _ in expected] == list(range(70, 130))
    resumed = iter(shuffled_records(index_records([path]), seed=3))
    tf.train.Checkpoint(position=resumed).restore(saved)
    assert read(resumed, 60) == expected


def test_seed_changes_the_order():
    assert _places(100, 1).tobytes() == _places(100, 1).tobytes() != _places(100, 2).tobytes()


def test_no_records_are_an_error(tmp_path):
    with pytest.raises(ValueError, match="expected records, received none in 1 files"):
        shuffled_records(index_records([_zeros(tmp_path / "empty", 0, 1)]), seed=0)
