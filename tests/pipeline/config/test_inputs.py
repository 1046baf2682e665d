"""The inputs of a run: patterns, files, spans and size, found once."""

import pytest
from tfx.components import StatisticsGen  # noqa: F401 - imported before the search is disabled

from framecast.clips import filesystem, spans
from framecast.pipeline.config.config import ConfigError, load
from framecast.pipeline.config.inputs import Inputs, find_inputs, select_span
from framecast.pipeline.dag.dag import create_pipeline
from tests.pipeline.config_file import write_config


@pytest.fixture
def config(tmp_path):
    for name, size in {"day1/a": 1, "day2/a": 20, "day2/b": 300, "eval1": 4000, "eval2": 50000}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(bytes(size))
    return load(write_config(tmp_path, data='{train: "day{SPAN}/*", eval: "eval{SPAN}", spans: 2}'))


def test_inputs_have_patterns_files_spans_and_size(config, tmp_path):
    assert find_inputs(config) == Inputs(
        patterns={
            "train": {1: f"{tmp_path}/day1/*", 2: f"{tmp_path}/day2/*"},
            "eval": {1: f"{tmp_path}/eval1", 2: f"{tmp_path}/eval2"},
        },
        files={
            "train": [f"{tmp_path}/{name}" for name in ("day1/a", "day2/a", "day2/b")],
            "eval": [f"{tmp_path}/eval1", f"{tmp_path}/eval2"],
        },
        spans=[1, 2],
        bytes=54321,
    )


def test_inputs_without_spans_have_one_pattern_each(tmp_path):
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "a.gz").write_bytes(bytes(7))
    found = find_inputs(load(write_config(tmp_path)))
    pattern, file = f"{tmp_path}/clips/*.gz", f"{tmp_path}/clips/a.gz"
    assert found == Inputs({"train": pattern}, {"train": [file]}, [], 7)


@pytest.mark.parametrize("name", ["run [1]", "a*b", "what?", "[a-z]"])
def test_wildcards_in_configuration_folder_are_escaped(tmp_path, monkeypatch, name):
    folder = tmp_path / name
    for file in ("day1/a.gz", "day1/_DONE", "day2/a.gz", "new/b.gz"):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).touch()
    path = write_config(folder, data='{train: "day{SPAN}/*.gz", span_done: _DONE}')
    config, skipped = select_span(load(path), "latest")
    assert find_inputs(config).files == {"train": [f"{folder}/day1/a.gz"]}
    assert "day2/_DONE is missing" in skipped
    assert config.push.directory == f"{folder}/serving"
    monkeypatch.chdir(folder)
    assert find_inputs(load(path, ["data={train: new/*.gz}"])).files == {"train": [f"{folder}/new/b.gz"]}


def test_bracket_without_a_match_is_explained(tmp_path):
    (tmp_path / "[day]").mkdir()
    (tmp_path / "[day]" / "a.gz").touch()
    path = write_config(tmp_path)
    with pytest.raises(ConfigError, match=r"\[ is a wildcard; write \[\[\] for a bracket in a name"):
        find_inputs(load(path, [f"data.train={tmp_path}/[day]/*.gz"]))
    assert find_inputs(load(path, [f"data.train={tmp_path}/[[]day]/*.gz"])).files


def test_unreadable_file_fails_unless_quarantined(tmp_path):
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "a.gz").symlink_to("gone")
    path = write_config(tmp_path)
    with pytest.raises(ConfigError, match=r"data.train: expected readable files, received .*/a.gz: No such file"):
        find_inputs(load(path))
    assert find_inputs(load(path, ["data.on_bad_clip=quarantine"])).bytes == 0


def test_initial_model_is_the_newest_version_or_the_folder(config, tmp_path):
    for version in ("9", "10", "11"):
        (tmp_path / "models" / version).mkdir(parents=True)
    for version in ("9", "10"):  # Version 11 is not complete.
        (tmp_path / "models" / version / "saved_model.pb").touch()

    def found(path):
        train = config.train.model_copy(update={"init_from": str(path)})
        return find_inputs(config.model_copy(update={"train": train})).initial_model

    assert found(tmp_path / "models") == str(tmp_path / "models" / "10")
    assert found(tmp_path / "models" / "9") == str(tmp_path / "models" / "9")
    with pytest.raises(ConfigError, match=r"^train.init_from: expected an exported model .*found none at .*/11$"):
        found(tmp_path / "models" / "11")


def test_selected_span_is_the_newest_of_the_inputs(config):
    selected, skipped = select_span(config, "1")
    assert (find_inputs(selected).spans, skipped) == ([1], "")
    assert find_inputs(select_span(config, "latest")[0]).spans == [1, 2]


def test_pipeline_does_not_search_for_files_again(config, tmp_path, monkeypatch):
    inputs = find_inputs(config)

    def search(*_):
        raise AssertionError("the files are searched a second time")

    for module, name in ((filesystem, "glob"), (filesystem, "list_files"), (spans, "find_spans"), (spans, "resolve")):
        monkeypatch.setattr(module, name, search)
    pipeline = create_pipeline(config, inputs, name="framecast", root=str(tmp_path), workdir=str(tmp_path))
    assert "ClipExampleGen" in [component.id for component in pipeline.components]
