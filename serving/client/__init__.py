"""Provides the gRPC clients of a served model: blocking, asyncio, and for live streams.

from framecast.serving.client import Client

with Client("localhost:8500", model="radar") as client:
    forecasts = client.forecast([frames])  # frames: (time, height, width, channel) in the model's dtype
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
