"""Every kind of bad clip and file, under both policies; good clips in = good clips out."""

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


def _held(folder, reason, data, good, spec=_SPEC, label=None):
    """Both policies: `fail` names the place, `quarantine` keeps bytes and reason, and every good clip."""
    with pytest.raises(BadClipsError, match=r"^1 bad clips or files:\n.*/bad\.tfrecord"):
        _ingest(folder, None, spec, label)
    found, (fault,) = _ingest(folder, 0.5, spec, label)
    assert found == sorted(good)
    assert (fault.reason, fault.data) == (reason, data), fault.message
    assert fault.file == str(next(folder.glob("bad*")))
    assert fault.message.startswith(fault.file)


@pytest.mark.parametrize("case", _RECORDS)
def test_a_bad_record_is_kept_aside_with_its_reason(folder, case):
    change, reason = _RECORDS[case]
    good = [_clip(number).SerializeToString(deterministic=True) for number in range(12)]
    bad = change(_clip(12))
    write_records(folder / "a.tfrecord.gz", good[:6])
    write_records(folder / "bad.tfrecord.gz", [*good[6:8], bad, *good[8:]])
    _held(folder, reason, bad, [f"clip-{number}" for number in range(12)])


@pytest.mark.parametrize(
    ("value", "reason"), [(np.nan, "not-finite"), (np.inf, "not-finite"), (1.5, "value-range")], ids=str
)
def test_a_bad_value_is_kept_aside_with_its_reason(folder, value, reason):
    frames = np.zeros((5, 12, 12, 1), np.float32)
    good = [_clip(number, frames).SerializeToString(deterministic=True) for number in range(12)]
    frames[3, 2, 1] = value
    bad = _clip(12, frames).SerializeToString(deterministic=True)
    write_records(folder / "bad.tfrecord.gz", [*good, bad])
    _held(folder, reason, bad, [f"clip-{number}" for number in range(12)], _FLOATS)


@pytest.mark.parametrize(("labels", "reason"), [([], "missing-label"), ([2], "label-range")])
def test_a_bad_label_is_kept_aside_with_its_reason(folder, labels, reason):
    good = [_clip(number, label_index=[0]).SerializeToString(deterministic=True) for number in range(12)]
    bad = _clip(12, **({"label_index": labels} if labels else {})).SerializeToString(deterministic=True)
    write_records(folder / "bad.tfrecord.gz", [*good, bad])
    _held(folder, reason, bad, [f"clip-{number}" for number in range(12)], label=_LABEL)


def _file(folder, name, cut=None, flip=None):
    """Writes 3 clips, and damages the file; returns their names and its size."""
    path = folder / name
    write_records(path, [_clip(number).SerializeToString(deterministic=True) for number in range(20, 23)])
    data = bytearray(path.read_bytes())
    if flip is not None:
        data[flip] ^= 255
    path.write_bytes(data[:cut])
    return path


def _sizes():
    return [16 + len(_clip(number).SerializeToString(deterministic=True)) for number in range(20, 23)]


def _cut_at_a_record(folder):
    data = _file(folder, "bad.tfrecord").read_bytes()
    packer = zlib.compressobj(wbits=31)
    (folder / "bad.tfrecord").write_bytes(packer.compress(data) + packer.flush(zlib.Z_FULL_FLUSH))


_FILES = {
    "cut in a header": (lambda folder: _file(folder, "bad.tfrecord", cut=_sizes()[0] + 5), "truncated-file", 1),
    "cut in the data": (lambda folder: _file(folder, "bad.tfrecord", cut=-100), "truncated-file", 2),
    "cut in the last checksum": (lambda folder: _file(folder, "bad.tfrecord", cut=-1), "truncated-file", 2),
    "cut in the first record": (lambda folder: _file(folder, "bad.tfrecord", cut=30), "truncated-file", 0),
    "gzip cut between records": (_cut_at_a_record, "truncated-file", 3),
    "gzip without its end": (lambda folder: _file(folder, "bad.tfrecord.gz", cut=-8), "truncated-file", 3),
    "gzip of no bytes": (lambda folder: _file(folder, "bad.tfrecord.gz", cut=0), "truncated-file", 0),
    "no bytes": (lambda folder: _file(folder, "bad.tfrecord", cut=0), "empty-file", 0),
    "no records": (lambda folder: (folder / "bad.tfrecord.gz").write_bytes(gzip.compress(b"")), "empty-file", 0),
    "flipped length": (lambda folder: _file(folder, "bad.tfrecord", flip=_sizes()[0]), "corrupt-file", 1),
    "random bytes": (
        lambda folder: (folder / "bad.tfrecord").write_bytes(np.random.default_rng(0).bytes(999)),
        "corrupt-file",
        0,
    ),
    "a folder": (lambda folder: (folder / "bad.tfrecord").mkdir(), "unreadable-file", 0),
    "a dangling link": (lambda folder: (folder / "bad.tfrecord").symlink_to("gone"), "unreadable-file", 0),
}


@pytest.mark.parametrize("case", _FILES)
def test_what_can_be_read_of_a_bad_file_is_kept(folder, case):
    make, reason, readable = _FILES[case]
    write_records(
        folder / "good.tfrecord.gz", [_clip(number).SerializeToString(deterministic=True) for number in range(12)]
    )
    make(folder)
    _held(folder, reason, b"", [f"clip-{number}" for number in (*range(12), *range(20, 20 + readable))])


def test_a_corrupt_record_does_not_hide_those_after_it(folder):
    write_records(
        folder / "good.tfrecord.gz", [_clip(number).SerializeToString(deterministic=True) for number in range(12)]
    )
    flip = _sizes()[0] + 50
    _file(folder, "bad.tfrecord", flip=flip)
    data = bytearray(_clip(21).SerializeToString(deterministic=True))
    data[flip - _sizes()[0] - 12] ^= 255
    _held(folder, "corrupt-record", bytes(data), [f"clip-{number}" for number in (*range(12), 20, 22)])


def test_more_bad_clips_than_allowed_end_the_run(folder):
    good = [_clip(number).SerializeToString(deterministic=True) for number in range(12)]
    write_records(folder / "a.tfrecord.gz", [*good, b"", b"?"])
    found, faults = _ingest(folder, 2 / 14)
    assert (len(found), len(faults)) == (12, 2)
    with pytest.raises(BadClipsError, match=r"expected at most 14 % bad .* received 12 good clips and 2 bad clips"):
        _ingest(folder, 0.14)


def test_a_file_of_two_splits_is_refused(folder):
    write_records(folder / "a.tfrecord.gz", [_clip(0).SerializeToString()])
    component = ClipExampleGen(input_base=str(folder), clip=_SPEC, train="*", eval="a*", max_bad_fraction=0.5)
    with pytest.raises(
        BadClipsError, match=r"a\.tfrecord\.gz: expected a file of one split and span, received one of train and eval"
    ):
        _execute(component, folder.parent)


@pytest.mark.parametrize(("patterns", "spans"), [({3: "a*", 12: "b*"}, {3: [3], 12: [12]}), ("*", {3: [], 12: []})])
def test_clips_carry_the_span_of_their_file_and_none_of_an_earlier_ingest(folder, patterns, spans):
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


def test_500_mutated_records_lose_nothing(folder):
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
