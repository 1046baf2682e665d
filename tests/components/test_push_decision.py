"""The decision to push or reject, derived from artifacts."""

import pytest
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2
from tfx.orchestration.kubeflow.v2.container import kubeflow_v2_entrypoint_utils
from tfx.types import standard_artifacts

from framecast.components.artifact_properties import property_of
from framecast.components.push_decision import PushDecision, decide
from framecast.evaluation.gate.verdict import Miss, Verdict
from tests.artifacts import stored_artifact

_VERDICT = Verdict(False, [Miss("mse", 2, "overall", 0.5, "at most 0.1")], {}, {}, {}, {})


@pytest.mark.parametrize(
    ("pushed", "infra", "expected"),
    [
        (
            {"pushed": 1, "pushed_version": "7", "pushed_destination": "serving/7"},
            {},
            ("pushed", "version 7 at serving/7", "7"),
        ),
        (
            {"pushed": 1, "pushed_version": "7", "pushed_destination": "serving/7", "remark": "a canary"},
            {},
            ("pushed", "version 7 at serving/7, a canary", "7"),
        ),
        (
            {"pushed": 0, "reason": "unchanged", "pushed_version": "7"},
            {},
            ("unchanged", "the candidate equals version 7, which is serving", "7"),
        ),
        (
            {"pushed": 0, "reason": "rejected"},
            {},
            ("rejected", "mse at lead time 2: expected at most 0.1, received 0.5", None),
        ),
        (
            {"pushed": 0, "reason": "rejected"},
            {"reason": "no answer"},
            ("rejected", "mse at lead time 2: expected at most 0.1, received 0.5; no answer", None),
        ),
    ],
)
def test_verdict_reason_and_version(pushed, infra, expected):
    end = decide(
        stored_artifact(standard_artifacts.PushedModel, **pushed),
        stored_artifact(standard_artifacts.InfraBlessing, **infra),
        _VERDICT,
    )
    assert (end.verdict, end.why, end.version) == expected


def test_artifacts_from_kubeflow_pipelines_give_same_decision():
    """Kubeflow Pipelines passes properties as JSON without integers; TFX stores them as structs."""
    properties = {"pushed": 1.0, "pushed_version": "7", "pushed_destination": "serving/7", "remark": ""}
    pushed = kubeflow_v2_entrypoint_utils.parse_raw_artifact_dict(
        {
            "pushed_model": pipeline_spec_pb2.ArtifactList(
                artifacts=[
                    json_format.ParseDict(
                        {"type": {"schemaTitle": "tfx.PushedModel"}, "uri": "/minio/b/pushed", "metadata": properties},
                        pipeline_spec_pb2.RuntimeArtifact(),
                    )
                ]
            )
        }
    )["pushed_model"][0]
    assert decide(pushed.mlmd_artifact, None, _VERDICT) == PushDecision("pushed", "version 7 at serving/7", "7")
    assert property_of(pushed.mlmd_artifact, "pushed") == 1
