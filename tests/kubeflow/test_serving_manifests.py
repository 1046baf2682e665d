"""Servers on a cluster start with the generated configuration that is stored beside the versions."""

import pathlib
import re

import pytest
import yaml

from framecast.serving.releases import tf_serving_config

_KUBEFLOW = pathlib.Path(__file__).resolve().parents[2] / "kubeflow"


def _load(path):
    return yaml.safe_load((_KUBEFLOW / path).read_text())


def _pod():
    return _load("serving/base/server/deployment.yaml")["spec"]["template"]["spec"]


def _flags(batching):
    return [flag for flag, _ in tf_serving_config.server_flags(batching)]


def _release():
    lock = (_KUBEFLOW.parent / "requirements" / "image.lock").read_text()
    return tf_serving_config.serving_release(re.search(r"^tensorflow==(\S+)", lock, re.MULTILINE)[1])


def _operations(component):
    return yaml.safe_load(_load(f"serving/components/{component}/kustomization.yaml")["patches"][0]["patch"])


def test_deployment_uses_the_generated_command_line():
    assert _pod()["containers"][0]["args"] == _flags(batching=False)


def test_batching_component_adds_its_flags():
    added = [operation["value"] for operation in _operations("batching")]
    assert _flags(batching=False) + added == _flags(batching=True)


def test_containers_mount_versions_at_the_configured_path():
    config = tf_serving_config.parse_models_config(tf_serving_config.models_config({"stable": 1}))
    base_path = config.model_config_list.config[0].base_path
    pod = _pod()
    for container in pod["initContainers"] + pod["containers"]:
        mounts = {mount["name"]: mount for mount in container["volumeMounts"]}
        assert mounts["models"] == {"name": "models", "mountPath": base_path, "readOnly": True}
    assert f"{base_path}/{tf_serving_config.FOLDER}/{tf_serving_config.MODELS}" in pod["initContainers"][0]["args"][0]


def test_serving_images_match_the_exporting_tensorflow():
    image = f"tensorflow/serving:{_release()}"
    pod = _pod()
    assert {container["image"] for container in pod["initContainers"] + pod["containers"]} == {image}
    on_gpu = [operation["value"] for operation in _operations("gpu") if operation["path"].endswith("/image")]
    assert on_gpu == [f"{image}-gpu"] * 2
    assert _load("kserve/base/runtime.yaml")["spec"]["containers"][0]["image"] == f"{image}-gpu"


def test_ports_of_probes_and_services_agree():
    server = _pod()["containers"][0]
    ports = {port["name"]: port["containerPort"] for port in server["ports"]}
    assert f"--port={ports['grpc']}" in server["args"]
    assert f"--rest_api_port={ports['http']}" in server["args"]
    assert server["startupProbe"]["grpc"]["port"] == server["livenessProbe"]["grpc"]["port"] == ports["grpc"]
    assert server["readinessProbe"]["httpGet"]["port"] == "http"
    services = {port["name"]: port for port in _load("serving/base/service.yaml")["spec"]["ports"]}
    assert (services["grpc"]["targetPort"], services["grpc"]["appProtocol"]) == ("grpc", "kubernetes.io/h2c")
    endpoint = _load("serving/base/monitor.yaml")["spec"]["endpoints"][0]
    assert services[endpoint["port"]]["targetPort"] == "http"
    assert f'path: "{endpoint["path"]}"' in tf_serving_config.monitoring_config()


def test_kserve_runs_the_same_server():
    runtime = _load("kserve/base/runtime.yaml")["spec"]
    container = runtime["containers"][0]
    script, name, *flags = container["args"]
    assert name == "tensorflow_model_server"
    assert script.endswith('exec tensorflow_model_server "$@"')
    about_versions = ("--model_config_file", "--allow_version_labels", "--monitoring_config_file")
    assert [flag for flag in _flags(batching=False) if not flag.startswith(about_versions)] == [
        flag for flag in flags if not flag.startswith(("--model_name", "--model_base_path", "--monitoring_config_file"))
    ]
    assert f"--model_name={tf_serving_config.MODEL}" in flags
    assert [(port["name"], f"--port={port['containerPort']}") for port in container["ports"]] == [("h2c", flags[0])]
    generated = tf_serving_config.monitoring_config().partition("\n")[2]
    assert _load("kserve/base/monitoring.yaml")["data"]["monitoring.config"] == generated
    assert "--monitoring_config_file=/etc/framecast/monitoring.config" in flags


@pytest.mark.parametrize("folder", ["base", "canary"])
def test_kserve_keeps_the_version_number(folder):
    if folder == "base":
        model = _load("kserve/base/service.yaml")["spec"]["predictor"]["model"]
        uri, number = model["storageUri"], model["env"][0]["value"]
    else:
        patch = yaml.safe_load(_load("kserve/canary/kustomization.yaml")["patches"][0]["patch"])
        uri, number = patch[1]["value"], patch[2]["value"]
    assert uri == f"pvc://framecast-models/{number}"


def test_containers_run_without_privileges():
    pod = _pod()
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    kserve = _load("kserve/base/runtime.yaml")["spec"]["containers"]
    for container in pod["initContainers"] + pod["containers"] + kserve:
        context = container["securityContext"]
        assert context["readOnlyRootFilesystem"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}
