"""Tests that conversion yields legal, exact and complete clips, is reproducible, and resumes."""

import hashlib
import json
import pathlib
import re

import h5py
import numpy as np
import pytest
import tensorflow as tf

from framecast.clips import image_codec
from framecast.clips.beam import BEAM_RUNNER
from framecast.clips.codec import decode_frames
from framecast.clips.convert import pipeline as conversion
from framecast.clips.convert import unit_writer
from framecast.clips.convert.pipeline import BadSourcesError, convert, read_progress
from framecast.clips.convert.spec import ConvertSpec
from framecast.clips.records import read_records, write_records
from framecast.clips.validation import check_clip
from framecast.schemas.clip_spec import ClipSpec

_RNG = np.random.default_rng(0)


def _convert(source, to, skip_bad=False, **spec):
    return convert([str(source)], to, ConvertSpec.model_validate(spec), skip_bad=skip_bad)


def _records(folder):
    return [record for path in sorted(pathlib.Path(folder).glob("*.tfrecord*")) for _, record in read_records(path)]


def _clips(folder, manifest):
    """Returns clips and frames, validated against the manifest's contract."""
    spec = ClipSpec.model_validate(manifest["clip"])
    return [(example, decode_frames(example, spec)) for example in (check_clip(r, spec) for r in _records(folder))]


def _file(example):
    """Returns the recording without its folder and digest."""
    return re.sub(r"@[0-9a-f]{12}", "", _text(example, "clip/media_id")).partition("/")[2]


def _text(example, name):
    return example.context.feature[name].bytes_list.value[0].decode()


@pytest.fixture
def arrays(tmp_path):
    """Five recordings of 30 frames, one per file."""
    folder = tmp_path / "arrays"
    folder.mkdir()
    for number in range(5):
        np.save(folder / f"{number}.npy", _RNG.integers(0, 256, (30, 12, 16), np.uint8))
    return folder


def test_clips_are_legal_exact_and_complete(tmp_path, arrays):
    manifest = _convert(arrays, tmp_path / "clips", read={"fps": 10}, cut={"frames": {"min": 4, "max": 8}})
    clips = _clips(tmp_path / "clips", manifest)
    assert manifest["clips"] == len(clips) == 20
    assert (manifest["recordings"], manifest["frames"], manifest["frames_read"]) == (5, 150, 150)
    assert (manifest["lengths"], manifest["clip"]["intervals"]) == ({"6": 5, "8": 15}, [0.1])
    for number in range(5):
        source = np.load(arrays / f"{number}.npy")
        mine = [frames for example, frames in clips if _file(example) == f"{number}.npy"]
        assert np.array_equal(np.concatenate(mine)[..., 0], source)
        digest = hashlib.sha256((arrays / f"{number}.npy").read_bytes()).hexdigest()
        assert manifest["sources"][str(arrays / f"{number}.npy")] == digest
    assert len({_text(example, "example/id") for example, _ in clips}) == 20


def test_tensorflow_parses_mediasequence_features(tmp_path, arrays):
    _convert(arrays, tmp_path / "clips", read={"fps": 10}, cut={"frames": {"min": 4, "max": 8}})
    context, lists = tf.io.parse_single_sequence_example(
        _records(tmp_path / "clips")[0],
        context_features={
            name: tf.io.FixedLenFeature([], dtype)
            for name, dtype in {
                "example/id": tf.string,
                "clip/media_id": tf.string,
                "image/format": tf.string,
                "image/channels": tf.int64,
                "image/colorspace": tf.string,
                "image/height": tf.int64,
                "image/width": tf.int64,
                "image/frame_rate": tf.float32,
            }.items()
        },
        sequence_features={
            "image/encoded": tf.io.FixedLenSequenceFeature([], tf.string),
            "image/timestamp": tf.io.FixedLenSequenceFeature([], tf.int64),
        },
    )
    assert (int(context["image/height"]), int(context["image/width"]), float(context["image/frame_rate"])) == (
        12,
        16,
        10,
    )
    assert lists["image/timestamp"].numpy().tolist() == [100_000 * index for index in range(8)]
    decoded = np.stack([tf.io.decode_png(data).numpy() for data in lists["image/encoded"]])
    assert np.array_equal(decoded[..., 0], np.load(arrays / "0.npy")[:8])


