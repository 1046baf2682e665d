"""Figures and spectra of an evaluation, against NumPy."""

import json

import numpy as np
import pytest

from framecast.evaluation.gate.verdict import Miss, Verdict, read_verdict
from framecast.evaluation.metrics import registry
from framecast.evaluation.metrics.forecast import REFERENCES
from tests.evaluation.gate.toy import HORIZON, LENGTHS, Toy

pytestmark = pytest.mark.xdist_group("tfma")


def mean_square(clips, lead, forecast):
    """NumPy oracle: the mean squared error at a lead time over counted clips' known pixels."""
    errors = []
    for frames, length in zip(clips, LENGTHS, strict=True):
        if length > HORIZON:
            truth = frames[length - HORIZON + lead - 1]
            errors.append((forecast(np.nan_to_num(frames[length - HORIZON - 1])) - truth)[~np.isnan(truth)])
    return np.mean(np.concatenate(errors).astype("float64") ** 2)


def test_figures_hold_every_metric_at_each_lead_time(alone, clips):
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


def test_spectra_are_numpys_over_counted_clips(alone, clips):
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


def test_slice_without_counted_clips_has_no_figures(alone):
    assert set(alone.slices) == {
        *(f"content: {content}" for content in ("dense", "sparse", "empty")),
        *(f"length: {length}" for length in (2, 3, 4, 5)),
    }
    assert alone.slices["length: 2"]["mse"] is None
    assert alone.slices["length: 5"]["mse"] > 0
    json.dumps([alone.figures, alone.slices], allow_nan=False)


@pytest.mark.parametrize(("misses", "outcome"), [(1, "1 threshold missed"), (2, "2 thresholds missed")])
def test_summary_counts_misses_and_compares_with_serving(misses, outcome):
    figures, serving = {"accuracy": 0.5, "cross_entropy": None}, {"cross_entropy": 1.25}
    miss = Miss("accuracy", None, "overall", 0.5, "at least 0.9")
    verdict = Verdict(False, [miss] * misses, figures, {}, serving, {})
    expected = f"{outcome}, accuracy 0.5, cross_entropy not a number, serving cross_entropy 1.25"
    assert verdict.summary("classify") == expected


def test_missing_output_names_model_and_output(evaluate):
    with pytest.raises(ValueError, match=r"baseline model: evaluate signature: .* received none called psnr"):
        evaluate({}, Toy(), Toy(dropped="psnr"))


def test_folder_without_evaluation_is_named(tmp_path):
    with pytest.raises(ValueError, match=f"{tmp_path}: expected one validation result"):
        read_verdict(str(tmp_path))
