"""Feature names of the clip contract.

The names follow MediaPipe's MediaSequence convention for `tf.train.SequenceExample`, so that files written by
MediaPipe can be read unchanged.
"""

# Context features, written by the user.
MEDIA_ID = "clip/media_id"
EXAMPLE_ID = "example/id"
FORMAT = "image/format"
CHANNELS = "image/channels"
COLORSPACE = "image/colorspace"
HEIGHT = "image/height"
WIDTH = "image/width"
FRAME_RATE = "image/frame_rate"
RAW_DTYPE = "image/dtype"  # Of RAW frames, which have no image header.
LABEL_INDEX = "clip/label/index"
LABEL_STRING = "clip/label/string"
LABEL_VALUE = "clip/label/value"  # Regression target; MediaSequence has no name for it.
# Physical value of a pixel, `pixel * scale + offset` in a unit, and the pixel value reserved for "no data".
VALUE_UNIT = "clip/value/unit"
VALUE_SCALE = "clip/value/scale"
VALUE_OFFSET = "clip/value/offset"
MISSING = "clip/value/missing"

# Feature lists, one entry per frame.
ENCODED = "image/encoded"
TIMESTAMP = "image/timestamp"
FRAME_LABEL_INDEX = "image/label/index"
FRAME_LABEL_VALUE = "image/label/value"

# Context features, computed from the raw frames at ingest: evaluation slices and data statistics need them, and encoded
# images do not show them.
LENGTH = "clip/length"
CONTENT = "clip/content"
MEAN = "clip/mean"
DEVIATION = "clip/deviation"
EMPTY_SHARE = "clip/empty_share"
MOTION = "clip/motion"
MOVEMENT = "clip/movement"
CLASS = "clip/class"
SOURCE = "clip/source"
RECORDING = "clip/recording"  # Value of the feature that clips are split by: clips of one recording are dependent.
SPAN = "clip/span"  # Number at `{SPAN}` in the file's path, if the configuration uses spans.

# Context feature of a logged request: the version of the model that answered it.
MODEL_VERSION = "model/version"

# Legal values of categorical features.
WORDS = {CONTENT: ("empty", "sparse", "dense"), MOVEMENT: ("still", "moving")}

# Evaluation slices: name and context feature.
SLICES = {"length": LENGTH, "content": CONTENT, "movement": MOVEMENT, "label": CLASS, "source": SOURCE}

# Features that drift between spans is measured on.
DRIFT_FEATURES = (LENGTH, CONTENT, MEAN, DEVIATION, EMPTY_SHARE, MOTION)

# Features that Transform materializes for the Trainer.
FRAMES = "frames"
FRAME_COUNT = "length"
LABEL = "label"
