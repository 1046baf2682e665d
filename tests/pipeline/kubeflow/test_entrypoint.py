"""Start of a compiled task: URIs become local paths for TFX, and its outputs get URIs again."""

import json
import subprocess
import sys

import pytest
from kfp.dsl import types

from framecast.pipeline.kubeflow.entrypoint import add_types, local_path, localise, restore


@pytest.mark.parametrize(
    ("artifact", "path"),
    [
        ({"uri": "minio://mlpipeline/v2/run/model"}, "/minio/mlpipeline/v2/run/model"),
        ({"uri": "s3://bucket/run/model"}, "/s3/bucket/run/model"),
        ({"uri": "gs://bucket/run/model"}, "/gcs/bucket/run/model"),
        ({"uri": "/mnt/model"}, "/mnt/model"),
        ({"uri": "s3://bucket/run/model", "customPath": "/tmp/model"}, "/tmp/model"),
    ],
)
def test_local_path_equals_the_launchers(artifact, path):
    """The path also equals that of KFP's SDK, for schemes that it supports."""
    assert local_path(artifact) == path
    if "customPath" not in artifact and "://" in artifact["uri"]:
        assert types.artifact_types.Artifact(uri=artifact["uri"]).path == path


def _invocation():
    return {
        "inputs": {
            "parameterValues": {"directory": "s3://bucket/serving"},
            "artifacts": {
                "model": {"artifacts": [{"uri": "minio://b/run/model", "name": "projects/1"}]},
                "examples": {"artifacts": [{"uri": "s3://b/run/examples"}]},
            },
        },
        "outputs": {
            "artifacts": {
                "blessing": {"artifacts": [{"uri": "minio://b/run/blessing"}]},
                "executor-logs": {"artifacts": [{"uri": "minio://b/logs", "type": {"schemaTitle": "system.Artifact"}}]},
            },
            "outputFile": "/tmp/kfp_outputs/output_metadata.json",
        },
    }


def test_artifacts_become_local_and_parameters_stay():
    invocation = _invocation()
    uris = localise(invocation, "/root")
    inputs = invocation["inputs"]
    assert inputs["artifacts"]["model"] == {"artifacts": [{"uri": "/root/minio/b/run/model", "name": "projects/1"}]}
    # TFX's Evaluator fails on a model without a name.
    assert inputs["artifacts"]["examples"] == {
        "artifacts": [{"uri": "/root/s3/b/run/examples", "name": "s3://b/run/examples"}]
    }
    assert inputs["parameterValues"] == {"directory": "s3://bucket/serving"}
    assert invocation["outputs"]["artifacts"] == {"blessing": {"artifacts": [{"uri": "/root/minio/b/run/blessing"}]}}
    assert uris == {
        "/root/minio/b/run/model": "minio://b/run/model",
        "/root/s3/b/run/examples": "s3://b/run/examples",
        "/root/minio/b/run/blessing": "minio://b/run/blessing",
    }


def test_inputs_get_their_compiled_types():
    """KFP passes an empty schema as the type of an input, for which TFX finds no class."""
    model = {"instanceSchema": "title: tfx.Model\ntype: object\n"}
    invocation = _invocation()
    invocation["inputs"]["artifacts"]["model"]["artifacts"][0]["type"] = {"instanceSchema": ""}
    add_types(invocation, {"artifacts": {"model": {"artifactType": model}}, "parameters": {}})
    assert invocation["inputs"]["artifacts"]["model"]["artifacts"][0]["type"] == model


def test_uris_replace_local_paths_in_outputs():
    uris = localise(_invocation())
    output = {
        "artifacts": {
            "blessing": {
                "artifacts": [
                    {
                        "uri": "/minio/b/run/blessing",
                        "metadata": {
                            "current_model": "/minio/b/run/model/Format-Serving",
                            "other": "/minio/b/run/model2",
                            "blessed": 1.0,
                        },
                    }
                ]
            }
        }
    }
    (artifact,) = restore(output, uris)["artifacts"]["blessing"]["artifacts"]
    assert artifact == {
        "uri": "minio://b/run/blessing",
        "metadata": {
            "current_model": "minio://b/run/model/Format-Serving",
            "other": "/minio/b/run/model2",
            "blessed": 1.0,
        },
    }


@pytest.mark.parametrize(("text", "code"), [("feature { name: 'a' }", 0), (None, 1)])
def test_task_runs_locally_and_returns_uris(tmp_path, text, code):
    """Runs in a separate process, as on a cluster, because TFX's command parses flags once and exits."""
    invocation = {
        "inputs": {"parameterValues": {"text": text} if text else {}},
        "outputs": {
            "artifacts": {
                "schema": {
                    "artifacts": [
                        {"uri": "minio://b/run/schema", "type": {"schemaTitle": "tfx.Schema"}, "metadata": {}}
                    ]
                }
            },
            "outputFile": str(tmp_path / "kfp_outputs" / "output_metadata.json"),
        },
    }
    command = [sys.executable, "-W", "ignore", "-m", "framecast.pipeline.kubeflow.entrypoint"]
    command += ["--executor_class_path", "framecast.components.import_schema_gen.ImportSchemaGen_Executor"]
    command += ["--json_serialized_invocation_args", json.dumps(invocation)]
    command += ["--json_serialized_inputs_spec_args", json.dumps({"parameters": {"text": {"parameterType": "STRING"}}})]
    command += ["--tfxio_use_byte_size_batching"]
    ended = subprocess.run(
        command, env={"FRAMECAST_LAUNCHER_ROOT": str(tmp_path)}, capture_output=True, text=True, check=False
    )
    output = tmp_path / "kfp_outputs" / "output_metadata.json"
    assert ended.returncode == code, ended.stderr
    if code:
        assert not output.exists()
        return
    assert (tmp_path / "minio/b/run/schema/schema.pbtxt").read_text() == text
    (artifact,) = json.loads(output.read_text())["artifacts"]["schema"]["artifacts"]
    assert artifact["uri"] == "minio://b/run/schema"
