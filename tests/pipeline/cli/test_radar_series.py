"""Radar series convert with one command without numbers, and `framecast check` accepts the printed configuration."""

import gzip

import h5py
import numpy as np
import pytest

from framecast.clips.codec import decode_frames
from framecast.clips.records import read_records
from framecast.clips.validation import check_clip
from framecast.schemas.clip_spec import ClipSpec
from tests.clips.convert.sources.gridded.grib_files import mrms

_NOT_PRINTED = """
task: {horizon: 2, context: {min: 2}}
model: {preset: convlstm-tiny}
train: {steps: 1}
push: {directory: serving}
"""


def _composite(path, field, day, minute):
    """Writes a float composite as OPERA does."""
    with h5py.File(path, "w") as file:
        file.attrs["Conventions"] = np.bytes_("ODIM_H5/V2_2")
        times = {"date": np.bytes_(day), "time": np.bytes_(f"00{minute:02d}00")}
        file.create_group("what").attrs.update({"object": np.bytes_("COMP"), **times})
        what = {"quantity": np.bytes_("DBZH"), "gain": 1.0, "offset": 0.0, "nodata": -9999000.0, "undetect": -8888000.0}
        file.create_group("dataset1/what").attrs.update(what)
        file["dataset1/data1/data"] = np.select([field == -999, field == -99], [-9999000.0, -8888000.0], field)


def _mrms(path, field, day, minute):
    times = {"dataDate": int(day), "hour": 0, "minute": minute, "second": 37}
    path.with_suffix(".grib2.gz").write_bytes(gzip.compress(mrms(field, (10, 0), **times)))


@pytest.mark.parametrize("write", [_composite, _mrms])
def test_radar_series_needs_no_numbers(framecast, tmp_path, write):
    fields = np.round(np.random.default_rng(0).uniform(-31.4, 62, (3, 8, 16, 16)), 1)
    fields[:, :, 0], fields[:, :, 1] = -999, -99
    for number, series in enumerate(fields):
        day = f"2024050{number + 1}"
        (tmp_path / "in" / day).mkdir(parents=True)
        for step, field in enumerate(series):
            write(tmp_path / "in" / day / f"radar_{day}_00{5 * step:02d}.h5", field, day, 5 * step)
    answer = framecast("data", "convert", tmp_path / "in", "--to", tmp_path / "clips")
    assert answer.code == 0, answer.text
    known = fields[fields > -99]
    assert f"values: {known.min():g} to {known.max():g} dBZ" in answer.text
    assert "6.25% missing, 6.25% nothing detected" in answer.text
    assert (
        "range of the values: -32 to 62; to scale other files alike, add --range -32 62 --dtype uint16" in answer.text
    )
    printed = answer.out.partition("for the configuration:\n")[2]
    (tmp_path / "config.yaml").write_text(printed + _NOT_PRINTED)
    checked = framecast("check", tmp_path / "config.yaml")
    assert checked.code == 0, checked.text
    spec = {"missing": 65535, "dtype": "uint16", "channels": 1, "frames": {"min": 8, "max": 24}}
    contract = ClipSpec.model_validate({**spec, "value": {"unit": "dBZ", "scale": 94 / 65535, "offset": -32}})
    (path,) = (tmp_path / "clips").glob("*.gz")
    for (_, record), series in zip(read_records(path), fields, strict=True):
        pixels = decode_frames(check_clip(record, contract), contract)[..., 0]
        assert (pixels[:, 0] == 65535).all()
        assert (pixels[:, 1] == 0).all()
        assert np.abs(pixels[:, 2:] * (94 / 65535) - 32 - series[:, 2:]).max() <= 94 / 65535
