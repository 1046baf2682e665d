"""Limits the batches of TFX's Beam components to a few clips."""

import contextlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

from tfx_bsl.coders import batch_util

# TFX sizes batches by encoded bytes, but a decoded clip may have a hundred times as many.
CLIPS = 8


@contextlib.contextmanager
def few_clips() -> Iterator[None]:
    """Limits batches to `CLIPS` clips in the Beam pipelines that are built inside the block.

    Patches TFX, because it has no setting for it. The batch size is read when a pipeline is built, so the limit holds
    on every Beam runner.
    """

    def fixed(batch_size: int | None, *_: Any, **__: Any) -> dict[str, int]:
        size = batch_size or CLIPS
        return {"min_batch_size": size, "max_batch_size": size}

    with mock.patch.object(batch_util, "GetBatchElementsKwargs", fixed):
        yield
