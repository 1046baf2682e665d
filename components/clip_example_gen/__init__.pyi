from .component import ClipExampleGen as ClipExampleGen
from .summary import BadClipsError as BadClipsError
