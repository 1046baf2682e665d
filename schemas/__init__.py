"""The clip contract: feature names, the clip specification and the curated schema.

from framecast.schemas import ClipSpec, FrameRange, build_schema

spec = ClipSpec(channels=1, dtype="uint8", frames=FrameRange(min=8, max=24))
schema = build_schema(spec)  # The tensorflow_metadata schema that ingested clips are validated against.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
