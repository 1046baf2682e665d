"""Bootstrap intervals against SciPy."""

import numpy as np
import pytest
import scipy.stats

from framecast.evaluation.events_spec import EventsSpec
from framecast.evaluation.metrics import anomaly as anomaly_metrics
from framecast.evaluation.metrics import bootstrap, registry
from framecast.evaluation.metrics import events as event_metrics
from framecast.evaluation.metrics.bootstrap import Resamples
from framecast.evaluation.metrics.forecast import OUTPUTS, REFERENCES
from framecast.evaluation.metrics.sums import Sums

HORIZON = 2
COUNT = 40  # Recordings.
EVENTS = EventsSpec(thresholds=[0.5], scales=[1, 3])


def sums_of(rng, scale=1.0, events=None):
    """Random sums, of one clip or several."""
    values = {name: rng.uniform(1, 2, HORIZON) for name in OUTPUTS}
    if events:
        axes = event_metrics.outputs(len(events.thresholds), len(events.scales))
        values |= {name: rng.integers(1, 50, (HORIZON, *own)).astype(float) for name, own in axes.items()}
    values["squared_error"] *= scale * rng.uniform(0.5, 3)
    return Sums(values, events=events)


@pytest.fixture(scope="module")
def groups():
    rng = np.random.default_rng(0)
    return {number: sums_of(rng) for number in range(COUNT)}


def column(groups, name):
    return np.array([groups[number].values[name].sum() for number in groups])


def of_scipy(statistic, *columns):
    """The ends of SciPy's percentile interval of a statistic over paired columns."""
    result = scipy.stats.bootstrap(
        columns, statistic, paired=True, vectorized=True, n_resamples=20_000, method="percentile",
        random_state=np.random.default_rng(1),
    )  # fmt: skip
    return result.confidence_interval


def test_interval_of_mse_is_scipys(groups):
    squared, pixels = column(groups, "squared_error"), column(groups, "pixels")
    low, high = of_scipy(lambda x, y, axis: x.sum(axis) / y.sum(axis), squared, pixels)
    found = Resamples({"model": groups}).interval("model", "mse")
    # 1,000 resamples determine the ends to about a twentieth of the width.
    np.testing.assert_allclose(found, (low, high), atol=0.08 * (high - low))
    assert found[0] < Sums.merge(*_both(groups)).compute("mse") < found[1]


def _both(groups):
    merged = Sums()
    for number in list(groups)[1:]:
        merged = merged.merge(groups[number])
    return groups[0], merged


def test_interval_of_skill_is_scipys(groups):
    columns = [column(groups, name) for name in ("squared_error", "squared_error_persistence")]
    low, high = of_scipy(lambda x, y, axis: 1 - x.sum(axis) / y.sum(axis), *columns)
    found = Resamples({"model": groups}).interval("model", "skill_persistence")
    np.testing.assert_allclose(found, (low, high), atol=0.08 * (high - low))


def test_difference_is_paired(groups):
    """A model 1 % worse on every recording is significantly worse, though recordings differ by far more."""
    worse = {}
    for number, sums in groups.items():
        worse[number] = Sums({**sums.values, "squared_error": 1.01 * sums.values["squared_error"]})
    resamples = Resamples({"worse": worse, "better": groups})
    low, high = resamples.difference("worse", "better", "mse")
    assert 0 < low < high
    own = resamples.interval("better", "mse")
    assert own[1] - own[0] > 10 * (high - low)


