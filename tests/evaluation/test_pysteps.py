"""Scores of events and power spectra against pySTEPS, on random fields; run by `make test-backends`.

pySTEPS and TensorFlow have separate environments: FRAMECAST_PEERS is the interpreter of the one with pySTEPS.
"""

import importlib.util
import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from framecast.evaluation.events_spec import EventsSpec
from framecast.evaluation.metrics import events as event_metrics
from framecast.evaluation.metrics.forecast import REFERENCES
from framecast.evaluation.metrics.spectrum import WAVELENGTHS
from framecast.evaluation.metrics.sums import Sums
from framecast.evaluation.sums.forecast import forecast_sums

_PEERS = os.environ.get("FRAMECAST_PEERS")

pytestmark = pytest.mark.skipif(
    _PEERS is None and importlib.util.find_spec("pysteps") is None,
    reason="pySTEPS is in the benchmarks' peers environment: make test-backends",
)

_SHAPE = (3, 2, 40, 31, 1)
_THRESHOLDS = (0.2, 0.5, 0.9)
_SCALES = (1, 5, 17)
_ORACLE = """
import sys
import numpy as np
from pysteps.verification import detcatscores, spatialscores

fields = np.load(sys.argv[1])
truth = fields["truth"]
scores = {}
for name in fields:
    for threshold in map(float, sys.argv[3].split(",")):
        table = detcatscores.det_cat_fct_init(threshold)
        for clip in range(len(truth)):
            detcatscores.det_cat_fct_accum(table, fields[name][clip], truth[clip])
        computed = detcatscores.det_cat_fct_compute(table, ["CSI", "POD", "FAR", "BIAS", "HSS", "GSS"])
        scores |= {f"{score.lower()}_{threshold:g}/{name}": value for score, value in computed.items()}
        for scale in map(int, sys.argv[4].split(",")):
            state = spatialscores.fss_init(threshold, scale)
            for frame in np.ndindex(truth.shape[:2]):
                spatialscores.fss_accum(state, fields[name][frame][..., 0], truth[frame][..., 0])
            scores[f"fss_{threshold:g}_{scale}px/{name}"] = spatialscores.fss_compute(state)
np.savez(sys.argv[2], **{name.replace("/", "|"): value for name, value in scores.items()})
"""


def test_scores_are_those_of_pysteps(tmp_path):
    rng = np.random.default_rng(0)
    truth = rng.uniform(size=_SHAPE).astype("float32")
    forecasts = {
        name: (0.6 * truth + 0.4 * rng.uniform(size=_SHAPE)).astype("float32") for name in ("model", *REFERENCES)
    }
    files = [tmp_path / "fields.npz", tmp_path / "scores.npz"]
    np.savez(files[0], truth=truth, **forecasts)
    lists = [",".join(map(str, values)) for values in (_THRESHOLDS, _SCALES)]
    subprocess.run([_PEERS or sys.executable, "-W", "ignore", "-c", _ORACLE, *files, *lists], check=True)
    outputs = forecast_sums(truth, np.ones(_SHAPE, bool), np.ones(3, bool), forecasts, _THRESHOLDS, _SCALES)
    sums = Sums(events=EventsSpec(thresholds=_THRESHOLDS, scales=_SCALES)).update(
        {name: tf.convert_to_tensor(value).numpy() for name, value in outputs.items()}
    )
    compared = 0
    for key, expected in np.load(files[1]).items():
        name, _, forecast = key.partition("|")
        if forecast == "truth":
            continue
        name += "" if forecast == "model" else f"_{forecast}"
        assert sums.compute(name) == pytest.approx(float(expected), abs=1e-6), name
        compared += 1
    assert compared == len(event_metrics.names(sums.events))


_SPECTRUM_ORACLE = """
import sys
import numpy as np
from pysteps.utils import arrays, spectral

found = {}
for name, field in np.load(sys.argv[1]).items():
    rows, columns = arrays.compute_centred_coord_array(*field.shape)
    found[name] = spectral.rapsd(field, fft_method=np.fft)
    waves = np.hypot(rows, columns).round()
    found[name + "_waves"] = [(waves == ring).sum() for ring in range(len(found[name]))]
np.savez(sys.argv[2], **found)
"""


@pytest.mark.parametrize("size", [64, 65])
def test_power_is_that_of_pysteps_rings(tmp_path, size):
    """Each field has the waves of one ring in the middle of a band, because pySTEPS' rings overlap bands."""
    radii = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.fftfreq(size)) * size
    noise = np.fft.fft2(np.random.default_rng(0).normal(size=(size, size)))
    fields, bands = {}, {}
    for band, wavelength in enumerate(WAVELENGTHS):
        longest, shortest = size / (wavelength * 2**0.25), size / (wavelength * 2**-0.25)
        rings = [ring for ring in range(1, size // 2) if longest < ring - 0.5 and ring + 0.5 < shortest]
        for ring in rings[len(rings) // 2 :][:1]:
            field = np.fft.ifft2(np.where(radii.round() == ring, noise, 0)).real
            fields[str(ring)] = (0.5 + 0.4 * field / np.abs(field).max()).astype("float32")
            bands[str(ring)] = band, ((radii > longest) & (radii < shortest)).sum()
    assert len(fields) >= 6
    files = [tmp_path / "fields.npz", tmp_path / "power.npz"]
    np.savez(files[0], **fields)
    subprocess.run([_PEERS or sys.executable, "-W", "ignore", "-c", _SPECTRUM_ORACLE, *files], check=True)
    oracle = np.load(files[1])
    truth = np.stack(list(fields.values()))[:, None, ..., None]
    forecasts = dict.fromkeys(("model", *REFERENCES), truth)
    power = forecast_sums(truth, np.ones(truth.shape, bool), np.ones(len(truth), bool), forecasts)[
        "power_truth"
    ].numpy()
    for clip, (name, (band, waves)) in enumerate(bands.items()):
        ring = int(name)
        expected = oracle[name][ring] * oracle[f"{name}_waves"][ring] / waves
        assert power[clip, 0, band] == pytest.approx(expected, rel=1e-6), name
        assert np.delete(power[clip, 0], band).max() < 1e-10 * expected
