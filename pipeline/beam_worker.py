"""A Python worker of a cluster's Beam jobs, which Beam's pool starts in place of its own.

python -m apache_beam.runners.worker.worker_pool_main --service_port=50000 --container_executable=framecast-beam-worker

It differs from Beam's in what becomes of outputs that the runner does not take yet. Flink takes what a stage makes of
its share of the data only after it has handed all of that share over: what clips decode to, most of which waits. Beam's
worker keeps it in memory, in messages of 10 MB or, joined by stack A's Beam (2.56), of up to a gigabyte, of which Flink
then holds a hundred for each stage that runs: more heap than a task manager has. Here what waits lies in a file, and
messages are small. Beam has no option for either.
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

# A hundred of these are heap that a task manager has. A larger element is a message of its own.
_MESSAGE_BYTES = 1 << 20
# What waits in memory before anything goes to a file.
_MEMORY_BYTES = 64 << 20


def main() -> None:
    """Works for the runner that the pool names until it lets the worker go: the command `framecast-beam-worker`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--id", required=True, help="the worker's, to the runner")
    parser.add_argument("--control_endpoint", required=True, help="HOST:PORT of the runner")
    arguments, _ = parser.parse_known_args()  # The other endpoints are for workers that fetch what a job brings along.
    spill_outputs()
    SdkHarness(arguments.control_endpoint, worker_id=arguments.id).run()


def spill_outputs() -> None:
    """Makes this process keep outputs that wait in a file, and send them in small messages."""
    # All private to Beam; the tests say whether it still has an effect.
    stream = data_plane.SizeBasedBufferingClosableOutputStream.__init__
    stream.__defaults__ = tuple(
        _MESSAGE_BYTES if default == data_plane._DEFAULT_SIZE_FLUSH_THRESHOLD else default
        for default in stream.__defaults__
    )
    begin = data_plane._GrpcDataChannel.__init__

    def begin_spilling(channel: Any, *arguments: Any, **keywords: Any) -> None:
        begin(channel, *arguments, **keywords)
        channel._to_send = _Outputs()

    data_plane._GrpcDataChannel.__init__ = begin_spilling


class _Outputs:
    """The queue between a worker's stages and the one thread that sends: without bound, past some bytes in a file."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        # Messages, and where those in the file lie: offset and length.
        self._waiting: collections.deque[Any] = collections.deque()
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the channel
        self._in_memory = self._in_file = self._message = 0

    def put(self, output: Any, *_: Any) -> None:
        """Appends an `Elements.Data` or `Elements.Timers`, or Beam's mark that no more come; never waits."""
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
        """Removes and returns the first, with which a message begins; waits for it."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting)
            self._message = 0
            return self._take()

    def get_nowait(self) -> Any:
        """Removes and returns the first, which joins the message.

        Raises:
            queue.Empty: When there is none, or the message has enough.
        """
        with self._changed:
            # The first in the file makes a message large in any case.
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
    """Returns the bytes of elements; 0 of what never goes to a file: timers, and Beam's mark, known by its identity."""
    return len(output.data) if isinstance(output, beam_fn_api_pb2.Elements.Data) else 0
