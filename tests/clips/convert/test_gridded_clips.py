"""Tests clips of gridded files and arrays end to end: pixels, missing values, sizes and timestamps against xarray."""

import h5py
import netCDF4
import numpy as np
import pandas as pd
import pytest
import xarray

from framecast.clips.convert.pipeline import BadSourcesError, convert
from framecast.clips.convert.spec import ConvertSpec
from tests.clips.convert.converting import converted_clips

_RNG = np.random.default_rng(0)
_HOUR = 3_600_000_000


def _only_clip(source, to, **spec):
    manifest, ((_, pixels, times),) = converted_clips(source, to, **spec)
    return manifest["clip"], pixels, times


def _write(path, dims, values, times=None, **attributes):
    times = pd.date_range("2020", periods=12, freq="h") if times is None else times
    data = xarray.Dataset({"p": (dims, values, attributes)}, coords={"time": times})
    data.to_netcdf(path, engine="netcdf4")
    return data


def test_level_of_one_is_dropped(tmp_path):
    values = _RNG.uniform(260, 300, (12, 1, 24, 40)).astype("f4")
    _write(tmp_path / "a.nc", ("time", "height", "lat", "lon"), values, units="K")
    clip, pixels, times = _only_clip(tmp_path / "a.nc", tmp_path / "out", value={"low": 250, "high": 310})
    assert (clip["height"], clip["width"], clip["channels"], clip["value"]["unit"]) == (24, 40, 1, "K")
    physical = pixels[..., 0] * clip["value"]["scale"] + clip["value"]["offset"]
    assert np.abs(physical - values[:, 0]).max() <= 60 / 255 / 2 + 1e-4
    assert np.diff(times).tolist() == [_HOUR] * 11


def test_bright_longitude_is_a_column(tmp_path):
    values = np.zeros((12, 40, 24), "f4")
    values[:, 0] = 1
    _write(tmp_path / "a.nc", ("time", "lon", "lat"), values)
    clip, pixels, _ = _only_clip(tmp_path / "a.nc", tmp_path / "out", value={"low": 0, "high": 1})
    assert (clip["height"], clip["width"]) == (24, 40)
    assert np.array_equal(pixels[..., 0] > 200, np.arange(40)[None, None].repeat(24, 1).repeat(12, 0) == 0)


def test_ntchw_array_is_three_recordings(tmp_path):
    values = _RNG.integers(0, 256, (3, 20, 1, 64, 64)).astype("u1")
    np.save(tmp_path / "a.npy", values)
    _, clips = converted_clips(tmp_path / "a.npy", tmp_path / "out", read={"fps": 10})
    assert len({name for name, _, _ in clips}) == 3
    assert np.array_equal([pixels[..., 0] for _, pixels, _ in clips], values[:, :, 0])


def test_sevir_events_have_ids(tmp_path):
    values = _RNG.integers(0, 255, (3, 48, 48, 49)).astype("u1")
    with h5py.File(tmp_path / "SEVIR_VIL.h5", "w") as file:
        file["vil"], file["id"] = values, np.array([b"S1", b"S2", b"S3"])
    read = {"variable": "vil", "axes": "NHWT", "fps": 1 / 300}
    spec = {"read": read, "cut": {"frames": {"min": 8, "max": 49}}}
    _, clips = converted_clips(tmp_path / "SEVIR_VIL.h5", tmp_path / "out", **spec)
    assert [name for name, _, _ in clips] == [f"SEVIR_VIL.h5/S{number}" for number in (1, 2, 3)]
    for (_, pixels, times), expected in zip(clips, values, strict=True):
        assert np.array_equal(pixels[..., 0], expected.transpose(2, 0, 1))
        assert set(np.diff(times)) == {300_000_000}


