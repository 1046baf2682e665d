from .pipeline import BadSourcesError as BadSourcesError
from .pipeline import ConversionProgress as ConversionProgress
from .pipeline import convert as convert
from .pipeline import read_progress as read_progress
from .spec import ConvertSpec as ConvertSpec
