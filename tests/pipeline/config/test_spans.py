"""`{SPAN}` in `data.train` and `data.eval`: the files that are used, and errors."""

import os

import pytest

from framecast.clips.spans import find_spans, newest_complete
from framecast.pipeline.config.config import ConfigError, load
from framecast.pipeline.config.inputs import find_inputs
from tests.pipeline.config_file import write_config


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_config(tmp_path, data='{train: "day{SPAN}/train/*"}')
    for day in (3, 9, 10, 20261124):
        _touch(tmp_path, f"day{day}/train/a", f"day{day}/train/b")
    _touch(tmp_path, "day9/eval/a", "day10/eval/a", "today/train/a", "day10b/train/a")
    (tmp_path / "day30000000" / "train").mkdir(parents=True)  # Nothing in it yet.
    return tmp_path


def _touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def _files(folder, *overrides):
    found = find_inputs(load(str(folder / "config.yaml"), overrides)).files
    return {key: [os.path.relpath(name, folder) for name in names] for key, names in found.items()}


@pytest.mark.parametrize(
    ("count", "days"), [(1, [20261124]), (2, [10, 20261124]), (3, [9, 10, 20261124]), (9, [3, 9, 10, 20261124])]
)
def test_newest_spans_are_chosen_by_number_not_name(folder, count, days):
    expected = [f"day{day}/train/{name}" for day in days for name in "ab"]
    assert _files(folder, f"data.spans={count}") == {"train": expected}


def test_zero_padded_numbers_keep_their_spelling(tmp_path):
    _touch(tmp_path, "a/2026-007.gz", "b/2026-007.gz", "a/2026-011.gz", "a/2026-x.gz", "a/2026-12.txt")
    found = find_spans(f"{tmp_path}/*/2026-{{SPAN}}.gz")
    assert list(found.items()) == [(7, f"{tmp_path}/*/2026-007.gz"), (11, f"{tmp_path}/*/2026-011.gz")]


def test_eval_uses_the_spans_of_train(folder):
    (folder / "day30").mkdir()
    _touch(folder, "day20261124/eval/a", "day20261125/eval/a")
    overrides = ["data.eval=day{SPAN}/eval/*", "data.spans=2"]
    assert _files(folder, *overrides)["eval"] == ["day10/eval/a", "day20261124/eval/a"]
    assert _files(folder, "data.eval=day9/eval/*")["eval"] == ["day9/eval/a"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data.train=day{SPAN}/{SPAN}/*"], r"data.train: expected \{SPAN\} once, received .*/day\{SPAN\}/\{SPAN\}/\*"),
        (["data.train=day*{SPAN}/*"], r"data.train: expected no wildcard next to \{SPAN\}, received .*/day\*\{SPAN\}"),
        (["data.train=day3/*", "data.spans=2"], r"data: spans: expected \{SPAN\} in data.train, received .*/day3/\*"),
        (["data.train=day3/*", "data.drift.threshold=0.5"], r"data: drift: expected \{SPAN\} in data.train, received"),
        (["data.train=day3/*", "data.eval=day{SPAN}/*"], r"data: eval: expected \{SPAN\} in data.train, received"),
        (["data.train=day3/*", "data.newest_span=3"], r"data: newest_span: expected \{SPAN\} in data.train, received"),
        (
            ["data.train=day3/*", "data.span_done=_SUCCESS"],
            r"data: span_done: expected \{SPAN\} in data.train, received",
        ),
        (
            ["data.train=day{SPAN}.gz", "data.span_done=_SUCCESS"],
            r"data: span_done: train: expected a folder per span, received .*/day\{SPAN\}.gz",
        ),
        (
            ["data.train=day{SPAN}/*", "data.span_done=_SUCCESS"],
            r"data: span_done: train: expected a pattern that _SUCCESS does not match, received .*/day\{SPAN\}/\*",
        ),
        (["data.spans=0"], r"data.spans: .*greater than or equal to 1, received 0"),
        (["data.drift.action=stop"], r"data.drift.action: .*'fail' or 'warn', received 'stop'"),
        (["data.drift.threshold=1.5"], r"data.drift.threshold: .*less than or equal to 1, received 1.5"),
        (
            ["data.drift.features={clip/maen: 0.5}"],
            r"data.drift: features: expected any of clip/length, clip/content, .*, clip/motion, received clip/maen",
        ),
        (["data.drift.features={clip/mean: 2}"], r"data.drift: features.clip/mean: expected a divergence from 0 to 1"),
    ],
)
def test_invalid_span_key_is_named(folder, overrides, message):
    with pytest.raises(ConfigError, match=message):
        load(str(folder / "config.yaml"), overrides)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data.train=week{SPAN}/*"], r"data.train: expected files, received none that match .*/week\{SPAN\}/\*"),
        (
            ["data.eval=day{SPAN}/eval/*", "data.spans=3"],
            r"data.eval: expected files for each span of data.train, received none of span 20261124 that match .*eval",
        ),
    ],
)
def test_missing_files_are_named(folder, overrides, message):
    with pytest.raises(ConfigError, match=message):
        find_inputs(load(str(folder / "config.yaml"), overrides))


