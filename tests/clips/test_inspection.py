"""Tests the summary of clip files against the clips that were written."""

import numpy as np
import pytest
from PIL import Image

from framecast.clips.codec import encode_clip
from framecast.clips.inspection import inspect, write_contact_sheet
from framecast.clips.records import write_records


def _clip(number, frames, **changes):
    arguments = {"example_id": f"clip-{number}", "media_id": f"media-{number // 2}", "frame_rate": 4.0, **changes}
    return encode_clip(frames, **arguments).SerializeToString()


@pytest.fixture
def folder(tmp_path):
    """Six clips in two files: four labelled gray clips of 3 to 6 frames, one 16-bit clip, one with 6 float channels."""
    gray = [
        _clip(
            n, np.full((n + 3, 8, 10, 1), 40 * n, np.uint8), label_index=[n % 2], frame_label_value=[float(n)] * (n + 3)
        )
        for n in range(4)
    ]
    (tmp_path / "below").mkdir()
    write_records(tmp_path / "a.tfrecord.gz", gray)
    others = [
        _clip(4, np.zeros((5, 6, 6, 1), np.uint16), frame_rate=0.5),
        _clip(5, np.zeros((5, 4, 6, 6), np.float32)),
    ]
    write_records(tmp_path / "below" / "b.tfrecord", others)
    return tmp_path


def test_summary_matches_written_clips(folder):
    found = inspect([str(folder)])
    assert (found.files, found.clips, found.frames, found.recordings) == (2, 6, 3 + 4 + 5 + 6 + 5 + 5, 3)
    assert found.bytes == sum(path.stat().st_size for path in folder.rglob("*.tfrecord*"))
    assert found.lengths == {3: 1, 4: 1, 5: 3, 6: 1}
    assert found.sizes == {"8x10x1 uint8 PNG": 4, "6x6x1 uint16 PNG": 1, "4x6x6 float32 RAW": 1}
    assert found.rates == {0.25: 5, 2.0: 1}
    assert found.labels["clip/label/index"] == {"0": 2, "1": 2}
    assert found.labels["image/label/value"] == {"least": 0.0, "largest": 3.0}
    assert found.faults == []
    text = found.describe()
    for part in ("6 clips of 3 recordings, 28 frames", "8x10x1 uint8 PNG: 4 clips", "a frame every 2 s: 1 clips"):
        assert part in text


def test_faults_are_listed_and_other_clips_counted(folder):
    write_records(folder / "c.tfrecord.gz", [b"", _clip(9, np.zeros((3, 8, 10, 1), np.uint8)), b"no clip"])
    (folder / "d.txt").write_text("no TFRecord")
    (folder / "e").symlink_to("gone")
    found = inspect([str(folder)])
    assert found.clips == 7
    for fault, part in zip(
        found.faults, ("c.tfrecord.gz, record 0: ", "c.tfrecord.gz, record 2: ", "d.txt", "e: "), strict=True
    ):
        assert fault.startswith(f"{folder}/{part}")
    with pytest.raises(FileNotFoundError, match=r"nothing\*: expected files, received none"):
        inspect([str(folder / "nothing*")])


def test_contact_sheet_shows_first_and_last_frame(folder, tmp_path):
    frames = np.zeros((20, 16, 32, 1), np.uint8)
    frames[0, :, :16] = 255
    frames[-1, :, 16:] = 100
    write_records(folder / "only.gz", [_clip(0, frames)])
    write_contact_sheet(tmp_path / "sheet.png", inspect([str(folder / "only.gz")]).samples)
    sheet = np.asarray(Image.open(tmp_path / "sheet.png").convert("L")).astype(int)
    assert sheet.shape == (4 + 64 + 4, 4 + 8 * (128 + 4))
    assert sheet[36, 4 + 30] == 255
    assert sheet[36, 4 + 100] == 0
    assert sheet[36, 4 + 7 * 132 + 100] == 100
