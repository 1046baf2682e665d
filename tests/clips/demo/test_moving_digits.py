"""Tests that moving digits are reproducible, legal, and move like Moving MNIST."""

import gzip
import struct

import numpy as np
import pytest

from framecast.clips.codec import decode_frames
from framecast.clips.demo import moving_digits
from framecast.clips.records import read_records
from framecast.clips.validation import check_clip
from framecast.schemas.clip_spec import ClipSpec, FrameRange

_SPEC = ClipSpec(frames=FrameRange(min=8, max=24), height=64, width=64)


def _files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _clips(folder, split, spec=_SPEC):
    for path in sorted((folder / split).iterdir()):
        for _, record in read_records(path):
            yield check_clip(record, spec)


def _idx(images):
    return struct.pack(">4I", 0x803, *images.shape) + images.tobytes()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "clips"
    assert moving_digits.make_demo(folder, clips=200, seed=1) == {"train": 171, "eval": 29}
    return folder


def test_files_are_sharded_gzip(made):
    files = _files(made)
    assert sorted(files) == [
        "eval/clips-00000-of-00001.tfrecord.gz",
        "train/clips-00000-of-00002.tfrecord.gz",
        "train/clips-00001-of-00002.tfrecord.gz",
    ]
    assert all(gzip.decompress(data) for data in files.values())


def test_clips_are_legal_with_unique_recordings(made):
    clips = [*_clips(made, "train"), *_clips(made, "eval")]
    assert len({clip.context.feature["clip/media_id"].bytes_list.value[0] for clip in clips}) == 200
    assert len({clip.context.feature["example/id"].bytes_list.value[0] for clip in clips}) == 200
    lengths = [clip.context.feature["clip/length"].int64_list.value[0] for clip in clips]
    # 200 draws from 17 lengths miss a given length with probability 5e-6.
    assert set(lengths) == set(range(8, 25))


def test_seed_determines_every_byte(tmp_path):
    for name, seed in (("a", 7), ("b", 7), ("c", 8)):
        moving_digits.make_demo(tmp_path / name, clips=6, seed=seed)
    assert _files(tmp_path / "a") == _files(tmp_path / "b")
    assert _files(tmp_path / "a") != _files(tmp_path / "c")


def test_digits_move_and_stay_visible(made):
    for clip in list(_clips(made, "eval"))[:5]:
        frames = decode_frames(clip, _SPEC).astype(float)[..., 0]
        ink = frames.sum((1, 2))
        # Overlapping digits, blended by maximum, have less ink, but at least that of one digit.
        assert ink.min() >= 0.3 * ink.max()
        assert frames.max() == 255
        assert (np.abs(np.diff(frames, axis=0)).sum((1, 2)) > 0).all()


@pytest.fixture
def squares(tmp_path):
    """An idx file of 14 4x4 images: twelve of value 100 for train, the last two of value 200 for eval."""
    images = np.full((14, 4, 4), 100, np.uint8)
    images[-2:] = 200
    (tmp_path / "images.idx").write_bytes(_idx(images))
    (tmp_path / "images.idx.gz").write_bytes(gzip.compress(_idx(images)))
    return tmp_path


def test_mnist_file_may_be_gzip(squares):
    for name in ("images.idx", "images.idx.gz"):
        moving_digits.make_demo(squares / f"from-{name}", clips=8, seed=3, size=24, mnist=squares / name)
    assert _files(squares / "from-images.idx") == _files(squares / "from-images.idx.gz")


def test_train_and_eval_use_different_digits(squares):
    moving_digits.make_demo(squares / "clips", clips=20, seed=3, size=24, mnist=squares / "images.idx")
    spec = ClipSpec(frames=FrameRange(min=8, max=24))
    for split, value in (("train", 100), ("eval", 200)):
        for clip in _clips(squares / "clips", split, spec):
            assert set(np.unique(decode_frames(clip, spec))) == {0, value}


def test_digit_moves_and_turns_at_walls(squares):
    size = 104  # A free range of 100 pixels: a step is 10 pixels long.
    moving_digits.make_demo(
        squares / "clips", clips=12, seed=5, size=size, frames=(24, 24), mnist=squares / "images.idx"
    )
    spec = ClipSpec(frames=FrameRange(min=24, max=24))
    steps, turned = [], 0
    for clip in _clips(squares / "clips", "train", spec):
        frames = decode_frames(clip, spec)[..., 0] > 0
        if not (frames.sum((1, 2)) == 32).all():
            continue  # The digits overlap, so the outermost ink is not one digit's.
        rows, columns = (np.array([np.flatnonzero(f.any(axis)) for f in frames], dtype=object) for axis in (1, 0))
        for axis in (rows, columns):
            low = np.array([place[0] for place in axis])
            high = np.array([place[-1] for place in axis])
            assert low.min() >= 0
            assert high.max() < size
            moves = np.diff(low)
            steps.extend(np.abs(moves))
            turned += np.any(moves[:-1] * moves[1:] < 0)
    assert steps
    assert max(steps) <= 11  # Ten pixels, plus rounding to whole pixels.
    assert turned


def test_path_step_is_tenth_between_walls():
    for seed in range(20):
        path = moving_digits._path(np.random.default_rng(seed), 200)
        assert path.min() >= 0
        assert path.max() <= 1
        inside = ((path > 0) & (path < 1)).all(1)
        free = inside[1:] & inside[:-1]
        np.testing.assert_allclose(np.linalg.norm(np.diff(path, axis=0), axis=1)[free], 0.1, rtol=1e-9)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"clips": 1}, r"clips: expected at least 2, one per split, received 1"),
        ({"size": 28}, r"size: expected more than the digits' 28 pixels, received 28"),
        ({"frames": (9, 8)}, r"frames: expected 1 <= fewest <= most, received \(9, 8\)"),
    ],
)
def test_out_of_range_argument_is_rejected(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        moving_digits.make_demo(tmp_path / "clips", **{"clips": 2, "seed": 0, **arguments})
    assert not (tmp_path / "clips").exists()


@pytest.mark.parametrize("data", [b"", b"no idx file at all", _idx(np.zeros((2, 4, 4), np.uint8))[:-1]])
def test_non_idx_file_is_rejected(tmp_path, data):
    (tmp_path / "images").write_bytes(data)
    with pytest.raises(ValueError, match=r"images: expected an idx file of images .*received magic number 0x"):
        moving_digits.make_demo(tmp_path / "clips", clips=2, seed=0, mnist=tmp_path / "images")


def test_nonempty_folder_is_rejected(tmp_path):
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(FileExistsError, match=r"expected a new or empty folder"):
        moving_digits.make_demo(tmp_path, clips=2, seed=0)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_command_line_prints_clip_counts(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["demo", str(tmp_path / "clips"), "--clips", "14", "--seed", "2"])
    moving_digits.main()
    assert "12 train and 2 eval clips" in capsys.readouterr().out
    assert len(list(_clips(tmp_path / "clips", "train"))) == 12
    with pytest.raises(SystemExit):
        moving_digits.main()
    assert "expected a new or empty folder" in capsys.readouterr().err
