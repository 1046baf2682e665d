"""Tests times of gridded files against xarray, in several calendars, and files joined along time."""

import cftime
import h5py
import numpy as np
import pandas as pd
import pytest
import xarray

from framecast.clips.convert.sources.discovery import find_sources
from framecast.clips.convert.sources.gridded.times import decode, even_months
from framecast.clips.convert.sources.source import BadSource
from framecast.clips.convert.spec import ConvertSpec
from tests.clips.convert.sources.reading import read_only_source, read_sources

_RNG = np.random.default_rng(0)
_MONTH = 365.2425 / 12 * 86_400_000_000
_DAY = 86_400_000_000


def _field(times, start=0):
    values = np.arange(start, start + len(times), dtype="f4")[:, None, None] + np.zeros((1, 6, 8), "f4")
    return xarray.Dataset({"p": (("time", "y", "x"), values)}, coords={"time": times})


def _stamps(frames):
    return [frame.time for frame in frames]


@pytest.mark.parametrize(
    "unit",
    [
        "seconds since 1970-01-01 00:00:00 UTC",
        "hours since 1900-01-01 00:00:0.0",
        "minutes since 2020-01-01T12:00:00Z",
        "days since 1-1-1 00:00:00",
        "Days since 2000-1-1",
        "hours since 2020-01-01 00:00:00 +01:00",
    ],
)
@pytest.mark.parametrize("dtype", ["i4", "f8"])
@pytest.mark.parametrize("calendar", ["standard", "proleptic_gregorian", None])
def test_decoded_times_equal_xarray(unit, dtype, calendar):
    values = np.array([0, 1, 2, 737_000, 737_001]).astype(dtype)
    attributes = {"units": unit, **({"calendar": calendar} if calendar else {})}
    times = decode(values, unit, calendar, "here")
    data = xarray.decode_cf(xarray.Dataset({"time": ("time", values[3:] if "1-1-1" in unit else values, attributes)}))
    expected = data.time.values.astype("datetime64[us]").astype(np.int64)
    assert list(times.stamps[-len(expected) :]) == expected.tolist()


@pytest.mark.parametrize("calendar", ["noleap", "360_day", "all_leap", "julian", "365_day"])
@pytest.mark.parametrize("suffix", ["nc", "h5", "zarr"])
def test_days_of_any_calendar_are_even(tmp_path, calendar, suffix):
    data = _field(xarray.cftime_range("2000-02-25", periods=12, freq="D", calendar=calendar))
    data.to_zarr(tmp_path / "a.zarr") if suffix == "zarr" else data.to_netcdf(
        tmp_path / f"a.{suffix}", engine="netcdf4"
    )
    _, frames, values = read_only_source(tmp_path, variable="p")
    assert np.diff(_stamps(frames)).tolist() == [_DAY] * 11
    assert np.array_equal(values[..., 0], data.p)


