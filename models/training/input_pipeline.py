"""Transformed clips as batches: bucketed by padded length, cropped, augmented."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from framecast.models.spec import TrainSpec
from framecast.schemas import features
from framecast.schemas.clip_spec import ClipSpec

_SHUFFLE = 256  # Clips held for shuffling: a bound on memory, not on the data.
_SUBCLIP_STEP = 4  # Frames; padded lengths of sub-clips are multiples of it.
_FEATURES = {
    features.FRAMES: tf.io.FixedLenFeature([], tf.string),
    features.FRAME_COUNT: tf.io.FixedLenFeature([], tf.int64),
    features.FRAME_RATE: tf.io.FixedLenFeature([], tf.float32),
}


@dataclasses.dataclass(frozen=True)
class InputPipeline:
    """Reads what Transform materialised.

    Every dataset yields dicts of `frames` float32 `(batch, time, height, width, channel)` in [0, 1] with 0 for missing
    and padded pixels, `known` bool of that shape (False where missing or padded), and `length` int32 `(batch,)`; for a
    task that needs labels `label`, `(batch,)` or `(batch, time)`, int64 or float32, -1 or NaN where padded.
    """

    clip: ClipSpec
    task: Any  # One of the kinds of `TaskSpec`.
    train: TrainSpec

    def training(self, files: Sequence[str]) -> tf.data.Dataset:
        """Repeats forever: shuffled, cropped and augmented, the same order and draws for the same seed."""
        seed = self.train.seed
        clips = tf.data.Dataset.from_tensor_slices(sorted(files)).shuffle(len(files), seed=seed)
        clips = self._clips(clips).shuffle(_SHUFFLE, seed=seed).repeat()
        clips = clips.enumerate().map(self._augment, tf.data.AUTOTUNE)
        return self._batches(clips)

    def evaluation(self, files: Sequence[str]) -> tf.data.Dataset:
        """One pass, in order, centre crops of the training size: cheap and comparable between evaluations."""
        clips = self._clips(tf.data.Dataset.from_tensor_slices(sorted(files)))
        return self._batches(clips.map(lambda clip: self._crop(clip, None), tf.data.AUTOTUNE))

    def whole(self, files: Sequence[str]) -> tf.data.Dataset:
        """One pass of single clips as uint8, uint16 or float32 with their length and frame rate, short ones too."""
        return self._clips(tf.data.Dataset.from_tensor_slices(sorted(files)), everything=True)

    def _clips(self, files: tf.data.Dataset, everything: bool = False) -> tf.data.Dataset:
        records = files.interleave(
            lambda name: tf.data.TFRecordDataset(name, compression_type="GZIP"), cycle_length=4, deterministic=True
        )
        clips = records.map(self._parse, tf.data.AUTOTUNE)
        if everything:
            return clips
        return clips.filter(lambda clip: clip["length"] >= self.task.min_frames)

    def _parse(self, record: tf.Tensor) -> dict[str, tf.Tensor]:
        label = self.task.label
        labelled = label is not None and label.required
        wanted = {**_FEATURES, **({features.LABEL: tf.io.FixedLenFeature([], tf.string)} if labelled else {})}
        parsed = tf.io.parse_single_example(record, wanted)
        frames = tf.io.parse_tensor(parsed[features.FRAMES], tf.dtypes.as_dtype(self.clip.dtype))
        clip = {
            "frames": tf.ensure_shape(frames, [None, None, None, self.clip.channels]),
            "length": tf.cast(parsed[features.FRAME_COUNT], tf.int32),
            "frame_rate": parsed[features.FRAME_RATE],
        }
        if labelled:
            dtype = tf.float32 if label.classes is None else tf.int64
            shape = [] if label.per == "clip" else [None]
            clip["label"] = tf.ensure_shape(tf.io.parse_tensor(parsed[features.LABEL], dtype), shape)
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
            # Only square crops keep their shape in a batch.
            turns = tf.random.stateless_uniform([], seed + tf.constant([2, 0], tf.int64), 0, 4, tf.int32)
            frames = tf.image.rot90(frames, turns)
        return {**clip, "frames": frames}

    def _subclip(self, clip: dict[str, tf.Tensor], seed: tf.Tensor) -> dict[str, tf.Tensor]:
        """Cuts a run of frames out, of any length from the shortest that can be trained on."""
        length = clip["length"]
        draws = tf.random.stateless_uniform([2], seed)
        cut = self.task.min_frames + tf.cast(
            draws[0] * tf.cast(length - self.task.min_frames + 1, tf.float32), tf.int32
        )
        start = tf.cast(draws[1] * tf.cast(length - cut + 1, tf.float32), tf.int32)
        # Few padded lengths, so that few buckets have to fill up.
        padded = -(-cut // _SUBCLIP_STEP) * _SUBCLIP_STEP
        cut_out = {**clip, "length": cut}
        for name in ("frames", "label"):
            if name in clip and clip[name].shape.rank:
                values = clip[name][start : start + cut]
                rest = tf.reshape(tf.stack([0, padded - cut] + [0, 0] * (values.shape.rank - 1)), [-1, 2])
                cut_out[name] = tf.ensure_shape(tf.pad(values, rest), [None, *values.shape[1:]])
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
        with tf.control_dependencies([check]):  # Otherwise the cut itself may fail first, with words of its own.
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
            frames, known = normalise(clip["frames"], clip["length"], self.clip)
            kept = {name: clip[name] for name in ("length", "label") if name in clip}
            return {"frames": frames, "known": known, **kept}

        batches = clips.group_by_window(key, batch, window_size_func=size)
        return batches.map(floats, tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def normalise(frames: tf.Tensor, length: tf.Tensor, clip: ClipSpec) -> tuple[tf.Tensor, tf.Tensor]:
    """Maps pixels to [0, 1] and tells which are known.

    Args:
        frames: `(batch, time, height, width, channel)` in the clips' dtype.
        length: `(batch,)` int32, true frames.
        clip: The clip contract.

    Returns:
        `(frames, known)`: float32 in [0, 1], 0 where missing or past `length`; bool, False there.
    """
    known = tf.sequence_mask(length, tf.shape(frames)[1])[:, :, None, None, None]
    known = tf.broadcast_to(known, tf.shape(frames))
    if clip.missing is not None:
        known = tf.logical_and(known, frames != tf.cast(clip.missing, frames.dtype))
    scaled = tf.cast(frames, tf.float32) / clip.max_pixel
    return tf.where(known, scaled, tf.zeros_like(scaled)), known
