"""Converts videos, images, arrays and gridded files to clips: the library behind `framecast data convert`.

from framecast.clips.convert import ConvertSpec, convert

manifest = convert(["videos"], "clips", ConvertSpec())
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
