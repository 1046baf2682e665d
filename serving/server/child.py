"""`python -m framecast.serving.server.child`: the server as a child that never outlives its parent, killed or not."""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Asks the kernel to be killed when the parent ends, before anything slow is imported, and serves."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() == 1:  # The parent was gone before the kernel was asked.
        sys.exit(1)
    from framecast.serving.server import server

    server.main()


if __name__ == "__main__":
    main()
