"""Logs a random sample of the requested clips, which `framecast data skew` compares with the training data.

    with Client("localhost:8500", model="radar", log=RequestLog("requests", share=0.01)) as client:
        forecasts = client.forecast(clips)

Needs `google-crc32c`, `pillow` and `pydantic` in addition to the packages of the client.
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
from framecast.clips.files import replacing
from framecast.clips.records import write_records

_LOGGER = logging.getLogger(__name__)
_FRAMING = 16  # Bytes that a TFRecord adds to each record.
_LONGEST_OPEN = 3600.0  # Seconds, so that a client with few requests completes its files too.
_MOST_WAITING = 2**26  # Bytes of clips in the queue; further clips are dropped, but a single clip may exceed it.


class RequestLog:
    """Writes a random share of the requested clips to TFRecord files, in a background thread.

    A forecast neither waits for the log nor fails with it: clips that arrive faster than they are written are dropped,
    and the first error is reported through `logging` and ends the log. A complete file is named after its UTC time. An
    incomplete file is hidden, and is lost if the process is killed. Clients in several processes may share a folder.

    Args:
        folder: Folder of the files; created with the first file.
        share: Probability of a clip to be logged.
        frame_rate: Frames per second of clips given as arrays, which have no times; that of the model, if the log is
            to be evaluated.
        file_bytes: Size at which a file is completed; a file is also completed after an hour.
        most_bytes: Size of the folder at which the log ends. Each process that shares the folder may exceed it by a
            file.
        seed: Seed of the random choice; None for another choice in each log.

    Raises:
        ValueError: If `share` or `frame_rate` is out of range.
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
            raise ValueError(f"share: expected a probability from 0 to 1, received {share}")
        if not 0 < frame_rate < float("inf"):
            raise ValueError(f"frame_rate: expected a positive number of frames per second, received {frame_rate}")
        self._folder = pathlib.Path(folder)
        self._share = share
        self._frame_rate = frame_rate
        self._file_bytes = file_bytes
        self._most_bytes = most_bytes
        self._random = random.Random(seed)
        # One recording, because clips of one client may overlap in time and must then share a split.
        self._name = f"requests-{secrets.token_hex(8)}"
        self._encoded = 0
        self._waiting: queue.SimpleQueue[np.ndarray | bytes | None] = queue.SimpleQueue()  # None marks the end.
        self._waiting_bytes = 0
        self._dropped = 0
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._full = False
        self._ended = False

    def add(self, clips: Sequence[np.ndarray] | Sequence[bytes]) -> None:
        """Adds a share of the clips to the queue. Never blocks and never raises.

        Args:
            clips: Arrays `(time, height, width, channel)`, or serialized `tf.train.SequenceExample`, logged unchanged.
        """
        try:
            for clip in clips:
                if self._random.random() < self._share:
                    self._add(clip)
        except Exception:
            self._give_up()

    def close(self) -> None:
        """Writes the queued clips, completes the file and ends the log."""
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
                self._dropped += 1
                return
            self._waiting_bytes += size
            if self._thread is None:
                self._thread = threading.Thread(target=self._write, name="request-log", daemon=True)
                self._thread.start()
                # Completes the last file of a client that is never closed, unless the process is killed.
                atexit.register(self.close)
        # Copied, because the caller may overwrite its array.
        self._waiting.put(clip if isinstance(clip, bytes) else np.array(clip))

    def _give_up(self) -> None:
        _LOGGER.exception("%s: request log ended by an error", self._folder)
        self._ended = True

    def _write(self) -> None:
        try:
            while not self._full and (record := self._next()) is not None:
                self._write_file(record)
            if self._full:
                _LOGGER.warning(
                    "%s: request log ended: the folder has reached most_bytes=%d", self._folder, self._most_bytes
                )
        except Exception:
            self._give_up()
        if self._dropped:
            _LOGGER.warning(
                "%s: dropped %d clips that arrived faster than they were written", self._folder, self._dropped
            )
        self._ended = True
        self._waiting = queue.SimpleQueue()

    def _write_file(self, first: bytes) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        taken = sum(map(_file_size, self._folder.iterdir()))
        if taken + len(first) + _FRAMING > self._most_bytes:
            self._full = True
            return
        moment = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%d-%H%M%S")
        # Not gzip, because PNG is compressed already.
        path = self._folder / f"{moment}-{secrets.token_hex(4)}.tfrecord"
        with replacing(path, path.with_name(f".{path.name}")) as part:
            write_records(part, self._fill(first, taken))

    def _fill(self, first: bytes, taken: int) -> Iterator[bytes]:
        """Yields the records of one file; `taken` is the size of the folder in bytes."""
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
        """Returns the next record, encoded; None after the last. Raises `queue.Empty` after `timeout` seconds."""
        clip = self._waiting.get(timeout=timeout)
        if clip is None:
            self._waiting.put(None)  # Every later call must see the end too.
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
    except FileNotFoundError:  # Another client has just renamed it.
        return 0
