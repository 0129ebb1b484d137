"""Every error that proxybench raises on purpose, and the exit code it ends in.

ProxybenchError
├── UsageError            2   bad arguments, files or settings
│   ├── ExperimentError   2   problems in an experiment file, all of them at once
│   └── UnavailableError  2   a program that is wanted cannot be had here: no such release, no way to fetch or build it
├── RunError              3   the run failed or is incomplete
│   ├── HostError             a node could not be reached or a command failed there
│   │   ├── ConnectionLostError
│   │   ├── CommandFailedError
│   │   ├── CommandTimeoutError
│   │   └── AgentError        the agent on a node refused a request or answered nonsense
│   ├── ApiError              the Kubernetes API refused or did not answer
│   ├── TransferError         a download broke off or is not what was published
│   ├── BuildError            a program could not be built
│   ├── LabError              the lab could not be built, reached or removed
│   ├── ProxierError          a control loop did not start, sync or stop as it should
│   │   └── ProxierLostError  it ended, or stood still, while it was to be measured
│   └── MeasurementError      a measurement could not be taken or trusted
│       ├── OverrunError      a part of a run had no time left
│       └── LateError         a subject was still at work when its time was up
├── ResultsError          2   a run folder or baseline cannot be read
└── IncomparableError     4   two runs differ in what matters

Exit codes: 0 pass, 1 regression, 2 usage, 3 run failed, 4 inconclusive or not comparable, 128 + N ended by
signal N (130 by Ctrl-C).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from http import HTTPStatus


class ExitCode(IntEnum):
    """What the process ends with; scripts and CI rely on these."""

    PASS = 0
    REGRESSION = 1
    USAGE = 2
    RUN_FAILED = 3
    INCONCLUSIVE = 4
    CLOSED_PIPE = 141  # as of a program that SIGPIPE ends: whoever read the output went away (… | head)


class ProxybenchError(Exception):
    """Base of all errors whose text is meant for the user: one clear line."""

    exit_code = ExitCode.RUN_FAILED


class UsageError(ProxybenchError):
    """The user's arguments, files or settings are wrong."""

    exit_code = ExitCode.USAGE


@dataclass(frozen=True, order=True)
class Problem:
    """One thing wrong in a file; line and column count from 1."""

    file: str
    line: int
    column: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.message}"


def place_after(text: str) -> tuple[int, int]:
    """Return line and column, from 1, of what follows this beginning of a file."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return len(lines), len(lines[-1]) + 1


def decoded(raw: bytes) -> str | tuple[int, int]:
    """Return a file's bytes as text, without a byte order mark; or line and column of the first that is no UTF-8."""
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return place_after(error.object[: error.start].decode("utf-8"))


class ExperimentError(UsageError):
    """All problems of one experiment file, in the order of their lines."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = tuple(sorted(problems))
        super().__init__("\n".join(str(problem) for problem in self.problems))


class UnavailableError(UsageError):
    """A program that is wanted cannot be had here. ``missing``: whether there is no such version at all."""

    def __init__(self, message: str, *, missing: bool = False) -> None:
        self.missing = missing
        super().__init__(message)


class RunError(ProxybenchError):
    """Something failed while the run was going on."""


class HostError(RunError):
    """A node could not be reached, or a command on it failed."""


class ConnectionLostError(HostError):
    """The SSH connection could not be made or broke."""


class CommandFailedError(HostError):
    """A command on a node ended with a code other than 0."""


class CommandTimeoutError(HostError):
    """A command on a node did not end within its time limit."""


class AgentError(HostError):
    """The agent on a node refused a request, or answered something that cannot be understood."""


class ApiError(RunError):
    """The Kubernetes API refused a request or did not answer."""

    def __init__(self, message: str, status: int | None = None) -> None:
        self.status = status
        super().__init__(message)

    @property
    def away(self) -> bool:
        """Whether nobody has answered who could refuse for good: no server, one that is not ready, or too busy (429).

        One that has just been started may forbid everything (403) until it has read its roles: 1.25.0 does.
        """
        if self.status is None:
            return True
        passing = {HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS}
        return self.status in passing or self.status >= HTTPStatus.INTERNAL_SERVER_ERROR


class TransferError(RunError):
    """A download broke off, found no room, or is not what was published."""


class BuildError(RunError):
    """A program could not be built from its source."""


class LabError(RunError):
    """The embedded lab could not be built, reached or removed."""


class ProxierError(RunError):
    """A control loop did not start, become ready or stop as it should."""


class ProxierLostError(ProxierError):
    """A control loop ended, stood still or left its cgroup while it was to be measured."""


class MeasurementError(RunError):
    """A measurement could not be taken, or its result cannot be trusted."""


class OverrunError(MeasurementError):
    """A part of a run had no time left."""


class LateError(MeasurementError):
    """A subject was still at work when its time was up: a number that is at least so large, and no fault."""


class ResultsError(UsageError):
    """A run folder, a sample file or a baseline cannot be read."""


class IncomparableError(ProxybenchError):
    """Two runs differ in something that makes their comparison meaningless."""

    exit_code = ExitCode.INCONCLUSIVE
