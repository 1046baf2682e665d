from .clip_spec import ClipSpec as ClipSpec
from .clip_spec import FrameRange as FrameRange
from .clip_spec import LabelSpec as LabelSpec
from .clip_spec import PixelValue as PixelValue
from .schema import build_schema as build_schema