def test_interval_equals_resamples_computed_singly():
    rng = np.random.default_rng(3)
    groups = {number: sums_of(rng, events=EVENTS) for number in range(8)}
    resamples = Resamples({"model": groups})
    named = list(resamples.metrics("model"))
    assert {lead for _, lead in named} == {None, 1, 2}
    assert {name for name, _ in named} == set(registry.names_of("forecast", EVENTS))
    # The same resamples, one by one.
    drawn = np.random.default_rng(0).multinomial(8, np.full(8, 1 / 8), size=1000)
    one_by_one = []
    for counts in drawn:
        values = {
            name: sum(count * groups[number].values[name] for number, count in enumerate(counts))
            for name in groups[0].values
        }
        one_by_one.append(Sums(values, events=EVENTS))
    for name in ("csi_0.5", "fss_0.5_3px_persistence", "skill", "psnr", "hss_0.5"):
        for lead in (None, 2):
            expected = np.quantile([sums.compute(name, lead) for sums in one_by_one], [0.025, 0.975])
            np.testing.assert_allclose(resamples.interval("model", name, lead), expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("task", "values"),
    [
        ("classify", {"labels": 4.0, "cross_entropy": 2.0, "confusion": np.array([[2.0, 1.0], [0.0, 1.0]])}),
        (
            "regress",
            {
                "labels": 3.0,
                "squared_error": [1.0],
                "absolute_error": [2.0],
                "number": [5.0],
                "squared_number": [11.0],
            },
        ),
        (
            "anomaly",
            {
                "pixels": 9.0, "squared_error": 2.0,
                **{name: np.arange(512.0) % 7 for name in anomaly_metrics.HISTOGRAMS},
            },
        ),
    ],
    ids=["classify", "regress", "anomaly"],
)  # fmt: skip
def test_equal_recordings_have_an_interval_of_zero_width(task, values):
    sums = Sums({name: np.array(value) for name, value in values.items()}, task)
    resamples = Resamples({"model": {1: sums, 5: sums, 9: sums}})
    for name, _ in resamples.metrics("model"):
        assert resamples.interval("model", name) == (pytest.approx(sums.compute(name)),) * 2, name


def test_interval_is_independent_of_recording_order(groups):
    reverse = dict(reversed(groups.items()))
    assert Resamples({"m": groups}).interval("m", "mse") == Resamples({"m": reverse}).interval("m", "mse")


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_recordings_have_no_interval(groups, count):
    resamples = Resamples({"model": {number: groups[number] for number in range(count)}})
    assert resamples.interval("model", "mse") is None


def test_often_undefined_metric_has_no_interval(groups):
    rare = {number: Sums(dict(sums.values)) for number, sums in groups.items()}
    for number in range(1, COUNT):
        for name in OUTPUTS:
            rare[number].values[name] = np.zeros(HORIZON)
    # In a third of the resamples the one recording with pixels is not drawn.
    assert Resamples({"model": rare}).interval("model", "mse") is None


def test_decode_inverts_encode(groups):
    back = bootstrap.decode(bootstrap.encode(groups))
    assert list(back) == list(groups)
    for number, sums in groups.items():
        assert sums.values.keys() == back[number].values.keys()
        for name, value in sums.values.items():
            np.testing.assert_array_equal(back[number].values[name], value)
    assert bootstrap.decode(bootstrap.encode({})) == {}


def test_merge_is_independent_of_order():
    rng = np.random.default_rng(5)
    clips = [(bootstrap.group_of(name), sums_of(rng)) for name in (b"a", b"b", b"a", b"c", b"b")]
    forward, backward = {}, {}
    for group, sums in clips:
        forward = bootstrap.merge(forward, {group: sums})
    for group, sums in reversed(clips):
        backward = bootstrap.merge({group: sums}, backward)
    assert len(forward) == 3
    assert forward.keys() == backward.keys()
    for group, sums in forward.items():
        for name in ("squared_error", *(f"squared_error_{name}" for name in REFERENCES)):
            np.testing.assert_allclose(sums.values[name], backward[group].values[name], rtol=1e-15)


def test_recordings_spread_evenly_over_groups():
    counts = np.bincount([bootstrap.group_of(b"%d" % number) for number in range(20_000)], minlength=bootstrap.GROUPS)
    assert len(counts) == bootstrap.GROUPS
    assert 1 <= counts.min() <= counts.max() <= 50
