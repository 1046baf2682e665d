"""Forecasts of the pushed model, served in process and over gRPC, and its figures against plain NumPy."""

import io
import json

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from scipy.ndimage import uniform_filter
from skimage.metrics import structural_similarity

from framecast.evaluation.gate.verdict import read_verdict
from framecast.evaluation.metrics import registry
from framecast.schemas import features
from framecast.serving.client.client import Client
from framecast.serving.server.model_config import one_model
from framecast.serving.server.server import Server
from tests.end_to_end.conftest import HORIZON


@pytest.fixture(scope="module")
def eval_clips(chain):
    return chain.records("ClipExampleGen", "examples", "eval")


def test_padding_never_changes_the_forecast(model):
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (2, 9, 32, 32, 1), np.uint8)
    serve = model.signatures["serving_default"]
    lengths = tf.constant([6, 9], tf.int32)
    expected = serve(frames=tf.constant(frames), length=lengths)["forecast"].numpy()
    frames[0, 6:] = 255
    longer = np.concatenate([frames, rng.integers(0, 256, (2, 5, 32, 32, 1), np.uint8)], axis=1)
    np.testing.assert_array_equal(serve(frames=tf.constant(frames), length=lengths)["forecast"], expected)
    np.testing.assert_array_equal(serve(frames=tf.constant(longer), length=lengths)["forecast"], expected)
    assert expected.shape == (2, HORIZON, 32, 32, 1)
    assert expected.min() >= 0
    assert expected.max() <= 1


def test_frames_of_any_size_are_forecast(model):
    """A convolution is local: far from the borders, the forecast of a crop equals that of the whole frame."""
    frames = np.random.default_rng(0).integers(0, 256, (1, 4, 97, 131, 1), np.uint8)
    serve = model.signatures["serving_default"]
    whole = serve(frames=tf.constant(frames), length=tf.constant([4]))["forecast"].numpy()
    crop = serve(frames=tf.constant(frames[:, :, :88, :120]), length=tf.constant([4]))["forecast"].numpy()
    assert whole.shape == (1, HORIZON, 97, 131, 1)
    np.testing.assert_allclose(crop[:, 0, :56, :88], whole[:, 0, :56, :88], atol=1e-5)


def test_encoded_and_raw_clips_give_equal_forecasts(model, eval_clips):
    examples = eval_clips[:4]
    frames, lengths = _decoded(examples)
    raw = model.signatures["serving_default"](frames=tf.constant(frames), length=tf.constant(lengths))["forecast"]
    encoded = model.signatures["serve_examples"](examples=tf.constant(examples))["forecast"]
    np.testing.assert_array_equal(raw, encoded)


@pytest.mark.parametrize(
    ("length", "message"), [(3, "at least 4 frames, received fewer"), (8, "at most the number of frames given")]
)
def test_graph_rejects_invalid_lengths(model, length, message):
    frames = tf.zeros([1, 7, 16, 16, 1], tf.uint8)
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        model.signatures["serving_default"](frames=frames, length=tf.constant([length]))


@pytest.mark.parametrize("composite", [False, True], ids=["a clip of the eval split", "a composite of 765x700"])
def test_grpc_forecast_equals_in_process_forecast(chain, model, eval_clips, composite):
    frames, lengths = _decoded(eval_clips[:1])
    if composite:  # Far larger than the crops trained on, and than gRPC's default limit on messages.
        frames = np.random.default_rng(0).integers(0, 256, (1, 4, 765, 700, 1), np.uint8)
        lengths = np.array([4], np.int32)
    expected = model.signatures["serving_default"](frames=tf.constant(frames), length=tf.constant(lengths))["forecast"]
    with Server(one_model("digits", str(chain.folder / "serving"))) as server:
        forecaster = Client(f"127.0.0.1:{server.port}", model="digits")
        (served,) = forecaster.forecast([frames[0, : lengths[0]]])
        assert forecaster.version == chain.versions[-1]
        forecaster.close()
    np.testing.assert_array_equal(served, expected[0])


def test_evaluator_errors_equal_numpy(first_run, model, eval_clips):
    _, result = first_run
    errors, references, pixels = np.zeros(HORIZON), np.zeros(HORIZON), 0
    for clip in eval_clips:
        frames, (length,) = _decoded([clip])
        if length < 4 + HORIZON:
            continue
        context = frames[:, : length - HORIZON]
        forecast = model.signatures["serving_default"](
            frames=tf.constant(context), length=tf.constant([context.shape[1]], tf.int32)
        )["forecast"].numpy()[0]
        truth = frames[0, length - HORIZON : length] / np.float32(255)
        errors += np.sum((forecast - truth) ** 2, axis=(1, 2, 3))
        references += np.sum((context[0, -1] / np.float32(255) - truth) ** 2, axis=(1, 2, 3))
        pixels += truth[0].size
    for lead in range(HORIZON):
        assert result.figures[registry.key("mse", lead + 1)] == pytest.approx(errors[lead] / pixels, rel=1e-6)
        assert result.figures[registry.key("mse_persistence", lead + 1)] == pytest.approx(
            references[lead] / pixels, rel=1e-6
        )
    assert result.figures["skill_persistence"] == pytest.approx(1 - errors.sum() / references.sum(), rel=1e-5)


