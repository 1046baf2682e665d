"""Tests GRIB files against ecCodes' own reading."""

import gzip

import numpy as np
import pytest

from framecast.clips.convert.sources.source import BadSource
from tests.clips.convert.sources.gridded.grib_files import eccodes_values, grib, join_sections, mrms, sections
from tests.clips.convert.sources.reading import read_only_source, read_sources

_RNG = np.random.default_rng(0)
_HOUR = 3_600_000_000
_START = int(np.datetime64("2024-05-01T00:00", "us").astype(int))


def _hourly(fields, **keys):
    times = {"dataDate": 20240501}
    return [grib(field, **times, dataTime=100 * hour, **keys) for hour, field in enumerate(fields)]


@pytest.mark.parametrize("sample", ["regular_ll_sfc_grib2", "regular_ll_pl_grib1", "polar_stereographic_sfc_grib2"])
@pytest.mark.parametrize("packing", ["grid_simple", "grid_second_order"])
def test_fields_of_one_file_equal_eccodes(tmp_path, sample, packing):
    fields = _RNG.uniform(250, 300, (9, 6, 8))
    fields[:, 0, :3] = np.nan
    messages = _hourly(fields, sample=sample, packingType=packing)
    (tmp_path / "a.grib").write_bytes(b"".join(messages[::-1]))
    recording, frames, values = read_only_source(tmp_path / "a.grib")
    expected = eccodes_values(tmp_path / "a.grib")[::-1]
    assert np.array_equal(values[..., 0], expected.astype("f4"), equal_nan=True)
    assert np.allclose(values[..., 0], fields, atol=0.01, equal_nan=True)
    assert [frame.time for frame in frames] == [_START + hour * _HOUR for hour in range(9)]
    assert recording.encoding.unit == "K"
    assert np.isnan(recording.encoding.fill)


@pytest.mark.parametrize("packing", ["grid_ccsds", "grid_jpeg", "grid_complex", "grid_complex_spatial_differencing"])
def test_packings_of_edition_2_equal_eccodes(tmp_path, packing):
    fields = _RNG.uniform(0, 5, (9, 16, 31))
    (tmp_path / "a.grb2").write_bytes(b"".join(_hourly(fields, packingType=packing)))
    _, _, values = read_only_source(tmp_path / "a.grb2")
    assert np.array_equal(values[..., 0], eccodes_values(tmp_path / "a.grb2").astype("f4"))


@pytest.mark.parametrize(
    ("keys", "minutes"),
    [
        ({"stepUnits": "h", "step": 3}, 180),
        ({"stepUnits": "m", "step": 15}, 15),
        ({"stepType": "accum", "stepRange": "3-6", "shortName": "tp"}, 360),
    ],
)
def test_forecast_steps_give_valid_times(tmp_path, keys, minutes):
    fields = _RNG.uniform(0, 5, (9, 4, 5))
    (tmp_path / "a.grib2").write_bytes(b"".join(_hourly(fields, **keys)))
    _, frames, _ = read_only_source(tmp_path / "a.grib2")
    assert frames[0].time == _START + minutes * 60_000_000
    assert np.diff([frame.time for frame in frames]).tolist() == [_HOUR] * 8


@pytest.mark.parametrize("suffix", ["grib2.gz", "grib2"])
def test_mrms_reflectivity_has_unit_and_codes(tmp_path, suffix):
    fields = np.round(_RNG.uniform(-30, 60, (9, 6, 8)), 1)
    fields[:, 0], fields[:, 1] = -999, -99
    for index, field in enumerate(fields):
        times = {"dataDate": 20240501, "hour": 1, "minute": 2 * index, "second": 37}
        message = mrms(field, (10, 0), **times)
        name = f"MRMS_MergedReflectivityQCComposite_00.50_20240501-01{2 * index:02d}37.{suffix}"
        (tmp_path / name).write_bytes(gzip.compress(message) if suffix.endswith("gz") else message)
    recording, frames, values = read_only_source(tmp_path)
    assert np.allclose(values[..., 0], fields, atol=1e-4)
    assert recording.encoding.unit == "dBZ"
    assert recording.encoding.fill[0] == -999
    assert recording.limits.undetect == (-99,)
    assert frames[0].time == _START + _HOUR + 37_000_000
    assert np.diff([frame.time for frame in frames]).tolist() == [120_000_000] * 8


def test_unknown_local_parameter_has_no_unit(tmp_path):
    (tmp_path / "a.grib2").write_bytes(mrms(np.zeros((4, 5)), (99, 7), dataDate=20240501))
    recording, _, _ = read_only_source(tmp_path, variable="unknown-209-99-7")
    assert recording.encoding.unit is None


def test_levels_and_parameters_need_a_choice(tmp_path):
    fields = _RNG.uniform(200, 300, (2, 9, 4, 5))
    messages = []
    for level, series in zip((500, 850), fields, strict=True):
        messages += _hourly(series, typeOfLevel="isobaricInhPa", level=level)
    surface = _hourly(fields[0], shortName="sp")
    (tmp_path / "a.grib2").write_bytes(b"".join([*messages, *surface]))
    with pytest.raises(BadSource, match=r"expected one variable, received sp, t; set --variable"):
        read_sources(tmp_path)
    with pytest.raises(BadSource, match=r"dimension level is no axis of a frame \(2 values: 500.0, 850.0\)"):
        read_sources(tmp_path, variable="t")
    _, _, values = read_only_source(tmp_path, variable="t", select=["level=850"])
    assert np.allclose(values[..., 0], fields[1], atol=0.01)
    with pytest.raises(BadSource, match=r"variable rain is missing; the file has sp, t"):
        read_sources(tmp_path, variable="rain")