def _write_knmi(folder, depth):
    folder.mkdir()
    for index, frame in enumerate(depth):
        with h5py.File(folder / f"RAD_NL25_RAP_5min_20100826{index // 12:02d}{5 * (index % 12):02d}.h5", "w") as file:
            file["image1/image_data"] = frame


def test_hdf5_rain_is_exact_per_pixel(tmp_path):
    depth = _RNG.integers(0, 300, (26, 40, 56)).astype(np.uint16)
    depth[:, :9] = 65535
    _write_knmi(tmp_path / "knmi", depth)
    manifest = _convert(
        tmp_path / "knmi",
        tmp_path / "clips",
        read={"variable": "image1/image_data", "time_format": "%Y%m%d%H%M"},
        value={"scale": 0.12, "unit": "mm/h", "fill": 65535, "rain_to_dbz": True, "low": -10, "high": 60},
        cut={"frames": {"min": 2, "max": 12}, "tile": 16, "recording_seconds": 3600},
    )
    rain = depth * 0.12
    with np.errstate(divide="ignore"):
        expected = np.where(rain < 0.05, 0, np.rint(255 * (10 * np.log10(200 * rain**1.6) + 10) / 70))
    expected[depth == 65535] = 255
    clips = _clips(tmp_path / "clips", manifest)
    assert len(clips) == 3 * 2 * 3
    assert manifest["clip"]["missing"] == 255
    for example, frames in clips:
        start, place = _text(example, "example/id").rpartition("/")[2].split("@")
        top, left = map(int, place.split(","))
        part = expected[int(start) : int(start) + len(frames), top : top + 16, left : left + 16]
        assert np.array_equal(frames[..., 0], part)
        piece = int(_text(example, "clip/media_id").rpartition("/")[2])
        assert piece == int(start) // 12
        feature = example.context.feature
        assert feature["clip/value/unit"].bytes_list.value[0] == b"dBZ"
        dbz = feature["clip/value/scale"].float_list.value[0] * 100 + feature["clip/value/offset"].float_list.value[0]
        assert dbz == pytest.approx(100 * 70 / 255 - 10)


@pytest.mark.parametrize(("dtype", "channels"), [("uint16", 1), ("uint16", 3), ("float32", 6), ("float32", 1)])
def test_16_bit_and_float_frames_are_exact(tmp_path, dtype, channels):
    shape = (20, 9, 11, channels)
    frames = _RNG.random(shape).astype(dtype) if dtype == "float32" else _RNG.integers(0, 65536, shape).astype(dtype)
    np.save(tmp_path / "a.npy", frames)
    manifest = _convert(tmp_path / "a.npy", tmp_path / "clips", read={"fps": 1, "axes": "THWC"})
    (_, found), *_ = _clips(tmp_path / "clips", manifest)
    assert found.dtype == dtype
    assert np.array_equal(found, frames)


def test_crop_resize_and_tile(tmp_path):
    frames = np.tile(np.arange(60, dtype=np.uint8)[:, None], (8, 1, 80))
    np.save(tmp_path / "a.npy", frames)
    manifest = _convert(
        tmp_path / "a.npy",
        tmp_path / "clips",
        read={"fps": 1},
        cut={"crop": (10, 8, 40, 64), "size": (20, 32), "tile": 16, "tile_stride": 8},
    )
    clips = {
        _text(example, "example/id").rpartition("@")[2]: pixels
        for example, pixels in _clips(tmp_path / "clips", manifest)
    }
    assert sorted(clips) == ["0,0", "0,16", "0,8"]
    assert clips["0,0"].shape == (8, 16, 16, 1)
    assert clips["0,0"][0, :, 0, 0].tolist() == pytest.approx([10.5 + 2 * row for row in range(16)], abs=0.6)


