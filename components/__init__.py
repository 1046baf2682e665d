"""TFX components, thin wrappers around the packages below them, for any TFX pipeline.

from framecast.components import ClipExampleGen
from framecast.schemas import ClipSpec, FrameRange

clip = ClipSpec(frames=FrameRange(min=8, max=24))
examples = ClipExampleGen(input_base="clips", train="train/*.gz", eval="eval/*.gz", clip=clip)
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
