"""Defines the `infer` section of the configuration: bulk inference at the end of a run."""

from typing import Literal, get_args

import pydantic

from framecast.schemas.section import Section

BATCH = 16
Kind = Literal["tfrecord.gz", "tfrecord", "npz", "nc", "parquet"]
KINDS: tuple[str, ...] = get_args(Kind)


class InferSpec(Section):
    """Bulk inference with the blessed model, after the Pusher.

    Args:
        data: TFRecords of clips: a file, a folder or a glob pattern, relative to the folder of the configuration file.
        to: Output folder; each pair of model and clips gets a subfolder `VERSION-DIGEST`.
        format: Extension of the output files, see `serving.predictions.writers`; by default `tfrecord.gz` for
            forecasts and `parquet` for other tasks.
        batch: Largest number of clips in a batch; the model runs two batches in parallel.
    """

    data: str
    to: str
    format: Kind | None = None
    batch: int = pydantic.Field(default=BATCH, ge=1)
