"""A sample of what a client asks for, kept as clips: what `framecast data skew` compares with the training data.

    with Forecaster("localhost:8500", model="radar", log=RequestLog("requests", share=0.01)) as forecaster:
        forecasts = forecaster.forecast(clips)

Besides what the client needs, it needs `google-crc32c`, `pillow` and `pydantic`.
"""

import atexit
import datetime
import logging
import os
import pathlib
import queue
import random
import secrets
import threading
import time
from collections.abc import Iterator, Sequence

import numpy as np

from framecast.clips.codec import encode_clip
from framecast.clips.records import write_records

_LOGGER = logging.getLogger(__name__)
_FRAMING = 16  # Bytes of a TFRecord around each record.
_LONGEST_OPEN = 3600.0  # Seconds: a client that asks rarely still hands its files over.
_MOST_WAITING = 2**26  # Bytes of clips that wait to be written, unless it is one alone; what comes on top is left out.


class RequestLog:
    """Writes a random share of the requested clips into TFRecord files, in a thread of its own.

    A forecast neither waits for the log nor fails with it: clips that come faster than they are written are left out,
    and whatever goes wrong is told once through `logging`, after which nothing more is logged. A file has its name, in
    UTC, when it is whole; the one being written is hidden, and is lost if the process dies. Clients in several
    processes may share a folder.

    Args:
        folder: Where the files go; made when the first clip is written.
        share: Chance of each clip to be logged.
        frame_rate: Frames a second of clips given as arrays, which do not say it themselves.
        file_bytes: A file that has reached this size is closed; so is one open for an hour.
        most_bytes: Size of the folder at which logging ends. Processes that share it may each exceed it by a file.
        seed: Draws the same clips each time; unless given, each log draws its own.

    Raises:
        ValueError: When an argument is out of range.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        share: float = 0.01,
        frame_rate: float = 1.0,
        file_bytes: int = 2**24,
        most_bytes: int = 2**30,
        seed: int | None = None,
    ):
        if not 0 <= share <= 1:
            raise ValueError(f"share: expected a chance from 0 to 1, received {share}")
        if not 0 < frame_rate < float("inf"):
            raise ValueError(f"frame_rate: expected a positive number of frames a second, received {frame_rate}")
        self._folder = pathlib.Path(folder)
        self._share = share
        self._frame_rate = frame_rate
        self._file_bytes = file_bytes
        self._most_bytes = most_bytes
        self._random = random.Random(seed)
        # Clips of one client may well overlap in time: as one recording they would share a split.
        self._name = f"requests-{secrets.token_hex(8)}"
        self._encoded = 0
        self._waiting: queue.SimpleQueue[np.ndarray | bytes | None] = queue.SimpleQueue()  # None: no more will come.
        self._waiting_bytes = 0
        self._left_out = 0
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._full = False
        self._ended = False

    def add(self, clips: Sequence[np.ndarray] | Sequence[bytes]) -> None:
        """Takes a share of the clips; returns without waiting until they are written, and never raises.

        Args:
            clips: Arrays `(time, height, width, channel)`, or serialized `tf.train.SequenceExample`, kept as they are.
        """
        try:
            for clip in clips:
                if self._random.random() < self._share:
                    self._add(clip)
        except Exception:
            self._give_up()

    def close(self) -> None:
        """Writes what waits, and gives the open file its name; nothing more is logged."""
        with self._lock:
            self._ended = True
        if self._thread is None:
            return
        self._waiting.put(None)
        self._thread.join()
        atexit.unregister(self.close)

    def _add(self, clip: np.ndarray | bytes) -> None:
        with self._lock:
            if self._ended:
                return
            size = _size(clip)
            if self._waiting_bytes and self._waiting_bytes + size > _MOST_WAITING:
                self._left_out += 1
                return
            self._waiting_bytes += size
            if self._thread is None:
                self._thread = threading.Thread(target=self._write, name="request-log", daemon=True)
                self._thread.start()
                # A client that is never closed keeps its last file all the same, unless it is killed.
                atexit.register(self.close)
        # The caller may write into its array again.
        self._waiting.put(clip if isinstance(clip, bytes) else np.array(clip))

    def _give_up(self) -> None:
        _LOGGER.exception("%s: requests are logged no more", self._folder)
        self._ended = True

    def _write(self) -> None:
        try:
            while not self._full and (record := self._next()) is not None:
                self._write_file(record)
            if self._full:
                _LOGGER.warning(
                    "%s: expected at most %d bytes: requests are logged no more", self._folder, self._most_bytes
                )
        except Exception:
            self._give_up()
        if self._left_out:
            _LOGGER.warning("%s: left out %d clips that came too fast to be logged", self._folder, self._left_out)
        self._ended = True
        self._waiting = queue.SimpleQueue()

    def _write_file(self, first: bytes) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        taken = sum(map(_file_size, self._folder.iterdir()))
        moment = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%d-%H%M%S")
        path = self._folder / f"{moment}-{secrets.token_hex(4)}.tfrecord"
        part = path.with_name(f".{path.name}")
        try:
            # Not gzip: it makes PNG no smaller.
            if write_records(part, self._fill(first, taken)):
                os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)

    def _fill(self, first: bytes, taken: int) -> Iterator[bytes]:
        """Yields the records of one file, in a folder that holds `taken` bytes."""
        until = time.monotonic() + _LONGEST_OPEN
        written = 0
        record: bytes | None = first
        while record is not None:
            written += len(record) + _FRAMING
            if taken + written > self._most_bytes:
                self._full = True
                return
            yield record
            if written >= self._file_bytes:
                return
            try:
                record = self._next(timeout=max(until - time.monotonic(), 0))
            except queue.Empty:
                return

    def _next(self, timeout: float | None = None) -> bytes | None:
        """Returns the next record, encoded; None when no more will come. Raises `queue.Empty` after `timeout`."""
        clip = self._waiting.get(timeout=timeout)
        if clip is None:
            self._waiting.put(None)  # Whoever asks next is told too.
            return None
        with self._lock:
            self._waiting_bytes -= _size(clip)
        if isinstance(clip, bytes):
            return clip
        self._encoded += 1
        example = encode_clip(
            clip, example_id=f"{self._name}-{self._encoded}", media_id=self._name, frame_rate=self._frame_rate
        )
        return example.SerializeToString()


def _size(clip: np.ndarray | bytes) -> int:
    return len(clip) if isinstance(clip, bytes) else clip.nbytes


def _file_size(path: pathlib.Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # Another client has just given it its name.
        return 0
