"""Evaluations by TensorFlow Model Analysis, shared by the tests of this folder: each takes seconds."""

import apache_beam as beam
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_model_analysis as tfma
from google.protobuf import json_format
from tensorflow_model_analysis.proto import config_pb2
from tfx_bsl.tfxio import raw_tf_record

from framecast.evaluation.gate.thresholds import build_eval_config
from framecast.evaluation.gate.verdict import read_verdict
from framecast.evaluation.spec import EvaluateSpec
from tests.evaluation.gate.toy import EVENTS, HORIZON, LENGTHS, LONGEST, SIZE, Toy, serialized

RUNNER = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"


@pytest.fixture(scope="session")
def clips():
    """Frames `(time, height, width, channel)` with nan at missing pixels; 0 past the length."""
    rng = np.random.default_rng(0)
    result = []
    for length in LENGTHS:
        frames = np.zeros((LONGEST, *SIZE), "float32")
        frames[:length] = rng.uniform(size=(length, *SIZE))
        frames[rng.uniform(size=frames.shape) < 0.1] = np.nan
        result.append(frames)
    return result


@pytest.fixture(scope="session")
def records(clips, tmp_path_factory):
    """Record files by content: `all` clips, the `counted` ones, and `none`."""
    folder, data = tmp_path_factory.mktemp("records"), list(serialized(clips))
    counted = [record for record, length in zip(data, LENGTHS, strict=True) if length > HORIZON]
    paths = {}
    for name, content in {"all": data, "counted": counted, "none": []}.items():
        paths[name] = str(folder / name)
        with tf.io.TFRecordWriter(paths[name]) as writer:
            for record in content:
                writer.write(record)
    return paths


@pytest.fixture(scope="session")
def saved(tmp_path_factory):
    """Saves a toy model, once for equal arguments, and returns its path."""
    paths = {}

    def save(toy):
        if toy.arguments not in paths:
            paths[toy.arguments] = str(tmp_path_factory.mktemp("model"))
            toy.save(paths[toy.arguments])
        return paths[toy.arguments]

    return save


@pytest.fixture(scope="session")
def evaluate(records, saved, tmp_path_factory):
    """Runs an evaluation as TFX's Evaluator does and returns its verdict."""

    def run(thresholds, candidate, baseline=None, horizon=HORIZON, among="all", events=None, output=None):
        spec = EvaluateSpec(thresholds=thresholds, events=events)
        config = through_json(build_eval_config(spec, horizon=horizon, slices=("content", "length")))
        config = tfma.utils.update_eval_config_with_defaults(
            config, has_baseline=baseline is not None, rubber_stamp=True
        )
        models = [
            tfma.default_eval_shared_model(eval_saved_model_path=saved(toy), model_name=spec.name, eval_config=config)
            for spec, toy in zip(config.model_specs, (candidate, baseline), strict=False)
        ]
        output = str(output or tmp_path_factory.mktemp("evaluation"))
        source = raw_tf_record.RawTfRecordTFXIO(
            file_pattern=records[among],
            raw_record_column_name=tfma.ARROW_INPUT_COLUMN,
            telemetry_descriptors=["test"],
        )
        with beam.Pipeline(runner=RUNNER) as pipeline:
            _ = (
                pipeline
                | source.BeamSource()
                | tfma.ExtractEvaluateAndWriteResults(
                    eval_shared_model=models if baseline else models[0], eval_config=config, output_path=output
                )
            )
        return read_verdict(output)

    return run


def through_json(config):
    """The config as TFX passes it to the Evaluator."""
    return json_format.Parse(json_format.MessageToJson(config), config_pb2.EvalConfig())


@pytest.fixture(scope="session")
def alone(evaluate):
    """A candidate within its bounds, without a serving model."""
    return evaluate(
        {"mse": {"max": 1.0, "max_increase_vs_serving": 0.0}, "skill": {"min": -5.0, "per_lead_time": True}},
        Toy(scale=0.5, bias=0.25),
    )


@pytest.fixture(scope="session")
def missed(evaluate):
    """A candidate without a serving model that misses bounds on metrics, overall and at lead times."""
    return evaluate(
        {
            "mse": {"max": 0.5, "per_lead_time": True},
            "skill": {"min": 0.9, "max": 1.0},
            "power_2px": {"min": 0.8, "per_lead_time": True},
        },
        Toy(scale=0.1, bias_of_lead={2: -0.5}),
    )


@pytest.fixture(scope="session")
def by_slice(evaluate):
    """A candidate worse than the serving model, with bounds on slices, some of which it misses."""
    bounds = {
        "mse": {
            "max": 9.0,
            "max_increase_vs_serving": 0.0,
            "slices": {
                "content": {"sparse": {"max": 0.01}, "dense": {"max": 9.0}},
                "length": {"each": {"max_increase_vs_serving": -9.0}, 5: {"min": 8.0, "per_lead_time": True}},
            },
        },
        "skill": {"slices": {"content": {"each": {"min": -9.0}}, "length": {99: {"min": 0.0}}}},
    }
    return evaluate(bounds, Toy(bias=0.2), Toy(0.5, 0.25), among="counted")


@pytest.fixture(scope="session")
def better(evaluate):
    """A candidate better than the serving model, within its bounds in every slice."""
    bounds = {
        "mse": {
            "max_increase_vs_serving": 0.0,
            "per_lead_time": True,
            "slices": {"content": {"each": {"max": 9.0}}, "length": {"each": {"max": 9.0}}},
        }
    }
    return evaluate(bounds, Toy(0.5, 0.25), Toy(bias=0.2), among="counted")


@pytest.fixture(scope="session")
def events_folder(tmp_path_factory):
    """The folder of the evaluation `with_events`."""
    return tmp_path_factory.mktemp("with_events")


@pytest.fixture(scope="session")
def with_events(evaluate, events_folder):
    """Candidate and serving model with events: the candidate forecasts too many, the serving model none."""
    bounds = {
        "csi_0.3": {"min": 0.0, "max": 1.0},
        "bias_0.6": {"max": 1.1, "per_lead_time": True},
        "far_0.3": {"max_increase_vs_serving": 1.0},
        "far_0.6_black": {"min": 0.0},
    }
    candidate, serving = Toy(bias=0.3, events=EVENTS), Toy(scale=0.2, bias=0.2, events=EVENTS)
    return evaluate(bounds, candidate, serving, events=EVENTS, output=events_folder)