def test_clips_below_min_content_are_counted(tmp_path):
    frames = np.zeros((24, 8, 8), np.uint8)
    frames[:8, :4] = 9
    np.save(tmp_path / "a.npy", frames)
    spec = {"read": {"fps": 1}, "cut": {"frames": {"min": 8, "max": 8}, "min_content": 0.5}}
    manifest = _convert(tmp_path / "a.npy", tmp_path / "clips", **spec)
    assert (manifest["clips"], manifest["left_out"]) == (1, {"clips of little content": 2})


@pytest.mark.parametrize("how", ["folders", "csv of classes", "csv of numbers"])
def test_labels_from_folders_and_csv(tmp_path, how):
    for kind in ("walk", "jump"):
        (tmp_path / "videos" / kind).mkdir(parents=True)
        np.save(tmp_path / "videos" / kind / "a.npy", np.full((8, 8, 8), len(kind), np.uint8))
    labels = "folders"
    if how != "folders":
        labels = str(tmp_path / "labels.csv")
        column, one, other = ("label", "walk", "jump") if "classes" in how else ("value", 0.5, 2)
        pathlib.Path(labels).write_text(f"recording,{column}\nwalk/a.npy,{one}\njump/a.npy,{other}\n")
    manifest = _convert(tmp_path / "videos", tmp_path / "clips", read={"fps": 1, "labels": labels})
    clips = [example for example, _ in _clips(tmp_path / "clips", manifest)]
    found = {_text(clip, "clip/media_id").partition("@")[0]: clip.context.feature for clip in clips}
    if "numbers" in how:
        assert found["walk/a.npy"]["clip/label/value"].float_list.value[0] == 0.5
        return
    assert manifest["classes"] == ["jump", "walk"]
    for name, feature in found.items():
        kind = name.split("/")[0]
        assert feature["clip/label/string"].bytes_list.value[0].decode() == kind
        assert feature["clip/label/index"].int64_list.value[0] == ["jump", "walk"].index(kind)


def test_unlabelled_recording_is_named(tmp_path, arrays):
    (tmp_path / "labels.csv").write_text("recording,label\n0,1\n1,0\n2,0\n3,1\n")
    with pytest.raises(BadSourcesError, match=r"4\.npy: .*labels\.csv: no label for arrays/4\.npy"):
        _convert(arrays, tmp_path / "clips", read={"fps": 1, "labels": str(tmp_path / "labels.csv")})


class _StoppedError(Exception):
    pass


def test_stopped_conversion_resumes_without_rewriting_files(tmp_path, arrays, monkeypatch):
    spec = {"read": {"fps": 10}, "cut": {"frames": {"min": 4, "max": 8}}, "shard_mb": 0.004}
    whole = _convert(arrays, tmp_path / "whole", **spec)
    assert len(whole["shards"]) > 8
    written = []

    def stopping(path, records, **options):
        if len(written) in (3, 4, 6):
            # Stop in the middle of a file, like a kill.
            written.append(None)
            pathlib.Path(path).write_bytes(next(iter(records))[:50])
            raise _StoppedError
        written.append(path.name)
        return write_records(path, records, **options)

    monkeypatch.setattr(unit_writer, "write_records", stopping)
    times = {}
    for _ in range(3):
        with pytest.raises(Exception, match="_StoppedError"):
            _convert(arrays, tmp_path / "clips", **spec)
        assert not (tmp_path / "clips" / "manifest.json").exists()
        for path in (tmp_path / "clips").glob("*.gz"):
            times.setdefault(path.name, path.stat().st_mtime_ns)
    finished = read_progress(tmp_path / "clips").clips
    assert 0 < finished < 20
    assert _convert(arrays, tmp_path / "clips", **spec) == whole
    names = [name for name in written if name]
    assert len(set(names)) == len(names) == len(whole["shards"])
    assert _records(tmp_path / "clips") == _records(tmp_path / "whole")
    assert all((tmp_path / "clips" / name).stat().st_mtime_ns == time for name, time in times.items())
    assert sorted(path.name for path in (tmp_path / "clips").iterdir()) == sorted(
        [shard["file"] for shard in whole["shards"]] + ["manifest.json"]
    )


