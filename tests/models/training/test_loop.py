"""The training loop on small clips: what it learns, saves, resumes and logs."""

import logging
import types

import keras
import numpy as np
import pytest
import tensorflow as tf

from framecast.models.training import training_log
from framecast.models.training.training_log import read_curves
from tests.models.training.changed_objective import Changed
from tests.models.training.column_training import (
    OBJECTIVE,
    batches,
    clips,
    drawing,
    forecaster,
    loss_of,
    summaries,
    train,
)


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_training_learns_moving_column(tmp_path, dtype):
    model = forecaster(dtype)
    batch = clips(seed=1)

    def error():
        return loss_of(model, batch)

    before = error()
    fitted = train(model, tmp_path, steps=150, eval_every=50, learning_rate=2e-2)
    assert error() < 0.2 * before
    np.testing.assert_allclose(fitted.val_loss, error(), rtol=1e-2)


class Black(keras.Model):
    """Predicts black frames, by a layer of its own precision."""

    def __init__(self, dtype="float32"):
        super().__init__()
        self.conv = keras.layers.Conv3D(1, 1, kernel_initializer="zeros", dtype=dtype)
        self.conv.build((None, None, None, None, 1))

    def call(self, frames, context_length, steps):
        return keras.ops.cast(self.conv(frames[:, :steps]), "float32")


def grey(*levels):
    frames = np.broadcast_to(np.reshape(levels, (-1, 1, 1, 1, 1)), (len(levels), 4, 8, 8, 1)).astype("float32")
    return {"frames": frames, "known": np.ones_like(frames, bool), "length": np.full(len(levels), 4, "int32")}


def test_reported_losses_weigh_every_error_equally(tmp_path, monkeypatch):
    monkeypatch.setattr(training_log, "_REPORT_SECONDS", 1e9)
    data = grey(*[0.1] * 16, 1.0)  # 16 clips of error .01 and one of 1, in a batch of 16 and one of 1.
    options = {"steps": 2, "learning_rate": 0.0, "eval_every": 2}
    fitted = train(Black(), tmp_path, batches(data, size=16).repeat(), batches(data, size=16), **options)
    assert fitted.val_loss == pytest.approx((16 * 0.01 + 1) / 17, rel=1e-5)
    curves = read_curves(tmp_path / "logs")
    assert curves["loss"] == [[2, pytest.approx(fitted.val_loss)]]
    assert curves["val_loss"] == [[2, pytest.approx(fitted.val_loss)]]


def test_float16_layer_in_float32_model_scales_loss(tmp_path, caplog):
    caplog.set_level(logging.INFO, "framecast.train")
    faint = Changed(OBJECTIVE, lambda totals, *arguments: 1e-6 * totals)  # Gradients underflow in float16.
    data = batches(grey(0.5, 1.0)).repeat()
    model = Black("mixed_float16")
    train(model, tmp_path, data, data.take(1), steps=1, objective=faint)
    assert model.dtype_policy.name == "float32"
    assert (model.conv.kernel.numpy() != 0).all()
    assert "the loss is scaled, because the layer conv3d" in caplog.text


def test_learning_rate_zero_keeps_weights(tmp_path):
    model = forecaster()
    before = model.get_weights()
    train(model, tmp_path, learning_rate=0.0)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(new, old)


class Noisy(keras.Model):
    """Has everything whose state a checkpoint needs: dropout, statistics of batches, weights that are averaged."""

    def __init__(self):
        keras.utils.set_random_seed(0)
        super().__init__()
        self.conv, self.norm, self.drop = (
            keras.layers.Conv3D(1, 3, padding="same"),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.3),
        )
        self(np.zeros((1, 4, 8, 8, 1), "float32"), np.full(1, 4, "int32"), steps=3)

    def call(self, frames, context_length, steps, training=None):
        return self.norm(self.conv(self.drop(frames, training=training)), training=training)[:, :steps]


