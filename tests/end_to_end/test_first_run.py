"""Artifacts of a first run of the whole pipeline: splits, transformed records, model, report, record."""

import json
import pathlib

import keras
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorflow.core.protobuf import saved_model_pb2

from framecast.models import tensors
from framecast.models.export import warmup
from framecast.schemas import features
from framecast.serving.releases import version_folder
from tests.end_to_end.conftest import HORIZON


def test_first_run_is_pushed(first_run):
    chain, result = first_run
    assert result.why.startswith("version "), result.why
    assert (result.verdict, result.exit_code) == ("pushed", 0)
    (version,) = version_folder.read_versions(str(chain.folder / "serving"))
    assert (version.labels, str(version.number)) == (("stable",), result.version)
    assert version.by == f"run {pathlib.Path(result.log).parent.name}"
    assert version.figures == {name: result.figures[name] for name in ("mse", "skill")}
    assert result.misses == []
    assert chain.record()["verdict"] == "pushed"
    assert (result.spans, result.drift) == ([], [])
    assert not (chain.folder / "work" / "statistics").exists()
    assert [component["state"] for component in result.components] == ["done"] * 13


def test_report_shows_figures_forecasts_and_timings(first_run):
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
    assert '<header id="verdict" class="pushed">' in page
    assert "Compared with no serving model" in page
    assert "Every threshold of the configuration was met." in page
    assert "candidate - serving" not in page
    # The Report component's own page, which is all that Kubeflow shows, knows no times.
    of_component = (chain.artifact("Report", "report") / "index.html").read_text()
    assert result.why in of_component
    assert f'data-value="{result.figures["mse"]}"' in of_component


def test_record_holds_peak_memory_and_lineage(first_run):
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


def test_tensorboard_reads_training_curves_and_images(chain):
    accumulator = EventAccumulator(str(chain.artifact("Trainer", "model_run")))
    accumulator.Reload()
    images = [f"forecast/{clip}" for clip in range(3)]
    assert set(accumulator.Tags()["tensors"]) == {"loss", "gradient_norm", "val_loss", "learning_rate", *images}
    for tag in images:
        assert [event.step for event in accumulator.Tensors(tag)] == [20, 40]


def test_temporary_directory_stays_small(chain):
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


def _transformed_frames(record):
    """The serialized frames of a transformed clip."""
    return tensors.decompress(tf.train.Example.FromString(record).features.feature[features.FRAMES].bytes_list.value[0])


def test_transform_bytes_equal_in_training_and_serving(chain, model):
    raw = chain.records("ClipExampleGen", "examples", "train")
    served = model.signatures["transform_features"](tf.constant(raw))["fingerprint"].numpy().tolist()
    trained = []
    for record in chain.records("Transform", "transformed_examples", "train"):
        trained.append(int(tf.bitcast(tf.fingerprint([_transformed_frames(record)]), tf.int64)[0]))
    assert len(trained) == len(raw)
    assert sorted(served) == sorted(trained)


def test_transformed_frames_take_few_bytes_per_pixel(chain):
    stored = pixels = 0
    for record in chain.records("Transform", "transformed_examples", "train"):
        feature = tf.train.Example.FromString(record).features.feature
        stored += len(record)
        pixels += feature[features.FRAME_COUNT].int64_list.value[0] * 32 * 32
    assert stored <= 1.15 * pixels


def test_transformed_records_are_serialized_deterministically(chain):
    # Protobuf maps are unordered, so TFX's own records differ in bytes between processes.
    for record in chain.records("Transform", "transformed_examples", "train"):
        assert record == tf.train.Example.FromString(record).SerializeToString(deterministic=True)


def test_exported_model_holds_no_keras_layer(pushed):
    # Its traced functions would slow down every export and every start of a server.
    saved = saved_model_pb2.SavedModel.FromString((pushed / "saved_model.pb").read_bytes())
    nodes = saved.meta_graphs[0].object_graph_def.nodes
    kinds = {node.user_object.identifier for node in nodes if node.HasField("user_object")}
    assert kinds
    assert not {kind for kind in kinds if "keras" in kind}


def test_model_card_describes_inputs_and_outputs(pushed):
    card = json.loads((pushed / "assets.extra" / "framecast.json").read_text())
    assert (card["task"], card["horizon"], card["context"]) == ("forecast", HORIZON, {"min": 4, "max": 24})
    assert (card["dtype"], card["channels"], card["frame_rate"]) == ("uint8", 1, 10.0)
    assert card["batch_sizes"] == [1, 4, 16]


def test_warmup_covers_batch_sizes_and_padded_lengths(chain, pushed):
    lengths = {4}  # The shortest context.
    for split in ("train", "val"):
        for record in chain.records("Transform", "transformed_examples", split):
            frames = _transformed_frames(record)
            lengths.add(int(tf.io.parse_tensor(frames, tf.uint8).shape[0]))
    asked, others = [], []
    for request in warmup.read_warmup(str(pushed)):
        if request.model_spec.signature_name == "serving_default":
            asked.append(tuple(dim.size for dim in request.inputs["frames"].tensor_shape.dim[:2]))
        else:
            others.append(request.model_spec.signature_name)
    assert sorted(asked) == sorted((batch, length) for batch in (1, 4, 16) for length in lengths)
    assert others == ["serve_examples", "step", "step"]
