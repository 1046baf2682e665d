"""ClipExampleGen: every kind of bad clip and file under both policies, and no good clip is lost."""

import gzip
import os
import zlib

import numpy as np
import pytest
import tensorflow as tf
from tfx.types import standard_artifacts

from framecast.clips.codec import encode_clip
from framecast.clips.quarantine import read_quarantine
from framecast.clips.records import read_records, write_records
from framecast.clips.validation import BadClip, check_clip
from framecast.components.clip_example_gen.component import ClipExampleGen
from framecast.components.clip_example_gen.executor import ClipExampleGenExecutor
from framecast.components.clip_example_gen.summary import BadClipsError
from framecast.pipeline.config.beam import BeamSpec
from framecast.schemas.clip_spec import ClipSpec, LabelSpec

_SPEC = ClipSpec(frames={"min": 4, "max": 8}, height=12, width=12)
_FLOATS = ClipSpec(frames={"min": 4, "max": 8}, dtype="float32")
_LABEL = LabelSpec(name="clip/label/index", per="clip", classes=2)
_ENCODED, _TIMESTAMP = "image/encoded", "image/timestamp"


def _clip(number, frames=None, **changes):
    if frames is None:
        frames = np.random.default_rng(number).integers(0, 256, (5, 12, 12, 1), np.uint8)
    arguments = {"example_id": f"clip-{number}", "media_id": f"media-{number}", "frame_rate": 10.0, **changes}
    return encode_clip(frames, **arguments)


def _ingest(folder, max_bad_fraction, spec=_SPEC, label=None):
    """Returns `({(split, example/id)}, [fault])` of all files in `folder`."""
    component = ClipExampleGen(
        input_base=str(folder),
        clip=spec,
        train="*",
        shares={"train": 2, "val": 1, "eval": 1},
        label=label,
        max_bad_fraction=max_bad_fraction,
    )
    output = _execute(component, folder.parent)
    good = [
        check_clip(record, spec, label).context.feature["example/id"].bytes_list.value[0].decode()
        for path in output.glob("Split-*/*.gz")
        for _, record in read_records(path)
    ]
    faults = [fault for path in output.glob("quarantine/*.gz") for fault in read_quarantine(str(path))]
    return sorted(good), faults


def _execute(component, folder):
    """Runs the component and returns the folder of its output."""
    output = folder / "output"
    for split in ("train", "val", "eval"):
        (output / f"Split-{split}").mkdir(parents=True, exist_ok=True)
    artifact = standard_artifacts.Examples()
    artifact.uri = str(output)
    (folder / "temporary").mkdir(exist_ok=True)
    context = ClipExampleGenExecutor.Context(BeamSpec().beam_flags(), tmp_dir=str(folder / "temporary"), unique_id="1")
    ClipExampleGenExecutor(context).Do({}, {"examples": [artifact]}, component.exec_properties)
    return output


def _context(name, value=None):
    """Removes a context feature, or sets it to an int64."""

    def change(clip):
        del clip.context.feature[name]
        if value is not None:
            clip.context.feature[name].int64_list.value.append(value)
        return clip.SerializeToString(deterministic=True)

    return change


def _times(*times):
    def change(clip):
        features = clip.feature_lists.feature_list[_TIMESTAMP].feature
        del features[:]
        for time in times:
            features.add().int64_list.value.append(time)
        return clip.SerializeToString(deterministic=True)

    return change


def _frame(make):
    def change(clip):
        value = clip.feature_lists.feature_list[_ENCODED].feature[2].bytes_list.value
        value[0] = make(bytearray(value[0]))
        return clip.SerializeToString(deterministic=True)

    return change


def _flipped(data):
    data[60] ^= 255
    return bytes(data)


def _instead(*shape, dtype=np.uint8, **changes):
    return lambda _: _clip(99, np.ones(shape, dtype), **changes).SerializeToString(deterministic=True)


def _without_frames(clip):
    for name in (_ENCODED, _TIMESTAMP):
        del clip.feature_lists.feature_list[name].feature[:]
    return clip.SerializeToString(deterministic=True)


