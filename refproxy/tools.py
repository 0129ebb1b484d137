"""The seam to the programs that a data plane runs (iptables-restore, ipset): bytes in, bytes out."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING, NamedTuple, Protocol

from refproxy.errors import ProxierError

if TYPE_CHECKING:
    from collections.abc import Sequence


class ToolResult(NamedTuple):
    """A program that ended by itself: its exit code and what it wrote."""

    code: int
    stdout: bytes
    stderr: bytes


class ToolRunner(Protocol):
    """Runs one program to its end."""

    def run(self, argv: Sequence[str], stdin: bytes = b"", *, timeout: float = 60.0) -> ToolResult:
        """Raise ProxierError when the program cannot be started or does not end in ``timeout`` seconds."""
        ...


class SubprocessRunner:
    """Runs programs on this machine.

    The input goes through an anonymous file in memory, not a pipe: a restore of 10,000 Services reads 12 MB,
    which a pipe hands over 64 KiB at a time with a change of process for each.
    """

    def run(self, argv: Sequence[str], stdin: bytes = b"", *, timeout: float = 60.0) -> ToolResult:
        """Run ``argv`` with ``stdin``; see ToolRunner."""
        source = os.memfd_create("proxybench-stdin", os.MFD_CLOEXEC)
        try:
            with os.fdopen(source, "wb", buffering=0, closefd=False) as file:
                view = memoryview(stdin)
                while view:
                    view = view[file.write(view) or 0 :]
            os.lseek(source, 0, os.SEEK_SET)
            done = subprocess.run(argv, stdin=source, capture_output=True, timeout=timeout, check=False)
        except subprocess.TimeoutExpired as error:
            raise ProxierError(f"{' '.join(argv[:2])}: did not end within {timeout:g} s") from error
        except OSError as error:
            raise ProxierError(f"{argv[0]}: cannot be run: {error.strerror}") from error
        finally:
            os.close(source)
        return ToolResult(done.returncode, done.stdout, done.stderr)


def check(result: ToolResult, what: str) -> bytes:
    """Return the output of a program that succeeded; raise ProxierError with its last words otherwise."""
    if result.code:
        words = " | ".join(result.stderr.decode(errors="replace").strip().splitlines()[-3:])
        raise ProxierError(f"{what} ended with code {result.code}: {words}")
    return result.stdout