def test_parameter_of_two_level_types_is_named_with_it(tmp_path):
    fields = _RNG.uniform(200, 300, (9, 4, 5))
    messages = [*_hourly(fields), *_hourly(fields + 1, typeOfLevel="isobaricInhPa", level=850)]
    (tmp_path / "a.grib2").write_bytes(b"".join(messages))
    with pytest.raises(BadSource, match=r"received t/isobaricInhPa, t/surface; set --variable"):
        read_sources(tmp_path)
    _, _, values = read_only_source(tmp_path, variable="t/isobaricInhPa")
    assert np.allclose(values[..., 0], fields + 1, atol=0.01)


def test_overlapping_forecasts_need_a_run(tmp_path):
    fields = _RNG.uniform(200, 300, (2, 9, 4, 5))
    messages = [
        grib(field, dataDate=20240501, dataTime=100 * base, stepUnits="h", step=step)
        for base, run in enumerate(fields)
        for step, field in enumerate(run)
    ]
    (tmp_path / "a.grib2").write_bytes(b"".join(messages))
    with pytest.raises(BadSource, match=r"set --select time=VALUE"):
        read_sources(tmp_path)
    _, frames, values = read_only_source(tmp_path, select=["time=2024-05-01T01:00:00"])
    assert np.allclose(values[..., 0], fields[1], atol=0.01)
    assert np.diff([frame.time for frame in frames]).tolist() == [_HOUR] * 8


@pytest.mark.parametrize("same_bitmap", [False, True])
def test_message_of_several_fields_equals_eccodes(tmp_path, same_bitmap):
    fields = _RNG.uniform(-9, 9, (2, 6, 8))
    fields[:, :2, :2] = np.nan
    messages = []
    for hour in range(9):
        times = {"dataDate": 20240501, "dataTime": 100 * hour}
        u, v = (grib(field + hour, shortName=name, **times) for name, field in zip(("10u", "10v"), fields, strict=True))
        second = [part for number, part in sections(v) if number in (4, 5, 6, 7)]
        if same_bitmap:
            second[2] = b"\0\0\0\6\6\xfe"
        messages.append(join_sections(u, [part for _, part in sections(u)] + second))
    (tmp_path / "a.grib2").write_bytes(b"".join(messages))
    expected = eccodes_values(tmp_path / "a.grib2")
    assert len(expected) == 18
    for part, name in enumerate(("10u", "10v")):
        _, _, values = read_only_source(tmp_path, variable=name)
        assert np.array_equal(values[..., 0], expected[part::2].astype("f4"), equal_nan=True)


@pytest.mark.parametrize(("columns_first", "alternating"), [(0, 0), (0, 1), (1, 0)])
def test_scanning_order_gives_rows(tmp_path, columns_first, alternating):
    field = _RNG.uniform(200, 300, (6, 8))
    stored = field.copy()
    if alternating:
        stored[1::2] = stored[1::2, ::-1]
    stored = stored.T.reshape(6, 8) if columns_first else stored
    keys = {"jPointsAreConsecutive": columns_first, "alternativeRowScanning": alternating}
    (tmp_path / "a.grib2").write_bytes(b"".join(_hourly([stored] * 9, **keys)))
    _, _, values = read_only_source(tmp_path)
    assert np.allclose(values[0, ..., 0], field, atol=0.01)


def test_unusable_grib_says_why(tmp_path):
    messages = _hourly(_RNG.uniform(200, 300, (3, 4, 5)))
    path = tmp_path / "a.grib2"
    path.write_bytes(b"".join(messages)[:-30])
    with pytest.raises(BadSource, match=r"a\.grib2: expected \d+ bytes of message 3 at byte \d+.*truncated"):
        read_sources(tmp_path)
    path.write_bytes(b"".join([*messages, messages[1]]))
    with pytest.raises(BadSource, match=r"messages 2 and 4 have the same time, step and level"):
        read_sources(tmp_path)
    path.write_bytes(b"".join([messages[0], grib(np.zeros((6, 5)), dataDate=20240502)]))
    with pytest.raises(BadSource, match=r"expected one grid of 4x5 as in message 1, received another one of 6x5"):
        read_sources(tmp_path)
    path.write_bytes(b"<html>")
    with pytest.raises(BadSource, match=r"expected a GRIB message at byte 0, received b'<html>'"):
        read_sources(tmp_path)


def test_reduced_grid_is_refused(tmp_path):
    import eccodes

    handle = eccodes.codes_grib_new_from_samples("reduced_gg_sfc_grib2")
    (tmp_path / "a.grib2").write_bytes(eccodes.codes_get_message(handle))
    eccodes.codes_release(handle)
    with pytest.raises(BadSource, match=r"message 1: grid reduced_gg has no rows of equal length"):
        read_sources(tmp_path)


def test_grib_of_other_suffix_is_found_by_content(tmp_path):
    (tmp_path / "gfs.t00z.pgrb2.0p25.f006").write_bytes(b"".join(_hourly(_RNG.uniform(0, 1, (9, 4, 5)))))
    _, frames, _ = read_only_source(tmp_path, kind="grids")
    assert len(frames) == 9
