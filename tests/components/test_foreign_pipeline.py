"""ClipExampleGen, ValidationGate and ServingModel in a TFX pipeline without Framecast's DAG."""

import json

import pytest
from tfx import v1 as tfx
from tfx.orchestration import metadata

from framecast.clips.demo.moving_digits import make_demo
from framecast.components import BadClipsError, ClipExampleGen, DataAnomaliesError, ServingModel, ValidationGate
from framecast.components.clip_example_gen.splits import split_of
from framecast.schemas.clip_spec import ClipSpec, FrameRange

_SPEC = ClipSpec(frames=FrameRange(min=8, max=24))


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    return tmp_path_factory.mktemp("foreign")


@pytest.fixture(scope="module")
def clips(work):
    make_demo(work / "clips", clips=42, seed=5, size=32)
    return work / "clips"


def _run(work, components):
    """Runs a pipeline with TFX's cache, because both chains ingest the same clips."""
    pipeline = tfx.dsl.Pipeline(
        "foreign",
        str(work / "root"),
        components=components,
        enable_cache=True,
        metadata_connection_config=metadata.sqlite_metadata_connection_config(str(work / "metadata.sqlite")),
        beam_pipeline_args=["--runner=apache_beam.runners.portability.fn_api_runner.fn_runner.FnApiRunner"],
    )
    tfx.orchestration.LocalDagRunner().run(pipeline)
    return work / "root"


def _chain(clips, schema):
    examples = ClipExampleGen(
        input_base=str(clips), clip=_SPEC, train="*/*.gz", shares={"train": 2, "val": 1, "eval": 1}
    )
    statistics = tfx.components.StatisticsGen(examples=examples.outputs["examples"])
    imported = tfx.components.ImportSchemaGen(schema_file=str(schema))
    anomalies = tfx.components.ExampleValidator(
        statistics=statistics.outputs["statistics"], schema=imported.outputs["schema"]
    )
    gate = ValidationGate(anomalies=anomalies.outputs["anomalies"])
    return [examples, statistics, imported, anomalies, gate]


def _write_schema(path, spec):
    from google.protobuf import text_format

    from framecast.schemas.schema import build_schema

    path.write_text(text_format.MessageToString(build_schema(spec)))
    return path


def test_clips_pass_through_a_foreign_pipeline(work, clips):
    schema = _write_schema(work / "schema.pbtxt", _SPEC)
    serving = ServingModel(directory=str(work / "nothing"))
    root = _run(work, [*_chain(clips, schema), serving])
    (summary,) = root.glob("ClipExampleGen/examples/*/ingest.json")
    splits = json.loads(summary.read_text())["splits"]
    assert sum(split["clips"] for split in splits.values()) == 42
    assert (next(root.glob("ServingModel/model/*")) / "serving.txt").read_text() == "nothing is serving\n"


def test_gate_ends_run_on_data_that_violate_schema(work, clips):
    strict = ClipSpec(frames=FrameRange(min=8, max=10))
    schema = _write_schema(work / "strict.pbtxt", strict)
    with pytest.raises(DataAnomaliesError, match=r"split train, feature clip/length"):
        _run(work, _chain(clips, schema))


def test_bad_clip_ends_run_and_is_named(work, clips):
    short = ClipSpec(frames=FrameRange(min=8, max=20))
    examples = ClipExampleGen(input_base=str(clips), clip=short, train="*/*.gz")
    with pytest.raises(
        BadClipsError, match=r"clips-00000-of-00001.tfrecord.gz, record \d+: .*8 to 20 frames, received"
    ):
        _run(work, [examples])


def test_splits_have_the_requested_shares():
    shares = {"train": 8, "val": 1, "eval": 1}
    names = [f"recording-{number}".encode() for number in range(2000)]
    counts = {split: sum(split_of(name, shares) == split for name in names) for split in shares}
    assert counts["train"] == pytest.approx(1600, rel=0.05)
    assert counts["val"] == pytest.approx(200, rel=0.25)