def test_unsigned_packing_keeps_the_largest_values(tmp_path):
    stored = np.linspace(0, 65000, 256).astype("u2").reshape(16, 16)
    stored[0, 0] = 65535
    with netCDF4.Dataset(tmp_path / "a.nc", "w") as file:
        for name, size in (("time", 10), ("y", 16), ("x", 16)):
            file.createDimension(name, size)
        variable = file.createVariable("rain", "i2", ("time", "y", "x"), fill_value=np.int16(-1))
        variable.set_auto_maskandscale(False)
        variable.setncatts({"_Unsigned": "true", "scale_factor": np.float32(0.001), "units": "mm h-1"})
        variable[:] = np.broadcast_to(stored, (10, 16, 16)).view("i2")
        time = file.createVariable("time", "i4", ("time",))
        time.units = "minutes since 2020-01-01"
        time[:] = np.arange(10) * 10
    clip, pixels, times = _only_clip(tmp_path / "a.nc", tmp_path / "out", value={"low": 0, "high": 65})
    with xarray.open_dataset(tmp_path / "a.nc") as data:
        expected = data.rain.values
    assert np.array_equal(pixels[..., 0] == clip["missing"], np.isnan(expected))
    known = ~np.isnan(expected)
    physical = pixels[..., 0] * clip["value"]["scale"]
    # The largest value shares a pixel with its neighbour, because one pixel means missing.
    assert np.abs(physical - expected)[known].max() <= 65 / 255 + 1e-4
    assert (pixels[:, -1, -1] == 254).all()
    assert set(np.diff(times)) == {600_000_000}


@pytest.mark.parametrize("attributes", [{"valid_range": np.array([0, 100], "f4")}, {"valid_max": np.float32(100)}])
def test_invalid_values_are_missing(tmp_path, attributes):
    values = np.ones((12, 16, 16), "f4")
    values[:, 0, 0] = 9999
    _write(tmp_path / "a.nc", ("time", "y", "x"), values, **attributes)
    clip, pixels, _ = _only_clip(tmp_path / "a.nc", tmp_path / "out", value={"low": 0, "high": 100})
    assert np.array_equal(pixels[..., 0] == clip["missing"], values == 9999)


def test_file_per_step_is_one_recording(tmp_path):
    (tmp_path / "steps").mkdir()
    for index in range(12):
        values = np.full((1, 16, 16), index, "f4")
        time = [pd.Timestamp("2020") + pd.Timedelta(hours=index)]
        _write(tmp_path / "steps" / f"p_{index:02d}.nc", ("time", "y", "x"), values, time)
    _, pixels, times = _only_clip(tmp_path / "steps", tmp_path / "out", value={"low": 0, "high": 20})
    assert np.array_equal(pixels[:, 0, 0, 0], np.rint(np.arange(12) / 20 * 255))
    assert times == [int(pd.Timestamp("2020").value // 1000) + index * _HOUR for index in range(12)]


@pytest.mark.parametrize(("calendar", "start"), [("noleap", "2000-02-25"), ("360_day", "2000-02-25")])
def test_days_of_other_calendars_make_one_clip(tmp_path, calendar, start):
    times = xarray.cftime_range(start, periods=12, freq="D", calendar=calendar)
    _write(tmp_path / "a.nc", ("time", "y", "x"), np.ones((12, 16, 16), "f4"), times)
    _, pixels, stamps = _only_clip(tmp_path / "a.nc", tmp_path / "out", value={"low": 0, "high": 2})
    assert len(pixels) == 12
    assert set(np.diff(stamps)) == {24 * _HOUR}


@pytest.mark.parametrize("frequency", ["MS", "QS", "YS"])
def test_months_quarters_and_years_make_one_clip(tmp_path, frequency):
    times = pd.date_range("1999", periods=12, freq=frequency)
    _write(tmp_path / "a.nc", ("time", "y", "x"), np.ones((12, 16, 16), "f4"), times)
    _, pixels, _ = _only_clip(tmp_path / "a.nc", tmp_path / "out", value={"low": 0, "high": 2})
    assert len(pixels) == 12


def test_crop_reads_only_its_part(tmp_path):
    values = _RNG.integers(0, 200, (12, 256, 256), np.uint8)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        stored = file.create_dataset("frames", values.shape, "u1", chunks=(1, 64, 64), compression="gzip")
        stored[:] = values
        # A damaged chunk outside the part.
        stored.id.write_direct_chunk((1, 192, 192), b"damaged")
    read = {"variable": "frames", "axes": "THW", "fps": 1}
    _, pixels, _ = _only_clip(tmp_path / "a.h5", tmp_path / "out", read=read, cut={"crop": (10, 70, 60, 90)})
    assert np.array_equal(pixels[..., 0], values[:, 10:70, 70:160])
    with pytest.raises(BadSourcesError, match="time step 1: cannot read the values"):
        convert([str(tmp_path / "a.h5")], tmp_path / "all", ConvertSpec.model_validate({"read": read}))
    beyond = ConvertSpec.model_validate({"read": read, "cut": {"crop": (250, 0, 10, 10)}})
    with pytest.raises(BadSourcesError, match=r"expected at least 260x10 pixels \(--crop\), received 256x256"):
        convert([str(tmp_path / "a.h5")], tmp_path / "beyond", beyond)
