"""How many clips TFX's Beam components hold at once."""

import contextlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

from tfx_bsl.coders import batch_util

# Decoded, one clip may take a hundred times its encoded bytes, by which TFX would size its batches.
CLIPS = 8


@contextlib.contextmanager
def few_clips() -> Iterator[None]:
    """Cuts the input of the Beam pipelines built within into batches of `CLIPS` clips.

    TFX has no setting for it. A batch's size is read when a pipeline is built, so that this holds on every Beam runner.
    """

    def fixed(batch_size: int | None, *_: Any, **__: Any) -> dict[str, int]:
        size = batch_size or CLIPS
        return {"min_batch_size": size, "max_batch_size": size}

    with mock.patch.object(batch_util, "GetBatchElementsKwargs", fixed):
        yield
