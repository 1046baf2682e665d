"""Forks `framecast` commands from a process that has imported all modules, so that they start without delay.

Reads one `{"arguments": [...], "output": "file"}` per line. Prints the process id, and after the end of the process its
exit code (for a signal, its negative number). Each process leads a new session.
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
