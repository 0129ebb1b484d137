"""The real locust, as a subprocess, against real servers on 127.0.0.1."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest

from proxybench.load.command import build_command, locustfile
from proxybench.load.plan import LoadPlan, Target
from proxybench.load.result import parse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


class Backend:
    """Accepts, says its line after ``delay`` seconds, and counts how connections ended."""

    def __init__(self, line: bytes, delay: float = 0.0) -> None:
        self.line, self.delay = line, delay
        self.accepted = self.resets = 0
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def target(self) -> Target:
        return Target("127.0.0.1", self.listener.getsockname()[1], ("127.0.0.1",))

    def serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self.listener.accept()
                self.accepted += 1
                with sock:
                    time.sleep(self.delay)
                    try:
                        if self.line:
                            sock.sendall(self.line)
                            sock.recv(1)
                    except ConnectionResetError:
                        self.resets += 1

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join(5)


@pytest.fixture
def backend() -> Iterator[Callable[..., Backend]]:
    made: list[Backend] = []

    def make(line: bytes = b"127.0.0.1 127.0.0.1\n", delay: float = 0.0) -> Backend:
        made.append(Backend(line, delay))
        return made[-1]

    yield make
    for each in made:
        each.close()


def start(plan: LoadPlan, folder: Path) -> subprocess.Popen[str]:
    (folder / "locustfile.py").write_bytes(locustfile())
    (folder / "plan.json").write_bytes(plan.to_json())
    argv = build_command(
        plan,
        python=sys.executable,
        locustfile_path=str(folder / "locustfile.py"),
        plan_path=str(folder / "plan.json"),
    )
    return subprocess.Popen(
        argv, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def run(plan: LoadPlan, folder: Path) -> str:
    with start(plan, folder) as process:
        output, _ = process.communicate(timeout=30)
    assert process.returncode == 0, output
    assert "Traceback" not in output
    return output


def test_a_load_on_two_targets(backend: Callable[..., Backend], tmp_path: Path) -> None:
    first, second = backend(), backend()
    plan = LoadPlan((first.target(), second.target()), 10, 5, 1.5, 1000, str(tmp_path / "out"))
    started = time.monotonic()
    run(plan, tmp_path)
    assert time.monotonic() - started < 8  # it ends by itself, not at --run-time
    text = (tmp_path / "out").read_text()
    result = parse(text)
    assert result.failures == {}
    assert len(result.connect_ns) == 75
    assert (first.accepted + second.accepted, abs(first.accepted - second.accepted)) == (75, 1)
    assert first.resets + second.resets == 75  # closed with RST: no TIME_WAIT
    assert result.offered == 50
    assert 40 < result.achieved <= 50
    assert (result.connect_ns > 0).all()
    assert (result.connect_ns < result.first_byte_ns).all()
    assert (result.lag_ns >= 0).all()
    assert (result.intended_ns == result.lag_ns + result.first_byte_ns).all()
    intended = sorted(int(line.split(",")[1]) for line in text.splitlines()[1:-1])
    assert intended == [number * 20_000_000 for number in range(75)]  # users are shifted evenly


def test_waiting_behind_a_slow_answer_counts(backend: Callable[..., Backend], tmp_path: Path) -> None:
    slow = backend(delay=0.15)
    plan = LoadPlan((slow.target(),), 10, 1, 1.0, 2000, str(tmp_path / "out"))
    run(plan, tmp_path)
    result = parse((tmp_path / "out").read_text())
    assert len(result.connect_ns) == 10
    service, response = result.first_byte_ns / 1e6, result.intended_ns / 1e6
    assert 150 <= np.median(service) < 250
    assert response[-1] >= 150 + 9 * 50  # each of ten started 50 ms later than it should have
    assert np.median(result.connect_ns) < 50e6


def test_failures_have_their_kinds(backend: Callable[..., Backend], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        nobody = Target("127.0.0.1", free.getsockname()[1], ("127.0.0.1",))
    targets = (
        nobody,
        backend(b"10.9.9.9 x\n").target(),
        backend(b"").target(),
        backend(b"x" * 300).target(),
        backend(b"\n").target(),
        backend(delay=0.6).target(),
        backend().target(),
    )
    plan = LoadPlan(targets, 1, 7, 1.0, 400, str(tmp_path / "out"))
    output = run(plan, tmp_path)
    result = parse((tmp_path / "out").read_text())
    assert result.failures == {"closed": 1, "protocol": 2, "refused": 1, "timeout": 1, "wrong-endpoint": 1}
    assert (result.censored, len(result.connect_ns), result.timeout_ns) == (6, 1, 400_000_000)
    assert "wrong-endpoint" in output  # locust's own summary names them too


def test_more_than_can_be_served_is_not_forgotten(backend: Callable[..., Backend], tmp_path: Path) -> None:
    slow = backend(delay=0.25)
    plan = LoadPlan((slow.target(),), 20, 1, 0.5, 300, str(tmp_path / "out"))
    run(plan, tmp_path)
    result = parse((tmp_path / "out").read_text())
    assert len(result.connect_ns) + result.censored == 10
    assert result.failures["unserved"] >= 5


def test_a_load_that_is_stopped_still_tells_what_it_has(backend: Callable[..., Backend], tmp_path: Path) -> None:
    calm = backend()
    plan = LoadPlan((calm.target(),), 20, 1, 20.0, 300, str(tmp_path / "out"))
    with start(plan, tmp_path) as process:
        deadline = time.monotonic() + 20
        while calm.accepted < 3 and time.monotonic() < deadline:
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGTERM)
        process.communicate(timeout=10)
    result = parse((tmp_path / "out").read_text())
    assert len(result.connect_ns) >= 3
    assert result.failures["unserved"] == 400 - len(result.connect_ns)