def test_finished_conversion_is_not_rewritten(tmp_path, arrays):
    spec = {"read": {"fps": 10}}
    manifest = _convert(arrays, tmp_path / "clips", **spec)
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "clips").iterdir()}
    assert _convert(arrays, tmp_path / "clips", **spec) == manifest
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "clips").iterdir()} == before
    with pytest.raises(FileExistsError, match="expected a new or empty folder, but it has clips of other"):
        _convert(arrays, tmp_path / "clips", read={"fps": 5})


def test_stopped_conversion_rejects_other_options(tmp_path, arrays):
    (arrays / "2.npy").write_bytes(b"?")
    with pytest.raises(ValueError, match="expected a NumPy array"):
        _convert(arrays, tmp_path / "clips", read={"fps": 10})
    np.save(arrays / "2.npy", np.zeros((30, 9, 9)) - 1)
    with pytest.raises(BadSourcesError):
        _convert(arrays, tmp_path / "clips", read={"fps": 10})
    with pytest.raises(FileExistsError, match="the folder has an unfinished conversion of other sources"):
        _convert(arrays, tmp_path / "clips", read={"fps": 5})


def test_bad_source_is_named_or_skipped(tmp_path):
    folder = tmp_path / "images"
    for name in ("a", "b", "c"):
        (folder / name).mkdir(parents=True)
        for index in range(20):
            data = image_codec.encode_png(_RNG.integers(0, 256, (9, 9, 1), np.uint8))
            (folder / name / f"{index}.png").write_bytes(data[:30] if (name, index) == ("b", 17) else data)
    spec = {"read": {"fps": 1}, "cut": {"frames": {"min": 4, "max": 8}}}
    with pytest.raises(BadSourcesError, match=r"^1 bad sources:\n.*images/b/17\.png: cannot read the image"):
        _convert(folder, tmp_path / "clips", **spec)
    manifest = _convert(folder, tmp_path / "clips", skip_bad=True, **spec)
    assert len(manifest["bad"]) == 1
    # The readable part of the bad source is kept.
    media = [_file(example) for example, _ in _clips(tmp_path / "clips", manifest)]
    assert {name: media.count(name) for name in set(media)} == {"a": 3, "b": 2, "c": 3}


@pytest.mark.slow
def test_workers_write_same_clips_as_one_process(tmp_path, monkeypatch):
    for number in range(3):
        np.save(tmp_path / f"{number}.npy", _RNG.integers(0, 256, (30, 12, 16), np.uint8))
    spec = {"read": {"fps": 10}, "cut": {"frames": {"min": 4, "max": 8}}}
    monkeypatch.setattr(conversion, "_UNIT_BYTES", 1)
    one = _convert(str(tmp_path / "*.npy"), tmp_path / "one", **spec)
    assert len(one["shards"]) == 3
    flags = [f"--runner={BEAM_RUNNER}", "--direct_running_mode=multi_processing", "--direct_num_workers=2"]
    sources = [str(tmp_path / "*.npy")]
    assert convert(sources, tmp_path / "two", ConvertSpec.model_validate(spec), beam_flags=flags) == one
    assert _records(tmp_path / "one") == _records(tmp_path / "two")


def test_conversion_without_clips_lists_reasons(tmp_path, arrays):
    with pytest.raises(
        ValueError, match=r"expected clips of 40 to 50 frames, received none: .'frames of no clip': 150"
    ):
        _convert(arrays, tmp_path / "clips", read={"fps": 10}, cut={"frames": {"min": 40, "max": 50}})


def test_nonempty_folder_is_rejected(tmp_path, arrays):
    with pytest.raises(FileExistsError, match="expected a new or empty folder, but it has files"):
        _convert(arrays, arrays, read={"fps": 10})


def test_returned_manifest_equals_file(tmp_path, arrays):
    manifest = _convert(arrays, tmp_path / "clips", read={"fps": 10}, gzip=False)
    assert json.loads((tmp_path / "clips" / "manifest.json").read_text()) == manifest
    assert manifest["bytes"] == sum(path.stat().st_size for path in (tmp_path / "clips").glob("*.tfrecord"))
