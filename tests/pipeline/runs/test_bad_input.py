"""`framecast run` on bad input prints one screen that names the cause, and pushes nothing."""

import json
import os
import pathlib
import re
import subprocess
import sys
import zlib

import numpy as np
import pytest

from framecast.clips.codec import encode_clip
from framecast.clips.records import write_records
from tests.pipeline.config_file import write_config

_ENCODED, _TIMESTAMP = "image/encoded", "image/timestamp"
_SCREEN = 24  # Lines of a terminal.
_ROOT = pathlib.Path(__file__).parents[3]


def _clip(number, frames=None, **changes):
    if frames is None:
        frames = np.random.default_rng(number).integers(0, 256, (10, 16, 16, 1), np.uint8)
    arguments = {"example_id": f"clip-{number}", "media_id": f"media-{number}", "frame_rate": 10.0, **changes}
    return encode_clip(frames, **arguments)


def _frame(clip, index):
    return clip.feature_lists.feature_list[_ENCODED].feature[index].bytes_list.value


def _write(folder, clips):
    folder.mkdir()
    write_records(str(folder / "clips.tfrecord.gz"), [clip.SerializeToString() for clip in clips])


def _config(tmp_path, **sections):
    minimal = {
        "data": '{train: "clips/*", shares: {train: 2, val: 1, eval: 1}}',
        "clip": "{frames: {min: 4, max: 12}}",
        "task": "{horizon: 3, context: {min: 2}}",
        "train": "{steps: 1}",
    }
    return write_config(tmp_path, **{**minimal, **sections})


def _refused(framecast, tmp_path, path, code, *parts):
    """Runs and checks that the run fails with one screen of text, which matches every part, and pushes nothing."""
    answer = framecast("run", path, "--workdir", tmp_path / "work")
    assert answer.code == code, answer.text
    for part in parts:
        assert re.search(part, answer.text), (part, answer.text)
    assert "Traceback" not in answer.text
    assert len(answer.text.splitlines()) <= _SCREEN
    assert not (tmp_path / "serving").exists()


def _corrupt(clip):
    data = bytearray(_frame(clip, 3)[0])
    data[60] ^= 255
    _frame(clip, 3)[0] = bytes(data)


def _huge(clip):
    data = bytearray(_frame(clip, 0)[0])
    data[16:24] = (100_000).to_bytes(4, "big") * 2
    data[29:33] = zlib.crc32(bytes(data[12:29])).to_bytes(4, "big")
    del clip.context.feature["image/height"], clip.context.feature["image/width"]
    _frame(clip, 0)[0] = bytes(data)


def _without_frames(clip):
    for name in (_ENCODED, _TIMESTAMP):
        del clip.feature_lists.feature_list[name].feature[:]


def _back(clip):
    clip.feature_lists.feature_list[_TIMESTAMP].feature[5].int64_list.value[0] = 350_000


def _gap(clip):
    for feature in clip.feature_lists.feature_list[_TIMESTAMP].feature[6:]:
        feature.int64_list.value[0] += 100_000


def test_broken_clips_are_named(framecast, tmp_path):
    """One run names them all; tests/components/test_quarantine.py covers each kind alone."""
    broken = [
        (_corrupt, "clip clip-1, frame 3: image/encoded: checksum mismatch in the PNG's"),
        (_without_frames, "clip clip-2: image/encoded: expected 4 to 12 frames, received 0"),
        (_huge, r"clip clip-3, frame 0: image/encoded: expected at most .*, received 100000x100000"),
        (_back, r"clip clip-4, frame 5: image/timestamp: expected .*350000"),
        (_gap, r"clip clip-5, frame 6: image/timestamp: expected .*200000"),
    ]
    clips = [_clip(number) for number in range(1 + len(broken))]
    for clip, (change, _) in zip(clips[1:], broken):
        change(clip)
    _write(tmp_path / "clips", clips)
    path = re.escape(str(tmp_path / "clips" / "clips.tfrecord.gz"))
    expected = [f"{path}, record {number}: {message}" for number, (_, message) in enumerate(broken, 1)]
    _refused(framecast, tmp_path, _config(tmp_path), 1, "failed: ClipExampleGen: 5 bad clips", *expected)


