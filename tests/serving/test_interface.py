"""The public interface of the layer: every name resolves, and importing it is cheap."""

import subprocess
import sys

import pytest

from framecast import serving
from framecast.serving import client


@pytest.mark.parametrize("package", [serving, client], ids=lambda package: package.__name__)
def test_every_public_name_resolves(package):
    assert package.__all__
    for name in package.__all__:
        assert getattr(package, name).__name__ == name


def test_import_loads_nothing_heavy():
    code = (
        "import sys, framecast.serving, framecast.serving.client\n"
        "print([name for name in ('grpc', 'keras', 'numpy', 'tensorflow') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
