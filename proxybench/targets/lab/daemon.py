"""Keeps one lab up between commands: ``python -m proxybench.targets.lab.daemon KIND CLOCK KERNEL STATE_FILE``.

A process of its own, started by manage.py. It writes the state file once the lab is up, waits for a signal and takes
the lab down; one that comes while it is being built does the same. Since the lab dies with its daemon, killing the
daemon any other way leaves nothing either.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from pathlib import Path
from threading import Event

from proxybench.errors import ProxybenchError
from proxybench.interrupts import Interrupted, Interrupter, undisturbed
from proxybench.targets.lab.capabilities import MODES
from proxybench.targets.lab.choose import Wish, choose
from proxybench.targets.lab.cluster_file import to_json
from proxybench.targets.lab.process import started
from proxybench.targets.lab.target import make_lab


def main(kind: str, clock: str, kernel: str, state_file: Path) -> int:
    """Hold the lab until told to stop; return the exit code."""
    Interrupter.install().raises = True
    with suppress(Interrupted):
        _hold(kind, clock, kernel, state_file)
    return 0


def _hold(kind: str, clock: str, kernel: str, state_file: Path) -> None:
    # A lab that was asked for by name is built even where not every mode can run in it.
    choice = choose(Wish(kind, clock, kernel), [(mode, None) for mode in MODES] if kind == "auto" else (), _report)
    lab = make_lab(choice.kind, choice.settings, _report)
    try:
        cluster = lab.up()
        own = {"daemon": os.getpid(), "started": started(os.getpid())}
        content = json.dumps({**own, "cluster": to_json(cluster)})
        part = state_file.with_suffix(".part")
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(content)
        part.rename(state_file)
        Event().wait()
    finally:
        with undisturbed():
            state_file.unlink(missing_ok=True)
            lab.down()


def _report(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - read from the daemon's log by whoever waits for the lab


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[3], Path(sys.argv[4])))
    except ProxybenchError as error:
        sys.exit(f"error: {error}")