def test_clips_of_wrong_kind_are_named(framecast, tmp_path):
    wrong = [
        (np.zeros((10, 16, 16, 3), np.uint8), "expected 1 channels, received 3"),
        (np.zeros((10, 12, 16, 1), np.uint8), "expected 16x16 pixels .height x width in the configuration., received"),
        (np.zeros((10, 16, 16, 1), np.uint16), "expected 8 bits per channel .uint8., received 16"),
    ]
    _write(tmp_path / "clips", [_clip(0), *(_clip(number, frames) for number, (frames, _) in enumerate(wrong, 1))])
    config = _config(tmp_path, clip="{frames: {min: 4, max: 12}, height: 16, width: 16}")
    expected = [
        f"clips.tfrecord.gz, record {number}: clip clip-{number}.*{message}"
        for number, (_, message) in enumerate(wrong, 1)
    ]
    _refused(framecast, tmp_path, config, 1, "failed: ClipExampleGen: 3 bad clips", *expected)


def test_quarantined_clips_are_counted_by_reason(framecast, tmp_path):
    clips = [_clip(number) for number in range(9)]
    _gap(clips[2])
    _corrupt(clips[3])
    _corrupt(clips[7])
    _write(tmp_path / "clips", clips)
    (tmp_path / "clips" / "folder").mkdir()
    data = '{train: "clips/*", on_bad_clip: quarantine, max_bad_fraction: 0.4, shares: {train: 2, val: 1, eval: 1}}'
    config = _config(tmp_path, data=data)
    answer = framecast("run", config, "--workdir", tmp_path / "work", "--to", "ClipExampleGen")
    assert answer.code == 0, answer.text
    assert "4 bad, in " in answer.text
    counts = {"unreadable-frame": 2, "timestamp-gap": 1, "unreadable-file": 1}
    for reason, count in counts.items():
        assert re.search(rf"^ +{count} {reason}$", answer.text, re.MULTILINE)
    (record,) = (tmp_path / "work" / "runs").glob("*/run.json")
    assert json.loads(record.read_text())["bad_clips"] == counts


def test_clips_of_mixed_intervals_are_named(framecast, tmp_path):
    _write(tmp_path / "clips", [_clip(number, frame_rate=5.0 if number == 7 else 10.0) for number in range(9)])
    expected = (
        r"expected one interval between frames in all clips, received 0.1 s .*; 0.2 s \(.*, record 7: clip clip-7"
    )
    _refused(framecast, tmp_path, _config(tmp_path), 1, "failed: ClipExampleGen", expected)


def test_duplicate_clip_names_are_both_named(framecast, tmp_path):
    _write(tmp_path / "clips", [_clip(0), _clip(1), _clip(7, example_id="clip-0")])
    path = tmp_path / "clips" / "clips.tfrecord.gz"
    expected = re.escape(f"{path}, record 2: clip clip-0: expected a unique example/id, also used by {path}, record 0")
    _refused(framecast, tmp_path, _config(tmp_path), 1, expected)


def test_only_short_clips_fail_before_training(framecast, tmp_path):
    _write(tmp_path / "clips", [_clip(number, np.zeros((4, 16, 16, 1), np.uint8)) for number in range(12)])
    expected = r"split train: expected a clip of at least 5 frames \(context and horizon\), received"
    _refused(framecast, tmp_path, _config(tmp_path), 1, "failed: ClipExampleGen", expected)


def _cut_inside_a_record(path):
    write_records(str(path), [_clip(number).SerializeToString() for number in range(3)])
    with open(path, "r+b") as file:
        file.truncate(file.seek(0, os.SEEK_END) - 100)


def _cut_at_a_record(path):
    plain = path.with_name("plain")
    write_records(plain, [_clip(number).SerializeToString() for number in (3, 4)])
    packer = zlib.compressobj(wbits=31)
    path.write_bytes(packer.compress(plain.read_bytes()) + packer.flush(zlib.Z_FULL_FLUSH))
    plain.unlink()


