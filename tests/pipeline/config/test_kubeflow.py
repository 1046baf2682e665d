"""The `kubeflow` section: settings of tasks, and errors."""

import pytest

from framecast.pipeline.config.config import ConfigError, load
from framecast.pipeline.config.kubeflow import Volume, quantity
from tests.pipeline.config_file import write_config


@pytest.fixture
def path(tmp_path):
    return write_config(
        tmp_path,
        kubeflow='{default: {cpu: 0.5, memory: 2Gi, env: {A: "1"}, retries: 1}, '
        'components: {Trainer: {memory: 8Gi, gpus: 2, env: {B: "2"}}}}',
    )


def test_component_key_replaces_the_default(path):
    kubeflow = load(path).kubeflow
    trainer, other = kubeflow.task("Trainer"), kubeflow.task("Transform")
    assert (trainer.cpu, trainer.memory, trainer.gpus, trainer.retries) == ("0.5", "8Gi", 2, 1)
    assert (trainer.env, other.env) == ({"B": "2"}, {"A": "1"})
    assert (other.memory, other.gpus) == ("2Gi", 0)


def test_section_is_optional_for_local_runs(path):
    assert load(path, ["kubeflow={}"]).kubeflow.task("Trainer").volumes == ()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("components={Trianer: {gpus: 1}}", r"kubeflow.components: component: expected one of .*did you mean Trainer"),
        ("components.Trainer.gpu=1", r"kubeflow.components.Trainer.gpu: unknown key \(received 1\)"),
        ("default.memory=8GB", r"kubeflow.default.memory: expected a Kubernetes quantity such as .*, received 8GB"),
        ("default.memory_limit=1Gi", r"kubeflow.default: memory: expected at most memory_limit \(1Gi\), received 2Gi"),
        ("components.Trainer.memory_limit=4Gi", r"kubeflow.components.Trainer: memory: .*4Gi\), received 8Gi"),
        ("components.Transform={memory_limit: 1Gi}", r"kubeflow: components.Transform: memory: .*1Gi\), received 2Gi"),
        ("default.gpus=-1", r"kubeflow.default.gpus: .*greater than or equal to 0, received -1"),
        ("default.volumes=[{claim: a, path: mnt}]", r"kubeflow.default.volumes.0.path: .*received 'mnt'"),
        ("default.tolerations=[{effect: NoSchedule}]", r"tolerations.0: key: expected a value where operator is Equal"),
        ("default.tolerations=[{key: a, operator: Exists, value: b}]", r"tolerations.0: value: expected none.*b"),
        ("default.secrets=[{name: a, env: {}}]", r"kubeflow.default.secrets.0.env: .*at least 1 item"),
        ("state=state", r"kubeflow.state: .*received 'state'"),
    ],
)
def test_invalid_key_is_named(path, given, message):
    with pytest.raises(ConfigError, match=message):
        load(path, [f"kubeflow.{given}"])


@pytest.mark.parametrize(
    ("text", "value"),
    [("2", 2), ("0.5", 0.5), ("500m", 0.5), ("64k", 64000), ("512Mi", 536870912), ("8G", 8e9), ("1.5Gi", 1610612736)],
)
def test_quantities_match_kubernetes(text, value):
    assert quantity(text) == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize(
    ("path", "contained"),
    [("/mnt/a", True), ("/mnt/a/b/c", True), ("/mnt/ab", False), ("/mnt", False), ("/mnt/a/", True)],
)
def test_volume_contains_paths_below_its_mount(path, contained):
    assert Volume(claim="claim", path="/mnt/a").contains(path) is contained
