import keras
import numpy as np
import pytest
import tensorflow as tf

from framecast.models.networks.frame_forecaster import FrameForecaster
from framecast.models.spec import AnomalyTask, ClassifyTask, ContextSpec, ForecastTask, TrainSpec
from framecast.models.tasks import define_task

STEPS = 100
LENGTH = np.array([12, 8], "int32")


@pytest.fixture
def batch():
    frames = np.random.default_rng(0).random((2, 12, 8, 8, 1), "float32")
    return {"frames": frames, "known": np.ones_like(frames, bool), "length": LENGTH}


class Recorder:
    """A forecaster that keeps what it was called with."""

    def __call__(self, frames, context_length, steps, training, observed=None):
        self.context, self.observed, self.training = context_length, observed, training
        return tf.zeros([2, steps, *frames.shape[2:]])


def observed_share(batch, sampling, step, place):
    """Share of the frames from `place` on (the context of the long clip ends at 7) that were shown, over many draws."""
    recorder = Recorder()
    shares = []
    for seed in range(40):
        train = TrainSpec(steps=STEPS, sampling=sampling, seed=seed)
        define_task(ForecastTask(horizon=5)).make_objective(train)(recorder, batch, tf.constant(step, tf.int64), True)
        assert recorder.observed.numpy()[:, 0].all()
        shares.append(recorder.observed.numpy()[0, place].mean())
    return np.mean(shares)


CONTEXT, AFTER = slice(1, 7), slice(7, 12)


@pytest.mark.parametrize(
    ("sampling", "step", "in_context", "after"),
    [
        ("scheduled", 0, 1, 1),
        ("scheduled", 50, 1, 0.75),
        ("scheduled", 100, 1, 0),
        ("reverse", 0, 0.5, 0.5),
        ("reverse", 50, 0.75, 0.375),
        ("reverse", 100, 1, 0),
    ],
)
def test_sampling_shows_scheduled_share_of_frames(batch, sampling, step, in_context, after):
    assert observed_share(batch, sampling, step, CONTEXT) == pytest.approx(in_context, abs=0.1)
    assert observed_share(batch, sampling, step, AFTER) == pytest.approx(after, abs=0.1)


def test_sampling_is_for_training_only(batch):
    recorder = Recorder()
    objective = define_task(ForecastTask(horizon=5)).make_objective(TrainSpec(steps=STEPS, sampling="scheduled"))
    objective(recorder, batch, tf.zeros([], tf.int64), False)
    assert recorder.observed is None
    np.testing.assert_array_equal(recorder.context, LENGTH - 5)


def test_anomaly_objective_shows_all_earlier_frames(batch):
    recorder = Recorder()
    objective = define_task(AnomalyTask(kind="anomaly", context=ContextSpec(min=2))).make_objective(TrainSpec(steps=1))
    loss = objective(recorder, batch, tf.zeros([], tf.int64), True)
    np.testing.assert_array_equal(recorder.context, LENGTH)
    squares = [np.square(clip[1:length]) for clip, length in zip(batch["frames"], LENGTH, strict=True)]
    assert float(loss) == pytest.approx(np.concatenate(squares).mean(), rel=1e-5)


def test_mask_of_all_frames_equals_no_mask(batch):
    keras.utils.set_random_seed(0)
    model = FrameForecaster(channels=1, filters=(4,), kernel_size=3, patch=2)
    everything = model(batch["frames"], LENGTH, steps=11, observed=np.ones((2, 12), bool))
    np.testing.assert_array_equal(everything, model(batch["frames"], LENGTH, steps=11))
    context = np.arange(12)[None] < (LENGTH - 5)[:, None]
    np.testing.assert_array_equal(
        model(batch["frames"], LENGTH, steps=11, observed=context), model(batch["frames"], LENGTH - 5, steps=11)
    )


def test_frame_labels_count_up_to_length(batch):
    logits = np.random.default_rng(1).normal(size=(2, 12, 3)).astype("float32")
    labels = np.random.default_rng(2).integers(0, 3, (2, 12))
    objective = define_task(ClassifyTask(kind="classify", classes=3, per="frame")).make_objective(TrainSpec(steps=1))
    labelled = {name: tf.constant(value) for name, value in {**batch, "label": labels}.items()}
    loss = objective(lambda frames, length, training: logits, labelled, tf.zeros([], tf.int64), True)
    losses = keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True).numpy()
    expected = np.concatenate([row[:length] for row, length in zip(losses, LENGTH, strict=True)]).mean()
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_mixture_weighs_each_part_by_its_own_count(batch, tmp_path):
    (tmp_path / "mine.py").write_text("def doubled(truth, predictions):\n    return 2 * (truth - predictions) ** 2\n")
    parts = {"mse": 1, "ssim": 0.2, f"{tmp_path}/mine.py:doubled": 0.5}
    step = tf.zeros([], tf.int64)

    def loss(value):
        return float(
            define_task(AnomalyTask(kind="anomaly")).make_objective(TrainSpec(steps=1, loss=value))(
                Recorder(), batch, step, True
            )
        )

    assert loss(parts) == pytest.approx(2 * loss("mse") + 0.2 * loss("ssim"), rel=1e-5)
    assert loss(None) == loss("mse")


def test_missing_loss_function_is_named(tmp_path):
    (tmp_path / "mine.py").write_text("")
    with pytest.raises(ValueError, match=r"train.loss: expected .*, received .*mine.py:absent: AttributeError"):
        define_task(ForecastTask(horizon=5)).make_objective(TrainSpec(steps=1, loss=f"{tmp_path}/mine.py:absent"))
