"""The pipeline: its configuration, the TFX DAG, runs on this machine and their records.

from framecast.pipeline import load, run

result = run(load("configs/demo.yaml", overrides=["train.steps=100"]), "work")
print(result.verdict, result.why, result.figures["mse"])

Importing this package imports no TFX and no TensorFlow; `run` and `create_pipeline` do.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
