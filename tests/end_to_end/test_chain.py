"""The real pipeline: what a first run leaves, and what becomes of later candidates."""

import json
import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.ndimage import uniform_filter
from skimage.metrics import structural_similarity
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorflow.core.protobuf import saved_model_pb2

from framecast.evaluation.gate.verdict import read_verdict
from framecast.evaluation.metrics import registry
from framecast.models.export import warmup
from framecast.pipeline.config import config as configuration
from framecast.pipeline.runs import run as runs
from framecast.schemas import features
from framecast.serving.client.client import Client
from framecast.serving.server.model_manager import one_model
from framecast.serving.server.server import Server

_HORIZON = 5


@pytest.fixture(scope="module")
def chain(first_run):
    return first_run[0]


@pytest.fixture(scope="module")
def model(chain):
    return chain.model()


@pytest.fixture(scope="module")
def eval_clips(chain):
    return chain.records("ClipExampleGen", "examples", "eval")


def test_a_first_run_without_a_serving_model_is_pushed(first_run):
    chain, result = first_run
    assert result.why.startswith("version "), result.why
    assert (result.verdict, result.exit_code) == ("pushed", 0)
    assert [str(version) for version in chain.versions] == [result.version]
    assert chain.record()["verdict"] == "pushed"
    assert (result.spans, result.drift) == ([], [])
    assert not (chain.folder / "work" / "statistics").exists()
    assert [component["state"] for component in result.components] == ["done"] * 13


def test_a_run_leaves_a_report_with_its_figures_forecasts_and_timings(first_run):
    chain, result = first_run
    record = chain.record()
    assert pathlib.Path(result.report).parent.parent == pathlib.Path(result.log).parent
    page = pathlib.Path(result.report).read_text()
    assert len(page) < 10e6
    for key, value in result.figures.items():
        assert f'data-key="{key}" data-value="{value}"' in page
    assert page.count("data:image/gif;base64,") == 3
    for component in record["components"]:
        assert f'<td>{component["name"]}</td><td class="text">done</td><td>{component["seconds"]}</td>' in page
    assert (
        record["data"]
        == json.loads((chain.artifact("ClipExampleGen", "examples") / "ingest.json").read_text())["digest"]
    )
    for made_from in (record["data"], record["code"], tf.__version__, keras.__version__):
        assert made_from in page
    # What a runner that knows nothing of the components' times leaves, such as Kubeflow's.
    of_component = (chain.artifact("Report", "report") / "index.html").read_text()
    assert result.why in of_component
    assert f'data-value="{result.figures["mse"]}"' in of_component


def test_a_run_leaves_the_memory_of_its_components_and_what_made_what(first_run):
    chain, result = first_run
    name = pathlib.Path(result.log).parent.name
    # All in one process, with TensorFlow in it from the start.
    assert all(2**28 < component["peak_memory"] < 2**34 for component in result.components)
    lineage = {execution["component"]: execution for execution in result.lineage}
    assert set(lineage) == {component["name"] for component in result.components}
    for execution in result.lineage:
        for artifact in execution["outputs"]:
            assert (artifact["execution"], artifact["run"]) == (execution["id"], name)
            assert pathlib.Path(artifact["uri"]).exists()
    outputs = {(name, part["key"]): part for name in lineage for part in lineage[name]["outputs"]}
    assert outputs["Trainer", "model"]["uri"] == str(chain.artifact("Trainer", "model"))
    (trained_on,) = (part for part in lineage["Trainer"]["inputs"] if part["key"] == "examples")
    assert trained_on["id"] == outputs["Transform", "transformed_examples"]["id"]
    assert chain.record()["lineage"] == result.lineage


def test_tensorboard_finds_curves_and_forecasts_of_the_training(chain):
    accumulator = EventAccumulator(str(chain.artifact("Trainer", "model_run")))
    accumulator.Reload()
    images = [f"forecast/{clip}" for clip in range(3)]
    assert set(accumulator.Tags()["tensors"]) == {"loss", "gradient_norm", "val_loss", "learning_rate", *images}
    for tag in images:
        assert [event.step for event in accumulator.Tensors(tag)] == [20, 40]


def test_a_run_leaves_nothing_large_in_the_temporary_directory(chain):
    left = [path for path in (chain.folder / "temporary").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in left) < 2**20, left


