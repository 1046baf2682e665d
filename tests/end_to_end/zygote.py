"""Starts `framecast` commands from one process that has imported everything: each begins at once, and can be killed.

Reads `{"arguments": [...], "output": "file"}` a line; answers the process id, and when the process has ended its exit
code (of one that a signal ended, the signal's negative number). Each process leads a session of its own.
"""

import json
import os
import sys

from framecast.models.training import run_fn  # noqa: F401
from framecast.pipeline.cli import main as cli
from framecast.pipeline.dag import dag  # noqa: F401
from framecast.pipeline.runs import progress  # noqa: F401


def main() -> None:
    """Serves commands until standard input ends."""
    print("ready", flush=True)
    for line in sys.stdin:
        command = json.loads(line)
        child = os.fork()
        if child == 0:
            os.setsid()
            output = os.open(command["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(output, 1)
            os.dup2(output, 2)
            sys.argv = ["framecast", *command["arguments"]]
            cli.main()
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
