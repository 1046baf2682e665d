"""A valid clip and its contract, for tests to modify."""

import numpy as np
import pytest

from framecast.clips.codec import encode_clip
from framecast.schemas.clip_spec import ClipSpec, FrameRange


@pytest.fixture
def spec():
    """The contract that `example` meets."""
    return ClipSpec(frames=FrameRange(min=2, max=8))


@pytest.fixture
def frames():
    """`(time 4, height 6, width 5, channel 1)` uint8."""
    return np.random.default_rng(0).integers(1, 256, (4, 6, 5, 1), np.uint8)


@pytest.fixture
def example(frames):
    """A valid clip."""
    return encode_clip(frames, example_id="storm-0", media_id="storm", frame_rate=10.0)
