from __future__ import annotations

import contextlib
import os
import socket
import struct
import subprocess
import time
from pathlib import Path

import pytest

from .conftest import RunningBackend
from .pythons import PYTHON, both_pythons

RESET = struct.pack("ii", 1, 0)


def dial(host: str, port: int) -> socket.socket:
    sock = socket.create_connection((host, port), 5)
    sock.settimeout(5)
    return sock


def line_of(sock: socket.socket) -> str:
    with sock.makefile("rb") as file:
        return file.readline().decode()


@both_pythons
def test_tcp_names_the_address_it_was_reached_at_and_the_peer(zipapp: Path, python: str) -> None:
    backend = RunningBackend(python, zipapp)
    try:
        for host in ("127.1.2.3", "127.200.0.9"):
            with dial(host, backend.port) as sock:
                peer = sock.getsockname()
                assert line_of(sock) == f"{host} {peer[0]} {peer[1]}\n"
                sock.sendall(b"first\n")
                assert line_of(sock) == "first\n"
                sock.sendall(b"second\n")
                assert line_of(sock) == "second\n"
    finally:
        assert backend.stop() == 0


def test_udp_replies_from_the_address_it_was_reached_at(backend: RunningBackend) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(5)
        sock.sendto(b"payload", ("127.77.0.5", backend.port))
        data, sender = sock.recvfrom(2000)
        assert sender == ("127.77.0.5", backend.port)
        assert data.decode() == f"127.77.0.5 127.0.0.1 {sock.getsockname()[1]}\npayload"


def test_of_ipv6_it_says_and_does_the_same_and_leaves_the_port_to_ipv4(zipapp: Path) -> None:
    backend = RunningBackend(PYTHON, zipapp, "--family", "ipv6")
    usual = RunningBackend(PYTHON, zipapp, port=backend.port)
    try:
        with dial("::1", backend.port) as sock, dial("127.0.0.1", usual.port) as other:
            assert line_of(sock) == f"::1 ::1 {sock.getsockname()[1]}\n"
            assert line_of(other).startswith("127.0.0.1 ")
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
            sock.settimeout(5)
            sock.sendto(b"payload", ("::1", backend.port))
            data, sender = sock.recvfrom(2000)
            assert sender[:2] == ("::1", backend.port)
            assert data.decode() == f"::1 ::1 {sock.getsockname()[1]}\npayload"
    finally:
        assert (backend.stop(), usual.stop()) == (0, 0)


def test_resets_in_a_row_do_not_stop_it(backend: RunningBackend) -> None:
    for _ in range(300):
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            sock.connect(("127.0.0.1", backend.port))
    with dial("127.0.0.1", backend.port) as sock:
        assert line_of(sock).startswith("127.0.0.1 ")


def test_what_cannot_be_sent_back_is_not_read_either_and_nothing_is_lost(backend: RunningBackend) -> None:
    with dial("127.0.0.1", backend.port) as sock:
        greeting = line_of(sock)
        assert greeting.endswith("\n")
        sock.settimeout(0)
        sent = 0
        stalled = time.monotonic()
        while time.monotonic() - stalled < 0.3:  # until both directions' buffers are full
            with contextlib.suppress(BlockingIOError):
                sent += sock.send(b"x" * 65_536)
                stalled = time.monotonic()
        memory = int((open_status(backend.process.pid)).split("VmRSS:")[1].split()[0])
        assert memory < 40_000  # KiB
        sock.settimeout(5)
        received = 0
        while received < sent:
            received += len(sock.recv(1 << 20))
        assert received == sent
        sock.sendall(b"end\n")
        assert line_of(sock) == "end\n"


def test_it_does_not_preempt_the_prober(backend: RunningBackend) -> None:
    # Not os.sched_getscheduler(), which musl refuses: the policy is field 41 of proc_pid_stat(5).
    fields = Path(f"/proc/{backend.process.pid}/stat").read_text().rpartition(")")[2].split()
    assert int(fields[41 - 3]) == os.SCHED_BATCH


def open_status(pid: int) -> str:
    with open(f"/proc/{pid}/status") as file:  # noqa: PTH123 - one small read
        return file.read()


def test_idle_connections_are_dropped(zipapp: Path) -> None:
    backend = RunningBackend(PYTHON, zipapp, "--idle-s", "0.2")
    try:
        with dial("127.0.0.1", backend.port) as sock:
            line_of(sock)
            assert sock.recv(10) == b""
    finally:
        assert backend.stop() == 0


def test_beyond_the_most_connections_the_longest_idle_goes(zipapp: Path) -> None:
    backend = RunningBackend(PYTHON, zipapp, "--max-connections", "2")
    try:
        socks = [dial("127.0.0.1", backend.port) for _ in range(2)]
        for sock in socks:
            line_of(sock)
        socks[0].sendall(b"still here\n")  # so the second is the longest idle
        assert line_of(socks[0]) == "still here\n"
        socks.append(dial("127.0.0.1", backend.port))
        line_of(socks[2])
        assert socks[1].recv(10) == b""
        socks[0].sendall(b"kept\n")
        assert line_of(socks[0]) == "kept\n"
        for sock in socks:
            sock.close()
    finally:
        assert backend.stop() == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["backend"],
        ["backend", "--port"],
        ["backend", "--port", "x"],
        ["backend", "--port", "65536"],
        ["backend", "--port", "1", "--what", "1"],
        ["backend", "--port", "1", "--idle-s", "nan"],
        ["backend", "--port", "1", "--max-connections", "0"],
        ["backend", "--port", "1", "--family", "ipx"],
    ],
)
def test_wrong_arguments_are_answered_with_the_usage(zipapp: Path, arguments: list[str]) -> None:
    done = subprocess.run([PYTHON, str(zipapp), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    options = "[--idle-s SECONDS] [--max-connections COUNT] [--family ipv4|ipv6]"
    assert done.stderr == f"usage: backend --port PORT {options}\n"


def test_other_programs_do_not_exist(zipapp: Path) -> None:
    done = subprocess.run([PYTHON, str(zipapp), "dance"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("usage: serve | backend --port PORT")
