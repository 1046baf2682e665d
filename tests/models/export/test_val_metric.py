"""A metric of the val split in training, compared with the exported model's `evaluate` signature on the same clips."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from framecast.evaluation.events_spec import EventsSpec
from framecast.evaluation.metrics.sums import Sums
from framecast.models.export.tracing import trace
from framecast.models.networks import builders
from framecast.models.preprocessing import preprocess
from framecast.models.spec import ModelSpec, TrainSpec, parse_task
from framecast.models.tasks import define_task
from framecast.models.training.input_pipeline import InputPipeline, SplitFiles
from tests.models.export.exporting import serve_only
from tests.models.export.labelled_clips import LENGTHS, SPEC, examples, padded_frames
from tests.models.transformed import write_transformed

_EVENTS = EventsSpec(thresholds=(0.5,), scales=(1,))
_CLASSES, _NUMBERS = [0, 2, 1, 1, 0, 2], [3.0, 280.0, 285.5, 281.0, 290.0, 279.0]
_ALARMS = [[(number + place) % 3 == 0 for place in range(length)] for number, length in enumerate(LENGTHS)]
_CASES = {
    # The clip of 4 frames is too short for this one.
    "forecast": ({"horizon": 3, "context": {"min": 2}}, ("skill", "csi_0.5"), "convlstm-tiny", {}),
    "anomaly": ({}, ("frame_roc_auc",), "convlstm-tiny", {"frame_label_index": _ALARMS}),
    "classify": (
        {"classes": 3},
        ("cross_entropy",),
        "cnn-convlstm-small",
        {"label_index": [[one] for one in _CLASSES]},
    ),
    "regress": ({}, ("r2",), "cnn-convlstm-small", {"label_value": _NUMBERS}),
}


def _stored_label(task, values):
    if task.label.per == "frame":
        return np.array([*values, *[-1] * (8 - len(values))], np.int64)
    return np.float32(values) if task.label.classes is None else np.int64(values[0])


def _evaluated(definition, model, constants, serialized, folder):
    """The sums of the exported model, loaded without Framecast."""

    def transform(inputs):
        return preprocess(inputs, SPEC, tf.constant([8], tf.int64), definition.spec.label)

    module = definition.make_module(model, transform, SPEC, constants)
    evaluate = trace(module.evaluate, tf.TensorSpec([None], tf.string, "examples"))
    outputs = serve_only(module, SPEC, folder, evaluate=evaluate)["evaluate"](examples=serialized)
    events = _EVENTS if definition.spec.kind == "forecast" else None
    empty = Sums(task=definition.spec.kind, events=events)
    return empty.update({name: value.numpy() for name, value in outputs.items()})


@pytest.mark.parametrize("kind", _CASES)
def test_metric_equals_exported_model_on_same_clips(tmp_path, kind):
    arguments, names, preset, labels = _CASES[kind]
    task = parse_task({"kind": kind, **arguments})
    definition = define_task(task, _EVENTS if kind == "forecast" else None)
    labelled = [_stored_label(task, one) for values in labels.values() for one in values]
    clips = list(zip(padded_frames(), LENGTHS, *([labelled] if labelled else []), strict=True))
    write_transformed(tmp_path / "clips", clips)
    files = SplitFiles([str(tmp_path / "clips")], [str(tmp_path / "clips")])
    pipelines = [InputPipeline(SPEC, task, TrainSpec(steps=1, best_by=name, crop=8)) for name in names]
    pipeline = pipelines[0]
    keras.utils.set_random_seed(0)
    model, exported = (
        builders.build(ModelSpec(preset=preset), task, SPEC, keras.DTypePolicy("float32")) for _ in range(2)
    )
    definition.prepare(model, pipeline, files.train)
    exported.set_weights(model.get_weights())
    metrics = [definition.make_val_metric(exported, one, files) for one in pipelines]
    before = [metric(model.get_weights()) for metric in metrics]
    rng = np.random.default_rng(1)
    for weight in model.trainable_weights:
        weight.assign(weight + rng.normal(0, 0.3, weight.shape))
    found = [metric(model.get_weights()) for metric in metrics]
    serialized = examples(**labels)
    expected = _evaluated(definition, model, definition.learn_constants(model, pipeline, files), serialized, tmp_path)
    np.testing.assert_allclose(found, [expected.compute(name) for name in names], rtol=1e-5)
    assert not np.isin(found, before).any()
