"""ValidationGate: the spans it compares, and the statistics it keeps between runs."""

import json

import numpy as np
import pandas as pd
import pytest
import tensorflow_data_validation as tfdv
from tensorflow_metadata.proto.v0 import anomalies_pb2, statistics_pb2
from tfx.types import artifact_utils, standard_artifacts
from tfx.types.experimental import simple_artifacts

from framecast.components.validation_gate import span_statistics
from framecast.components.validation_gate.component import DataAnomaliesError, DataDriftError, ValidationGate
from framecast.components.validation_gate.drift_spec import DriftSpec

_WARN = DriftSpec(action="warn")


def _clips(brightness, seed):
    rng = np.random.default_rng(seed)
    facts = {
        "clip/length": rng.integers(4, 13, 200),
        "clip/content": np.full(200, "dense"),
        **{name: rng.normal(0.3, 0.05, 200) for name in ("clip/deviation", "clip/empty_share", "clip/motion")},
        "clip/mean": rng.normal(brightness, 0.05, 200),
    }
    return tfdv.generate_statistics_from_dataframe(pd.DataFrame(facts)).datasets[0]


class Gate:
    """Runs the gate in a work folder over spans, given as number and brightness."""

    def __init__(self, folder):
        self.folder = folder
        self.kept = str(folder / "statistics" / "contract")

    def run(self, spans, spec=None, anomalies=None, slices=None):
        """Returns `{span: (before, drifted features)}`."""
        datasets = [_clips(0.3, 0)]
        for span in spans if slices is None else slices:
            datasets.append(_clips(spans[span], span))
            datasets[-1].name = f"clip/span_{span}"
        statistics = self._artifact(
            standard_artifacts.ExampleStatistics,
            "FeatureStats.pb",
            statistics_pb2.DatasetFeatureStatisticsList(datasets=datasets),
        )
        found = self._artifact(
            standard_artifacts.ExampleAnomalies, "SchemaDiff.pb", anomalies or anomalies_pb2.Anomalies()
        )
        gate = simple_artifacts.File()
        gate.uri = str(self.folder / "gate")
        spec = spec or DriftSpec()
        ValidationGate.test_call(
            found, gate, statistics, spans=json.dumps(list(spans)), kept=self.kept, drift=spec.model_dump_json()
        )
        compared = json.loads((self.folder / "gate" / "drift.json").read_text())
        return {
            part["span"]: (
                part["before"],
                [name for name, value in part["divergences"].items() if value > part["thresholds"][name]],
            )
            for part in compared
        }

    def _artifact(self, kind, name, message):
        artifact = kind()
        artifact.uri = str(self.folder / kind.__name__)
        artifact.split_names = artifact_utils.encode_split_names(["train"])
        (self.folder / kind.__name__ / "Split-train").mkdir(parents=True, exist_ok=True)
        (self.folder / kind.__name__ / "Split-train" / name).write_bytes(message.SerializeToString())
        return artifact


@pytest.fixture
def gate(tmp_path):
    return Gate(tmp_path)


def test_span_is_compared_with_newest_span_before_it(gate):
    for span, before in ((3, None), (5, 3), (4, 3), (5, 4), (5, 4), (12, 5), (2, None)):
        assert gate.run({span: 0.3}) == {span: (before, [])}


def test_rejected_span_is_never_compared_with(gate):
    gate.run({1: 0.3})
    for span in (2, 3):
        with pytest.raises(DataDriftError, match=rf"span {span}, feature clip/mean: expected .* from span 1, received"):
            gate.run({span: 0.6})
    assert span_statistics.kept_spans(gate.kept) == [1]
    assert gate.run({3: 0.6}, _WARN) == {3: (1, ["clip/mean"])}
    assert gate.run({4: 0.6}) == {4: (3, [])}


def test_every_span_not_accepted_yet_is_compared(gate):
    window = {1: 0.3, 2: 0.6, 3: 0.6}
    with pytest.raises(DataDriftError) as caught:
        gate.run(window)
    compared = [(part.span, part.before, part.drifted) for part in caught.value.comparisons]
    assert compared == [(1, None, []), (2, 1, ["clip/mean"]), (3, 1, ["clip/mean"])]
    assert gate.run(window, _WARN) == {2: (1, ["clip/mean"]), 3: (2, [])}
    assert gate.run(window) == {3: (2, [])}


def test_threshold_of_single_feature(gate):
    gate.run({1: 0.3})
    assert gate.run({2: 0.6}, DriftSpec(features={"clip/mean": 1.0})) == {2: (1, [])}
    with pytest.raises(DataDriftError, match="clip/motion: expected a divergence of at most 0 from span 2"):
        gate.run({3: 0.6}, DriftSpec(features={"clip/motion": 0.0}))


def test_span_without_train_clips_is_not_kept(gate):
    gate.run({1: 0.3})
    assert gate.run({2: 0.3, 3: 0.3}, slices=[2]) == {2: (1, []), 3: (None, [])}
    assert span_statistics.kept_spans(gate.kept) == [1, 2]


def test_reason_for_no_comparison_is_written(gate):
    def why_not(span):
        gate.run({span: 0.3})
        return json.loads((gate.folder / "gate" / "drift.json").read_text())[0]["why_not"]

    assert why_not(2) == "first span, nothing to compare with"
    gate.kept = str(gate.folder / "statistics" / "another-contract")
    assert why_not(3).endswith(
        "nothing to compare with; the statistics kept are for another clip contract or data.train"
    )
    assert why_not(4) == ""


def test_span_that_violates_schema_is_not_kept(gate):
    anomalies = anomalies_pb2.Anomalies()
    anomalies.anomaly_info["clip/length"].description = "out of range"
    with pytest.raises(DataAnomaliesError, match="split train, feature clip/length: out of range"):
        gate.run({1: 0.3}, anomalies=anomalies)
    assert span_statistics.kept_spans(gate.kept) == []


def test_kill_during_write_keeps_old_statistics(gate, monkeypatch):
    gate.run({1: 0.3})
    path = gate.folder / "statistics" / "contract" / "span-1.pb"
    before = path.read_bytes()

    def killed(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", killed)
    with pytest.raises(KeyboardInterrupt):
        gate.run({1: 0.6})
    assert path.read_bytes() == before
    assert span_statistics.kept_spans(gate.kept) == [1]


def test_partial_file_of_killed_run_is_ignored(gate):
    gate.run({1: 0.3})
    (gate.folder / "statistics" / "contract" / "span-2.pb.part").write_bytes(b"half")
    digest = span_statistics.digest_before(gate.kept, 3)
    assert gate.run({3: 0.3}) == {3: (1, [])}
    assert span_statistics.digest_before(gate.kept, 3) == digest != span_statistics.digest_before(gate.kept, 4)
    (kept,) = tfdv.load_stats_binary(f"{gate.kept}/span-3.pb").datasets
    assert (kept.name, kept.num_examples, len(kept.features)) == ("clip/span_3", 200, 6)