def test_every_clip_is_in_one_split(chain):
    splits = {split: chain.records("ClipExampleGen", "examples", split) for split in ("train", "val", "eval")}
    ids = [
        tf.train.SequenceExample.FromString(record).context.feature[features.EXAMPLE_ID].bytes_list.value[0]
        for records in splits.values()
        for record in records
    ]
    assert len(ids) == len(set(ids)) == 63
    assert all(splits.values())


def test_transform_makes_the_same_bytes_in_training_and_in_serving(chain, model):
    raw = chain.records("ClipExampleGen", "examples", "train")
    served = model.signatures["transform_features"](tf.constant(raw))["fingerprint"].numpy().tolist()
    trained = []
    for record in chain.records("Transform", "transformed_examples", "train"):
        frames = tf.train.Example.FromString(record).features.feature[features.FRAMES].bytes_list.value[0]
        trained.append(int(tf.bitcast(tf.fingerprint([frames]), tf.int64)[0]))
    assert len(trained) == len(raw)
    assert sorted(served) == sorted(trained)


def test_materialised_frames_cost_at_most_1_15_bytes_a_pixel(chain):
    stored = pixels = 0
    for record in chain.records("Transform", "transformed_examples", "train"):
        feature = tf.train.Example.FromString(record).features.feature
        stored += len(record)
        pixels += feature[features.FRAME_COUNT].int64_list.value[0] * 32 * 32
    assert stored <= 1.15 * pixels


def test_equal_transformed_records_are_equal_bytes(chain):
    # Protobuf's maps have no order of their own: what TFX writes differs in bytes from process to process.
    for record in chain.records("Transform", "transformed_examples", "train"):
        assert record == tf.train.Example.FromString(record).SerializeToString(deterministic=True)


def test_what_lies_past_a_clips_length_never_changes_the_forecast(model):
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (2, 9, 32, 32, 1), np.uint8)
    serve = model.signatures["serving_default"]
    lengths = tf.constant([6, 9], tf.int32)
    expected = serve(frames=tf.constant(frames), length=lengths)["forecast"].numpy()
    frames[0, 6:] = 255
    longer = np.concatenate([frames, rng.integers(0, 256, (2, 5, 32, 32, 1), np.uint8)], axis=1)
    np.testing.assert_array_equal(serve(frames=tf.constant(frames), length=lengths)["forecast"], expected)
    np.testing.assert_array_equal(serve(frames=tf.constant(longer), length=lengths)["forecast"], expected)
    assert expected.shape == (2, _HORIZON, 32, 32, 1)
    assert expected.min() >= 0
    assert expected.max() <= 1


def test_frames_of_another_size_than_those_trained_on_are_forecast(model):
    """Convolutions see the same neighbourhood wherever it lies: far from the borders, a crop is forecast alike."""
    frames = np.random.default_rng(0).integers(0, 256, (1, 4, 97, 131, 1), np.uint8)
    serve = model.signatures["serving_default"]
    whole = serve(frames=tf.constant(frames), length=tf.constant([4]))["forecast"].numpy()
    crop = serve(frames=tf.constant(frames[:, :, :88, :120]), length=tf.constant([4]))["forecast"].numpy()
    assert whole.shape == (1, _HORIZON, 97, 131, 1)
    np.testing.assert_allclose(crop[:, 0, :56, :88], whole[:, 0, :56, :88], atol=1e-5)


def test_encoded_and_raw_clips_are_forecast_alike(model, eval_clips):
    examples = eval_clips[:4]
    frames, lengths = _decoded(examples)
    raw = model.signatures["serving_default"](frames=tf.constant(frames), length=tf.constant(lengths))["forecast"]
    encoded = model.signatures["serve_examples"](examples=tf.constant(examples))["forecast"]
    np.testing.assert_array_equal(raw, encoded)


@pytest.mark.parametrize(
    ("length", "message"), [(3, "at least 4 frames, received fewer"), (8, "at most the number of frames given")]
)
def test_lengths_are_checked_inside_the_graph(model, length, message):
    frames = tf.zeros([1, 7, 16, 16, 1], tf.uint8)
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        model.signatures["serving_default"](frames=frames, length=tf.constant([length]))


@pytest.mark.parametrize("composite", [False, True], ids=["a clip of the eval split", "a composite of 765x700"])
def test_the_forecast_through_grpc_is_the_models_own(chain, model, eval_clips, composite):
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


