"""Tests scale, unit and missing values against netCDF4's own unpacking, xarray and the formats' documents."""

import collections
import json

import h5py
import netCDF4
import numpy as np
import pandas as pd
import pytest
import xarray

from framecast.clips.codec import decode_frames
from framecast.clips.convert.pipeline import convert
from framecast.clips.convert.quantize import PixelScale
from framecast.clips.convert.sources.source import BadSource
from framecast.clips.convert.spec import ConvertSpec, ValueSpec
from framecast.clips.records import read_records
from framecast.clips.validation import check_clip
from framecast.schemas.clip_spec import ClipSpec
from tests.clips.convert.sources.reading import read_only_source, read_sources

_RNG = np.random.default_rng(0)


def _write_netcdf(path, stored, dtype, fill=None, form="NETCDF4", **attributes):
    """Writes stored values as they are."""
    with netCDF4.Dataset(path, "w", format=form) as file:
        for name, size in zip(("time", "y", "x"), stored.shape, strict=True):
            file.createDimension(name, size)
        time = file.createVariable("time", "i4", ("time",))
        time.units = "minutes since 2020-01-01"
        time[:] = np.arange(len(stored)) * 10
        variable = file.createVariable("rain", dtype, ("time", "y", "x"), fill_value=fill)
        variable.set_auto_maskandscale(False)
        variable.setncatts(attributes)
        variable[:] = stored


def _physical(recording, values, low, high):
    """Returns the physical values that `PixelScale` sees: those of 16-bit pixels in a wide range, NaN if missing."""
    spec = ValueSpec(low=low, high=high, dtype="float32", missing=-1)
    scale = PixelScale(spec, recording.encoding, values.dtype, collections.Counter(), recording.limits)
    pixels = np.stack([scale(frame, "here") for frame in values])[..., 0].astype(np.float64)
    return np.where(pixels == -1, np.nan, pixels * (high - low) + low)


@pytest.mark.parametrize(
    ("dtype", "fill", "attributes"),
    [
        ("i2", np.int16(-1), {"_Unsigned": "true", "scale_factor": np.float32(0.001)}),
        ("i1", np.int8(-1), {"_Unsigned": "true", "scale_factor": 0.5, "add_offset": -32.0}),
        ("i2", np.int16(-99), {"scale_factor": 0.01, "add_offset": 3.0}),
        ("i2", None, {"missing_value": np.int16(7), "scale_factor": 0.01}),
        ("i2", None, {"valid_range": np.array([-50, 90], "i2"), "scale_factor": 0.1}),
        ("i2", None, {"valid_min": np.int16(-20)}),
        ("i2", np.int16(-99), {"valid_max": np.int16(90), "scale_factor": 0.1, "add_offset": 1.0}),
        ("i1", np.int8(-1), {"_Unsigned": "true", "valid_range": np.array([0, -56], "i1")}),
        ("f4", None, {"valid_range": np.array([-0.5, 90], "f4")}),
        ("f4", np.float32(-9999.9), {}),
        ("f4", None, {"missing_value": np.array([-20, 30], "f4")}),
        ("f8", np.nan, {"valid_min": 0.0}),
    ],
)
@pytest.mark.parametrize("suffix", ["nc", "h5"])
def test_physical_values_equal_netcdf4(tmp_path, dtype, fill, attributes, suffix):
    if dtype[0] == "f":
        stored = _RNG.integers(-100, 100, (9, 8, 8)).astype(dtype)
        stored[:, 0] = np.nan if fill is None else fill
    else:
        info = np.iinfo(dtype)
        stored = _RNG.integers(max(info.min, -300), min(info.max, 300) + 1, (9, 8, 8)).astype(dtype)
        stored[:, 0] = info.max if fill is None else fill
        stored[:, 1] = 7
    path = tmp_path / f"a.{suffix}"
    _write_netcdf(path, stored, dtype, fill, **attributes)
    with netCDF4.Dataset(path) as file:
        expected = np.ma.filled(file["rain"][:].astype(np.float64), np.nan)
    recording, _, values = read_only_source(path, variable="rain")
    found = _physical(recording, values, -1000, 40_000)
    assert np.array_equal(np.isnan(found), np.isnan(expected))
    assert np.isnan(expected).any()
    assert np.allclose(found, expected, atol=5e-3, equal_nan=True)


