"""A Python worker for Beam jobs on a cluster, which buffers pending outputs in a file.

python -m apache_beam.runners.worker.worker_pool_main --service_port=50000 --container_executable=framecast-beam-worker

Flink reads the outputs of a stage only after it has sent the stage all of its input. Until then Beam's own worker keeps
the outputs, such as decoded clips, in memory, in messages of 10 MB or, on stack A (Beam 2.56), of up to 1 GB. Flink
then buffers a hundred messages per running stage, which exceeds the heap of a task manager. This worker writes pending
outputs to a file and sends small messages. Beam has no option for either.

Private names of Beam's workers are used only here; `tests/pipeline/test_beam_worker.py` checks their effect.
"""

import argparse
import collections
import queue
import tempfile
import threading
from typing import Any

from apache_beam.portability.api import beam_fn_api_pb2
from apache_beam.runners.worker import data_plane
from apache_beam.runners.worker.sdk_worker import SdkHarness

# A task manager has heap for a hundred of these. A larger element is a message by itself.
_MESSAGE_BYTES = 1 << 20
# Outputs beyond this are written to the file.
_MEMORY_BYTES = 64 << 20


def main() -> None:
    """Runs the worker until the runner stops it: the command `framecast-beam-worker`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--id", required=True, help="id of the worker")
    parser.add_argument("--control_endpoint", required=True, help="HOST:PORT of the runner")
    arguments, _ = parser.parse_known_args()  # Other endpoints are for workers that download a job's artifacts.
    spill_outputs()
    SdkHarness(arguments.control_endpoint, worker_id=arguments.id).run()


def spill_outputs() -> None:
    """Makes Beam in this process buffer pending outputs in a file and send them in small messages."""
    stream = data_plane.SizeBasedBufferingClosableOutputStream.__init__
    stream.__defaults__ = tuple(
        _MESSAGE_BYTES if default == data_plane._DEFAULT_SIZE_FLUSH_THRESHOLD else default
        for default in stream.__defaults__
    )
    begin = data_plane._GrpcDataChannel.__init__

    def begin_spilling(channel: Any, *arguments: Any, **keywords: Any) -> None:
        begin(channel, *arguments, **keywords)
        channel._to_send = _SpillingQueue()

    data_plane._GrpcDataChannel.__init__ = begin_spilling


class _SpillingQueue:
    """An unbounded queue between a worker's stages and its sending thread; beyond a size it continues in a file."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        # Messages, or offset and length of messages in the file.
        self._waiting: collections.deque[Any] = collections.deque()
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the channel
        self._in_memory = self._in_file = self._message = 0

    def put(self, output: Any, *_: Any) -> None:
        """Appends an `Elements.Data`, an `Elements.Timers` or Beam's end marker; never blocks."""
        with self._changed:
            size = _size(output)
            if size and self._in_memory + size > _MEMORY_BYTES:
                output = (self._file.seek(0, 2), self._file.write(output.SerializeToString()))
                self._in_file += 1
            else:
                self._in_memory += size
            self._waiting.append(output)
            self._changed.notify()

    def get(self) -> Any:
        """Removes and returns the first output, which starts a message; blocks while the queue is empty."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting)
            self._message = 0
            return self._take()

    def get_nowait(self) -> Any:
        """Removes and returns the first output, which is added to the present message.

        Raises:
            queue.Empty: If the queue is empty or the message is full.
        """
        with self._changed:
            # An output in the file fills a message.
            if not self._waiting or self._message > _MESSAGE_BYTES // 2 or isinstance(self._waiting[0], tuple):
                raise queue.Empty
            return self._take()

    def _take(self) -> Any:
        output = self._waiting.popleft()
        if isinstance(output, tuple):
            offset, length = output
            self._file.seek(offset)
            output = beam_fn_api_pb2.Elements.Data.FromString(self._file.read(length))
            self._in_file -= 1
            if not self._in_file:
                self._file.truncate(0)
        else:
            self._in_memory -= _size(output)
        self._message += _size(output)
        return output


def _size(output: Any) -> int:
    """Returns the size of elements in bytes; 0 for timers and the end marker, which are never written to the file."""
    return len(output.data) if isinstance(output, beam_fn_api_pb2.Elements.Data) else 0
