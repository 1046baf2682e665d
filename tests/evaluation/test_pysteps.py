"""Scores of events against pySTEPS itself, on random fields: `make test-backends`, where pySTEPS is.

pySTEPS and TensorFlow live in environments of their own: FRAMECAST_PEERS names the interpreter that has pySTEPS.
"""

import importlib.util
import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from framecast.evaluation import event_metrics
from framecast.evaluation.events_spec import EventsSpec
from framecast.evaluation.forecast_metrics import REFERENCES
from framecast.evaluation.metrics import Sums
from framecast.evaluation.sums import forecast_sums

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


def test_every_score_of_every_forecast_is_that_of_pysteps(tmp_path):
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
