"""The input pipeline: batches of one bucket, crops and augmentations of whole clips, reproducible by seed."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from framecast.models.spec import ClassifyTask, ContextSpec, ForecastTask, TrainSpec
from framecast.models.training.input_pipeline import InputPipeline
from framecast.schemas.clip_spec import ClipSpec, FrameRange
from tests.models.transformed import write_transformed

_LENGTHS = (3, 4, 6, 6, 8, 8, 8)
_PADDED = {3: 4, 4: 4, 6: 8, 8: 8}


def _clip(number, length):
    """A clip whose pixels identify clip, frame, row and column; each frame adds 1 to the one before."""
    frame = np.random.default_rng(number).integers(1, 200, (12, 12, 1))
    return np.stack([frame + time for time in range(length)]).astype(np.uint8)


def _padded(number, length):
    frames = np.zeros((_PADDED[length], 12, 12, 1), np.uint8)
    frames[:length] = _clip(number, length)
    return frames


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("transformed") / "clips.tfrecord")
    write_transformed(path, [(_padded(number, length), length) for number, length in enumerate(_LENGTHS)])
    return [path]


def _pipeline(**train):
    return InputPipeline(
        ClipSpec(frames=FrameRange(min=1, max=8)),
        ForecastTask(horizon=2, context=ContextSpec(min=2)),
        TrainSpec(steps=1, batch_frames=16, **train),
    )


def _batches(dataset, count=None):
    return [{name: value.numpy() for name, value in batch.items()} for batch in itertools.islice(iter(dataset), count)]


def test_batch_has_one_bucket_and_configured_frames(files):
    for batch in _batches(_pipeline().training(files), 20):
        clips, time = batch["frames"].shape[:2]
        assert {_PADDED[length] for length in batch["length"].tolist()} == {time}
        assert clips == 16 // time


def test_clips_shorter_than_context_plus_horizon_are_skipped(files):
    lengths = [length for batch in _batches(_pipeline().evaluation(files)) for length in batch["length"].tolist()]
    assert sorted(lengths) == [4, 6, 6, 8, 8, 8]


def test_padding_is_zero_and_not_known(files):
    for batch in _batches(_pipeline().evaluation(files)):
        for frames, known, length in zip(batch["frames"], batch["known"], batch["length"], strict=True):
            assert known[:length].all()
            assert not known[length:].any()
            assert not frames[length:].any()
            assert frames[:length].min() >= np.float32(1 / 255)


@pytest.mark.parametrize("augment", [(), ("flip",), ("rotate90",), ("flip", "rotate90")])
def test_crop_is_one_window_for_all_frames(files, augment):
    """Every frame differs from the first by its number alone, so a window that moved inside a clip would show."""
    windows = set()
    for batch in _batches(_pipeline(crop=8, augment=augment).training(files), 30):
        for frames, length in zip(batch["frames"], batch["length"], strict=True):
            pixels = np.round(frames[:length, ..., 0] * 255).astype(int)
            assert pixels.shape[1:] == (8, 8)
            np.testing.assert_array_equal(pixels - pixels[0], np.arange(length)[:, None, None] + np.zeros((1, 8, 8)))
            windows.add(pixels[0].tobytes())
            assert _found(pixels[0], augment)
    assert len(windows) > 10


def _found(window, augment):
    """Checks whether the window, flipped and rotated as `augment` allows, is part of one of the clips."""
    candidates = [window]
    if "rotate90" in augment:
        candidates = [np.rot90(view, turns) for view in candidates for turns in range(4)]
    if "flip" in augment:
        candidates = [view[::rows, ::columns] for view in candidates for rows in (1, -1) for columns in (1, -1)]
    pictures = [_clip(number, 1)[0, ..., 0] for number in range(len(_LENGTHS))]
    places = list(itertools.product(range(5), range(5)))
    return any(
        np.array_equal(picture[row : row + 8, column : column + 8], view)
        for picture in pictures
        for row, column in places
        for view in candidates
    )


def test_every_augmentation_occurs(files):
    plain = {batch["frames"].tobytes() for batch in _batches(_pipeline(crop=12).training(files), 40)}
    moved = {
        batch["frames"].tobytes()
        for batch in _batches(_pipeline(crop=12, augment=("flip", "rotate90")).training(files), 40)
    }
    assert len(moved) > len(plain) / 2
    assert moved - plain


def test_seed_determines_batches(files):
    def pixels(seed):
        pipeline = _pipeline(seed=seed, crop=8, augment=("flip", "rotate90"))
        return np.concatenate([batch["frames"].ravel() for batch in _batches(pipeline.training(files), 9)])

    one, same, other = pixels(1), pixels(1), pixels(2)
    np.testing.assert_array_equal(one, same)
    assert one.shape != other.shape or not np.array_equal(one, other)


def test_crop_larger_than_frames_is_rejected(files):
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"train.crop: expected frames of at least 16 x 16"):
        _batches(_pipeline(crop=16).evaluation(files))


def test_subclip_has_consecutive_frames_of_one_clip(files):
    lengths, starts = set(), set()
    for batch in _batches(_pipeline(augment=("subclip",)).training(files), 60):
        assert batch["frames"].shape[1] % 4 == 0
        for frames, known, length in zip(batch["frames"], batch["known"], batch["length"], strict=True):
            pixels = np.round(frames[:length, ..., 0] * 255).astype(int)
            steps = np.arange(length)[:, None, None] + np.zeros((1, 12, 12))
            np.testing.assert_array_equal(pixels - pixels[0], steps)
            assert known[:length].all()
            assert not known[length:].any()
            assert 4 <= length <= 8
            lengths.add(int(length))
            firsts = [pixels[0] - _clip(number, 1)[0, ..., 0] for number in range(len(_LENGTHS))]
            (start,) = (first[0, 0] for first in firsts if (first == first[0, 0]).all())
            starts.add(int(start))
    assert lengths == {4, 5, 6, 7, 8}
    assert starts >= {0, 1, 2}


@pytest.mark.parametrize("per", ["clip", "frame"])
def test_labels_stay_with_their_frames(tmp_path, per):
    """The label of a frame is its first pixel, that of a clip the first pixel of its first frame."""
    task = ClassifyTask(kind="classify", classes=256, per=per)
    path, clips = str(tmp_path / "clips.tfrecord"), []
    for number, length in enumerate(_LENGTHS):
        frames = _padded(number, length)
        first = frames[:, 0, 0, 0].astype(np.int64)
        clips.append(
            (frames, length, first[0] if per == "clip" else np.where(np.arange(len(frames)) < length, first, -1))
        )
    write_transformed(path, clips)
    augment = ("subclip",) if per == "frame" else ()
    spec = ClipSpec(frames=FrameRange(min=1, max=8))
    pipeline = InputPipeline(spec, task, TrainSpec(steps=1, batch_frames=16, augment=augment))
    for batch in _batches(pipeline.training([path]), 20):
        pixels = np.round(batch["frames"][:, :, 0, 0, 0] * 255).astype(int)
        for row, label, length in zip(pixels, batch["label"], batch["length"], strict=True):
            if per == "clip":
                assert label == row[0]
            else:
                np.testing.assert_array_equal(label[:length], row[:length])


def test_batches_of_sorted_files_mix_classes(tmp_path):
    """Four classes one after the other: a batch of 32 has no class more than 4 standard deviations from 8 clips."""
    task = ClassifyTask(kind="classify", classes=4)
    frames = np.zeros((1, 8, 8, 1), np.uint8)
    files = [tmp_path / f"{part}.tfrecord" for part in range(2)]
    for part, file in enumerate(files):
        write_transformed(file, [(frames, 1, np.int64(2 * part + number // 500)) for number in range(1000)])
    pipeline = InputPipeline(ClipSpec(frames=FrameRange(min=1, max=1)), task, TrainSpec(steps=1, batch_frames=32))
    for batch in _batches(pipeline.training([str(file) for file in files]), 60):
        assert np.abs(np.bincount(batch["label"], minlength=4) - 8).max() <= 4 * np.sqrt(32 * 0.25 * 0.75)