def test_unsigned_false_equals_xarray(tmp_path):
    stored = _RNG.integers(0, 256, (9, 8, 8)).astype("u1")
    _write_netcdf(tmp_path / "a.nc", stored, "u1", np.uint8(255), _Unsigned="false", scale_factor=0.5)
    recording, _, values = read_only_source(tmp_path)
    with xarray.open_dataset(tmp_path / "a.nc") as data:
        expected = data.rain.values
    assert np.allclose(_physical(recording, values, -1000, 1000), expected, atol=1e-3, equal_nan=True)


def test_valid_range_in_unpacked_units(tmp_path):
    stored = np.arange(512, dtype="i2").reshape(8, 8, 8)
    _write_netcdf(tmp_path / "a.nc", stored, "i2", scale_factor=0.5, valid_range=np.array([1.0, 100.0]))
    recording, _, values = read_only_source(tmp_path)
    found = _physical(recording, values, -1000, 1000)
    assert np.array_equal(np.isnan(found), (stored < 2) | (stored > 200))


@pytest.mark.parametrize("form", ["NETCDF3_CLASSIC", "NETCDF3_64BIT_OFFSET", "NETCDF4_CLASSIC"])
@pytest.mark.parametrize("suffix", ["nc", "cdf", "nc3", "h5"])
def test_classic_netcdf_is_read(tmp_path, form, suffix):
    stored = _RNG.integers(0, 100, (9, 4, 5)).astype("i2")
    _write_netcdf(tmp_path / f"a.{suffix}", stored, "i2", np.int16(-5), form, scale_factor=0.5)
    recording, frames, values = read_only_source(tmp_path, variable="rain")
    assert np.array_equal(values[..., 0], stored)
    assert (recording.encoding.scale, recording.encoding.fill) == (0.5, (-5.0,))
    assert np.diff([frame.time for frame in frames]).tolist() == [600_000_000] * 8


def test_unwritten_netcdf_values_are_missing(tmp_path):
    with netCDF4.Dataset(tmp_path / "a.nc", "w") as file:
        for name, size in (("time", 3), ("y", 4), ("x", 4)):
            file.createDimension(name, size)
        file.createVariable("rain", "f4", ("time", "y", "x"))[:, 1:] = 0.5
    _, _, values = read_only_source(tmp_path)
    assert np.array_equal(np.isnan(values[0, ..., 0]), np.arange(4)[:, None].repeat(4, 1) == 0)


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"scale_factor": np.array([0.1, 0.2])}, r"rain: attribute scale: expected one number, received 0\.1, 0\.2"),
        ({"scale_factor": "a"}, r"rain: attribute scale: expected a number, received 'a'"),
        ({"scale_factor": 0.0}, r"rain: expected a scale other than 0"),
        ({"valid_range": np.array([0.0, 1, 2])}, r"attribute valid_range: expected two numbers, received 3"),
    ],
)
def test_unusable_attribute_is_named(tmp_path, attributes, message):
    _write_netcdf(tmp_path / "a.nc", np.zeros((3, 4, 4), "f4"), "f4", **attributes)
    with pytest.raises(BadSource, match=message):
        read_sources(tmp_path)


def _write_odim(path, stored, minute, where="data", quantity="DBZH", **what):
    with h5py.File(path, "w") as file:
        file.attrs["Conventions"] = np.bytes_("ODIM_H5/V2_2")
        file.create_group("what").attrs.update(
            {"object": np.bytes_("COMP"), "date": np.bytes_("20240101"), "time": np.bytes_(f"00{minute:02d}00")}
        )
        file.create_group("dataset1/what").attrs["startdate"] = np.bytes_("20231231")
        file["dataset1/data1/data"] = stored
        group = {"data": "dataset1/data1/what", "dataset": "dataset1/what", "root": "what"}[where]
        file.require_group(group).attrs.update({"quantity": np.bytes_(quantity), **what})


