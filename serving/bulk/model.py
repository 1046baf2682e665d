"""Runs a SavedModel on clips of mixed sizes and lengths, in batches of similar clips.

model = BulkModel("serving/radar/3", batch=16)
collect = model.submit([frames, frames])
collect()[0]["forecast"]
"""

import concurrent.futures
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import tensorflow as tf

from framecast.serving.client.signatures import TensorSpec
from framecast.serving.rpc import DEFAULT_SIGNATURE

_LENGTH_RATIO = 1.25  # Longest to shortest clip of a batch, to limit padding.
_PARALLEL_BATCHES = 2  # Fills the cores while parts of the model run on one core; a third batch is no faster.


class BulkModel:
    """A loaded model that runs two batches in parallel; several threads may submit clips.

    Args:
        folder: Folder of the SavedModel.
        batch: Largest number of clips in a batch.

    Attributes:
        series: Names of the per-frame outputs.
    """

    def __init__(self, folder: str, batch: int):
        self._batch = batch
        self._runs = concurrent.futures.ThreadPoolExecutor(_PARALLEL_BATCHES)
        # Signatures reference variables weakly, so the root object must be kept.
        self._model = tf.saved_model.load(folder)
        self._signature = self._model.signatures[DEFAULT_SIGNATURE]
        declared = self._signature.structured_outputs
        self.series = frozenset(
            name
            for name, spec in declared.items()
            if TensorSpec(spec.dtype.name, None if spec.shape.rank is None else tuple(spec.shape)).is_series
        )

    def submit(self, clips: Sequence[np.ndarray]) -> Callable[[], list[dict[str, np.ndarray]]]:
        """Starts to run the model on clips, after the clips that were submitted before.

        Args:
            clips: `(time, height, width, channel)` each, in the clips' dtype; all frames are context.

        Returns:
            A function that waits for the outputs and returns them, a dictionary per clip, as
            `framecast.serving.client.client.Client.answer` does.
        """
        numbers = list(batches([clip.shape for clip in clips], self._batch))
        runs = [self._runs.submit(self._run, [clips[number] for number in batch]) for batch in numbers]

        def collect() -> list[dict[str, np.ndarray]]:
            outputs: list[dict[str, np.ndarray]] = [{} for _ in clips]
            for batch, run in zip(numbers, runs, strict=True):
                for number, of_clip in zip(batch, run.result(), strict=True):
                    outputs[number] = of_clip
            return outputs

        return collect

    def _run(self, clips: Sequence[np.ndarray]) -> list[dict[str, np.ndarray]]:
        """Runs the model on a batch; returns the outputs of each clip."""
        length = np.array([len(clip) for clip in clips], np.int32)
        frames = np.zeros((len(clips), length.max(), *clips[0].shape[1:]), clips[0].dtype)
        for row, clip in enumerate(clips):
            frames[row, : len(clip)] = clip
        outputs = self._signature(frames=tf.constant(frames), length=tf.constant(length))
        values = {name: tensor.numpy() for name, tensor in outputs.items()}
        return [
            {name: of[row, : len(clip)] if name in self.series else of[row] for name, of in values.items()}
            for row, clip in enumerate(clips)
        ]


def batches(shapes: Sequence[tuple[int, ...]], most: int) -> Iterator[list[int]]:
    """Yields the indices of each batch: clips of the same frame size and of similar length.

    Args:
        shapes: `(time, height, width, channel)` of each clip.
        most: Largest number of clips in a batch.
    """
    order = sorted(range(len(shapes)), key=lambda number: (*shapes[number][1:], shapes[number][0]))
    batch: list[int] = []
    for number in order:
        time, *size = shapes[number]
        if batch:
            shortest, *batch_size = shapes[batch[0]]
            if len(batch) == most or size != batch_size or time > _LENGTH_RATIO * shortest:
                yield batch
                batch = []
        batch.append(number)
    if batch:
        yield batch