def _power_around_4_pixels(field):
    """The mean square of the waves from a quarter of an octave below 4 pixels to one above, in all directions."""
    frequencies = np.hypot(*np.meshgrid(*(np.fft.fftfreq(size) for size in field.shape), indexing="ij"))
    waves = np.abs(np.log2(np.where(frequencies, frequencies, 1)) + 2) < 0.25
    return (np.abs(np.fft.fft2(field.astype(float))) ** 2)[waves].mean() / field.size


def test_event_ssim_and_power_scores_equal_numpy(first_run, model, eval_clips):
    _, result = first_run
    counts = {name: np.zeros((2, HORIZON)) for name in ("hits", "others", "error", "worst", "power", "of_truth")}
    similarities = [[] for _ in range(HORIZON)]
    for clip in eval_clips:
        frames, (length,) = _decoded([clip])
        if length < 4 + HORIZON:
            continue
        context = frames[:, : length - HORIZON]
        forecasts = {
            "model": model.signatures["serving_default"](
                frames=tf.constant(context), length=tf.constant([context.shape[1]], tf.int32)
            )["forecast"].numpy()[0, ..., 0],
            "persistence": np.repeat(context[0, -1:, ..., 0], HORIZON, axis=0) / np.float32(255),
        }
        truth = frames[0, length - HORIZON : length, ..., 0] / np.float32(255)
        for lead in range(HORIZON):
            for row, forecast in enumerate(forecasts.values()):
                came, said = truth[lead] >= 0.2, forecast[lead] >= 0.2
                counts["hits"][row, lead] += (came & said).sum()
                counts["others"][row, lead] += (came != said).sum()
                shares = [uniform_filter(field.astype(float), 5, mode="constant") for field in (came, said)]
                counts["error"][row, lead] += ((shares[0] - shares[1]) ** 2).sum()
                counts["worst"][row, lead] += (shares[0] ** 2 + shares[1] ** 2).sum()
                counts["power"][row, lead] += _power_around_4_pixels(forecast[lead])
                counts["of_truth"][row, lead] += _power_around_4_pixels(truth[lead])
            similarities[lead].append(structural_similarity(truth[lead], forecasts["model"][lead], data_range=1))
    for row, ending in enumerate(("", "_persistence")):
        hits, others, error, worst, power, of_truth = (values[row] for values in counts.values())
        assert result.figures[f"power_4px{ending}"] == pytest.approx(power.sum() / of_truth.sum(), rel=1e-4)
        assert 0 < result.figures[f"csi_0.2{ending}"] < 1
        assert result.figures[f"csi_0.2{ending}"] == pytest.approx(hits.sum() / (hits + others).sum(), rel=1e-4)
        for lead in range(HORIZON):
            csi = hits[lead] / (hits + others)[lead]
            assert result.figures[registry.key(f"csi_0.2{ending}", lead + 1)] == pytest.approx(csi, rel=1e-4)
            fss = 1 - error[lead] / worst[lead]
            assert result.figures[registry.key(f"fss_0.2_5px{ending}", lead + 1)] == pytest.approx(fss, rel=1e-4)
            share = power[lead] / of_truth[lead]
            assert result.figures[registry.key(f"power_4px{ending}", lead + 1)] == pytest.approx(share, rel=1e-4)
    for lead, found in enumerate(similarities):
        assert result.figures[registry.key("ssim", lead + 1)] == pytest.approx(np.mean(found), rel=1e-5)


def test_evaluate_command_equals_the_evaluator(first_run, framecast):
    chain, result = first_run
    answer = framecast(
        "evaluate",
        chain.folder / "serving" / result.version,
        chain.folder / "clips" / "eval" / "*",
        f"--config={chain.path}",
        "--json",
    )
    assert answer.code == 0, answer.text
    found = json.loads(answer.out)
    assert (found["against"], found["misses"], found["blessed"]) == (None, [], True)
    assert _numbers(found["figures"]["model"]) == pytest.approx(_numbers(result.figures), rel=1e-6, nan_ok=True)
    verdict = read_verdict(str(chain.artifact("Evaluator", "evaluation")))
    assert set(found["slices"]) == set(verdict.slices)
    for name, figures in verdict.slices.items():
        assert _numbers(found["slices"][name]) == pytest.approx(_numbers(figures), rel=1e-6, nan_ok=True)


def _numbers(figures):
    return {name: np.nan if value is None else value for name, value in figures.items()}


def _decoded(examples):
    """Clips of one size by Pillow, not by our codec: `(batch, time, height, width, 1)` uint8 and int32 lengths."""
    clips = []
    for example in examples:
        lists = tf.train.SequenceExample.FromString(example).feature_lists.feature_list
        encoded = [feature.bytes_list.value[0] for feature in lists[features.ENCODED].feature]
        clips.append(np.stack([np.asarray(Image.open(io.BytesIO(data))) for data in encoded]))
    lengths = np.array([len(clip) for clip in clips], np.int32)
    frames = np.zeros((len(clips), lengths.max(), *clips[0].shape[1:], 1), np.uint8)
    for number, clip in enumerate(clips):
        frames[number, : len(clip), ..., 0] = clip
    return frames, lengths
