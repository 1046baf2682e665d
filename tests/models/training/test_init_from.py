"""`train.init_from`: weights of an exported model are loaded where name and shape match, the others are named."""

import logging

import keras
import numpy as np
import pytest
import tensorflow as tf

from framecast.models.networks import builders
from framecast.models.spec import ContextSpec, ForecastTask, ModelSpec, TrainSpec, parse_task
from framecast.models.training import train_model, warm_start
from framecast.models.training.input_pipeline import InputPipeline
from framecast.schemas.clip_spec import ClipSpec, FrameRange
from tests.models.export.exporting import make_module, serve_only
from tests.models.transformed import write_transformed

_CLIP = ClipSpec(frames=FrameRange(min=4, max=6))
_TASK = ForecastTask(horizon=2, context=ContextSpec(min=2))


def _spec(*filters):
    return ModelSpec(preset="convlstm-tiny", arguments={"filters": filters})


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """An exported model of two cells, and its weights by Keras."""
    keras.utils.set_random_seed(1)
    model = builders.build(_spec(6, 4), _TASK, _CLIP, keras.DTypePolicy("float32"))
    folder = tmp_path_factory.mktemp("source") / "7"
    serve_only(make_module(model, _TASK, _CLIP), _CLIP, folder)
    return str(folder), model.get_weights()


def _build(spec, task=_TASK, files=(), **train):
    pipeline = InputPipeline(_CLIP, task, TrainSpec(steps=1, seed=5, **train))
    return train_model.build_model(tf.distribute.get_strategy(), spec, pipeline, files)


@pytest.mark.parametrize(
    ("filters", "loaded"),
    [
        ((6, 4), [0, 1, 2, 3, 4, 5]),
        ((6, 5), [0, 1, 5]),  # The first cell, and the bias of the output.
        ((6, 4, 4), [0, 1, 2, 3, 6, 7]),  # Both cells and the output; the third cell is new.
    ],
    ids=["same", "wider cell", "one more cell"],
)
def test_matching_weights_are_loaded_others_stay_random(source, filters, loaded):
    folder, weights = source
    model, start = _build(_spec(*filters), init_from=folder)
    fresh = _build(_spec(*filters))[0].get_weights()
    origin = iter(weights if len(loaded) == len(weights) else [weights[0], weights[1], weights[5]])
    expected = [next(origin) if place in loaded else value for place, value in enumerate(fresh)]
    for found, value in zip(model.get_weights(), expected, strict=True):
        np.testing.assert_array_equal(found, value)
    assert start.note.startswith(f"{len(loaded)} of {len(fresh)} weights from {folder}")
    assert len(start.random) == len(fresh) - len(loaded)
    assert len(start.unused) == len(weights) - len(loaded)


def test_weights_left_out_are_named(source, caplog):
    caplog.set_level(logging.INFO, "framecast.train")
    _, start = _build(_spec(6, 5), init_from=source[0])
    cell = "rnn/rollout_cell/conv_lstm_cell/gates"
    assert start.random[:2] == (f"{cell}/kernel 3x3x11x20", f"{cell}/bias 20")
    assert start.unused[:2] == (f"{cell}/kernel 3x3x10x16", f"{cell}/bias 16")
    for text in (start.note, *start.random, *start.unused):
        assert text in caplog.text
    assert f"; random: {', '.join(start.random)}" in start.note


def test_digest_depends_on_loaded_weights(source):
    wide, again, whole = (_build(_spec(*filters), init_from=source[0])[1] for filters in ((6, 5), (6, 5), (6, 4)))
    assert wide.digest == again.digest != whole.digest
    assert _build(_spec(6, 4))[1] == warm_start.Start()


def test_frozen_weights_are_those_loaded(source):
    folder, weights = source
    model, _ = _build(_spec(6, 4), init_from=folder, freeze=["*gates/*"])
    assert len(model.trainable_weights) == 2
    for found, value in zip(model.non_trainable_weights, weights[:4], strict=True):
        np.testing.assert_array_equal(found, value)


def test_numbers_are_standardised_by_their_own_split(source, tmp_path):
    """The mean and the spread of the labels describe the data, not the model."""
    clip, task, spec = _CLIP, parse_task({"kind": "regress"}), ModelSpec(preset="cnn-convlstm-small")
    model = builders.build(spec, task, clip, keras.DTypePolicy("float32"))
    model.mean.assign([100.0])
    serve_only(make_module(model, task, clip), clip, tmp_path / "1")
    clips = [(np.zeros((4, 8, 8, 1), np.uint8), 4, np.float32(value)) for value in (280, 290)]
    write_transformed(tmp_path / "clips.gz", clips)
    built, _ = _build(spec, task, [str(tmp_path / "clips.gz")], init_from=str(tmp_path / "1"))
    assert np.asarray(built.mean) == pytest.approx([285])
    assert np.array_equal(built.trainable_weights[0], model.trainable_weights[0])


def test_model_without_matching_weights_is_refused(source, tmp_path):
    other = ModelSpec(preset="cnn-convlstm-small")
    labels = parse_task({"kind": "classify", "classes": 2})
    with pytest.raises(ValueError, match=r"^train.init_from: expected weights .*\(.*\), received rnn/.* at ") as error:
        _build(other, labels, init_from=source[0])
    assert "more)" in str(error.value)
    with pytest.raises(ValueError, match=rf"^train.init_from: .*found none at {tmp_path}$"):
        _build(_spec(6, 4), init_from=str(tmp_path))
    foreign = tf.Module()
    foreign.weight = tf.Variable(1.0)
    tf.saved_model.save(foreign, str(tmp_path))
    with pytest.raises(ValueError, match=rf"^train.init_from: {tmp_path}: expected a model exported by Framecast"):
        _build(_spec(6, 4), init_from=str(tmp_path))
