"""BulkInference runs the serving version."""

import pytest
from tfx.types import standard_artifacts
from tfx.types.experimental import simple_artifacts

from framecast.components.bulk_inference import BulkInferenceExecutor
from framecast.pipeline.config.beam import BeamSpec
from framecast.serving.bulk.spec import InferSpec
from framecast.serving.predictions.example_ids import read_example_ids
from tests import bulk_clips


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bulk")
    bulk_clips.write_two_files(folder)
    return folder


def _component(tmp_path, folder, spec, **properties):
    """Runs the component's executor after a push with these properties; returns its output."""
    pushed, answers = standard_artifacts.PushedModel(), simple_artifacts.File()
    pushed.uri, answers.uri = str(tmp_path / "pushed"), str(tmp_path / "component")
    for name, value in properties.items():
        pushed.set_string_custom_property(name, value)
    context = BulkInferenceExecutor.Context(beam_pipeline_args=BeamSpec().beam_flags(), tmp_dir=str(tmp_path))
    parameters = {
        "directory": str(bulk_clips.model(folder, "forecast")),
        "infer": spec.model_dump_json(),
        "skip_bad": 0,
    }
    BulkInferenceExecutor(context).Do({"pushed_model": [pushed]}, {"answers": [answers]}, parameters)
    return answers


def test_serving_version_predicts_into_a_new_folder(folder, tmp_path):
    spec = InferSpec(data=str(folder / "clips"), to=str(tmp_path / "forecasts"))
    for properties in ({"pushed": "1"}, {"reason": "unchanged"}):
        found = _component(tmp_path, folder, spec, pushed_version="3", **properties)
        (folder_of_version,) = (tmp_path / "forecasts").iterdir()
        assert found.get_string_custom_property("folder") == str(folder_of_version)
        assert folder_of_version.name.startswith("3-")
        assert [found.get_int_custom_property(name) for name in ("clips", "left_out", "bad")] == [12, 0, 0]
        assert sum(len(read_example_ids(str(path))) for path in folder_of_version.glob("answers-*")) == 12
    other = InferSpec(data=str(folder / "clips" / "a.tfrecord.gz"), to=spec.to)
    _component(tmp_path, folder, other, pushed_version="3")
    assert len(list((tmp_path / "forecasts").iterdir())) == 2


def test_rejected_candidate_makes_no_predictions(folder, tmp_path):
    spec = InferSpec(data=str(folder / "clips"), to=str(tmp_path / "forecasts"))
    found = _component(tmp_path, folder, spec, reason="rejected")
    assert found.get_string_custom_property("reason") == "the candidate was rejected"
    assert not (tmp_path / "forecasts").exists()