def test_damaged_files_are_named(framecast, tmp_path):
    clips = tmp_path / "clips"
    clips.mkdir()
    _cut_inside_a_record(clips / "cut.tfrecord")
    _cut_at_a_record(clips / "cut.tfrecord.gz")
    (clips / "random.tfrecord").write_bytes(np.random.default_rng(0).bytes(1000))
    expected = [
        "cut.tfrecord, record 2: truncated data: expected",
        "cut.tfrecord.gz, record 2: truncated gzip file: expected the end-of-stream marker",
        "random.tfrecord, record 0: ",
    ]
    messages = [re.escape(f"{clips}/{message}") for message in expected]
    _refused(framecast, tmp_path, _config(tmp_path), 1, "failed: ClipExampleGen: 3 bad clips or files", *messages)


def _dangling(path):
    path.symlink_to(path.parent / "gone")


@pytest.mark.parametrize(("make", "reason"), [(_dangling, "No such file"), (pathlib.Path.mkdir, "Is a directory")])
def test_unreadable_file_is_named(framecast, tmp_path, make, reason):
    (tmp_path / "clips").mkdir()
    make(tmp_path / "clips" / "clips.tfrecord")
    expected = f"data.train: expected readable files, received {tmp_path / 'clips' / 'clips.tfrecord'}: {reason}"
    _refused(framecast, tmp_path, _config(tmp_path), 2, re.escape(expected))


def test_empty_folder_is_named(framecast, tmp_path):
    (tmp_path / "clips").mkdir()
    expected = f"data.train: expected files, received none that match {tmp_path / 'clips' / '*'}"
    _refused(framecast, tmp_path, _config(tmp_path), 2, re.escape(expected))


@pytest.mark.parametrize(
    ("sections", "expected"),
    [
        ({"train": "{stesp: 1}"}, "train.stesp: unknown key"),
        ({"evaluate": "{thresholds: {sklil: {min: 0}}}"}, "sklil"),
        ({"model": '{builder: "no_such_module:build"}'}, "received no_such_module:build: ModuleNotFoundError"),
        ({"model": '{builder: "framecast.models.networks.presets:no_such_function"}'}, "AttributeError: module"),
    ],
    ids=["unknown key", "metric's name", "builder's module", "builder's function"],
)
def test_invalid_configuration_fails_before_any_component(framecast, tmp_path, sections, expected):
    _write(tmp_path / "clips", [_clip(0)])
    _refused(framecast, tmp_path, _config(tmp_path, **sections), 2, expected)
    assert not (tmp_path / "work").exists()


@pytest.mark.slow
def test_full_disk_in_transform_is_named(tmp_path):
    """Runs on a disk of 3 MB, which fits the ingested clips but not the transformed ones, in a mount namespace."""
    noise = np.random.default_rng(0).integers(0, 256, (12, 10, 128, 128, 1), np.uint8)
    _write(tmp_path / "clips", [_clip(number, frames) for number, frames in enumerate(noise)])
    config = _config(tmp_path, push="{directory: ../serving}")
    work = tmp_path / "work"
    (work / "artifacts").mkdir(parents=True)
    script = 'mount -t tmpfs -o size=3m tmpfs "$0" && exec "$@"'
    user = [] if os.geteuid() == 0 else ["--map-root-user"]
    command = [sys.executable, "-m", "framecast.pipeline.cli.main", "run", config, "--workdir", str(work)]
    done = subprocess.run(
        ["unshare", "--mount", *user, "sh", "-c", script, str(work / "artifacts"), *command],
        capture_output=True, text=True, cwd=_ROOT,
    )  # fmt: skip
    text = done.stdout + done.stderr
    assert done.returncode == 1, text
    assert "failed: Transform: " in text
    assert "No space left on device" in text
    assert "Traceback" not in text
    assert len(text.splitlines()) <= _SCREEN
    assert not (tmp_path / "serving").exists()
