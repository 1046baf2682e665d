"""The soak test of the embedded server for 20 seconds; `make soak` takes five minutes."""

import pathlib
import subprocess
import sys

import pytest

_SOAK = pathlib.Path(__file__).parents[3] / "benchmarks/soak.py"


@pytest.mark.slow
def test_version_changes_fail_no_request():
    command = [sys.executable, "-W", "ignore", str(_SOAK), "--seconds=20", "--swaps=4"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "failed: 0; not their version's: 0" in done.stdout
