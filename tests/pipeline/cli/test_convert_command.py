"""Tests the output, options and errors of `framecast data convert`."""

import json

import numpy as np
import pytest
import typer.main
import xarray

from framecast.clips.convert.spec import ConvertSpec
from framecast.pipeline.cli.data import data


@pytest.fixture
def array(tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, np.random.default_rng(0).integers(0, 256, (30, 12, 16), np.uint8))
    return path


def test_output_has_counts_and_configuration(framecast, tmp_path, array):
    (tmp_path / "notes.txt").write_text("?")
    answer = framecast("data", "convert", tmp_path, "--to", tmp_path / "clips", "--fps", 10, "--frames", 4, 7)
    assert answer.code == 0, answer.text
    assert "4 clips of 1 recordings, 28 frames in 1 files" in answer.text
    assert "  2 frames of no clip\n" in answer.text
    assert f"1 files of another kind:\n  {tmp_path}/notes.txt\n" in answer.text
    assert f"data: {{train: {tmp_path}/clips/*.tfrecord.gz}}\n" in answer.text
    assert "frames: {min: 4, max: 7}" in answer.text
    looked = framecast("data", "inspect", tmp_path / "clips")
    assert (looked.code, "4 clips of 1 recordings, 28 frames" in looked.text) == (0, True)


def test_json_output_is_one_object(framecast, tmp_path, array):
    answer = framecast("data", "convert", array, "--to", tmp_path / "clips", "--fps", 10, "--json")
    assert json.loads(answer.out)["clips"] == 1


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--frames", 9, 4], 2, "framecast: --frames: expected max >= min, received min 9 and max 4"),
        (["--range", 5, 1], 2, "framecast: --range: expected low < high, received 5 and 1"),
        (["--dtype", "int8"], 2, "framecast: --dtype: Input should be 'uint8', 'uint16' or 'float32', received 'int8'"),
        (["--axes", "HWX"], 2, "framecast: --axes: expected distinct letters of N, T, H, W and C, with H and W"),
        (["--select", "level"], 2, "framecast: --select: expected DIM=VALUE, such as level=850, received level"),
        (["--select", "z=1", "--select", "z=2"], 2, "framecast: --select: expected one value per dimension, received"),
        (["--fps", 1, "--select", "z=1"], 1, "--select z=1: expected gridded files or TIFF, received arrays"),
        (["--fps", 1, "--time-format", "%Y"], 1, "time format %Y (--time-format): arrays have no time in their file"),
        (["--tile-stride", 4], 2, "framecast: --tile-stride: expected a tile too"),
        (["--rain-to-dbz"], 2, "framecast: --rain-to-dbz: expected a range in dBZ too, such as -10 60"),
        (["--fps", 0], 2, "framecast: --fps: Input should be greater than 0, received 0.0"),
        ([], 1, "a.npy: the frames have no times; set their rate (--fps)"),
        (["--fps", 1, "--tile", 64], 1, "a.npy, frame 0: expected frames of at least 64x64 (--tile), received 12x16"),
        (["--fps", 1, "--beam-flag=--runner=Nowhere"], 1, "Unexpected pipeline runner: Nowhere"),
        (["--fps", 1, "--crop", 0, 0, 13, 4], 1, "expected at least 13x4 pixels (--crop), received 12x16"),
    ],
)
def test_error_is_short_and_names_option(framecast, tmp_path, array, options, code, message):
    answer = framecast("data", "convert", array, "--to", tmp_path / "clips", *options)
    assert answer.code == code, answer.text
    assert message in answer.text
    assert "Traceback" not in answer.text
    assert len(answer.text.splitlines()) <= 3


def _options():
    command = typer.main.get_command(data).commands["convert"]
    return {option.name: option for option in command.params}


def test_every_field_is_one_option():
    spec = ConvertSpec()
    sections = [ConvertSpec, *(type(section) for section in (spec.read, spec.read.digits, spec.value, spec.cut))]
    fields = {name for section in sections for name in section.model_fields}
    own = {"sources", "to", "skip_bad", "workers", "beam_flag", "as_json"}
    assert set(_options()) == fields - {"read", "digits", "value", "cut", "low", "high"} | {"range"} | own


def test_option_defaults_are_those_of_the_fields():
    options = _options()
    assert options["frames"].default == (8, 24)
    assert (options["clips"].default, options["shard_mb"].default, options["range"].default) == (1000, 150, None)
    assert (options["gzip"].secondary_opts, options["gray"].secondary_opts) == (["--no-gzip"], [])


def test_options_reach_the_manifest(framecast, tmp_path, array):
    options = [
        "--fps",
        10,
        "--frames",
        4,
        7,
        "--range",
        -10,
        300,
        "--crop",
        0,
        0,
        8,
        9,
        "--gray",
        "--no-gzip",
        "--seed",
        5,
    ]
    answer = framecast("data", "convert", array, "--to", tmp_path / "clips", *options)
    assert answer.code == 0, answer.text
    plan = json.loads((tmp_path / "clips" / "manifest.json").read_text())["plan"]["options"]
    expected = {
        "read": {"fps": 10, "digits": {"seed": 5}},
        "value": {"low": -10, "high": 300, "gray": True},
        "cut": {"frames": {"min": 4, "max": 7}, "crop": [0, 0, 8, 9]},
        "gzip": False,
    }
    assert plan == ConvertSpec.model_validate(expected).model_dump(mode="json")


def test_selected_level_and_its_values_are_printed(framecast, tmp_path):
    values = np.random.default_rng(0).uniform(250, 300, (9, 3, 6, 8)).astype("f4")
    data = xarray.Dataset({"t": (("time", "level", "lat", "lon"), values, {"units": "K"})})
    data = data.assign_coords(time=np.datetime64("2020-01-01", "ns") + np.arange(9) * np.timedelta64(1, "h"))
    data.assign_coords(level=[1000, 850, 500]).to_netcdf(tmp_path / "a.nc", engine="netcdf4")
    options = [tmp_path / "a.nc", "--range", 250, 310, "--to", tmp_path / "clips"]
    answer = framecast("data", "convert", *options)
    assert answer.code != 0
    assert "dimension level is no axis of a frame (3 values: 1000, 850, 500); set --select level=VALUE" in answer.text
    answer = framecast("data", "convert", *options, "--select", "level=850")
    assert answer.code == 0, answer.text
    low, high = values[:, 1].min(), values[:, 1].max()
    assert (
        f"values: {low:.6g} to {high:.6g} K, mean {values[:, 1].mean(dtype=float):.6g} K, 0.00% missing" in answer.text
    )