@pytest.mark.parametrize("calendar", ["standard", "noleap"])
@pytest.mark.parametrize("start", ["2000-01-01", "2000-01-16"])
def test_months_are_spaced_by_mean_month(tmp_path, calendar, start):
    first = cftime.datetime.strptime(start, "%Y-%m-%d", calendar=calendar)
    times = [cftime.datetime(2000 + n // 12, n % 12 + 1, first.day, calendar=calendar) for n in range(26) if n != 20]
    _field(times).to_netcdf(tmp_path / "a.nc", engine="netcdf4")
    recording, frames, _ = read_only_source(tmp_path)
    assert np.diff(_stamps(frames)).tolist() == [_MONTH] * 19 + [2 * _MONTH] + [_MONTH] * 4
    assert recording.left_out == {"recordings of whole months, spaced by the mean month": 1}


def test_month_files_and_quarters_are_even(tmp_path):
    for index, time in enumerate(pd.date_range("2001", periods=12, freq="MS")):
        _field([time], index).to_netcdf(tmp_path / f"p_{index}.nc", engine="netcdf4")
    _, frames, values = read_only_source(tmp_path)
    assert np.diff(_stamps(frames)).tolist() == [_MONTH] * 11
    assert values[:, 0, 0, 0].tolist() == list(range(12))
    quarters = pd.date_range("2001", periods=12, freq="QS").values.astype("datetime64[us]").astype(np.int64)
    assert np.diff(even_months(quarters.tolist(), "standard")).tolist() == [3 * _MONTH] * 11
    days = [time * _DAY for time in range(0, 600, 30)]
    assert even_months(days, "standard") is None


def test_months_since_date_are_decoded():
    times = decode(np.arange(12), "months since 2000-01-01", None, "here")
    assert np.diff(times.stamps).tolist() == [_MONTH] * 11


def test_dates_as_numbers_are_decoded():
    times = decode(np.array([20200131.0, 20200131.25, 20200201.5]), "day as %Y%m%d.%f", None, "here")
    expected = np.array(["2020-01-31T00", "2020-01-31T06", "2020-02-01T12"], "datetime64[us]").astype(np.int64)
    assert list(times.stamps) == expected.tolist()


def test_single_precision_times_have_resolution(tmp_path):
    data = _field(np.arange(12, dtype="f4") / 24 + np.float32(7305))
    data.time.attrs["units"] = "days since 2000-01-01"
    data.to_netcdf(tmp_path / "a.nc", engine="netcdf4")
    recording, frames, _ = read_only_source(tmp_path)
    expected = np.arange(12) * 3_600_000_000
    errors = np.abs(np.array(_stamps(frames)) - frames[0].time - expected)
    assert 0 < errors.max() <= recording.resolution < 60_000_000


def test_missing_time_and_unknown_calendar_are_named(tmp_path):
    with pytest.raises(BadSource, match=r"a\.nc, time: expected times, received nan"):
        decode(np.array([0, np.nan]), "days since 2000-01-01", None, "a.nc, time")
    with pytest.raises(BadSource, match="cannot read the time unit 'days since 2000-01-01' with the calendar martian"):
        decode(np.array([0.0]), "days since 2000-01-01", "martian", "a.nc, time")


@pytest.mark.parametrize("dim", ["frame", "record", "obs"])
def test_auxiliary_time_coordinate_is_used(tmp_path, dim):
    data = xarray.Dataset(
        {"p": ((dim, "y", "x"), _RNG.random((12, 6, 8)).astype("f4"))},
        coords={"acquired": (dim, pd.date_range("2020", periods=12, freq="h"))},
    )
    data.to_netcdf(tmp_path / "a.nc", engine="netcdf4")
    _, frames, values = read_only_source(tmp_path)
    assert np.array_equal(values[..., 0], data.p)
    assert np.diff(_stamps(frames)).tolist() == [3_600_000_000] * 11


def test_valid_time_of_forecast_steps_is_used(tmp_path):
    steps = pd.to_timedelta(np.arange(12), "h")
    data = xarray.Dataset(
        {"p": (("step", "latitude", "longitude"), _RNG.random((12, 6, 8)).astype("f4"))},
        coords={
            "step": steps,
            "time": ((), pd.Timestamp("2020"), {"standard_name": "forecast_reference_time"}),
            "valid_time": ("step", pd.Timestamp("2020") + steps, {"standard_name": "time"}),
        },
    )
    data.to_netcdf(tmp_path / "a.nc", engine="netcdf4")
    _, frames, _ = read_only_source(tmp_path)
    assert frames[0].time == int(np.datetime64("2020-01-01", "us").astype(int))
    assert np.diff(_stamps(frames)).tolist() == [3_600_000_000] * 11


def test_times_beside_plain_hdf5_dataset_are_used(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["scan/field"] = _RNG.random((6, 12, 8))
        file["scan/time"] = np.arange(12) * 60
        file["scan/time"].attrs["units"] = "seconds since 2020-01-01"
    _, frames, values = read_only_source(tmp_path, variable="scan/field")
    with h5py.File(tmp_path / "a.h5") as file:
        assert np.array_equal(values[..., 0], file["scan/field"][...].transpose(1, 0, 2))
    assert np.diff(_stamps(frames)).tolist() == [60_000_000] * 11


@pytest.mark.parametrize("steps", [1, 2, 3, 5])
def test_files_are_joined_along_time(tmp_path, steps):
    times = pd.date_range("2020", periods=15, freq="h")
    for number, start in enumerate(range(0, 15, steps)):
        # Names in an order other than that of the times.
        _field(times[start : start + steps], start).to_netcdf(tmp_path / f"p_{99 - number}.nc", engine="netcdf4")
    ((name, (_, frames)),) = read_sources(tmp_path).items()
    assert name == tmp_path.name
    assert [int(frame.values[0, 0, 0]) for frame in frames] == list(range(15))
    assert np.diff(_stamps(frames)).tolist() == [3_600_000_000] * 14


def test_files_of_other_events_stay_separate(tmp_path):
    for name, day in (("storm_1", 1), ("storm_2", 20), ("other_1", 2)):
        _field(pd.date_range(f"2020-01-{day:02d}", periods=12, freq="h")).to_netcdf(
            tmp_path / f"{name}.nc", engine="netcdf4"
        )
    assert list(read_sources(tmp_path)) == ["other_1.nc", "storm_1.nc", "storm_2.nc"]
    assert list(read_sources(tmp_path / "storm_1.nc")) == ["storm_1.nc"]


def test_overlapping_files_are_refused_or_separate(tmp_path):
    for number in range(2):
        _field(pd.date_range("2020", periods=9, freq="h")).to_netcdf(tmp_path / f"m{number}.nc", engine="netcdf4")
    assert len(read_sources(tmp_path)) == 2
    for number in range(3):
        _field([pd.Timestamp("2020")]).to_netcdf(tmp_path / f"one_{number}.nc", engine="netcdf4")
    with pytest.raises(BadSource, match=r"one_1\.nc: its times overlap those of .*one_0\.nc; convert them separately"):
        read_sources(str(tmp_path / "one_*.nc"))


def test_file_of_other_calendar_or_size_is_named(tmp_path):
    _field([pd.Timestamp("2020-01-01")]).to_netcdf(tmp_path / "p_1.nc", engine="netcdf4")
    _field(xarray.cftime_range("2020-01-02", periods=1, calendar="noleap")).to_netcdf(
        tmp_path / "p_2.nc", engine="netcdf4"
    )
    with pytest.raises(BadSource, match=r"p_2\.nc: p: expected times of the calendar .* received noleap"):
        read_sources(tmp_path)
    _field([pd.Timestamp("2020-01-02")]).isel(x=slice(5)).to_netcdf(tmp_path / "p_2.nc", engine="netcdf4")
    with pytest.raises(BadSource, match=r"p_2\.nc: p: expected 8 on axis W as in .*p_1\.nc, received 5"):
        read_sources(tmp_path)


def test_unreadable_file_keeps_other_frames(tmp_path):
    for index, time in enumerate(pd.date_range("2020", periods=9, freq="h")):
        _field([time], index).to_netcdf(tmp_path / f"p_{index}.nc", engine="netcdf4")
    (tmp_path / "p_4.nc").write_bytes(b"?")
    with pytest.raises(BadSource, match=r"p_4\.nc: expected a NetCDF-4 file"):
        read_only_source(tmp_path)
    (source,) = find_sources([str(tmp_path)], ConvertSpec()).sources
    (recording,) = source.recordings()
    skipped = []
    recording.skip = skipped.append
    assert [int(frame.values[0, 0, 0]) for frame in recording.frames] == [0, 1, 2, 3, 5, 6, 7, 8]
    assert [error.place for error in skipped] == [str(tmp_path / "p_4.nc")]


@pytest.mark.parametrize("kind", ["arrays", "grids"])
def test_time_format_that_is_ignored_is_error(tmp_path, kind):
    if kind == "arrays":
        np.save(tmp_path / "a_20200101.npy", np.zeros((9, 6, 8), "u1"))
        message = r"time format %Y%m%d \(--time-format\): arrays have no time in their file names"
    else:
        _field(pd.date_range("2020", periods=9)).to_netcdf(tmp_path / "a_20200101.nc", engine="netcdf4")
        message = r"a_20200101\.nc: p has 9 time steps and its own times; a file name gives one time: remove --time-f"
    with pytest.raises(ValueError, match=message):
        read_sources(tmp_path, time_format="%Y%m%d")


def _write_sevir(path, ids, chunks=True):
    values = _RNG.integers(0, 255, (3, 48, 40, 49)).astype("u1")
    with h5py.File(path, "w") as file:
        file.create_dataset("vil", data=values, chunks=(1, 48, 40, 49) if chunks else None)
        if ids is not None:
            file["id"] = np.array(ids)
    return values


@pytest.mark.parametrize("chunks", [True, False])
@pytest.mark.parametrize(
    ("ids", "names"),
    [
        ([b"S1", b"S2", b"S3"], ["S1", "S2", "S3"]),
        ([b"S1", b"S1", b"S3"], ["000000", "000001", "000002"]),
        (None, ["000000", "000001", "000002"]),
    ],
)
def test_sevir_recordings_have_their_ids(tmp_path, ids, names, chunks):
    values = _write_sevir(tmp_path / "SEVIR_VIL.h5", ids, chunks)
    found = read_sources(tmp_path, variable="vil", axes="NHWT", fps=1 / 300)
    assert list(found) == [f"SEVIR_VIL.h5/{name}" for name in names]
    for (_, frames), expected in zip(found.values(), values, strict=True):
        assert np.array_equal([frame.values[..., 0] for frame in frames], expected.transpose(2, 0, 1))


def test_hdf5_without_names_needs_axes(tmp_path):
    _write_sevir(tmp_path / "SEVIR_VIL.h5", None)
    with pytest.raises(BadSource, match=r"the axes are ambiguous: set --axes, such as NTHW or CTHW"):
        read_sources(tmp_path, variable="vil")
    with h5py.File(tmp_path / "SEVIR_VIL.h5", "w") as file:
        file["vil"] = np.zeros((5, 48, 48, 49), "u1")
    with pytest.raises(
        BadSource, match=r"the axes are ambiguous: set --axes, such as NTHW or NHWT; received the shape"
    ):
        read_sources(tmp_path, variable="vil")
