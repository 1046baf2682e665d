"""TensorFlow Model Analysis on a toy SavedModel: its forecast is the last frame times `scale` plus `bias`."""

import json
import math

import apache_beam as beam
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_model_analysis as tfma
from google.protobuf import json_format
from tensorflow_model_analysis.proto import config_pb2
from tfx_bsl.tfxio import raw_tf_record

from framecast.evaluation.baselines import in_graph
from framecast.evaluation.events_spec import EventsSpec
from framecast.evaluation.gate.thresholds import BASELINE, CANDIDATE, build_eval_config
from framecast.evaluation.gate.verdict import OVERALL, read_intervals, read_verdict
from framecast.evaluation.metrics import registry
from framecast.evaluation.metrics.forecast import NAMES, REFERENCES
from framecast.evaluation.spec import EvaluateSpec
from framecast.evaluation.sums import forecast as sums

HORIZON = 2
LONGEST = 5
SIZE = (4, 3, 1)
LENGTHS = (5, 5, 4, 3, 4, 2)  # The last one is too short to be counted.
CONTENTS = ("dense", "sparse", "dense", "empty", "sparse", "dense")
RECORDINGS = ("a", "b", "a", "c", "b", "d")
EVENTS = EventsSpec(thresholds=[0.3, 0.6], scales=[1, 3])
RUNNER = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"


class Toy(tf.Module):
    """A model with the signatures that the Evaluator asks for.

    Args:
        bias_of_lead: The bias at lead times where it is another.
        dropped: An output of `evaluate` to leave out.
        events: The events that `evaluate` counts.
    """

    def __init__(self, scale=1.0, bias=0.0, bias_of_lead=None, dropped=None, horizon=HORIZON, events=None):
        super().__init__()
        self._counted = (events.thresholds, events.scales) if events else ()
        self._scale, self._dropped, self._horizon = scale, dropped, horizon
        self._bias = [bias_of_lead.get(lead, bias) if bias_of_lead else bias for lead in range(1, horizon + 1)]

    def _parse(self, examples):
        return tf.io.parse_example(
            examples,
            {
                "frames": tf.io.FixedLenFeature([LONGEST, *SIZE], tf.float32),
                "length": tf.io.FixedLenFeature([], tf.int64),
                "content": tf.io.FixedLenFeature([], tf.string),
                "recording": tf.io.FixedLenFeature([], tf.string),
            },
        )

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "examples")])
    def transform_features(self, examples):
        parsed = self._parse(examples)
        return {name: parsed[name] for name in ("length", "content", "recording")}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "examples")])
    def evaluate(self, examples):
        parsed = self._parse(examples)
        length = tf.cast(parsed["length"], tf.int32)
        counted = length > self._horizon
        context = tf.maximum(length - self._horizon, 1)
        frames = parsed["frames"]
        known = tf.logical_not(tf.math.is_nan(frames))
        future = context[:, None] + tf.range(self._horizon)[None]
        truth, truth_known = (tf.gather(values, future, batch_dims=1) for values in (frames, known))
        forecasts = in_graph.reference_forecasts(
            frames, known, context, self._horizon, climatology=tf.fill(SIZE, 0.5), blur_sigmas=[1.0] * self._horizon
        )
        bias = tf.reshape(tf.constant(self._bias, tf.float32), [1, -1, 1, 1, 1])
        forecasts["model"] = forecasts["persistence"] * self._scale + bias
        outputs = sums.forecast_sums(truth, truth_known, counted, forecasts, *self._counted)
        outputs.pop(self._dropped, None)
        return outputs


@pytest.fixture(scope="module")
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