@pytest.mark.parametrize("where", ["data", "dataset", "root"])
def test_odim_composites_need_no_options(tmp_path, where):
    stored = _RNG.integers(0, 256, (9, 12, 14)).astype("u1")
    stored[:, 0] = 255
    for index, frame in enumerate(stored):
        what = {"gain": 0.5, "offset": -32.0, "nodata": 255.0, "undetect": 0.0}
        _write_odim(tmp_path / f"comp_{index}.h5", frame, 5 * index, where, **what)
    recording, frames, values = read_only_source(tmp_path)
    assert np.array_equal(values[..., 0], stored)
    encoding = recording.encoding
    assert (encoding.scale, encoding.offset, encoding.unit, encoding.fill) == (0.5, -32.0, "dBZ", (255.0,))
    assert recording.limits.undetect == (0.0,)
    assert frames[0].time == int(np.datetime64("2024-01-01", "us").astype(int))
    assert np.diff([frame.time for frame in frames]).tolist() == [300_000_000] * 8


def _converted(source, to, **spec):
    manifest = convert([str(source)], to, ConvertSpec.model_validate(spec))
    contract = ClipSpec.model_validate(manifest["clip"])
    records = [record for path in sorted(to.glob("*.gz")) for _, record in read_records(path)]
    return manifest, [decode_frames(check_clip(record, contract), contract) for record in records]


def test_odim_nothing_detected_is_lowest_pixel(tmp_path):
    field = _RNG.uniform(0, 50, (9, 8, 8))
    field[:, 0], field[:, 1] = -9999000.0, -8888000.0
    (tmp_path / "in").mkdir()
    for index, frame in enumerate(field):
        what = {"gain": 1.0, "offset": 0.0, "nodata": -9999000.0, "undetect": -8888000.0}
        _write_odim(tmp_path / "in" / f"comp_{index}.h5", frame, 5 * index, **what)
    manifest, (clip,) = _converted(tmp_path / "in", tmp_path / "out", value={"low": -10, "high": 60})
    assert (clip[:, 0] == 255).all()
    assert (clip[:, 1] == 0).all()
    assert np.abs(clip[:, 2:, :, 0] - (field[:, 2:] + 10) / 70 * 255).max() <= 0.51
    assert manifest["left_out"] == {"missing values": 72}
    seen = manifest["values"]["dBZ"]
    assert seen["min"] == pytest.approx(field[:, 2:].min())
    assert (seen["missing"], seen["undetected"]) == (1 / 8, 1 / 8)


@pytest.mark.parametrize("kind", ["PVOL", "SCAN", "RAY", "XSEC", "VP"])
@pytest.mark.parametrize("variable", [None, "dataset1/data1/data"])
def test_polar_odim_is_refused(tmp_path, kind, variable):
    _write_odim(tmp_path / "a.h5", np.zeros((360, 40), "u1"), 0)
    with h5py.File(tmp_path / "a.h5", "a") as file:
        file["what"].attrs["object"] = np.bytes_(kind)
    with pytest.raises(
        BadSource, match=rf"a\.h5: expected a composite .* received the object {kind}: .* grid it first"
    ):
        read_sources(tmp_path, variable=variable)


def test_odim_with_several_quantities_needs_variable(tmp_path):
    _write_odim(tmp_path / "a.h5", np.zeros((4, 4), "u1"), 0)
    with h5py.File(tmp_path / "a.h5", "a") as file:
        file["dataset1/data2/data"] = np.zeros((4, 4), "u1")
        file.require_group("dataset1/data2/what").attrs.update({"gain": 0.1, "quantity": np.bytes_("RATE")})
    with pytest.raises(BadSource, match=r"received dataset1/data1/data, dataset1/data2/data; set --variable"):
        read_sources(tmp_path)
    recording, _, _ = read_only_source(tmp_path, variable="dataset1/data2/data")
    assert (recording.encoding.unit, recording.encoding.scale) == ("mm/h", 0.1)


