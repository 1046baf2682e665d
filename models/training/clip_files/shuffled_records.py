"""Reads records in an endless shuffled order: every epoch is a random permutation of all records of all files.

    records = shuffled_records(index_records(files), seed=0)
    number, record = next(iter(records))

The order is computed, not stored, so there is no shuffle buffer, and a checkpoint of the iterator is a counter.
"""

import tensorflow as tf

from framecast.models.training.clip_files.record_index import RecordIndex

_ROUNDS = 8  # Of the block cipher that permutes the records.
_ONE_STRING = {"output_types": [tf.string], "output_shapes": [[]]}


def shuffled_records(index: RecordIndex, seed: int) -> tf.data.Dataset:
    """Returns an endless dataset of `(number, record)`, scalars of int64 and string.

    `number` counts from 0. Equal records and seeds give the same order, however the records are distributed in files.

    Args:
        index: The records.
        seed: Of the order.

    Raises:
        ValueError: If there are no records.
    """
    count = len(index.offset)
    if not count:
        raise ValueError(f"expected records, received none in {len(index.files)} files")
    files, file, offset = (tf.constant(column) for column in (index.files, index.file, index.offset))

    def read(number: tf.Tensor, place: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return number, _read(tf.gather(files, tf.gather(file, place)), tf.gather(offset, place))

    dataset = shuffled_order(count, seed).map(read, tf.data.AUTOTUNE)
    # TensorFlow refuses to save the position of a dataset that reads one element of another, though it has no state.
    options = tf.data.Options()
    options.experimental_external_state_policy = tf.data.experimental.ExternalStatePolicy.IGNORE
    return dataset.with_options(options)


def shuffled_order(count: int, seed: int) -> tf.data.Dataset:
    """Returns an endless dataset of `(number, place)`, scalars of int64: `number` counts from 0.

    Every `count` elements, the places are another permutation of `0 .. count - 1`.
    """

    def permute(number: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        # `tf.random.experimental.index_shuffle` is not random enough: small permutations use the low byte of its seeds,
        # so that they repeat after 256 epochs, and the four rounds of its cipher spread a million records too evenly.
        epoch_seed = tf.stack([tf.constant(seed, tf.int64), number // count])
        key = tf.random.stateless_uniform([3], epoch_seed, None, None, tf.int32)
        last = tf.constant(count - 1, tf.int64)
        return number, tf.raw_ops.RandomIndexShuffle(index=number % count, seed=key, max_index=last, rounds=_ROUNDS)

    return tf.data.Dataset.counter(dtype=tf.int64).map(permute)


def _read(file: tf.Tensor, offset: tf.Tensor) -> tf.Tensor:
    """Reads the record at an offset, without reading ahead."""
    records = tf.raw_ops.TFRecordDatasetV2(filenames=[file], compression_type="", buffer_size=0, byte_offsets=[offset])
    one = tf.raw_ops.TakeDataset(input_dataset=records, count=tf.constant(1, tf.int64), **_ONE_STRING)
    return tf.raw_ops.DatasetToSingleElement(dataset=one, **_ONE_STRING)[0]