def test_the_evaluators_figures_are_a_plain_numpy_evaluation(first_run, model, eval_clips):
    _, result = first_run
    errors, references, pixels = np.zeros(_HORIZON), np.zeros(_HORIZON), 0
    for clip in eval_clips:
        frames, (length,) = _decoded([clip])
        if length < 4 + _HORIZON:
            continue
        context = frames[:, : length - _HORIZON]
        forecast = model.signatures["serving_default"](
            frames=tf.constant(context), length=tf.constant([context.shape[1]], tf.int32)
        )["forecast"].numpy()[0]
        truth = frames[0, length - _HORIZON : length] / np.float32(255)
        errors += np.sum((forecast - truth) ** 2, axis=(1, 2, 3))
        references += np.sum((context[0, -1] / np.float32(255) - truth) ** 2, axis=(1, 2, 3))
        pixels += truth[0].size
    for lead in range(_HORIZON):
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


def test_scores_of_events_similarity_and_power_are_those_of_a_plain_numpy_evaluation(first_run, model, eval_clips):
    _, result = first_run
    counts = {name: np.zeros((2, _HORIZON)) for name in ("hits", "others", "error", "worst", "power", "of_truth")}
    similarities = [[] for _ in range(_HORIZON)]
    for clip in eval_clips:
        frames, (length,) = _decoded([clip])
        if length < 4 + _HORIZON:
            continue
        context = frames[:, : length - _HORIZON]
        forecasts = {
            "model": model.signatures["serving_default"](
                frames=tf.constant(context), length=tf.constant([context.shape[1]], tf.int32)
            )["forecast"].numpy()[0, ..., 0],
            "persistence": np.repeat(context[0, -1:, ..., 0], _HORIZON, axis=0) / np.float32(255),
        }
        truth = frames[0, length - _HORIZON : length, ..., 0] / np.float32(255)
        for lead in range(_HORIZON):
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
        for lead in range(_HORIZON):
            csi = hits[lead] / (hits + others)[lead]
            assert result.figures[registry.key(f"csi_0.2{ending}", lead + 1)] == pytest.approx(csi, rel=1e-4)
            fss = 1 - error[lead] / worst[lead]
            assert result.figures[registry.key(f"fss_0.2_5px{ending}", lead + 1)] == pytest.approx(fss, rel=1e-4)
            share = power[lead] / of_truth[lead]
            assert result.figures[registry.key(f"power_4px{ending}", lead + 1)] == pytest.approx(share, rel=1e-4)
    for lead, found in enumerate(similarities):
        assert result.figures[registry.key("ssim", lead + 1)] == pytest.approx(np.mean(found), rel=1e-5)


def test_evaluate_finds_the_evaluators_figures_on_the_raw_clips(first_run, framecast):
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


def test_no_layer_of_keras_is_in_the_model(chain):
    # It would bring traced functions of its own, written by every export and read by every server that starts.
    saved = saved_model_pb2.SavedModel.FromString((chain.newest / "saved_model.pb").read_bytes())
    nodes = saved.meta_graphs[0].object_graph_def.nodes
    kinds = {node.user_object.identifier for node in nodes if node.HasField("user_object")}
    assert kinds
    assert not {kind for kind in kinds if "keras" in kind}


def test_the_card_says_what_a_client_must_know(chain):
    card = json.loads((chain.newest / "assets.extra" / "framecast.json").read_text())
    assert (card["task"], card["horizon"], card["context"]) == ("forecast", _HORIZON, {"min": 4, "max": 24})
    assert (card["dtype"], card["channels"], card["frame_rate"]) == ("uint8", 1, 10.0)
    assert card["batch_sizes"] == [1, 4, 16]


def test_the_warm_up_asks_for_every_batch_size_at_every_length_that_transform_made(chain):
    lengths = {4}  # The shortest context.
    for split in ("train", "val"):
        for record in chain.records("Transform", "transformed_examples", split):
            frames = tf.train.Example.FromString(record).features.feature[features.FRAMES].bytes_list.value[0]
            lengths.add(int(tf.io.parse_tensor(frames, tf.uint8).shape[0]))
    asked, others = [], []
    for request in warmup.read_warmup(str(chain.newest)):
        if request.model_spec.signature_name == "serving_default":
            asked.append(tuple(dim.size for dim in request.inputs["frames"].tensor_shape.dim[:2]))
        else:
            others.append(request.model_spec.signature_name)
    assert sorted(asked) == sorted((batch, length) for batch in (1, 4, 16) for length in lengths)
    assert others == ["serve_examples", "step", "step"]


