"""The public interface of `framecast.evaluation`."""

import subprocess
import sys

import pytest

from framecast import evaluation


@pytest.mark.parametrize("name", sorted(evaluation.__all__))
def test_exported_name_resolves(name):
    assert getattr(evaluation, name) is not None


def test_docstring_example_runs():
    code = [line for line in evaluation.__doc__.splitlines()[2:] if not line.startswith("`")]
    found = {}
    exec("\n".join(code), found)
    assert 0 < found["sums"].compute("skill") < 1


def test_import_loads_nothing_heavy():
    heavy = ("numpy", "tensorflow", "apache_beam", "tensorflow_model_analysis", "jinja2")
    code = f"import sys, framecast.evaluation; print([name for name in {heavy} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
