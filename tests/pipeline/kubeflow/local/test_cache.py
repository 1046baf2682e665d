"""Cache keys against the expected values of KFP's tests and of Go's JSON encoder."""

import pytest

from framecast.pipeline.kubeflow.local import cache

# backend/src/v2/cacheutils/cache_test.go of github.com/kubeflow/pipelines, TestGenerateFingerPrint.
_MODEL = (
    "title: kfp.Model\ntype: object\nproperties:\n"
    "  framework:\n    type: string\n  framework_version:\n    type: string\n"
)
_KEYS = {
    "b498530c9016917298999ec0b01f364a180f8a3862bea0fa672a383ca3f22e4e": {
        "inputArtifactNames": {"dataset_one": {"artifactNames": ["1"]}, "dataset_two": {"artifactNames": ["2"]}},
        "inputParameterValues": {"message": "Some string value", "num_steps": 5.0},
        "outputArtifactsSpec": {
            "model": {"name": "model", "type": {"instanceSchema": _MODEL}, "metadata": {"name": "model"}},
            "metrics": {"name": "metrics", "type": {"schemaTitle": "kfp.Metrics"}, "metadata": {"name": "metrics"}},
        },
        "outputParametersSpec": {"output_parameter_one": "STRING", "output_parameter_two": "INT"},
        "containerSpec": {"image": "python:3.11", "cmdArgs": ["sh", "ec", "test"], "pvcNames": []},
    },
    "3d9a2a778fa3174c6cfc6e639c507c265b5f21ef6e5b1dd70b236462cc6da464": {
        "inputArtifactNames": {"dataset": {"artifactNames": ["10"]}},
        "inputParameterValues": {},
        "outputArtifactsSpec": {},
        "outputParametersSpec": {"output_parameter": "DOUBLE"},
        "containerSpec": {"image": "python:3.11", "cmdArgs": ["sh", "ec", "run"]},
    },
}


@pytest.mark.parametrize("fingerprint", _KEYS)
def test_digest_equals_that_of_kfps_tests(fingerprint):
    assert cache.digest(_KEYS[fingerprint]) == fingerprint


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (5.0, "5"),
        (-0.25, "-0.25"),
        (1e-6, "0.000001"),
        (1.5e-7, "1.5e-7"),
        (1e-10, "1e-10"),
        (123456789012345680000.0, "123456789012345680000"),
        (1e21, "1e+21"),
    ],
)
def test_numbers_are_formatted_as_by_go(value, text):  # As `json.Marshal` documents: ES6's number to string.
    assert cache.number(value) == text


def test_text_is_escaped_as_by_go():
    assert cache._go_json({"b": ['<a & "b">\n', "é\u2028"], "a": [True, None]}) == (
        '{"a":[true,null],"b":["\\u003ca \\u0026 \\"b\\"\\u003e\\n","é\\u2028"]}'
    )
