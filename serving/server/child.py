"""Runs the server as a child process that ends with its parent: `python -m framecast.serving.server.child FOLDER ...`.

The arguments are those of `framecast.serving.server.serve`.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Serves, after asking the kernel for SIGKILL when the parent ends, killed or not."""
    # Before the slow imports, during which the parent may end.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() == 1:  # The parent ended before prctl.
        sys.exit(1)
    from framecast.serving.server import serve

    serve.main()


if __name__ == "__main__":
    main()
