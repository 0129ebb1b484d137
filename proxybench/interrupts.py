"""Signals that ask for an end: an exception, so that every ``finally`` on the way cleans up, at whatever moment.

Before the program's verb has begun, and after it has ended, nobody would catch that: it ends at once then.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType, TracebackType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_PATIENCE = 2
"""The signal that gives up; the first interrupts, those between only say that cleaning up goes on."""
_AGAIN_S = 0.02


class Interrupted(KeyboardInterrupt):
    """A signal has asked for an end. As text, what the user is told."""

    def __init__(self, number: int = signal.SIGINT) -> None:
        super().__init__(number)
        self.number = signal.Signals(number)

    def __str__(self) -> str:
        return "interrupted" if self.number is signal.SIGINT else f"ended by {self.number.name}"

    @property
    def exit_code(self) -> int:
        """What a shell says of a program that this signal ends: 130 for Ctrl-C, 143 for SIGTERM."""
        return 128 + self.number


class Interrupter:
    """Raises ``Interrupted`` at the first signal; lets the clean-up finish at the second; gives up at the third.

    Without this an impatient second Ctrl-C would interrupt the clean-up and leave a lab behind. ``raises`` is whether
    somebody catches what is raised.
    """

    def __init__(self) -> None:
        self.raises = False
        self._seen = 0
        self._first: int = signal.SIGINT
        self._undisturbed = 0  # how deep in what is to be done whole
        self._owed = False  # what is to be raised once that is over

    @classmethod
    def install(cls) -> Interrupter:
        """Take over the signals, once, and return who has them; a SIGHUP that is ignored (nohup) stays so."""
        there = signal.getsignal(signal.SIGINT)
        if isinstance(there, cls):
            return there
        made = cls()
        for number in _SIGNALS:
            if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, made)
        signal.signal(signal.SIGALRM, made.again)
        sys.unraisablehook = made.lost
        atexit.register(_stop_listening)
        return made

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Handle one signal."""
        del frame
        self._seen += 1
        if not self.raises:
            end(Interrupted(number), told=self._seen > 1)
        if self._seen > _PATIENCE:
            raise Interrupted(number)
        if self._seen == 1:
            self._first = number
            self._raise()
        _say("cleaning up first" if self._owed and self._seen == 1 else "cleaning up; once more to give up")

    def again(self, number: int, frame: FrameType | None) -> None:
        """Raise once more what was lost."""
        del number, frame
        if self.raises:
            self._raise()

    def lost(self, what: sys.UnraisableHookArgs) -> None:
        """Take an exception that Python drops: one that fell into a callback, as an import has some, comes again."""
        if issubclass(what.exc_type, Interrupted):
            signal.setitimer(signal.ITIMER_REAL, _AGAIN_S)
        else:
            sys.__unraisablehook__(what)

    @contextmanager
    def undisturbed(self) -> Iterator[None]:
        """Hold back the first signal's exception until this block is left."""
        self._undisturbed += 1
        try:
            yield
        finally:
            self._undisturbed -= 1
            if self._owed and not self._undisturbed:
                self._owed = False
                raise Interrupted(self._first)

    def _raise(self) -> None:
        if not self._undisturbed:
            raise Interrupted(self._first)
        self._owed = True


@contextmanager
def undisturbed() -> Iterator[None]:
    """Do a block whole, such as a clean-up, whatever signal comes; what that raises is raised when the block is left.

    The third signal ends it all the same. Only the main thread is ever interrupted.
    """
    handler = signal.getsignal(signal.SIGINT)
    if isinstance(handler, Interrupter) and threading.current_thread() is threading.main_thread():
        with handler.undisturbed():
            yield
    else:
        yield


class UndisturbedStack(ExitStack):
    """An ExitStack that is left whole: no signal keeps it from calling what it holds."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> bool:
        with undisturbed():
            return bool(super().__exit__(kind, error, trace))


def end(error: Interrupted, *, told: bool = False) -> NoReturn:
    """End this process at once, where nothing is to be cleaned up; ``told``: the user knows already."""
    if not told:
        _say(f"error: {error}")
    os._exit(error.exit_code)


def _stop_listening() -> None:
    """Be deaf in Python's last moments: it takes our handlers away then, and a signal would change the exit code."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _say(line: str) -> None:
    """Write a line to standard error; print is not safe while a signal is handled, and the terminal may be gone."""
    with suppress(OSError):
        os.write(2, f"{line}\n".encode())
