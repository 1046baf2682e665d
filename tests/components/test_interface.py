"""The public interface of `framecast.components`."""

import subprocess
import sys

import pytest

from framecast import components
from framecast.components import clip_example_gen


@pytest.mark.parametrize("name", sorted(components.__all__))
def test_exported_name_resolves(name):
    assert getattr(components, name).__name__ == name


def test_docstring_example_runs():
    found = {}
    exec("\n".join(components.__doc__.splitlines()[2:]), found)
    assert set(found["examples"].outputs) == {"examples"}


def test_package_of_a_component_exports_it():
    assert clip_example_gen.ClipExampleGen is components.ClipExampleGen


def test_import_loads_nothing_heavy():
    heavy = ("numpy", "tensorflow", "apache_beam", "tfx")
    code = f"import sys, framecast.components; print([name for name in {heavy} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
