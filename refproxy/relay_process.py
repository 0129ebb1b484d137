"""The plane's end of the relay: starts its process, sends batches, and waits for the answers."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import refproxy
from refproxy.errors import ProxierError
from refproxy.relay_wire import Batch, Reader, decode_answer, encode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from refproxy.relay_wire import Answer, Port

_ANSWER_TIMEOUT = 60.0
_END_TIMEOUT = 5.0
_RECEIVE_BYTES = 1 << 20
_CPUCLOCK_SCHED = 2  # include/linux/posix-timers.h
KUBE_PROXY_UDP_IDLE = 0.25  # seconds; --udp-timeout's default


class Relay(Protocol):
    """What the userspace plane asks of a relay."""

    def ended(self) -> str:
        """Say how it ended by itself since it was started; empty while it runs, or when it never did."""
        ...

    def start(self) -> None:
        """Start it; calls after the first do nothing. Raises ProxierError."""
        ...

    def apply(self, removed: Sequence[str], ports: Sequence[Port]) -> Answer:
        """Change what is relayed and return the listening ports. Raises ProxierError when it is gone or silent."""
        ...

    def relayed_ns(self) -> int | None:
        """Return the CPU time (ns) spent on connections since the start; None when it does not run."""
        ...

    def stop(self) -> None:
        """End it and wait until it has ended. Never raises."""
        ...


class RelayProcess:
    """Implements Relay with a child process, which is in the same cgroup as its parent."""

    def __init__(self, udp_idle_seconds: float = KUBE_PROXY_UDP_IDLE) -> None:
        self._udp_idle = udp_idle_seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._reader = Reader()
        self._number = 0
        self._followed_ns = 0  # the CPU time of starting and following batches

    @property
    def pid(self) -> int | None:
        """The process, None when it does not run."""
        return self._process.pid if self._process else None

    def ended(self) -> str:
        """Say how it ended; see Relay."""
        code = self._process.poll() if self._process else None
        return "" if code is None else f"process {self.pid} ended with {code}"

    def start(self) -> None:
        """Start the process; see Relay. It has no need of installed packages, so it starts without them (-S)."""
        if self._process is not None:
            return
        ours, theirs = socket.socketpair()
        module = "refproxy.relay"
        number = str(theirs.fileno())
        argv = [sys.executable, "-S", "-m", module, number, str(os.getpid()), str(self._udp_idle)]
        root = str(Path(refproxy.__file__).parents[1])
        try:
            self._process = subprocess.Popen(
                argv, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": root}
            )
        except OSError as error:
            ours.close()
            raise ProxierError(f"relay: cannot be started: {error.strerror}") from error
        finally:
            theirs.close()
        ours.settimeout(_ANSWER_TIMEOUT)
        self._control = ours
        self._reader = Reader()

    def apply(self, removed: Sequence[str], ports: Sequence[Port]) -> Answer:
        """Send one batch and wait for its answer; see Relay."""
        if self._control is None:
            raise ProxierError("relay: not started")
        self._number += 1
        try:
            self._control.sendall(encode(Batch(self._number, removed, ports)))
            while True:
                data = self._control.recv(_RECEIVE_BYTES)
                if not data:
                    raise ProxierError("relay: it ended by itself")
                for body in self._reader.feed(data):
                    answer = decode_answer(body)
                    if answer.number == self._number:
                        self._followed_ns = answer.followed_ns
                        return answer
        except TimeoutError as error:
            raise ProxierError(f"relay: no answer within {_ANSWER_TIMEOUT:g} s") from error
        except OSError as error:
            raise ProxierError(f"relay: {error.strerror}") from error

    def relayed_ns(self) -> int | None:
        """Return its CPU time less what starting and following batches took; see Relay."""
        process = self._process
        if process is None or not self._followed_ns:
            return None
        try:
            used = time.clock_gettime_ns(_cpu_clock(process.pid))
        except OSError:
            return None  # it has just ended
        return max(0, used - self._followed_ns)

    def stop(self) -> None:
        """End the process: it ends by itself when its socket closes, else it is killed."""
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._process is not None:
            try:
                self._process.wait(_END_TIMEOUT)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
        self._followed_ns = 0


def _cpu_clock(pid: int) -> int:
    """Return the id of the clock of a process's CPU time, as clock_getcpuclockid(3) makes it on Linux."""
    return (~pid << 3) | _CPUCLOCK_SCHED
