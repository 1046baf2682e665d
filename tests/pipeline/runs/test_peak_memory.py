"""Peak memory of blocks that allocate a known amount."""

import subprocess
import sys
import threading

import psutil
import pytest

from framecast.pipeline.runs import peak_memory
from framecast.pipeline.runs.peak_memory import PeakMemory

_MIB = 2**20
_SIZE = 256 * _MIB
_SLACK = 48 * _MIB  # Memory that Python and other threads allocate or free meanwhile.


def filled():
    return bytearray(b"\1") * _SIZE


@pytest.fixture
def held():
    """Returns the resident memory before the block."""
    return psutil.Process().memory_info().rss


@pytest.fixture
def seen(monkeypatch, held):
    """Returns an event that is set once a sample finds the block's memory; samples are frequent."""
    event = threading.Event()
    original = PeakMemory._sample

    def sample(peak):
        original(peak)
        if peak._largest > held + 0.9 * _SIZE:
            event.set()

    monkeypatch.setattr(peak_memory, "_SAMPLE_SECONDS", 0.05)
    monkeypatch.setattr(PeakMemory, "_sample", sample)
    return event


def test_memory_freed_within_the_block_counts(held):
    with PeakMemory() as peak:
        filled()
    assert peak.bytes == pytest.approx(held + _SIZE, abs=_SLACK)


def test_only_memory_still_held_at_entry_counts(held):
    kept = filled()
    filled()
    with PeakMemory() as peak:
        pass
    assert peak.bytes == pytest.approx(held + len(kept), abs=_SLACK)


def test_raising_block_has_a_peak(held):
    peak = PeakMemory()
    with pytest.raises(IndexError), peak:
        filled()[_SIZE]
    assert peak.bytes == pytest.approx(held + _SIZE, abs=_SLACK)


def test_sampling_works_without_the_kernels_peak(monkeypatch, held, seen):
    monkeypatch.setattr(peak_memory, "_reset_peak", lambda: False)
    filled()
    with PeakMemory() as peak:
        kept = filled()
        assert seen.wait(30)
        del kept
    assert peak.bytes == pytest.approx(held + _SIZE, abs=_SLACK)


def test_missing_permission_to_reset_is_detected(monkeypatch):
    def denied(*arguments):
        raise PermissionError

    monkeypatch.setattr("builtins.open", denied)
    assert not peak_memory._reset_peak()


def test_child_counts_while_it_runs(held, seen):
    code = f"held = bytearray(b'1') * {_SIZE}; input()"
    with PeakMemory() as peak, subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE) as child:
        assert seen.wait(30)
        child.communicate(b"\n")
    assert peak.bytes == pytest.approx(held + _SIZE, abs=_SLACK)
    with PeakMemory() as peak:
        pass
    assert peak.bytes == pytest.approx(held, abs=_SLACK)
