"""How a task starts: addresses become local paths, and what TFX puts out has addresses again."""

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
def test_a_local_path_is_the_launchers(artifact, path):
    """And that of KFP's own SDK, where it knows the scheme."""
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


def test_artifacts_are_local_and_parameters_as_they_were_given():
    invocation = _invocation()
    addresses = localise(invocation, "/root")
    inputs = invocation["inputs"]
    assert inputs["artifacts"]["model"] == {"artifacts": [{"uri": "/root/minio/b/run/model", "name": "projects/1"}]}
    # TFX's Evaluator fails on a model without a name.
    assert inputs["artifacts"]["examples"] == {
        "artifacts": [{"uri": "/root/s3/b/run/examples", "name": "s3://b/run/examples"}]
    }
    assert inputs["parameterValues"] == {"directory": "s3://bucket/serving"}
    assert invocation["outputs"]["artifacts"] == {"blessing": {"artifacts": [{"uri": "/root/minio/b/run/blessing"}]}}
    assert addresses == {
        "/root/minio/b/run/model": "minio://b/run/model",
        "/root/s3/b/run/examples": "s3://b/run/examples",
        "/root/minio/b/run/blessing": "minio://b/run/blessing",
    }


def test_inputs_have_the_types_that_were_compiled():
    """What KFP tells of an input's type is an empty schema, which TFX finds no class for."""
    model = {"instanceSchema": "title: tfx.Model\ntype: object\n"}
    invocation = _invocation()
    invocation["inputs"]["artifacts"]["model"]["artifacts"][0]["type"] = {"instanceSchema": ""}
    add_types(invocation, {"artifacts": {"model": {"artifactType": model}}, "parameters": {}})
    assert invocation["inputs"]["artifacts"]["model"]["artifacts"][0]["type"] == model


def test_addresses_come_back_wherever_a_local_path_was_written():
    addresses = localise(_invocation())
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
    (artifact,) = restore(output, addresses)["artifacts"]["blessing"]["artifacts"]
    assert artifact == {
        "uri": "minio://b/run/blessing",
        "metadata": {
            "current_model": "minio://b/run/model/Format-Serving",
            "other": "/minio/b/run/model2",
            "blessed": 1.0,
        },
    }


@pytest.mark.parametrize(("text", "code"), [("feature { name: 'a' }", 0), (None, 1)])
def test_a_task_runs_on_local_paths_and_puts_out_addresses(tmp_path, text, code):
    """In a process of its own, as on a cluster: TFX's command parses flags once and ends the process."""
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
