"""ConvLSTM layers, task models, preprocessing, training and export.

import numpy as np
from framecast.models import FrameForecaster

model = FrameForecaster(channels=1, filters=(48, 48), kernel_size=5, patch=4)
frames = np.zeros((2, 8, 64, 64, 1), "float32")  # (batch, time, height, width, channel), pixels in [0, 1].
model(frames, np.array([8, 8]), steps=10)        # (2, 10, 64, 64, 1): predictions of frames 1 .. 10.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
