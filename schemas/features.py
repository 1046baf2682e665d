"""Feature names of the clip contract, defined once.

The names follow MediaPipe's MediaSequence convention for `tf.train.SequenceExample`, so that files written by
MediaPipe's own writer are read as they are.
"""

# Context, written by the user.
MEDIA_ID = "clip/media_id"
EXAMPLE_ID = "example/id"
FORMAT = "image/format"
CHANNELS = "image/channels"
COLORSPACE = "image/colorspace"
HEIGHT = "image/height"
WIDTH = "image/width"
FRAME_RATE = "image/frame_rate"
RAW_DTYPE = "image/dtype"  # Of RAW frames: no image header says it.
LABEL_INDEX = "clip/label/index"
LABEL_STRING = "clip/label/string"
LABEL_VALUE = "clip/label/value"  # A number to be estimated; MediaSequence has no name for it.
# The physical value of a pixel, `pixel * scale + offset` in a unit, and the pixel that stands for "no data".
VALUE_UNIT = "clip/value/unit"
VALUE_SCALE = "clip/value/scale"
VALUE_OFFSET = "clip/value/offset"
MISSING = "clip/value/missing"

# Feature lists, one entry a frame.
ENCODED = "image/encoded"
TIMESTAMP = "image/timestamp"
FRAME_LABEL_INDEX = "image/label/index"
FRAME_LABEL_VALUE = "image/label/value"

# Context, written by the ingest: facts of the raw clip on which every model is sliced alike, and what statistics cannot
# see in encoded images.
LENGTH = "clip/length"
CONTENT = "clip/content"
MEAN = "clip/mean"
DEVIATION = "clip/deviation"
EMPTY_SHARE = "clip/empty_share"
MOTION = "clip/motion"
MOVEMENT = "clip/movement"
CLASS = "clip/class"
SOURCE = "clip/source"
RECORDING = "clip/recording"  # The value of the feature that splits are made by: clips of one depend on each other.
SPAN = "clip/span"  # The number in place of `{SPAN}` in the file's path; only where the configuration names one.

# Context of a clip that a model answered: the version of the model.
MODEL_VERSION = "model/version"

# The words of facts that have few.
WORDS = {CONTENT: ("empty", "sparse", "dense"), MOVEMENT: ("still", "moving")}

# What evaluations are sliced by: names of slices, and the facts behind them.
SLICES = {"length": LENGTH, "content": CONTENT, "movement": MOVEMENT, "label": CLASS, "source": SOURCE}

# What spans are held against each other by.
DRIFT_FEATURES = (LENGTH, CONTENT, MEAN, DEVIATION, EMPTY_SHARE, MOTION)

# Transformed features: what Transform materialises for the trainer.
FRAMES = "frames"
FRAME_COUNT = "length"
LABEL = "label"