def test_an_identical_second_run_trains_nothing_and_says_unchanged(chain, first_run):
    versions = chain.versions
    result = chain.run()
    assert (result.verdict, result.exit_code) == ("unchanged", 0)
    states = {component["name"]: component["state"] for component in result.components}
    assert states["Trainer"] == states["Transform"] == states["ClipExampleGen"] == "cached"
    assert chain.versions == versions
    for component in result.components:
        assert (component["peak_memory"] is None) == (component["state"] == "cached")
    first, second = (pathlib.Path(run.log).parent.name for run in (first_run[1], result))
    made = {
        (execution["component"], artifact["key"]): artifact["run"]
        for execution in result.lineage
        for artifact in execution["outputs"]
    }
    assert made["ClipExampleGen", "examples"] == made["Trainer", "model"] == first
    assert made["Pusher", "pushed_model"] == second


def test_a_candidate_made_worse_on_purpose_loses_again_and_again(chain):
    versions = chain.versions
    for _ in range(2):
        result = chain.run("train.learning_rate=0")
        assert (result.verdict, result.exit_code) == ("lost", 3)
        (miss,) = result.misses
        assert (miss["metric"], miss["lead_time"], miss["slice"]) == ("mse", None, "overall")
        assert miss["value"] > 0
        assert "mse: expected an increase of at most 0 against the serving model, received" in result.why
        assert chain.versions == versions
    assert chain.record()["verdict"] == "lost"
    page = pathlib.Path(result.report).read_text()
    assert '<header id="verdict" class="lost">' in page
    assert f'<td>{miss["value"]:.6g}</td><td class="text">{miss["bound"]}</td>' in page
    # From the cached Report, with the figures of this run.
    assert page.count("data:image/gif;base64,") == 3


def test_a_better_candidate_replaces_what_is_serving(chain):
    versions = chain.versions
    result = chain.run("train.steps=80")
    assert (result.verdict, result.exit_code) == ("pushed", 0), result.why
    assert chain.versions == [*versions, int(result.version)]
    assert int(result.version) > versions[-1]


def test_a_part_of_the_chain_runs_on_what_earlier_runs_left(chain):
    result = chain.run(to_node="ValidationGate")
    assert (result.verdict, result.exit_code) == ("unchanged", 0)
    names = [component["name"] for component in result.components]
    assert set(names) == {
        "ClipExampleGen", "StatisticsGen", "ImportSchemaGen", "ExampleValidator", "ValidationGate"
    }  # fmt: skip
    versions = chain.versions
    # Not on the artifacts of the last run, which has no model, but of the last one that has.
    result = chain.run("train.steps=80", from_node="Evaluator")
    assert (result.verdict, result.exit_code) == ("unchanged", 0), result.why
    assert {component["name"] for component in result.components} == {"Evaluator", "Pusher", "Report"}
    assert chain.versions == versions


def test_other_events_are_counted_of_the_same_weights(chain, first_run):
    states = {path.name for path in (chain.folder / "work" / "state").iterdir()}
    result = chain.run("evaluate.events.thresholds=[0.2]")
    assert (result.verdict, result.exit_code) == ("pushed", 0), result.why
    notes = {component["name"]: component["note"] for component in result.components}
    assert "has another contract" in notes["ServingModel"]
    assert {path.name for path in (chain.folder / "work" / "state").iterdir()} == states
    before = first_run[1].figures
    assert result.figures == {name: before[name] for name in before if "_0.8" not in name}


def test_a_part_without_a_run_before_it_says_what_is_missing(chain, tmp_path):
    result = runs.run(configuration.load(str(chain.path), ()), str(tmp_path), from_node="Transform", quiet=True)
    assert (result.verdict, result.exit_code) == ("failed", 1)
    assert "a run from Transform: expected an earlier run in this workdir that finished ClipExampleGen" in result.why
    page = pathlib.Path(result.report).read_text()
    assert '<header id="verdict" class="failed">' in page
    assert "expected an earlier run in this workdir" in page
    assert "No figures: the run ended before the Evaluator." in page


def _decoded(examples):
    """Clips of one size by Pillow, not by our codec: `(batch, time, height, width, 1)` uint8 and int32 lengths."""
    import io

    from PIL import Image

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
