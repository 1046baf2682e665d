"""Thresholds on slices of the eval split."""

import pytest

from tests.evaluation.gate.toy import numpy_mse

pytestmark = pytest.mark.xdist_group("tfma")


def test_bound_on_slice_is_missed_there_alone(by_slice, clips):
    found = {(miss.metric, miss.lead_time, miss.slice): miss for miss in by_slice.misses}
    assert set(found) == {
        ("mse", None, "overall"),
        ("mse", None, "content: sparse"),
        ("mse", 1, "length: 5"),
        ("mse", 2, "length: 5"),
        *(("mse", None, f"length: {length}") for length in (3, 4, 5)),
        ("eval split", None, "length: 99"),
    }
    sparse = found["mse", None, "content: sparse"]
    (expected,) = numpy_mse(clips, [(1, 0.2)], among=[1, 4])
    assert sparse.value == pytest.approx(expected, rel=1e-6)
    assert sparse.describe() == f"mse (content: sparse): expected at most 0.01, received {sparse.value:.6g}"


def test_increase_is_measured_in_the_slice(by_slice, clips):
    (miss,) = (miss for miss in by_slice.misses if miss.slice == "length: 3")
    candidate, serving = numpy_mse(clips, [(1, 0.2), (0.5, 0.25)], among=[3])
    assert miss.value == pytest.approx(candidate - serving, rel=1e-5)


def test_slice_without_clips_misses_its_bound(by_slice):
    (miss,) = (miss for miss in by_slice.misses if miss.slice == "length: 99")
    assert miss.describe() == "eval split (length: 99): expected at least one clip, received none"


def test_bounds_kept_in_every_slice_are_no_miss(better):
    assert set(better.slices) == {
        *(f"content: {content}" for content in ("dense", "sparse", "empty")),
        *(f"length: {length}" for length in (3, 4, 5)),
    }
    assert better.misses == []
