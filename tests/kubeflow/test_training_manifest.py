"""The TFJob starts the Trainer with valid flags."""

import pathlib

import pytest
import yaml

from framecast.models.training import train_job

_MANIFEST = pathlib.Path(__file__).resolve().parents[2] / "kubeflow" / "training" / "tfjob.yaml"


def _container(replica):
    pods = yaml.safe_load(_MANIFEST.read_text())["spec"]["tfReplicaSpecs"]
    (container,) = pods[replica]["template"]["spec"]["containers"]
    return container


@pytest.mark.parametrize("replica", ["Chief", "Worker"])
def test_job_passes_exactly_the_required_flags(replica):
    container = _container(replica)
    assert container["command"] == ["python", "-m", train_job.__name__]
    given = [argument.partition("=")[0] for argument in container["args"]]
    needed = [action.option_strings[0] for action in train_job.parser()._actions if action.required]
    assert sorted(given) == sorted(needed)


def test_job_paths_are_on_its_volume():
    container = _container("Chief")
    (mount,) = container["volumeMounts"]
    given = [argument.partition("=")[2] for argument in container["args"]]
    assert given
    for value in given:
        assert value.startswith(f"{mount['mountPath']}/")
