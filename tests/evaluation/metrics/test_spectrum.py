"""Shares of the truth's power, and their pooling."""

import itertools
import re

import numpy as np
import pytest

from framecast.evaluation.metrics import registry
from framecast.evaluation.metrics import spectrum as spectrum_metrics
from framecast.evaluation.metrics.forecast import OUTPUTS, REFERENCES
from framecast.evaluation.metrics.sums import Sums

HORIZON = 3
CLIPS = 5
BANDS = len(spectrum_metrics.WAVELENGTHS)


@pytest.fixture
def outputs():
    rng = np.random.default_rng(0)
    found = {name: np.ones((CLIPS, HORIZON)) for name in OUTPUTS}
    for name, axes in spectrum_metrics.outputs().items():
        found[name] = rng.uniform(1, 2, (CLIPS, HORIZON, *axes)).astype("float32")
    found["spectra"] = rng.integers(1, 3, (CLIPS, HORIZON, BANDS)).astype("float32")
    return found


def test_wavelengths_are_half_octaves():
    assert pytest.approx(2 ** np.arange(1, 7.25, 0.5)) == spectrum_metrics.WAVELENGTHS


def test_every_forecast_has_each_wavelength():
    own = [f"power_{length}px" for length in (2, 3, 4, 6, 8, 11, 16, 23, 32, 45, 64, 91, 128)]
    names = [name for name in registry.names_of("forecast") if name.startswith("power")]
    assert names == [
        f"{name}{ending}" for ending in ("", *(f"_{reference}" for reference in REFERENCES)) for name in own
    ]
    assert {registry.direction(name) for name in names} == {"one"}
    for task in ("anomaly", "classify", "regress"):
        assert not any(name.startswith("power") for name in registry.names_of(task))


def test_shares_pool_power(outputs):
    sums = Sums().update(outputs)
    model, truth, black = (outputs[f"power{field}"].astype("float64")[..., 2] for field in ("", "_truth", "_black"))
    assert sums.compute("power_4px") == pytest.approx(model.sum() / truth.sum(), rel=1e-12)
    assert sums.compute("power_4px", 2) == pytest.approx(model[:, 1].sum() / truth[:, 1].sum(), rel=1e-12)
    assert sums.compute("power_4px_black", 3) == pytest.approx(black[:, 2].sum() / truth[:, 2].sum(), rel=1e-12)


def test_result_is_independent_of_split_and_order(outputs):
    whole = Sums().update(outputs)
    for order in itertools.islice(itertools.permutations(range(CLIPS)), 0, 120, 23):
        left, right = Sums(), Sums()
        for place, clip in enumerate(order):
            one = {name: values[clip] for name, values in outputs.items()}
            left, right = (left.update(one), right) if place < 2 else (left, right.update(one))
        merged = right.merge(left)
        assert Sums.from_json(merged.to_json()).figures() == merged.figures()
        assert merged.figures() == pytest.approx(whole.figures(), rel=1e-12)


def test_share_without_truth_or_wavelength_is_nan(outputs):
    outputs["power_truth"][..., 0] = 0
    for name in spectrum_metrics.OUTPUTS:
        outputs[name][..., 12] = 0
    sums = Sums().update(outputs)
    for name in ("power_2px", "power_2px_persistence", "power_128px"):
        assert np.isnan(sums.compute(name))
    assert sums.compute("power_3px") > 0


def test_nan_power_makes_share_nan(outputs):
    outputs["power"][1, 1] = np.nan
    sums = Sums().update(outputs)
    assert np.isnan(sums.compute("power_4px"))
    assert np.isnan(sums.compute("power_4px", 2))
    assert sums.compute("power_4px", 1) > 0
    assert sums.compute("power_4px_persistence") > 0


def test_spectra_are_means_over_frames_and_channels(outputs):
    for name in spectrum_metrics.OUTPUTS:
        outputs[name][:, 1, 11] = 0
    found = spectrum_metrics.spectra(Sums().update(outputs).values)
    assert tuple(found) == spectrum_metrics.FIELDS
    counts = outputs["spectra"].sum(0)
    for field, power in found.items():
        defined = counts > 0
        np.testing.assert_allclose(
            power[defined], outputs[f"power{field}"].sum(0)[defined] / counts[defined], rtol=1e-6
        )
        assert np.isnan(power[1, 11])


def test_output_without_wavelengths_is_named(outputs):
    outputs["power_black"] = outputs["power_black"][..., 0]
    with pytest.raises(ValueError, match=r"power_black: expected shape \(5, 3, 13\) as pixels, received \(5, 3\)"):
        Sums().update(outputs)


def test_unknown_wavelength_gets_the_closest_name():
    message = (
        "expected one of mse, .*, those of a wavelength, such as power_4px, received power_5px; the closest is power"
    )
    with pytest.raises(ValueError, match=message) as error:
        registry.check_names(["power_5px"])
    assert len(re.findall("power_", str(error.value))) == 3
