"""The public interface of `framecast.pipeline`: names resolve lazily, and importing it is light."""

import subprocess
import sys

from framecast import pipeline


def test_public_names_resolve():
    for name in pipeline.__all__:
        assert getattr(pipeline, name).__name__ == name


def test_import_and_configuration_are_light():
    code = (
        "import sys\n"
        "import framecast.pipeline\n"
        "assert not {'pydantic', 'numpy'} & set(sys.modules)\n"
        "from framecast.pipeline import Config, Inputs, RunResult, find_inputs, load, read_runs, run\n"
        "loaded = {'tensorflow', 'tfx', 'apache_beam', 'keras'} & set(sys.modules)\n"
        "assert not loaded, loaded\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
