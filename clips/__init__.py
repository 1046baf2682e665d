"""Reads, writes, validates and converts clips: `tf.train.SequenceExample` records in TFRecord files.

from framecast import clips, schemas

example = clips.encode_clip(frames, example_id="storm-0", media_id="storm", frame_rate=1 / 300)
clips.write_records("clips.tfrecord.gz", [example.SerializeToString()])
spec = schemas.ClipSpec(frames=schemas.FrameRange(min=8, max=24))
for example in clips.read_clips("clips.tfrecord.gz", spec):
    frames = clips.decode_frames(example, spec)  # (time, height, width, channel)
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
