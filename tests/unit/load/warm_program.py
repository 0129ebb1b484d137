"""The real program of ``warm()`` as a subprocess, and a Session over its pipes."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import time
from pathlib import Path

from proxybench.errors import CommandTimeoutError, ConnectionLostError
from proxybench.hosts.base import end_of
from proxybench.load.command import locustfile, warm


class PipeSession:
    """A ``Session`` with a program on this machine."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder = folder
        (folder / "warm.py").write_bytes(warm())
        (folder / "locustfile.py").write_bytes(locustfile())
        argv = [sys.executable, str(folder / "warm.py")]
        home = environment.get("HOME", folder)
        self.process = subprocess.Popen(
            argv,
            cwd=home,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            env={**os.environ, **environment},
        )
        self.buffer = b""

    @property
    def ended(self) -> str:
        code = self.process.poll()
        return "" if code is None else end_of(code)

    def send_line(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line.encode() + b"\n")

    def read_line(self, timeout: float) -> str:
        assert self.process.stdout is not None
        deadline = time.monotonic() + timeout
        while b"\n" not in self.buffer:
            if not select.select([self.process.stdout], [], [], max(deadline - time.monotonic(), 0))[0]:
                raise CommandTimeoutError(f"said nothing within {timeout:g} s")
            chunk = os.read(self.process.stdout.fileno(), 1 << 16)
            if not chunk:
                raise ConnectionLostError("is gone")
            self.buffer += chunk
        line, self.buffer = self.buffer.split(b"\n", 1)
        return line.decode()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.end_input()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(5)
        if self.process.stdout is not None:
            self.process.stdout.close()

    def end_input(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()

    def children(self) -> list[int]:
        """Return the process ids of the loads that run."""
        found = []
        for entry in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                if int(entry.read_text().rpartition(")")[2].split()[1]) == self.process.pid:
                    found.append(int(entry.parent.name))
        return found


def ends(pid: int, seconds: float = 5.0) -> bool:
    """Tell whether a process that need not be our child ends in time."""
    deadline = time.monotonic() + seconds
    while Path(f"/proc/{pid}/exe").exists():  # a zombie has none
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
