"""The largest memory that this process, and whatever it starts, held while something ran.

with PeakMemory() as peak:
    ...
peak.bytes  # Resident, whatever was held before the block included.
"""

import contextlib
import threading

import psutil

_SECONDS = 0.5  # Between two looks.
_KIB = 1024


class PeakMemory:
    """Watches resident memory from entry to exit.

    Of this process alone the kernel keeps the peak, to be reset by whoever may write to `clear_refs` (proc(5)): every
    user's process may, in containers too, unless it has changed its user. With children, and without that right, it is
    the largest sum found by looking every half second: what is held for less may be missed, and pages that a forked
    child shares with its parent count twice.

    Attributes:
        bytes: The peak, from the exit on.
    """

    bytes: int

    def __enter__(self) -> "PeakMemory":
        self._kept_by_kernel = _reset_peak()
        self._children: set[psutil.Process] = set()
        self._largest = 0
        self._look()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="peak memory", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        self._thread.join()
        self._look()
        self.bytes = max(self._largest, _kernels_peak() if self._kept_by_kernel else 0)

    def _watch(self) -> None:
        while not self._over.wait(_SECONDS):
            self._look()

    def _look(self) -> None:
        process = psutil.Process()
        total = process.memory_info().rss
        children = set(process.children(recursive=True))
        # A child just started may not have left its parent's memory yet, all of which it seems to hold: it counts from
        # the second look on.
        for child in children & self._children:
            with contextlib.suppress(psutil.Error):  # It is gone.
                total += child.memory_info().rss
        self._children = children
        self._largest = max(self._largest, total)


def _reset_peak() -> bool:
    """Sets the kernel's peak of this process to what it holds now; False where that is not allowed."""
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    except OSError:
        return False
    return True


def _kernels_peak() -> int:
    with open("/proc/self/status") as file:
        (line,) = (line for line in file if line.startswith("VmHWM:"))
    return int(line.split()[1]) * _KIB