_RECORDS = {
    "no-frames": (_without_frames, "empty-clip"),
    "too-few-frames": (_instead(3, 12, 12, 1), "frame-count"),
    "too-many-frames": (_instead(9, 12, 12, 1), "frame-count"),
    "other-size": (_instead(5, 8, 12, 1), "frame-size"),
    "other-channels": (_instead(5, 12, 12, 3), "channels"),
    "other-depth": (_instead(5, 12, 12, 1, dtype=np.uint16), "bit-depth"),
    "flipped-byte": (_frame(_flipped), "unreadable-frame"),
    "cut-image": (_frame(lambda data: bytes(data[: len(data) // 2])), "unreadable-frame"),
    "empty-image": (_frame(lambda _: b""), "unreadable-frame"),
    "no-image": (_frame(lambda _: b"GIF89a not an image"), "unreadable-frame"),
    "time-back": (_times(0, 100_000, 50_000, 300_000, 400_000), "timestamp-order"),
    "time-twice": (_times(0, 100_000, 100_000, 300_000, 400_000), "timestamp-order"),
    "time-gap": (_times(0, 100_000, 300_000, 400_000, 500_000), "timestamp-gap"),
    "too-few-times": (_times(0, 100_000), "timestamp-count"),
    "no-name": (_context("example/id"), "missing-key"),
    "no-recording": (_context("clip/media_id"), "missing-key"),
    "wrong-type": (_context("clip/media_id", 3), "wrong-type"),
    "random-record": (lambda _: np.random.default_rng(1).bytes(300), "not-sequence-example"),
    "empty-record": (lambda _: b"", "not-sequence-example"),
    "shared-name": (lambda _: _clip(0).SerializeToString(deterministic=True), "duplicate-id"),
}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "clips").mkdir()
    return tmp_path / "clips"


def _good(*numbers, **changes):
    return [_clip(number, **changes).SerializeToString(deterministic=True) for number in numbers]


def _names(*numbers):
    return [f"clip-{number}" for number in numbers]


def _check_both_policies(folder, bad, good, spec=_SPEC, label=None):
    """Checks that `fail` names each bad file, and that `quarantine` keeps bytes and reason, and every good clip.

    Args:
        folder: Good and bad files; at most ten bad ones, as many as an error lists.
        bad: Reason and bytes of the one fault of a file, by file name.
        good: `example/id` of all good clips.
    """
    assert len(bad) <= 10
    with pytest.raises(BadClipsError, match=rf"^{len(bad)} bad clips or files:\n") as caught:
        _ingest(folder, None, spec, label)
    assert all(f"\n{folder / name}" in str(caught.value) for name in bad)
    found, faults = _ingest(folder, 0.9, spec, label)
    assert found == sorted(good)
    assert {fault.file: (fault.reason, fault.data) for fault in faults} == {
        str(folder / name): expected for name, expected in bad.items()
    }
    assert len(faults) == len(bad)
    assert all(fault.message.startswith(fault.file) for fault in faults)


@pytest.mark.parametrize("cases", [list(_RECORDS)[:10], list(_RECORDS)[10:]], ids=["image", "metadata"])
def test_bad_record_is_quarantined_with_its_reason(folder, cases):
    write_records(folder / "a.tfrecord.gz", _good(*range(12)))
    good, bad = _names(*range(12)), {}
    for number, case in enumerate(cases):
        change, reason = _RECORDS[case]
        before, own, after = range(100 + 10 * number, 103 + 10 * number)
        record = change(_clip(own))
        write_records(folder / f"bad-{case}.tfrecord.gz", [*_good(before), record, *_good(after)])
        good += _names(before, after)
        bad[f"bad-{case}.tfrecord.gz"] = (reason, record)
    _check_both_policies(folder, bad, good)


def test_bad_value_is_quarantined_with_its_reason(folder):
    frames = np.zeros((5, 12, 12, 1), np.float32)
    write_records(folder / "a.tfrecord.gz", _good(*range(12), frames=frames))
    bad = {}
    for number, (value, reason) in enumerate([(np.nan, "not-finite"), (np.inf, "not-finite"), (1.5, "value-range")]):
        changed = frames.copy()
        changed[3, 2, 1] = value
        (record,) = _good(100 + number, frames=changed)
        write_records(folder / f"bad-{number}.tfrecord.gz", [*_good(200 + number, frames=frames), record])
        bad[f"bad-{number}.tfrecord.gz"] = (reason, record)
    _check_both_policies(folder, bad, _names(*range(12), *range(200, 203)), _FLOATS)


def test_bad_label_is_quarantined_with_its_reason(folder):
    write_records(folder / "a.tfrecord.gz", _good(*range(12), label_index=[0]))
    (missing,), (too_large,) = _good(12), _good(13, label_index=[2])
    write_records(folder / "bad-missing.tfrecord.gz", [*_good(14, label_index=[1]), missing])
    write_records(folder / "bad-range.tfrecord.gz", [too_large])
    bad = {
        "bad-missing.tfrecord.gz": ("missing-label", missing),
        "bad-range.tfrecord.gz": ("label-range", too_large),
    }
    _check_both_policies(folder, bad, _names(*range(12), 14), label=_LABEL)


def _damage(path, first, cut=None, flip=None):
    """Writes three clips, and damages the file."""
    write_records(path, _good(*range(first, first + 3)))
    data = bytearray(path.read_bytes())
    if flip is not None:
        data[flip] ^= 255
    path.write_bytes(data[:cut])


def _size(number):
    """Returns the bytes that a clip takes in an uncompressed file."""
    return 16 + len(_good(number)[0])


def _cut_at_a_record(path, first):
    _damage(path, first)
    packer = zlib.compressobj(wbits=31)
    path.write_bytes(packer.compress(path.read_bytes()) + packer.flush(zlib.Z_FULL_FLUSH))


# Suffix, how a file is damaged, reason, clips that can be read.
_FILES = {
    "cut in a header": ("", lambda path, n: _damage(path, n, cut=_size(n) + 5), "truncated-file", 1),
    "cut in the data": ("", lambda path, n: _damage(path, n, cut=-100), "truncated-file", 2),
    "cut in the last checksum": ("", lambda path, n: _damage(path, n, cut=-1), "truncated-file", 2),
    "cut in the first record": ("", lambda path, n: _damage(path, n, cut=30), "truncated-file", 0),
    "gzip cut between records": ("", _cut_at_a_record, "truncated-file", 3),
    "gzip without its end": (".gz", lambda path, n: _damage(path, n, cut=-8), "truncated-file", 3),
    "gzip of no bytes": (".gz", lambda path, n: _damage(path, n, cut=0), "truncated-file", 0),
    "no bytes": ("", lambda path, n: _damage(path, n, cut=0), "empty-file", 0),
    "no records": (".gz", lambda path, n: path.write_bytes(gzip.compress(b"")), "empty-file", 0),
    "flipped length": ("", lambda path, n: _damage(path, n, flip=_size(n)), "corrupt-file", 1),
    "random bytes": ("", lambda path, n: path.write_bytes(np.random.default_rng(0).bytes(999)), "corrupt-file", 0),
    "a folder": ("", lambda path, n: path.mkdir(), "unreadable-file", 0),
    "a dangling link": ("", lambda path, n: path.symlink_to("gone"), "unreadable-file", 0),
}


@pytest.mark.parametrize("cases", [list(_FILES)[:7], list(_FILES)[7:]], ids=["truncated", "unreadable"])
def test_readable_clips_of_a_bad_file_are_kept(folder, cases):
    write_records(folder / "a.tfrecord.gz", _good(*range(12)))
    good, bad = _names(*range(12)), {}
    for number, case in enumerate(cases):
        suffix, damage, reason, readable = _FILES[case]
        first = 100 + 10 * number
        damage(folder / f"bad {case}.tfrecord{suffix}", first)
        good += _names(*range(first, first + readable))
        bad[f"bad {case}.tfrecord{suffix}"] = (reason, b"")
    _check_both_policies(folder, bad, good)


def test_corrupt_record_does_not_hide_those_after_it(folder):
    write_records(folder / "a.tfrecord.gz", _good(*range(12)))
    flip = 50
    _damage(folder / "bad.tfrecord", 20, flip=_size(20) + flip)
    data = bytearray(_good(21)[0])
    data[flip - 12] ^= 255
    _check_both_policies(folder, {"bad.tfrecord": ("corrupt-record", bytes(data))}, _names(*range(12), 20, 22))


def test_more_bad_clips_than_allowed_end_the_run(folder):
    good = [_clip(number).SerializeToString(deterministic=True) for number in range(12)]
    write_records(folder / "a.tfrecord.gz", [*good, b"", b"?"])
    found, faults = _ingest(folder, 2 / 14)
    assert (len(found), len(faults)) == (12, 2)
    with pytest.raises(BadClipsError, match=r"expected at most 14 % bad .* received 12 good clips and 2 bad clips"):
        _ingest(folder, 0.14)


def test_file_of_two_splits_is_rejected(folder):
    write_records(folder / "a.tfrecord.gz", [_clip(0).SerializeToString()])
    component = ClipExampleGen(input_base=str(folder), clip=_SPEC, train="*", eval="a*", max_bad_fraction=0.5)
    with pytest.raises(
        BadClipsError, match=r"a\.tfrecord\.gz: expected a file of one split and span, received one of train and eval"
    ):
        _execute(component, folder.parent)


@pytest.mark.parametrize(("patterns", "spans"), [({3: "a*", 12: "b*"}, {3: [3], 12: [12]}), ("*", {3: [], 12: []})])
def test_ingest_replaces_the_span_of_clips(folder, patterns, spans):
    for name, span in (("a", 3), ("b", 12)):
        clips = [_clip(100 * span + number) for number in range(12)]
        for clip in clips:
            clip.context.feature["clip/span"].int64_list.value.append(99)
        write_records(folder / f"{name}.tfrecord.gz", [clip.SerializeToString() for clip in clips])
    component = ClipExampleGen(
        input_base=str(folder), clip=_SPEC, train=patterns, shares={"train": 2, "val": 1, "eval": 1}
    )
    output = _execute(component, folder.parent)
    found = [
        tf.train.SequenceExample.FromString(record).context.feature
        for path in output.glob("Split-*/*.gz")
        for _, record in read_records(path)
    ]
    assert len(found) == 24
    for context in found:
        span = int(context["example/id"].bytes_list.value[0].decode().removeprefix("clip-")) // 100
        assert list(context["clip/span"].int64_list.value) == spans[span]


def test_500_mutated_records_are_all_kept(folder):
    rng = np.random.default_rng(0)
    records, whole = [], set()
    for number in range(600):
        record = _clip(number).SerializeToString(deterministic=True)
        if number % 6:
            record = _mutated(record, rng)
        else:
            whole.add(f"clip-{number}")
        records.append(record)
    for file in range(4):
        write_records(folder / f"{file}.tfrecord.gz", records[file::4])
    good, faults = _ingest(folder, 1.0)
    assert whole <= set(good)
    assert len(good) + len(faults) == 600
    places = {fault.file[len(str(folder)) + 1 :][0]: [] for fault in faults}
    for fault in faults:
        file = int(os.path.basename(fault.file)[0])
        assert fault.data == records[file::4][fault.record]
        places[str(file)].append(fault.record)
        if fault.reason != "duplicate-id":
            with pytest.raises(BadClip):
                check_clip(fault.data, _SPEC)
    assert all(len(set(found)) == len(found) for found in places.values())


def _mutated(record, rng):
    data = bytearray(record)
    kind = rng.integers(5)
    if kind == 0:
        for place in rng.integers(len(data), size=rng.integers(1, 9)):
            data[place] = rng.integers(256)
    elif kind == 1:
        del data[rng.integers(len(data)) :]
    elif kind == 2:
        start = rng.integers(len(data))
        del data[start : start + rng.integers(1, 99)]
    elif kind == 3:
        start = rng.integers(len(data))
        data[start:start] = rng.bytes(rng.integers(1, 99))
    else:
        data = bytearray(rng.bytes(rng.integers(0, 999)))
    return bytes(data)
