"""`make manifests` rejects what a cluster would reject; it builds the program that these tests call."""

import os
import pathlib
import shutil
import subprocess

import pytest
import yaml

_TREE = pathlib.Path(__file__).resolve().parents[2]
_VALIDATE = os.environ.get("FRAMECAST_VALIDATE")

pytestmark = pytest.mark.skipif(_VALIDATE is None, reason="needs Go: make manifests builds the validator, runs these")


def _validate(folder: pathlib.Path) -> tuple[int, str]:
    run = subprocess.run([_VALIDATE, folder], check=False, capture_output=True, text=True)
    return run.returncode, run.stdout + run.stderr


@pytest.fixture
def manifests(tmp_path: pathlib.Path) -> pathlib.Path:
    for name in ("serving", "kserve", "storage", "shell", "training", "flink"):
        shutil.copytree(_TREE / "kubeflow" / name, tmp_path / name)
    return tmp_path


def test_every_object_is_admitted(manifests):
    status, output = _validate(manifests)
    assert status == 0, output
    assert f"{manifests}/serving/overlays/gpu: 6 objects" in output


_WRONG = {
    "a field that the API does not have, in an overlay": (
        "serving/overlays/gpu",
        {"kind": "Deployment"},
        {"op": "add", "path": "/spec/template/spec/containers/0/readynessProbe", "value": {"grpc": {"port": 8500}}},
        'unknown field "spec.template.spec.containers[0].readynessProbe"',
    ),
    "a value of the wrong type": (
        "serving/overlays/cpu",
        {"kind": "HorizontalPodAutoscaler"},
        {"op": "replace", "path": "/spec/maxReplicas", "value": "many"},
        "spec.maxReplicas",
    ),
    "a value that is not one of those allowed": (
        "serving/overlays/cpu",
        {"kind": "NetworkPolicy"},
        {"op": "replace", "path": "/spec/policyTypes/0", "value": "Inward"},
        "Inward",
    ),
    "a field that is missing": (
        "serving/overlays/canary",
        {"kind": "Deployment"},
        {"op": "remove", "path": "/spec/template/spec/containers/0/name"},
        "spec.template.spec.containers[0].name: Required value",
    ),
    "a volume that is not there": (
        "serving/overlays/gpu",
        {"kind": "Deployment"},
        {"op": "replace", "path": "/spec/template/spec/containers/0/volumeMounts/0/name", "value": "model"},
        'spec.template.spec.containers[0].volumeMounts[0].name: Not found: "model"',
    ),
    "a selector that misses the pods": (
        "serving/overlays/gpu",
        {"kind": "Deployment"},
        {"op": "replace", "path": "/spec/selector/matchLabels/framecast~1track", "value": "other"},
        "`selector` does not match template `labels`",
    ),
    "an unknown field of KServe": (
        "kserve/canary",
        {"kind": "InferenceService"},
        {"op": "add", "path": "/spec/predictor/canaryTraffic", "value": 10},
        'unknown field "spec.predictor.canaryTraffic"',
    ),
    "an unknown field of KServe's runtime": (
        "kserve/base",
        {"kind": "ServingRuntime"},
        {"op": "add", "path": "/spec/containers/0/gpu", "value": 1},
        'unknown field "spec.containers[0].gpu"',
    ),
    "what KServe's webhook refuses": (
        "kserve/canary",
        {"kind": "InferenceService"},
        {"op": "replace", "path": "/spec/predictor/minReplicas", "value": 9},
        "MinReplicas",
    ),
    "an unknown field of the ServiceMonitor": (
        "serving/overlays/gpu",
        {"kind": "ServiceMonitor"},
        {"op": "add", "path": "/spec/endpoints/0/portName", "value": "http"},
        'unknown field "spec.endpoints[0].portName"',
    ),
    "what the Training Operator's webhook refuses": (
        "training",
        {"kind": "TFJob"},
        {"op": "replace", "path": "/spec/tfReplicaSpecs/Worker/template/spec/containers/0/name", "value": "trainer"},
        "must have at least one container with name tensorflow",
    ),
    "a pod of the TFJob that Kubernetes refuses": (
        "training",
        {"kind": "TFJob"},
        {"op": "replace", "path": "/spec/tfReplicaSpecs/Chief/template/spec/volumes/0/name", "value": "else"},
        "spec.tfReplicaSpecs.Chief",
    ),
    "an unknown field of the FlinkDeployment": (
        "flink",
        {"kind": "FlinkDeployment"},
        {"op": "add", "path": "/spec/taskManager/slots", "value": 2},
        'unknown field "spec.taskManager.slots"',
    ),
    "a Flink that the operator does not know": (
        "flink",
        {"kind": "FlinkDeployment"},
        {"op": "replace", "path": "/spec/flinkVersion", "value": "1.20"},
        "spec.flinkVersion: expected one of",
    ),
    "a number where Flink's configuration has text": (
        "flink",
        {"kind": "FlinkDeployment"},
        {"op": "replace", "path": "/spec/flinkConfiguration/taskmanager.numberOfTaskSlots", "value": 1},
        "flinkConfiguration",
    ),
    "a pod of Flink that Kubernetes refuses": (
        "flink",
        {"kind": "FlinkDeployment"},
        {"op": "replace", "path": "/spec/taskManager/podTemplate/spec/containers/1/volumeMounts/0/name", "value": "x"},
        'spec.taskManager.podTemplate: PodTemplate "pod" is invalid',
    ),
}


@pytest.mark.parametrize(("folder", "target", "operation", "expected"), _WRONG.values(), ids=_WRONG.keys())
def test_invalid_object_is_rejected_with_its_name(manifests, folder, target, operation, expected):
    file = manifests / folder / "kustomization.yaml"
    kustomization = yaml.safe_load(file.read_text())
    kustomization.setdefault("patches", []).append({"target": target, "patch": yaml.safe_dump([operation])})
    file.write_text(yaml.safe_dump(kustomization))
    status, output = _validate(manifests / folder)
    assert status == 1
    assert expected in output
    assert f"{folder}: {target['kind']} " in output  # The message names the folder and the object.


def test_patch_without_target_is_rejected(manifests):
    file = manifests / "serving/overlays/cpu/kustomization.yaml"
    file.write_text(file.read_text() + "components: [../../components/none]\n")
    status, output = _validate(file.parent)
    assert status == 1
    assert "components/none" in output


def test_folder_without_manifests_is_rejected(tmp_path):
    status, output = _validate(tmp_path)
    assert status == 1
    assert "expected folders with a kustomization.yaml" in output
