"""Runs tiny compiled pipelines."""

import pytest

from framecast.pipeline.kubeflow.local import run as runs
from tests.pipeline.kubeflow.local import kfp_pipelines as kfp


@pytest.fixture
def run(tmp_path):
    """Runs tasks in a fresh work directory."""

    def run(tasks, *given, cache=False, pipeline=None, platform=None):
        path = kfp.write(tmp_path / "pipeline.yaml", tasks, pipeline, platform)
        return runs.run_local(path, str(tmp_path / "work"), parameters=list(given), cache=cache, quiet=True)

    return run