def test_resumed_training_equals_uninterrupted_training(tmp_path, monkeypatch):
    options = {"optimizer": "adamw", "schedule": "plateau", "accumulate": 2, "ema": 0.9, "eval_every": 5}
    # Logged losses are means since the last report, and reports depend on the clock.
    monkeypatch.setattr(training_log, "_REPORT_SECONDS", 1e9)

    class Killed(Exception):
        pass

    calls = []

    def counting(limit):
        def count():
            calls.append(0)
            if len(calls) > limit:
                raise Killed

        def change(totals, *arguments):
            tf.py_function(count, [], [])
            return totals

        return Changed(OBJECTIVE, change)

    half = 2 * (5 * 2 + 2)  # Of the 20 steps of 2 batches, with two evaluations of 2 batches.
    killed_at_step_11 = counting(limit=half)
    whole = Noisy()
    expected = train(whole, tmp_path / "whole", draw=drawing(whole), **options)
    with pytest.raises(tf.errors.UnknownError, match="Killed"):
        train(Noisy(), tmp_path / "cut", objective=killed_at_step_11, **options)
    assert tf.train.latest_checkpoint(tmp_path / "cut" / "state").endswith("-10")
    calls.clear()
    resumed = Noisy()
    options.update(log_dir=tmp_path / "resumed", draw=drawing(resumed))  # TFX gives every execution another folder.
    assert train(resumed, tmp_path / "cut", objective=counting(1000), **options) == expected
    assert len(calls) == half
    for old, new in zip(whole.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(new, old)
    before, after = summaries(tmp_path / "whole" / "logs"), summaries(tmp_path / "resumed")
    assert set(after) == set(before) == {"loss", "gradient_norm", "val_loss", "learning_rate", "weight", "weight/wide"}
    for tag in after:
        assert min(after[tag]) > 10, tag
        for step in (15, 20):
            np.testing.assert_array_equal(after[tag][step], before[tag][step])


CLIPPED = Changed(OBJECTIVE, lambda totals, *arguments: 100 * totals)  # So large that gradients are clipped.


class Records(logging.Handler):
    """Keeps the progress of every log record."""

    def __init__(self):
        super().__init__()
        self.progress = []

    def emit(self, record):
        if hasattr(record, "progress"):
            self.progress.append(record.progress)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished training: its folder, model and result, its log records, and the images that were drawn."""
    folder, records, drawn = tmp_path_factory.mktemp("finished"), Records(), []
    model = forecaster()

    def draw():
        drawn.append(drawing(model)())
        return drawn[-1]

    logger = logging.getLogger("framecast.train")
    level = logger.level
    logger.addHandler(records)
    logger.setLevel(logging.INFO)
    fitted = train(model, folder, eval_every=8, draw=draw)
    logger.removeHandler(records)
    logger.setLevel(level)
    return types.SimpleNamespace(folder=folder, model=model, fitted=fitted, progress=records.progress, drawn=drawn)


def test_finished_training_is_not_repeated(finished, tmp_path):
    def refuses(*arguments):
        raise AssertionError("a step ran")

    again = forecaster()
    assert (
        train(again, finished.folder, objective=Changed(OBJECTIVE, refuses), eval_every=8, log_dir=tmp_path)
        == finished.fitted
    )
    np.testing.assert_array_equal(again.get_weights()[0], finished.model.get_weights()[0])


def test_weights_of_lowest_val_loss_are_kept(tmp_path):
    model = forecaster()
    shown = []

    def records(totals, model, batch, step, training):
        if not training:
            value = OBJECTIVE.combine(totals, OBJECTIVE.counts(model, batch))
            tf.py_function(lambda v: shown.append(float(v)), [value], [])
        return totals

    dark = clips(seed=1)
    dark["frames"] = np.zeros_like(dark["frames"])
    fitted = train(
        model, tmp_path, steps=6, eval_every=1, val=batches(dark, size=8), objective=Changed(OBJECTIVE, records)
    )
    val_losses = shown
    assert len(val_losses) == 6
    np.testing.assert_allclose(fitted.val_loss, min(val_losses))
    assert fitted.step == 1 + int(np.argmin(val_losses)) < 6
    np.testing.assert_allclose(loss_of(model, dark), min(val_losses), rtol=1e-5)


def test_averages_of_weights_are_evaluated_and_kept(tmp_path):
    own, averages = [], []
    model = Black()

    def watch(totals, model, batch, step, training):
        def keep(bias):
            (own if training else averages).append(float(bias[0]))

        tf.py_function(keep, [model.conv.bias.value], [])
        return totals

    data = batches(grey(0.5, 1.0))
    options = {"steps": 4, "eval_every": 1, "ema": 0.8, "schedule": "constant", "warm_up": 0, "optimizer": "sgd"}
    fitted = train(model, tmp_path, data.repeat(), data, objective=Changed(OBJECTIVE, watch), **options)
    after = own[1:]  # Before step n is after step n - 1.
    expected = after[:1]
    for value in after[1:]:
        expected.append(0.8 * expected[-1] + 0.2 * value)
    assert len(after) == 3
    np.testing.assert_allclose(averages[:3], expected, rtol=1e-5)
    assert averages[2] != pytest.approx(after[2], rel=0.01)
    assert fitted.step == 4
    np.testing.assert_allclose(model.conv.bias, averages[3:])


def test_training_without_improvement_ends_early(tmp_path, caplog):
    caplog.set_level(logging.INFO, "framecast.train")
    data = batches(grey(0.0), size=1)
    options = {"steps": 20, "eval_every": 2, "patience": 3}
    bright = batches(grey(1.0), size=1).repeat()
    fitted = train(Black(), tmp_path, bright, data, **options)
    assert (fitted.step, fitted.stopped) == (2, 8)
    assert "stopped at step 8: no lower val loss in 3 evaluations" in caplog.text
    assert train(Black(), tmp_path, bright, data, **options) == fitted


def test_missing_and_padded_pixels_change_no_weight(tmp_path):
    data = clips()
    data["known"] = np.random.default_rng(2).uniform(size=data["known"].shape) < 0.8
    dirty = dict(data)
    past = np.arange(6)[None] >= data["length"][:, None]
    dirty["frames"] = np.where(data["known"] & ~past[..., None, None, None], data["frames"], np.nan).astype("float32")
    clean, other = forecaster(), forecaster()
    expected = train(clean, tmp_path / "clean", batches(data).repeat(), batches(data), steps=3)
    assert train(other, tmp_path / "dirty", batches(dirty).repeat(), batches(dirty), steps=3) == expected
    for old, new in zip(clean.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(new, old)


def test_nan_loss_error_names_step(tmp_path):
    good, bad = clips(4), clips(4)
    bad["frames"] = np.full_like(bad["frames"], np.nan)
    dataset = batches(good).repeat(3).concatenate(batches(bad))
    with pytest.raises(FloatingPointError, match="loss at step 4: expected a finite number, received nan"):
        train(forecaster(), tmp_path, dataset)


def test_dataset_that_ends_is_rejected(tmp_path):
    with pytest.raises(ValueError, match="dataset: expected 20 batches, received 2"):
        train(forecaster(), tmp_path, batches(clips()))


def test_empty_val_dataset_is_rejected(tmp_path):
    with pytest.raises(ValueError, match="val_dataset: expected at least 1 batch, received none"):
        train(forecaster(), tmp_path, val=batches(clips()).take(0), eval_every=1)


def test_log_records_equal_tensorboard_summaries(finished):
    records = finished.progress
    assert [r["step"] for r in records if r["step"] in (8, 16, 20)] == [8, 16, 20]
    assert {r["steps"] for r in records} == {20}
    values = summaries(finished.folder / "logs")
    for name in ("loss", "gradient_norm", "learning_rate"):
        np.testing.assert_allclose([values[name][r["step"]] for r in records], [r[name] for r in records], rtol=1e-6)
    last = records[-1]
    np.testing.assert_allclose(values["val_loss"][20], last["val_loss"], rtol=1e-6)


@pytest.mark.parametrize(("dtype", "rtol"), [("float32", 1e-5), ("mixed_float16", 2e-2)])
def test_gradient_norm_is_before_clipping_and_loss_scaling(tmp_path, monkeypatch, dtype, rtol):
    monkeypatch.setattr(training_log, "_REPORT_SECONDS", 0)
    data = clips()
    train(forecaster(dtype), tmp_path, batches(data).repeat(), steps=2, learning_rate=0.0, objective=CLIPPED)
    expected = []
    for batch in batches(data):
        model = forecaster(dtype)
        with tf.GradientTape() as tape:
            loss = CLIPPED(model, batch, tf.zeros([], tf.int64), True)
        gradients = tape.gradient(loss, model.trainable_variables)
        expected.append(np.sqrt(sum(np.sum(np.square(gradient.numpy(), dtype=np.float64)) for gradient in gradients)))
    assert min(expected) > 1  # Else nothing is clipped.
    found = summaries(tmp_path / "logs")["gradient_norm"]
    np.testing.assert_allclose([found[1], found[2]], expected, rtol=rtol)


def test_step_with_float16_overflow_has_no_norm(tmp_path, monkeypatch):
    monkeypatch.setattr(training_log, "_REPORT_SECONDS", 0)

    steep = Changed(OBJECTIVE, lambda totals, *arguments: 1e4 * totals)
    model = forecaster("mixed_float16")
    train(model, tmp_path, steps=12, objective=steep)
    values = summaries(tmp_path / "logs")
    assert list(values["loss"]) == list(range(1, 13))
    norms = values["gradient_norm"]
    assert 1 not in norms
    assert 12 in norms
    assert np.isfinite(list(norms.values())).all()


def test_every_evaluation_draws_images_of_current_weights(finished):
    values = summaries(finished.folder / "logs")
    for tag in ("weight", "weight/wide"):
        assert list(values[tag]) == [8, 16, 20]
        for image, expected in zip(values[tag].values(), finished.drawn, strict=True):
            np.testing.assert_array_equal(image, expected[tag])
    assert not np.array_equal(values["weight"][8], values["weight"][16])
    assert set(read_curves(finished.folder / "logs")) == {"loss", "gradient_norm", "val_loss", "learning_rate"}


def test_finished_training_says_that_it_is_finished(tmp_path, caplog):
    train(forecaster(), tmp_path, steps=2)
    caplog.set_level(logging.INFO, "framecast.train")
    train(forecaster(), tmp_path, steps=2)
    expected = f"already trained on the same clips and settings: {tmp_path}/state/ckpt-2"
    assert expected in [record.getMessage() for record in caplog.records]
