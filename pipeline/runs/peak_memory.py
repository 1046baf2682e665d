"""Measures the peak resident memory of this process and its children during a block.

with PeakMemory() as peak:
    ...
peak.bytes  # Includes memory that was held before the block.
"""

import contextlib
import threading

import psutil

_SAMPLE_SECONDS = 0.5
_KIB = 1024


class PeakMemory:
    """Measures resident memory from entry to exit.

    For this process alone the kernel records the peak, which a process may reset through `clear_refs` (proc(5)) unless
    it has changed its user. For children, and without that permission, memory is sampled every half second: a peak
    between two samples is missed, and pages that a forked child shares with its parent count twice.

    Attributes:
        bytes: The peak; set on exit.
    """

    bytes: int

    def __enter__(self) -> "PeakMemory":
        self._kernel_records = _reset_peak()
        self._children: set[psutil.Process] = set()
        self._largest = 0
        self._sample()
        self._exited = threading.Event()
        self._thread = threading.Thread(target=self._sample_until_exit, name="peak memory", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._exited.set()
        self._thread.join()
        self._sample()
        self.bytes = max(self._largest, _kernel_peak() if self._kernel_records else 0)

    def _sample_until_exit(self) -> None:
        while not self._exited.wait(_SAMPLE_SECONDS):
            self._sample()

    def _sample(self) -> None:
        process = psutil.Process()
        total = process.memory_info().rss
        children = set(process.children(recursive=True))
        # A child counts from its second sample on, because a process that was just forked still has its parent's pages.
        for child in children & self._children:
            with contextlib.suppress(psutil.Error):  # The child has ended.
                total += child.memory_info().rss
        self._children = children
        self._largest = max(self._largest, total)


def _reset_peak() -> bool:
    """Resets the kernel's peak of this process to its present memory; False if that is not permitted."""
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    except OSError:
        return False
    return True


def _kernel_peak() -> int:
    with open("/proc/self/status") as file:
        (line,) = (line for line in file if line.startswith("VmHWM:"))
    return int(line.split()[1]) * _KIB
