"""`framecast data convert` as a person types it."""

import json

import numpy as np
import pytest


@pytest.fixture
def array(tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, np.random.default_rng(0).integers(0, 256, (30, 12, 16), np.uint8))
    return path


def test_it_says_what_came_of_it_and_what_the_configuration_needs(framecast, tmp_path, array):
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


def test_json_is_one_object(framecast, tmp_path, array):
    answer = framecast("data", "convert", array, "--to", tmp_path / "clips", "--fps", 10, "--json")
    assert json.loads(answer.out)["clips"] == 1


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--frames", 9, 4], 2, "framecast: --frames: expected max >= min, received min 9 and max 4"),
        (["--range", 5, 1], 2, "framecast: --range: expected low < high, received 5 and 1"),
        (["--dtype", "int8"], 2, "framecast: --dtype: Input should be 'uint8', 'uint16' or 'float32', received 'int8'"),
        (["--axes", "HWX"], 2, "framecast: --axes: expected different letters of N, T, H, W and C, H and W among them"),
        (["--tile-stride", 4], 2, "framecast: --tile-stride: expected a tile too"),
        (["--rain-to-dbz"], 2, "framecast: --rain-to-dbz: expected a range in dBZ too, such as -10 60"),
        (["--fps", 0], 2, "framecast: --fps: Input should be greater than 0, received 0.0"),
        ([], 1, "a.npy: expected frames with times, or their number a second (--fps), received neither"),
        (["--fps", 1, "--tile", 64], 1, "a.npy, frame 0: expected frames of at least 64x64 (--tile), received 12x16"),
        (["--fps", 1, "--beam-flag=--runner=Nowhere"], 1, "Unexpected pipeline runner: Nowhere"),
        (["--fps", 1, "--crop", 0, 0, 13, 4], 1, "expected at least 13x4 pixels to crop from, received 12x16"),
    ],
)
def test_what_cannot_be_done_is_said_on_one_screen(framecast, tmp_path, array, options, code, message):
    answer = framecast("data", "convert", array, "--to", tmp_path / "clips", *options)
    assert answer.code == code, answer.text
    assert message in answer.text
    assert "Traceback" not in answer.text
    assert len(answer.text.splitlines()) <= 3
