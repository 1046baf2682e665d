"""Serves models, requests forecasts from them, and manages the folder of pushed versions.

from framecast.serving import Client, Server, one_model

with Server(one_model("radar", "work/serving/radar")) as server:
    with Client(f"127.0.0.1:{server.port}", model="radar") as client:
        forecasts = client.forecast([frames])  # frames: (time, height, width, channel) in the model's dtype
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
