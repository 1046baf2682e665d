"""Evaluates models: metrics, reference forecasts, thresholds, confidence intervals and the report.

import numpy as np
from framecast import evaluation

frames = np.random.default_rng(0).uniform(size=(1, 6, 32, 32, 1)).astype("float32")  # (batch, time, h, w, channel)
known = np.ones(frames.shape, bool)  # False at missing pixels
forecasts = evaluation.reference_forecasts(
    frames, known, context=np.array([4]), horizon=2, climatology=[0.5], blur_sigmas=[1.0, 2.0]
)
forecasts["model"] = 0.5 * (forecasts["climatology"] + frames[:, 4:])  # in place of a model's forecast
outputs = evaluation.forecast_sums(frames[:, 4:], known[:, 4:], np.array([True]), forecasts)
sums = evaluation.Sums().update(outputs)
sums.compute("skill"), sums.compute("mse", lead_time=1)

`read_verdict` and `read_intervals` read an evaluation of the pipeline.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
