"""InputFiles: the files of a run, and when its output changes."""

import json
import os

import pytest

from framecast.components.input_files import InputFiles


@pytest.fixture
def find(tmp_path):
    """Runs the component without a pipeline, on patterns below `tmp_path`."""

    def find(train, **others):
        function = InputFiles.EXECUTOR_SPEC.executor_class._FUNCTION
        found = function(train=f"{tmp_path}/{train}", **others)
        files = json.loads(found["files"])
        return files["patterns"], json.loads(found["spans"]), found["files"]

    return find


@pytest.fixture
def write(tmp_path):
    def write(name, text="clips", time=1_700_000_000):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        os.utime(file, (time, time))

    return write


def test_only_a_new_input_file_changes_output(find, write, tmp_path):
    write("train/a")
    write("eval/a")
    given = {"train": "train/*", "eval": f"{tmp_path}/eval/*"}
    *_, first = find(**given)
    write("other/b")
    assert find(**given)[2] == first
    write("train/b")
    *_, second = find(**given)
    assert second != first
    assert find(**given)[2] == second
    write("eval/b")
    assert find(**given)[2] != second


def test_only_other_contents_change_output(find, write):
    write("train/a")
    *_, first = find("train/*")
    write("train/a", time=1_700_000_060)
    assert find("train/*")[2] == first
    write("train/a", text="other clips")
    assert find("train/*")[2] != first


def test_newest_spans_are_used(find, write, tmp_path):
    for day in (3, 9, 10):
        write(f"day{day}/train")
    patterns, spans, _ = find("day{SPAN}/*", count=2)
    assert (patterns, spans) == ({"train": {"9": f"{tmp_path}/day9/*", "10": f"{tmp_path}/day10/*"}}, [9, 10])
    assert find("day{SPAN}/*", count=2, newest=9)[1] == [3, 9]


def test_incomplete_span_is_skipped(find, write):
    for name in ("day1/a", "day2/a", "day2/b.part"):
        write(name)
    assert find("day{SPAN}/*")[1] == [1]
    assert find("day{SPAN}/*", newest=2)[1] == [2]
    write("day2/_SUCCESS")
    assert find("day{SPAN}/a", marker="_SUCCESS")[1] == [2]
    write("day1/a.part")
    with pytest.raises(ValueError, match=r"span 2 is incomplete: .*/day2/b.part is still being written; span 1 is inc"):
        find("day{SPAN}/*")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"train": "none/*"}, r"data.train: expected files, received none that match .*/none/\*"),
        ({"train": "train/*", "eval": "/none/*"}, r"data.eval: expected files, received none that match /none/\*"),
        ({"train": "day{SPAN}/*"}, r"data.train: expected files, received none that match .*/day\{SPAN\}/\*"),
        ({"train": "week{SPAN}/*", "newest": 2}, r"data.train: .* match .*/week\{SPAN\}/\* with a span up to 2"),
    ],
)
def test_error_names_missing_files(find, write, given, message):
    write("train/a")
    write("week3/a")
    with pytest.raises(ValueError, match=message):
        find(**given)
