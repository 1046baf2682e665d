"""ClipExampleGen: reads clips, validates every frame, and splits the clips by recording.

from framecast.components.clip_example_gen import BadClipsError, ClipExampleGen
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
