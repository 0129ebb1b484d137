"""The agent's command line: ``serve`` or ``backend --port PORT``."""

from __future__ import annotations

import sys


def main(arguments: list[str]) -> None:
    """Load and run the one program that is asked for."""
    if arguments == ["serve"]:
        from proxybench.agent.serve import main as serve  # noqa: PLC0415 - load only what is run

        serve()
    elif arguments[:1] == ["backend"]:
        from proxybench.agent.backend import main as backend  # noqa: PLC0415 - load only what is run

        backend(arguments[1:])
    else:
        sys.exit("usage: serve | backend --port PORT [--idle-s SECONDS] [--max-connections COUNT]")


if __name__ == "__main__":
    main(sys.argv[1:])
