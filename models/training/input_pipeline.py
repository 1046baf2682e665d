"""Reads transformed clips as training batches: bucketed by padded length, cropped, augmented.

pipeline = InputPipeline(clip, task, train)
for batch in pipeline.training(train_files): ...  # Endless; `evaluation` is one pass.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from framecast.models import tensors
from framecast.models.spec import TrainSpec
from framecast.models.training.clip_files.record_index import index_records
from framecast.models.training.clip_files.shuffled_records import shuffled_records
from framecast.schemas import features
from framecast.schemas.clip_spec import ClipSpec

_SUBCLIP_STEP = 4  # Frames; padded lengths of sub-clips are multiples of it.
_FEATURES = {
    features.FRAMES: tf.io.FixedLenFeature([], tf.string),
    features.FRAME_COUNT: tf.io.FixedLenFeature([], tf.int64),
    features.FRAME_RATE: tf.io.FixedLenFeature([], tf.float32),
}


class SplitFiles(NamedTuple):
    """Files of transformed clips, sorted.

    Args:
        train: Of the train split.
        val: Of the val split.
    """

    train: list[str]
    val: list[str]

    @classmethod
    def match(cls, train: Sequence[str], val: Sequence[str]) -> "SplitFiles":
        """Lists the files that match the patterns of each split."""
        return cls(*(sorted(name for pattern in own for name in tf.io.gfile.glob(pattern)) for own in (train, val)))

    def digests(self) -> dict[str, str]:
        """Returns a digest of the clips of each split; it does not depend on the names of the files.

        Raises:
            BadFile: If a file is compressed, damaged or truncated.
        """
        return {split: index_records(files).digest() for split, files in self._asdict().items()}


@dataclasses.dataclass(frozen=True)
class InputPipeline:
    """Reads the clips that Transform materialised.

    Every batch is a dict of `frames`, float32 `(batch, time, height, width, channel)` in [0, 1] with 0 for missing and
    padded pixels; `known`, bool of that shape, False where missing or padded; `length`, int32 `(batch,)`. Tasks that
    need labels add `label`, `(batch,)` or `(batch, time)`, int64 or float32, undefined where padded.

    Args:
        clip: The clip contract.
        task: A task of `framecast.models.spec.TaskSpec`.
        train: Batch size, crops, augmentation and seed.
    """

    clip: ClipSpec
    task: Any
    train: TrainSpec

    def training(self, files: Sequence[str]) -> tf.data.Dataset:
        """Returns endless batches, shuffled over all files, cropped and augmented.

        The same clips and seed give the same batches, however the clips are distributed in files.
        """
        records = shuffled_records(index_records(files), self.train.seed)
        clips = records.map(lambda number, record: (number, self._parse(record)), tf.data.AUTOTUNE)
        clips = clips.filter(lambda _, clip: self.task.is_long_enough(clip["length"]))
        return self._batches(clips.map(self._augment, tf.data.AUTOTUNE))

    def evaluation(self, files: Sequence[str]) -> tf.data.Dataset:
        """Returns batches of one pass, in order, with centre crops of the training size, so that losses compare."""
        clips = self._long_enough(self._clips(tf.data.Dataset.from_tensor_slices(sorted(files))))
        return self._batches(clips.map(lambda clip: self._crop(clip, None), tf.data.AUTOTUNE))

    def whole(self, files: Sequence[str]) -> tf.data.Dataset:
        """Returns single clips of one pass, in the clips' dtype, with length and frame rate; short clips included."""
        return self._clips(tf.data.Dataset.from_tensor_slices(sorted(files)))

    def scored(self, files: Sequence[str]) -> tf.data.Dataset:
        """Returns the clips of `whole` that are long enough, with the label of every task that has one.

        Optional labels, such as those of anomalies, are included; they are -1 where unlabelled.
        """
        labelled = self.task.label is not None
        return self._long_enough(self._clips(tf.data.Dataset.from_tensor_slices(sorted(files)), labelled))

    def whole_batches(self, files: Sequence[str], short: bool = False) -> Iterator[dict[str, tf.Tensor]]:
        """Yields batches of one whole clip, without labels.

        Args:
            files: Transformed clips.
            short: Whether to include clips that are too short for the task.
        """
        clips = self.whole(files)
        for clip in clips if short else self._long_enough(clips):
            length = clip["length"][None]
            frames, known = tensors.normalise(clip["frames"][None], length, self.clip)
            yield {"frames": frames, "known": known, "length": length}

    def _clips(self, files: tf.data.Dataset, labelled: bool | None = None) -> tf.data.Dataset:
        records = files.interleave(tf.data.TFRecordDataset, cycle_length=4, deterministic=True)
        return records.map(lambda record: self._parse(record, labelled), tf.data.AUTOTUNE)

    def _long_enough(self, clips: tf.data.Dataset) -> tf.data.Dataset:
        return clips.filter(lambda clip: self.task.is_long_enough(clip["length"]))

    def _parse(self, record: tf.Tensor, labelled: bool | None = None) -> dict[str, tf.Tensor]:
        """Parses a clip, with its label if `labelled`; by default if the task requires one."""
        label = self.task.label
        if labelled is None:
            labelled = label is not None and label.required
        wanted = {**_FEATURES, **({features.LABEL: tf.io.FixedLenFeature([], tf.string)} if labelled else {})}
        parsed = tf.io.parse_single_example(record, wanted)
        clip = {
            "frames": tensors.parse_frames(tensors.decompress(parsed[features.FRAMES]), self.clip),
            "length": tf.cast(parsed[features.FRAME_COUNT], tf.int32),
            "frame_rate": parsed[features.FRAME_RATE],
        }
        if labelled:
            clip["label"] = tensors.parse_label(parsed[features.LABEL], label)
        return clip

    def _augment(self, number: tf.Tensor, clip: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        seed = tf.stack([tf.constant(self.train.seed, tf.int64), number])
        if "subclip" in self.train.augment:
            clip = self._subclip(clip, seed + tf.constant([3, 0], tf.int64))
        clip = self._crop(clip, seed)
        frames = clip["frames"]
        if "flip" in self.train.augment:
            flips = tf.random.stateless_uniform([2], seed + tf.constant([1, 0], tf.int64)) < 0.5
            frames = tf.cond(flips[0], lambda: tf.reverse(frames, [1]), lambda: frames)
            frames = tf.cond(flips[1], lambda: tf.reverse(frames, [2]), lambda: frames)
        if "rotate90" in self.train.augment:
            # Crops are square, so rotated crops keep their shape.
            turns = tf.random.stateless_uniform([], seed + tf.constant([2, 0], tf.int64), 0, 4, tf.int32)
            frames = tf.image.rot90(frames, turns)
        return {**clip, "frames": frames}

    def _subclip(self, clip: dict[str, tf.Tensor], seed: tf.Tensor) -> dict[str, tf.Tensor]:
        """Cuts out consecutive frames, of a random length that is long enough for the task."""
        length = clip["length"]
        draws = tf.random.stateless_uniform([2], seed)
        shortest = self.task.min_frames
        cut = shortest + tf.cast(draws[0] * tf.cast(length - shortest + 1, tf.float32), tf.int32)
        start = tf.cast(draws[1] * tf.cast(length - cut + 1, tf.float32), tf.int32)
        # Few padded lengths, so that buckets fill up quickly.
        padded = -(-cut // _SUBCLIP_STEP) * _SUBCLIP_STEP
        cut_out = {**clip, "length": cut}
        for name in ("frames", "label"):
            if name in clip and clip[name].shape.rank:
                cut_out[name] = tensors.pad_time(clip[name][start : start + cut], padded - cut)
        return cut_out

    def _crop(self, clip: dict[str, tf.Tensor], seed: tf.Tensor | None) -> dict[str, tf.Tensor]:
        size = self.train.crop
        if size is None:
            return clip
        frames = clip["frames"]
        space = tf.shape(frames)[1:3] - size
        check = tf.debugging.assert_non_negative(
            space, f"train.crop: expected frames of at least {size} x {size} pixels"
        )
        with tf.control_dependencies([check]):  # Else the slice may fail first, with another error.
            frames = tf.identity(frames)
        if seed is None:
            start = space // 2
        else:
            start = tf.cast(tf.random.stateless_uniform([2], seed) * tf.cast(space + 1, tf.float32), tf.int32)
        frames = frames[:, start[0] : start[0] + size, start[1] : start[1] + size]
        return {**clip, "frames": tf.ensure_shape(frames, [None, size, size, self.clip.channels])}

    def _batches(self, clips: tf.data.Dataset) -> tf.data.Dataset:
        def key(clip):
            shape = tf.shape(clip["frames"], tf.int64)
            return (shape[0] * 2**20 + shape[1]) * 2**20 + shape[2]

        def size(key):
            return tf.maximum(self.train.batch_frames // (key // 2**40), 1)

        def batch(_, group):
            return group.batch(self.train.batch_frames)

        def floats(clip):
            frames, known = tensors.normalise(clip["frames"], clip["length"], self.clip)
            kept = {name: clip[name] for name in ("length", "label") if name in clip}
            return {"frames": frames, "known": known, **kept}

        batches = clips.group_by_window(key, batch, window_size_func=size)
        return batches.map(floats, tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)