def test_knmi_calibration_group_is_read(tmp_path):
    with h5py.File(tmp_path / "RAD.h5", "w") as file:
        file.create_group("overview").attrs["product_datetime_end"] = np.bytes_("26-AUG-2010;00:05:00.000")
        file["image1/image_data"] = np.zeros((4, 4), "u2")
        file["image1"].attrs["image_geo_parameter"] = np.bytes_("PRECIP_[MM]")
        file.create_group("image1/calibration").attrs.update(
            {
                "calibration_formulas": np.bytes_("GEO = 0.010000 * PV + 0.000000"),
                "calibration_out_of_image": 65535,
                "calibration_missing_data": 65534,
            }
        )
    recording, frames, _ = read_only_source(tmp_path, variable="image1/image_data")
    encoding = recording.encoding
    assert (encoding.scale, encoding.offset, encoding.unit, encoding.fill) == (0.01, 0.0, "mm", (65534.0, 65535.0))
    assert frames[0].time == int(np.datetime64("2010-08-26T00:05", "us").astype(int))


def test_attributes_of_hdf5_group_are_read(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["field/values"] = np.zeros((9, 6, 8), "i2")
        file["field"].attrs.update({"gain": 0.25, "offset": 2.0, "nodata": -9, "units": "K"})
    recording, _, _ = read_only_source(tmp_path, variable="field/values")
    encoding = recording.encoding
    assert (encoding.scale, encoding.offset, encoding.unit, encoding.fill) == (0.25, 2.0, "K", (-9.0,))


def test_imerg_half_hours_are_transposed(tmp_path):
    rain = _RNG.random((9, 8, 6)).astype("f4")  # (lon, lat) per file.
    for index, frame in enumerate(rain):
        with h5py.File(tmp_path / f"3B-HHR.MS.MRG.3IMERG.{index}.HDF5", "w") as file:
            data = file.create_dataset("Grid/precipitation", data=frame[None])
            data.attrs.update({"DimensionNames": "time,lon,lat", "units": "mm/hr", "_FillValue": np.float32(-9999.9)})
            data.attrs["CodeMissingValue"] = "-9999.9"
            time = file.create_dataset("Grid/time", data=np.array([1_577_836_800 + 1800 * index], "i4"))
            time.attrs["units"] = "seconds since 1970-01-01 00:00:00 UTC"
            time.attrs["calendar"] = "standard"
    recording, frames, values = read_only_source(tmp_path, variable="Grid/precipitation")
    assert np.array_equal(values[..., 0], rain.transpose(0, 2, 1))
    assert recording.encoding.unit == "mm/hr"
    assert recording.encoding.fill == (float(np.float32(-9999.9)),)
    assert np.diff([frame.time for frame in frames]).tolist() == [1_800_000_000] * 8


def test_goes_file_per_step_is_unsigned(tmp_path):
    stored = _RNG.integers(0, 4096, (9, 6, 8)).astype("u2")
    stored[:, 0] = 65535
    for index, frame in enumerate(stored):
        with netCDF4.Dataset(tmp_path / f"OR_ABI-L2-CMIPF_s{index}.nc", "w") as file:
            for name, size in (("y", 6), ("x", 8), ("band", 1), ("nv", 2)):
                file.createDimension(name, size)
            file.createVariable("band_id", "i1", ("band",))[:] = 13
            time = file.createVariable("t", "f8", ())
            time.setncatts(
                {"standard_name": "time", "units": "seconds since 2000-01-01 12:00:00", "bounds": "t_bounds"}
            )
            time[...] = 631_152_000.5 + 600 * index
            file.createVariable("t_bounds", "f8", ("nv",))[:] = 0
            for name, dtype in (("CMI", "i2"), ("DQF", "i1")):
                variable = file.createVariable(name, dtype, ("y", "x"), fill_value=-1)
                variable.set_auto_maskandscale(False)
                variable.setncatts({"_Unsigned": "true", "coordinates": "band_id t y x", "units": "K"})
                if name == "CMI":
                    variable.setncatts({"scale_factor": np.float32(0.06), "add_offset": np.float32(89.6)})
                    variable.setncatts({"valid_range": np.array([0, 4095], "i2")})
                    variable[:] = frame.view("i2")
    with pytest.raises(BadSource, match=r"expected one variable, received CMI, DQF; set --variable"):
        read_sources(tmp_path)
    recording, frames, values = read_only_source(tmp_path, variable="CMI")
    assert np.array_equal(values[..., 0], stored)
    assert recording.encoding.fill == (65535.0,)
    assert recording.limits.valid == (0, 4095)
    assert np.diff([frame.time for frame in frames]).tolist() == [600_000_000] * 8


def test_files_of_different_packing_become_physical(tmp_path):
    (tmp_path / "in").mkdir()
    temperature = _RNG.uniform(250, 310, (16, 6, 8)).astype("f4")
    temperature[:, 0, 0] = np.nan
    for part in range(4):
        data = xarray.Dataset(
            {"t2m": (("time", "y", "x"), temperature[4 * part : 4 * part + 4], {"units": "K"})},
            coords={"time": pd.date_range("2020", periods=16, freq="h")[4 * part : 4 * part + 4]},
        )
        encoding = {"dtype": "i2", "scale_factor": 0.01 + part / 1000, "add_offset": 280.0, "_FillValue": -32767}
        data.to_netcdf(tmp_path / "in" / f"era5_{part}.nc", encoding={"t2m": encoding})
    manifest, (clip,) = _converted(tmp_path / "in", tmp_path / "out", value={"low": 250, "high": 310})
    assert len(clip) == 16
    assert (clip[:, 0, 0] == 255).all()
    known = ~np.isnan(temperature)
    assert np.abs(clip[..., 0][known] - (temperature[known] - 250) / 60 * 255).max() < 1.1
    assert manifest["values"]["K"]["max"] == pytest.approx(np.nanmax(temperature), abs=0.01)
    with pytest.raises(ValueError, match=r"era5_1\.nc: t2m: expected ValueEncoding"):
        _converted(tmp_path / "in", tmp_path / "other", value={"low": 250, "high": 310, "scale": 1.0})


def test_float_fill_of_nan_needs_no_missing_option(tmp_path):
    values = _RNG.uniform(0, 1, (12, 8, 8)).astype("f4")
    values[:, 0, 0] = np.nan
    (tmp_path / "in").mkdir()
    _write_netcdf(tmp_path / "in" / "a.nc", values, "f4", np.nan, units="m")
    manifest, (clip,) = _converted(tmp_path / "in", tmp_path / "out", value={"low": 0, "high": 1})
    assert manifest["clip"]["missing"] == 255
    assert np.array_equal(clip[..., 0] == 255, np.isnan(values))
    assert json.dumps(manifest["values"])
    seen = manifest["values"]["m"]
    assert (seen["min"], seen["max"]) == (np.nanmin(values), np.nanmax(values))
    assert seen["mean"] == pytest.approx(np.nanmean(values.astype(np.float64)))
    assert seen["missing"] == pytest.approx(1 / 64)


def test_rain_in_other_unit_is_refused(tmp_path):
    (tmp_path / "in").mkdir()
    _write_netcdf(tmp_path / "in" / "a.nc", np.ones((9, 8, 8), "f4"), "f4", units="kg m-2 s-1")
    value = {"low": -10, "high": 60, "rain_to_dbz": True}
    with pytest.raises(ValueError, match=r"rain_to_dbz: expected values in mm/h, received kg m-2 s-1; set --scale"):
        _converted(tmp_path / "in", tmp_path / "out", value=value)
    manifest, _ = _converted(tmp_path / "in", tmp_path / "clips", value={**value, "scale": 3600, "unit": "mm/h"})
    assert manifest["values"]["mm/h"]["mean"] == 3600


@pytest.mark.parametrize(
    ("attributes", "fill"),
    [
        ({"missing_value": -9.5, "scale_factor": 0.5, "add_offset": 0.0}, (-19.0,)),
        ({"missing_value": np.float32(1e20), "scale_factor": 0.5}, ()),
        ({"missing_value": 70_000.0}, ()),
        ({"missing_value": np.array([3, 9], "i2")}, (3.0, 9.0)),
        ({"missing_value": "-7"}, (-7.0,)),
    ],
)
def test_missing_values_are_those_that_can_occur(tmp_path, attributes, fill):
    _write_netcdf(tmp_path / "a.nc", np.zeros((3, 6, 8), "i2"), "i2", **attributes)
    recording, _, _ = read_only_source(tmp_path)
    assert recording.encoding.fill == fill
