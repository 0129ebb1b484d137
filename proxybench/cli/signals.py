"""Signals that ask for an end become KeyboardInterrupt, so that every ``finally`` on the way still cleans up."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType

_PATIENCE = 2
"""The signal that gives up; the first interrupts, those between only say that cleaning up goes on."""


class Interrupter:
    """Raises KeyboardInterrupt at the first signal; lets the clean-up finish at the second; gives up at the third.

    Without this an impatient second Ctrl-C would interrupt the clean-up and leave a lab behind.
    """

    def __init__(self) -> None:
        self._seen = 0

    def install(self) -> None:
        """Take over SIGINT, SIGTERM and SIGHUP; a SIGHUP that is ignored (nohup) stays so."""
        signal.signal(signal.SIGINT, self)
        signal.signal(signal.SIGTERM, self)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            signal.signal(signal.SIGHUP, self)

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Handle one signal."""
        del number, frame
        self._seen += 1
        if self._seen == 1 or self._seen > _PATIENCE:
            raise KeyboardInterrupt
        # os.write: print is not safe while a signal is handled.
        os.write(2, b"cleaning up; once more to give up\n")