def test_span_with_two_spellings_is_rejected(folder):
    _touch(folder, "day03/train/a")
    with pytest.raises(ConfigError, match=r"data.train: span 3 has two spellings: .*/day03/.*/day3/"):
        find_inputs(load(str(folder / "config.yaml")))


def test_spans_in_object_store_are_found(folder, bucket):
    for day in (3, 9, 10):
        bucket.put(f"day{day}/train/a")
    bucket.put("day10/eval/a")
    overrides = [f"data.train={bucket.uri}/day{{SPAN}}/train/*", f"data.eval={bucket.uri}/day{{SPAN}}/eval/*"]
    found = find_inputs(load(str(folder / "config.yaml"), overrides)).files
    assert found == {"train": [f"{bucket.uri}/day10/train/a"], "eval": [f"{bucket.uri}/day10/eval/a"]}
    with pytest.raises(ConfigError, match=r"data.train: s3://nowhere/.*NoSuchBucket"):
        find_inputs(load(str(folder / "config.yaml"), ["data.train=s3://nowhere/day{SPAN}/*"]))
    with pytest.raises(ConfigError, match=r"data.train: s3://nowhere/.*NoSuchBucket"):
        find_inputs(load(str(folder / "config.yaml"), ["data.train=s3://nowhere/*"]))


def test_newest_span_bounds_the_spans(folder):
    expected = [f"day{day}/train/{name}" for day in (3, 9) for name in "ab"]
    assert _files(folder, "data.spans=2", "data.newest_span=9") == {"train": expected}


@pytest.mark.parametrize(
    "name", ["day10/train/.a.X7q", "day10/train/c.part", "day10/train/c.tmp", "day10/train/beam-temp-c-1/c"]
)
def test_span_is_complete_without_unfinished_files(folder, name):
    patterns = {"data.train": f"{folder}/day{{SPAN}}/train/*", "data.eval": f"{folder}/day{{SPAN}}/eval/*"}
    lacking = f"span 20261124 is incomplete: data.eval: no file matches {folder}/day{{SPAN}}/eval/*"
    assert newest_complete(patterns) == (10, lacking)
    _touch(folder, name)
    unfinished = folder / "/".join(name.split("/")[:3])
    written = f"span 10 is incomplete: data.train: {unfinished} is still being written"
    assert newest_complete(patterns) == (9, f"{lacking}; {written}")
    assert newest_complete({**patterns, "data.eval": f"{folder}/today/train/*"})[0] == 20261124
    os.unlink(folder / "day9" / "eval" / "a")
    assert newest_complete(patterns)[0] is None


def test_unfinished_span_delays_no_other_in_its_folder(tmp_path):
    _touch(tmp_path, "day3.gz", "day4.gz", "day5.gz", ".day4.gz.X7q", "day5.gz.part", ".day6.gz")
    span, why_not = newest_complete({"data.train": f"{tmp_path}/day{{SPAN}}.gz"})
    assert span == 3
    assert why_not == (
        f"span 5 is incomplete: data.train: {tmp_path}/day5.gz.part is still being written; "
        f"span 4 is incomplete: data.train: {tmp_path}/.day4.gz.X7q is still being written"
    )


def test_marker_file_makes_a_span_complete(folder):
    patterns = {"data.train": f"{folder}/day{{SPAN}}/train/*"}
    _touch(folder, "day9/_SUCCESS", "day9/train/a.part", "day10/train/_SUCCESS")
    lacking = [f"span {day} is incomplete: data.train: {folder}/day{day}/_SUCCESS is missing" for day in (20261124, 10)]
    assert newest_complete(patterns, "_SUCCESS") == (9, "; ".join(lacking))


def test_no_span_error_names_the_pattern(tmp_path):
    with pytest.raises(ValueError, match=r"data.train: expected files, received none that match .*/week\{SPAN\}"):
        newest_complete({"data.train": f"{tmp_path}/week{{SPAN}}/*"})
