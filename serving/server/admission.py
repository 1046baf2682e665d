"""Chooses the limits on requests: the size of one request, the bytes in flight, and how many run at the same time.

admission = Admission(BYTES_IN_FLIGHT, largest_request=largest_request())
with admission.admit(request.ByteSize(), seconds=60):
    response = servable.predict(request)
"""

import contextlib
import os
import threading
from collections.abc import Iterator

import psutil

from framecast.serving.server import errors

BYTES_IN_FLIGHT = 2**30  # Default limit on the total bytes of admitted requests.
# Bytes of memory that a run takes for each byte of frames: 450 for the most expensive preset, 32 for the cheapest.
_MEMORY_PER_REQUEST_BYTE = 512
_SMALLEST_LIMIT = 2**24  # Bytes, on a machine without free memory.


def largest_request() -> int:
    """Returns the default limit on a request's size in bytes, derived from the free memory of this machine."""
    return max(psutil.virtual_memory().available // _MEMORY_PER_REQUEST_BYTE, _SMALLEST_LIMIT)


class Admission:
    """Admits requests within a limit on bytes in flight, and starts them within a limit on concurrent runs.

    At most one run per core is started, and concurrent runs together take at most `largest_request` bytes of requests,
    because memory can bear one request of that size. With batching, batches limit the runs instead.

    Args:
        bytes_in_flight: Limit on the total size of admitted requests; a single request may exceed it.
        largest_request: Limit on the total size of running requests; a single request may exceed it.
        batched: Whether the server batches requests.
    """

    def __init__(self, bytes_in_flight: int, largest_request: int, batched: bool = False):
        self._bytes_in_flight = bytes_in_flight
        self._largest_request = largest_request
        self._batched = batched
        self._admitted = 0  # Bytes.
        self._running: list[int] = []  # Sizes of the running requests in bytes.
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def admit(self, size: int, seconds: float) -> Iterator[None]:
        """Admits a request of `size` bytes until the block ends, and waits up to `seconds` before it starts.

        Raises:
            ServingError: If the request exceeds the bytes in flight, or cannot start within `seconds`.
        """
        with self._changed:
            if self._admitted and self._admitted + size > self._bytes_in_flight:
                raise errors.too_many_bytes(size, self._admitted, self._bytes_in_flight)
            self._admitted += size
        try:
            with contextlib.nullcontext() if self._batched else self._run(size, seconds):
                yield
        finally:
            with self._changed:
                self._admitted -= size

    @contextlib.contextmanager
    def _run(self, size: int, seconds: float) -> Iterator[None]:
        def can_start() -> bool:
            # More runs than cores would not finish sooner, and each holds its tensors.
            core_is_free = len(self._running) < (os.cpu_count() or 1)
            return not self._running or (core_is_free and sum(self._running) + size <= self._largest_request)

        with self._changed:
            if not self._changed.wait_for(can_start, seconds):
                raise errors.deadline_before_start()
            self._running.append(size)
        try:
            yield
        finally:
            with self._changed:
                self._running.remove(size)
                self._changed.notify_all()