@pytest.fixture(scope="module")
def evaluate(clips, tmp_path_factory):
    """Runs an evaluation as TFX's Evaluator does and returns its verdict."""
    folder = tmp_path_factory.mktemp("tfma")
    data = str(folder / "clips.tfrecord")
    with tf.io.TFRecordWriter(data) as writer:
        for frames, length, *words in zip(clips, LENGTHS, CONTENTS, RECORDINGS, strict=True):
            feature = {
                "frames": tf.train.Feature(float_list=tf.train.FloatList(value=frames.ravel())),
                "length": tf.train.Feature(int64_list=tf.train.Int64List(value=[length])),
            }
            for name, word in zip(("content", "recording"), words, strict=True):
                feature[name] = tf.train.Feature(bytes_list=tf.train.BytesList(value=[word.encode()]))
            writer.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())
    empty, long_enough = str(folder / "empty.tfrecord"), str(folder / "long.tfrecord")
    tf.io.TFRecordWriter(empty).close()
    with tf.io.TFRecordWriter(long_enough) as writer:
        for record, length in zip(tf.data.TFRecordDataset(data).as_numpy_iterator(), LENGTHS, strict=True):
            if length > HORIZON:
                writer.write(record)

    def run(
        thresholds,
        candidate,
        baseline=None,
        horizon=HORIZON,
        no_clips=False,
        no_short_clips=False,
        events=None,
        output=None,
    ):
        spec = EvaluateSpec(thresholds=thresholds, events=events)
        config = through_json(build_eval_config(spec, horizon=horizon, slices=("content", "length")))
        config = tfma.utils.update_eval_config_with_defaults(
            config, has_baseline=baseline is not None, rubber_stamp=True
        )
        models = []
        for spec, toy in zip(config.model_specs, (candidate, baseline), strict=False):
            path = str(tmp_path_factory.mktemp("model"))
            tf.saved_model.save(
                toy, path, signatures={"evaluate": toy.evaluate, "transform_features": toy.transform_features}
            )
            models.append(
                tfma.default_eval_shared_model(eval_saved_model_path=path, model_name=spec.name, eval_config=config)
            )
        output = output or str(tmp_path_factory.mktemp("evaluation"))
        source = raw_tf_record.RawTfRecordTFXIO(
            file_pattern=empty if no_clips else long_enough if no_short_clips else data,
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
    """As TFX hands the config to the Evaluator."""
    return json_format.Parse(json_format.MessageToJson(config), config_pb2.EvalConfig())


def mean_square(clips, lead, forecast):
    """NumPy oracle: the mean squared error at a lead time over counted clips' known pixels."""
    errors = []
    for frames, length in zip(clips, LENGTHS, strict=True):
        if length > HORIZON:
            truth = frames[length - HORIZON + lead - 1]
            errors.append((forecast(np.nan_to_num(frames[length - HORIZON - 1])) - truth)[~np.isnan(truth)])
    return np.mean(np.concatenate(errors).astype("float64") ** 2)


@pytest.fixture(scope="module")
def alone(evaluate):
    """A candidate evaluated without a serving model, with bounds on both sides that it keeps."""
    return evaluate(
        {"mse": {"max": 1.0, "max_increase_vs_serving": 0.0}, "skill": {"min": -5.0, "per_lead_time": True}},
        Toy(scale=0.5, bias=0.25),
    )


def test_a_candidate_within_its_bounds_is_blessed_and_needs_no_serving_model(alone):
    assert alone.blessed
    assert alone.misses == []
    assert alone.serving == {}
    assert alone.summary().startswith("blessed, mse 0.")


def test_figures_hold_every_metric_overall_and_at_each_lead_time(alone, clips):
    names = registry.names_of("forecast")
    assert set(alone.figures) == {registry.key(name, lead) for name in names for lead in (None, 1, 2)}
    for lead in (1, 2):
        model = mean_square(clips, lead, lambda last: last * 0.5 + 0.25)
        assert alone.figures[f"mse/lead_{lead}"] == pytest.approx(model, rel=1e-6)
        known = {"persistence": lambda last: last, "black": np.zeros_like, "climatology": lambda last: 0.5 + 0 * last}
        for name, forecast in known.items():
            expected = mean_square(clips, lead, forecast)
            assert alone.figures[f"mse_{name}/lead_{lead}"] == pytest.approx(expected, rel=1e-6)
        best = min(alone.figures[f"mse_{name}/lead_{lead}"] for name in REFERENCES)
        assert alone.figures[f"skill/lead_{lead}"] == pytest.approx(1 - model / best, rel=1e-5)


def test_spectra_are_those_of_truth_candidate_and_references_over_counted_clips(alone, clips):
    assert list(alone.spectra) == ["truth", "candidate", *REFERENCES]
    truth, black = alone.spectra["truth"], alone.spectra["black"]
    for lead in (1, 2):
        # Frames of 4x3 pixels have waves of 2 and 4 pixels by rows, 3 by columns, 2.4 and 1.66 by both.
        for band, waves in enumerate([[(2, 0)], [(0, 1), (0, 2), (1, 1), (1, 2), (3, 1), (3, 2)], [(1, 0), (3, 0)]]):
            powers = []
            for frames, length in zip(clips, LENGTHS, strict=True):
                if length > HORIZON:
                    frame = frames[length - HORIZON + lead - 1, ..., 0]
                    power = np.abs(np.fft.fft2(np.nan_to_num(frame))) ** 2 / np.isfinite(frame).sum()
                    powers.append(np.mean([power[wave] for wave in waves]))
            assert truth[lead - 1][band] == pytest.approx(np.mean(powers), rel=1e-6)
        assert black[lead - 1][0] == 0
        assert truth[lead - 1][3:] == [None] * 10
        ratio = alone.spectra["candidate"][lead - 1][0] / truth[lead - 1][0]
        assert alone.figures[f"power_2px/lead_{lead}"] == pytest.approx(ratio)
    json.dumps(alone.spectra, allow_nan=False)


def test_slices_are_by_content_and_by_length_and_a_slice_that_counts_nothing_has_no_figures(alone):
    assert set(alone.slices) == {
        *(f"content: {content}" for content in ("dense", "sparse", "empty")),
        *(f"length: {length}" for length in (2, 3, 4, 5)),
    }
    assert alone.slices["length: 2"]["mse"] is None
    assert alone.slices["length: 5"]["mse"] > 0
    json.dumps([alone.figures, alone.slices], allow_nan=False)


def test_a_bound_of_one_lead_time_names_the_lead_time(evaluate):
    verdict = evaluate({"mse": {"max": 0.5, "per_lead_time": True}}, Toy(bias_of_lead={2: 3.0}))
    assert not verdict.blessed
    (miss,) = verdict.misses
    assert (miss.metric, miss.lead_time, miss.slice) == ("mse", 2, OVERALL)
    assert miss.value == verdict.figures["mse/lead_2"]
    assert miss.describe().startswith("mse at lead time 2: expected at most 0.5, received ")
    assert verdict.summary().startswith("1 threshold missed, mse")


def test_a_bound_from_below_is_missed(evaluate):
    verdict = evaluate({"skill": {"min": 0.9, "max": 1.0}}, Toy())
    assert [miss.bound for miss in verdict.misses] == ["at least 0.9"]


@pytest.mark.parametrize("thresholds", [{}, {"skill": {"max": 2.0}}])
def test_a_candidate_that_forecasts_no_numbers_fails_whatever_is_configured(evaluate, thresholds):
    verdict = evaluate(thresholds, Toy(bias_of_lead={1: math.nan}))
    assert not verdict.blessed
    miss = next(miss for miss in verdict.misses if miss.metric == "mse")
    assert miss.describe() == "mse: expected a finite number, received no finite number"
    assert verdict.figures["mse"] is verdict.figures["mse/lead_1"] is None
    assert verdict.figures["mse/lead_2"] > 0


def test_without_thresholds_a_candidate_with_finite_errors_is_blessed(evaluate):
    assert evaluate({}, Toy()).blessed


def test_an_eval_split_without_clips_blesses_nothing(evaluate):
    verdict = evaluate({}, Toy(), no_clips=True)
    assert not verdict.blessed
    assert [miss.bound for miss in verdict.misses] == ["at least one clip"]


def test_a_model_equal_to_the_serving_one_is_blessed(evaluate):
    verdict = evaluate({"mse": {"max_increase_vs_serving": 0.0}}, Toy(0.7), Toy(0.7))
    assert verdict.blessed
    assert verdict.serving == verdict.figures
    assert verdict.spectra["serving"] == verdict.spectra["candidate"]


def test_a_model_worse_than_the_serving_one_is_refused_with_the_increase(evaluate):
    verdict = evaluate({"mse": {"max_increase_vs_serving": 0.0}}, Toy(bias=0.4), Toy(0.5, 0.25))
    (miss,) = verdict.misses
    assert not verdict.blessed
    assert miss.value == pytest.approx(verdict.figures["mse"] - verdict.serving["mse"])
    assert "expected an increase of at most 0 against the serving model" in miss.describe()


def test_a_model_better_than_the_serving_one_is_blessed(evaluate):
    bounds = {"mse": {"max_increase_vs_serving": 0.0, "per_lead_time": True}}
    assert evaluate(bounds, Toy(0.5, 0.25), Toy(bias=0.4)).blessed


def test_one_lead_time_works(evaluate):
    verdict = evaluate({"mse": {"max": 1.0, "per_lead_time": True}}, Toy(horizon=1), horizon=1)
    assert verdict.blessed
    assert verdict.figures["mse"] == verdict.figures["mse/lead_1"]


@pytest.fixture(scope="module")
def with_events(evaluate):
    """Candidate and serving model with events: the first forecasts too many, the second none."""
    bounds = {
        "csi_0.3": {"min": 0.0, "max": 1.0},
        "bias_0.6": {"max": 1.1, "per_lead_time": True},
        "far_0.3": {"max_increase_vs_serving": 1.0},
    }
    return evaluate(bounds, Toy(bias=0.3, events=EVENTS), Toy(scale=0.2, bias=0.2, events=EVENTS), events=EVENTS)


def test_figures_of_events_are_numpys_for_every_forecast_slice_and_lead_time(with_events, clips):
    assert set(with_events.figures) == {
        registry.key(name, lead) for name in registry.names_of("forecast", EVENTS) for lead in (None, 1, 2)
    }
    assert all(set(figures) == set(with_events.figures) for figures in with_events.slices.values() if figures["mse"])
    models = {"": (1, 0.3), "_persistence": (1, 0)}
    for ending, (scale, bias) in models.items():
        for leads in ([1], [2], [1, 2]):
            lead = leads[0] if len(leads) == 1 else None
            assert with_events.figures[registry.key(f"csi_0.6{ending}", lead)] == pytest.approx(
                numpy_csi(clips, leads, scale, bias), rel=1e-6
            )
    assert with_events.slices["length: 3"]["csi_0.6"] == pytest.approx(numpy_csi(clips, [1, 2], 1, 0.3, length=3))
    assert with_events.serving["csi_0.6"] == pytest.approx(numpy_csi(clips, [1, 2], 0.2, 0.2))
    json.dumps([with_events.figures, with_events.slices], allow_nan=False)


def numpy_csi(clips, leads, scale, bias, length=None):
    """Of events from 0.6 on."""
    hits = others = 0
    for frames, own in zip(clips, LENGTHS, strict=True):
        if own <= HORIZON or length not in (None, own):
            continue
        forecast = np.nan_to_num(frames[own - HORIZON - 1]) * np.float32(scale) + np.float32(bias) >= 0.6
        for lead in leads:
            truth = frames[own - HORIZON + lead - 1]
            came, known = truth >= 0.6, ~np.isnan(truth)
            hits += (came & forecast & known).sum()
            others += ((came != forecast) & known).sum()
    return hits / (hits + others)


def test_a_bound_on_events_is_missed_at_its_lead_times(with_events):
    assert [(miss.metric, miss.lead_time, miss.bound) for miss in with_events.misses] == [
        ("bias_0.6", 1, "at most 1.1"),
        ("bias_0.6", 2, "at most 1.1"),
    ]
    for miss in with_events.misses:
        assert miss.value == with_events.figures[registry.key(miss.metric, miss.lead_time)]


def test_a_score_that_is_undefined_misses_its_bound(evaluate):
    verdict = evaluate({"far_0.6_black": {"min": 0.0}}, Toy(events=EVENTS), events=EVENTS)
    (miss,) = verdict.misses
    assert miss.describe() == "far_0.6_black: expected at least 0, received no finite number"


def test_one_lead_time_one_threshold_and_one_scale_work(evaluate):
    events = EventsSpec(thresholds=[0.5], scales=[1])
    toy = Toy(horizon=1, events=events)
    verdict = evaluate({"csi_0.5": {"max": 1.0, "per_lead_time": True}}, toy, horizon=1, events=events)
    assert verdict.blessed
    assert verdict.figures["fss_0.5_1px"] == verdict.figures["fss_0.5_1px/lead_1"] > 0


def test_a_bound_on_the_power_of_a_wavelength_is_missed(evaluate):
    verdict = evaluate({"power_2px": {"min": 0.8, "per_lead_time": True}}, Toy(scale=0.1))
    assert [(miss.metric, miss.lead_time, miss.bound) for miss in verdict.misses] == [
        ("power_2px", 1, "at least 0.8"),
        ("power_2px", 2, "at least 0.8"),
    ]
    assert verdict.misses[0].value == verdict.figures["power_2px/lead_1"] < 0.1


def test_metrics_of_events_and_wavelengths_are_tfmas_only_where_a_bound_asks_for_them():
    bounds = {"csi_0.6": {"min": 0.1, "per_lead_time": True}, "power_4px": {"min": 0.5}}
    spec = EvaluateSpec(events=EVENTS, thresholds=bounds)
    arguments = [json.loads(metric.config) for metric in build_eval_config(spec, horizon=2).metrics_specs[0].metrics]
    asked = [(one["metric"], one["lead_time"]) for one in arguments if one.get("metric") not in (None, *NAMES)]
    assert asked == [("csi_0.6", 1), ("csi_0.6", 2), ("power_4px", None)]


def test_a_missing_output_is_named_with_its_model(evaluate):
    with pytest.raises(ValueError, match=r"baseline model: evaluate signature: .* received none called psnr"):
        evaluate({}, Toy(), Toy(dropped="psnr"))


def test_thresholds_stand_on_the_overall_slice_only():
    config = build_eval_config(EvaluateSpec(thresholds={"mae": {"max": 1.0, "per_lead_time": True}}), horizon=2)
    bounded = {
        json.loads(metric.config)["metric"] + str(json.loads(metric.config)["lead_time"] or ""): metric
        for metric in config.metrics_specs[0].metrics
        if metric.per_slice_thresholds
    }
    assert set(bounded) == {"mse", "mae1", "mae2"}
    for metric in bounded.values():
        (threshold,) = metric.per_slice_thresholds
        assert list(threshold.slicing_specs) == [config_pb2.SlicingSpec()]
        assert not metric.HasField("threshold")
    assert [(spec.name, spec.is_baseline) for spec in config.model_specs] == [(CANDIDATE, False), (BASELINE, True)]


def test_a_folder_without_an_evaluation_is_named(tmp_path):
    with pytest.raises(ValueError, match=f"{tmp_path}: expected one validation result"):
        read_verdict(str(tmp_path))


def numpy_mse(clips, models, among=None):
    """Mean squared errors of `scale` and `bias` models over some of the clips, all unless given."""
    errors = [[] for _ in models]
    for number in range(len(LENGTHS)) if among is None else among:
        frames, length = clips[number], LENGTHS[number]
        if length > HORIZON:
            truth = frames[length - HORIZON : length]
            last = np.nan_to_num(frames[length - HORIZON - 1]).astype("float64")
            for own, (scale, bias) in zip(errors, models, strict=True):
                own.append((last * scale + bias - truth)[~np.isnan(truth)])
    return [float(np.mean(np.concatenate(own) ** 2)) for own in errors]


@pytest.fixture(scope="module")
def by_slice(evaluate):
    """A candidate with bounds on slices, some of which it misses, beside a serving model."""
    bounds = {
        "mse": {
            "max": 9.0,
            "slices": {
                "content": {"sparse": {"max": 0.01}, "dense": {"max": 9.0}},
                "length": {"each": {"max_increase_vs_serving": -9.0}, 5: {"min": 8.0, "per_lead_time": True}},
            },
        },
        "skill": {"slices": {"content": {"each": {"min": -9.0}}, "length": {99: {"min": 0.0}}}},
    }
    return evaluate(bounds, Toy(bias=0.2), Toy(0.5, 0.25), no_short_clips=True)


def test_a_bound_on_a_slice_is_missed_there_alone(by_slice, clips):
    assert not by_slice.blessed
    found = {(miss.metric, miss.lead_time, miss.slice): miss for miss in by_slice.misses}
    assert set(found) == {
        ("mse", None, "content: sparse"),
        ("mse", 1, "length: 5"),
        ("mse", 2, "length: 5"),
        *(("mse", None, f"length: {length}") for length in (3, 4, 5)),
        ("eval split", None, "length: 99"),
    }
    sparse = found["mse", None, "content: sparse"]
    (expected,) = numpy_mse(clips, [(1, 0.2)], among=[1, 4])
    assert sparse.value == pytest.approx(expected, rel=1e-6)
    assert sparse.describe() == f"mse (content: sparse): expected at most 0.01, received {sparse.value:.6g}"
    candidate, serving = numpy_mse(clips, [(1, 0.2), (0.5, 0.25)], among=[3])
    assert found["mse", None, "length: 3"].value == pytest.approx(candidate - serving, rel=1e-5)
    missing = found["eval split", None, "length: 99"]
    assert missing.describe() == "eval split (length: 99): expected at least one clip, received none"


def test_a_bound_on_every_slice_that_all_keep_is_no_miss(evaluate):
    bounds = {"mse": {"slices": {"content": {"each": {"max": 9.0}}, "length": {"each": {"max": 9.0}}}}}
    verdict = evaluate(bounds, Toy(bias=0.2), no_short_clips=True)
    assert verdict.blessed, verdict.misses


def test_intervals_are_over_recordings_and_paired_with_the_serving_model(evaluate, clips, tmp_path):
    evaluate({}, Toy(bias=0.2), Toy(0.5, 0.25), output=str(tmp_path))
    intervals = read_intervals(str(tmp_path))
    # Of recording d the one clip is too short to be counted.
    of_recording = {"a": [0, 2], "b": [1, 4], "c": [3]}
    assert intervals.recordings == 3
    models = [(1, 0.2), (0.5, 0.25)]
    # Every resample's figure lies between those of the recordings themselves.
    each = np.array([numpy_mse(clips, models, among=among) for among in of_recording.values()])
    for found, values in ((intervals.figures, each[:, 0]), (intervals.serving, each[:, 1])):
        low, high = found["mse"]
        assert values.min() - 1e-6 <= low < high <= values.max() + 1e-6
    low, high = intervals.differences["mse"]
    difference = np.subtract(*numpy_mse(clips, models))
    assert low < difference < high
    assert high - low < np.ptp(each[:, 0]) + np.ptp(each[:, 1])
    assert set(intervals.figures) == {
        registry.key(name, lead) for name in registry.names_of("forecast") for lead in (None, 1, 2)
    }
    assert intervals.slices["content: empty"]["mse"] is None  # One recording.
    assert intervals.slices["length: 5"]["mse"][0] < intervals.slices["length: 5"]["mse"][1]


def test_a_slice_that_is_none_is_refused_by_name():
    with pytest.raises(ValueError, match="contents"):
        EvaluateSpec(thresholds={"mse": {"slices": {"contents": {"dense": {"max": 1}}}}})
    with pytest.raises(ValueError, match="max_increase_vs_serving: expected a metric where lower is better"):
        EvaluateSpec(thresholds={"skill": {"slices": {"length": {8: {"max_increase_vs_serving": 0}}}}})
