"""Values of a compiled pipeline's parameters that cannot work."""

import json
import re

import pytest

from framecast.components.input_files import InputFiles
from framecast.components.run_parameters import check

_VALUES = {"train_data": "/mnt/clips/*", "eval_data": "/mnt/eval/*", "train_steps": 5, "push_directory": "/mnt/serving"}
_SPANS = {**_VALUES, "train_data": "/mnt/day{SPAN}/*", "span": -1}


@pytest.mark.parametrize("values", [_VALUES, _SPANS, {**_SPANS, "span": 7, "push_directory": "s3://bucket/serving"}])
def test_values_that_can_work_are_accepted(values):
    check(values, ["/mnt", "/state"])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"push_directory": "/tmp/serving"}, "push_directory: expected a folder on a volume (/mnt) or in an object"),
        ({"push_directory": "/mnt/../tmp"}, "push_directory: expected a folder on a volume"),
        ({"push_directory": "/mntx/serving"}, "push_directory: expected a folder on a volume"),
        ({"push_directory": ""}, "push_directory: expected a folder on a volume"),
        ({"push_directory": "minio://bucket/serving"}, "for MinIO, use s3://"),
        ({"train_steps": 0}, "train_steps: expected at least 1, received 0"),
        ({"train_steps": -5}, "train_steps: expected at least 1, received -5"),
        ({"train_data": " "}, "train_data: expected a pattern of files, received an empty text"),
        ({"eval_data": ""}, "eval_data: expected a pattern of files, received an empty text"),
        ({"train_data": "/mnt/day{SPAN}/*"}, "train_data: expected a pattern without {SPAN}, because the pipeline was"),
        (
            {**_SPANS, "train_data": "/mnt/clips/*"},
            "train_data: expected {SPAN}, because the pipeline was compiled with",
        ),
        ({**_SPANS, "span": -2}, "span: expected the number of a span, or -1 for the newest, received -2"),
    ],
)
def test_value_that_cannot_work_is_named(values, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        check({**_VALUES, **values}, ["/mnt"])


def test_started_run_checks_its_parameters(tmp_path):
    function = InputFiles.EXECUTOR_SPEC.executor_class._FUNCTION
    (tmp_path / "a.gz").touch()
    given = {"train": f"{tmp_path}/*.gz", "push_directory": "/tmp/serving", "volumes": '["/mnt"]'}
    assert function(**given)["files"]
    with pytest.raises(ValueError, match="push_directory: expected a folder on a volume"):
        function(**given, parameters=json.dumps(["train_data", "push_directory"]))
