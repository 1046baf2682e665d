"""Bulk inference at the end of a run: the `infer` section of the configuration."""

from typing import Literal, get_args

import pydantic

from framecast.schemas.section import Section

BATCH = 16
Kind = Literal["tfrecord.gz", "tfrecord", "npz", "nc", "parquet"]
KINDS: tuple[str, ...] = get_args(Kind)


class InferSpec(Section):
    """What the model that was blessed answers about, once the Pusher is done.

    Args:
        data: TFRecords of clips: a file, a folder or a glob pattern, relative to the folder of the configuration file.
        to: Folder in which each pair of model and clips gets a folder of its own, `VERSION-DIGEST`.
        format: Ending of the files of answers, see `serving.predictions.writers`; `tfrecord.gz` for forecasts and
            else `parquet` unless given.
        batch: Most clips of a batch; the model runs on two batches at once.
    """

    data: str
    to: str
    format: Kind | None = None
    batch: int = pydantic.Field(default=BATCH, ge=1)
