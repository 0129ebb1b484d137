"""The agent against real routes, real drops and a real cgroup: what loopback cannot show."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from proxybench.nodes.client import AgentClient
from proxybench.nodes.requests import Await, Connect, Target
from proxybench.nodes.zipapp import build_zipapp

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.lab

MS = 1_000_000
UDP = """
import socket
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.settimeout(5)
sock.sendto(b"payload", ("10.244.7.9", 8080))
data, sender = sock.recvfrom(100)
print(sender[0], sender[1], data.decode().replace("\\n", " "), sock.getsockname()[1])
"""


class Pipes:
    """A Session to a local process; pytest's own time limit stands behind its reads."""

    ended = ""

    def __init__(self, argv: list[str]) -> None:
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def send_line(self, line: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def read_line(self, timeout: float) -> str:
        assert self.process.stdout
        return self.process.stdout.readline()

    def close(self) -> None:
        self.process.communicate(timeout=20)


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, timeout=20)


def agent_command(path: Path, *words: str) -> list[str]:
    return [sys.executable, "-I", "-S", str(path), *words]


@pytest.fixture
def zipapp(tmp_path: Path) -> Path:
    path = tmp_path / "agent.pyz"
    path.write_bytes(build_zipapp())
    return path


@pytest.fixture
def spaces(zipapp: Path) -> Iterator[tuple[str, str]]:
    """Yield the names of a client's and an endpoint's namespace; 10.244.0.0/16 answers in the second."""
    client, endpoint = (f"pbt-agent-{os.getpid()}-{end}" for end in "ce")
    backend = None
    try:
        for space in (client, endpoint):
            ip("netns", "add", space)
            ip("-n", space, "link", "set", "lo", "up")
        ip("-n", client, "link", "add", "v0", "type", "veth", "peer", "name", "v1", "netns", endpoint)
        for space, link, address in ((client, "v0", "198.18.0.1/24"), (endpoint, "v1", "198.18.0.2/24")):
            ip("-n", space, "addr", "add", address, "dev", link)
            ip("-n", space, "link", "set", link, "up")
        ip("-n", endpoint, "route", "add", "local", "10.244.0.0/16", "dev", "lo")
        ip("-n", client, "route", "add", "default", "via", "198.18.0.2")
        command = ["ip", "netns", "exec", endpoint, *agent_command(zipapp, "backend", "--port", "8080")]
        backend = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert backend.stdout
        assert backend.stdout.readline() == "ready 8080\n"
        yield client, endpoint
    finally:
        if backend is not None:
            backend.terminate()
            backend.communicate(timeout=10)
        for space in (client, endpoint):
            subprocess.run(["ip", "netns", "del", space], check=False, timeout=20)


def test_any_address_of_the_range_answers_as_itself(spaces: tuple[str, str], zipapp: Path) -> None:
    client, _ = spaces
    within = ["ip", "netns", "exec", client]
    done = subprocess.run([*within, sys.executable, "-c", UDP], capture_output=True, text=True, check=True, timeout=20)
    words = done.stdout.split()
    assert words[:4] == ["10.244.7.9", "8080", "10.244.7.9", "198.18.0.1"]
    assert words[4] == words[6]
    assert words[5] == "payload"
    agent = AgentClient(Pipes([*within, *agent_command(zipapp, "serve")]))
    targets = tuple(Target(host, host, 8080, (host,)) for host in ("10.244.0.1", "10.244.255.254"))
    seen = agent.call(Connect(targets, rounds=10, block=20, warmup=20))
    agent.close()
    for host, figures in seen.targets.items():
        assert (figures.answers, figures.wrong, figures.errors, figures.timeouts) == ({host: 200}, 0, {}, 0)


def test_the_end_of_a_drop_is_seen_long_before_the_kernel_repeats_a_syn(spaces: tuple[str, str], zipapp: Path) -> None:
    client, endpoint = spaces
    ip("-n", endpoint, "route", "add", "blackhole", "10.250.0.0/16")
    opened = []

    def open_up() -> None:
        ip("-n", endpoint, "route", "del", "blackhole", "10.250.0.0/16")
        ip("-n", endpoint, "route", "add", "local", "10.250.0.0/16", "dev", "lo")
        opened.append(time.monotonic_ns())

    agent = AgentClient(Pipes(["ip", "netns", "exec", client, *agent_command(zipapp, "serve")]))
    timer = threading.Timer(0.6, open_up)
    timer.start()
    seen = agent.call(Await("10.250.0.1", 8080, "answer", 10, want=("10.250.0.1",)))
    timer.join()
    agent.close()
    assert seen.first_ns is not None
    assert seen.first_ns - opened[0] < 500 * MS  # that would be after 1 s; on a busy machine it was 183 ms
    assert seen.errors["SILENT"] > 20


def cgroup_mount() -> Path:
    for line in Path("/proc/mounts").read_text().splitlines():
        words = line.split()
        if words[2] == "cgroup2":
            return Path(words[1])
    pytest.skip("no cgroup v2 is mounted here")


def test_a_cgroup_counts_children_and_goes_with_them(zipapp: Path, tmp_path: Path) -> None:
    parent = cgroup_mount() / f"pbt-agent-{os.getpid()}"
    group = str(parent / "loop")
    agent = AgentClient(Pipes(agent_command(zipapp, "serve")))
    script = "(i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; echo done; setsid sleep 60) & sleep 60"
    log = tmp_path / "log"
    try:
        spawned = agent.spawn(["sh", "-c", script], log=str(log), cgroup=group)
        while log.read_text() != "done\n":
            time.sleep(0.02)
        spent = agent.usage([group]).groups[group]
        stopped = agent.stop(spawned.pid, 5)
        agent.close()
    finally:
        if parent.exists():
            parent.rmdir()
    assert spent.usage_ns > 20 * MS
    assert abs(spent.usage_ns - spent.user_ns - spent.system_ns) <= 2000
    assert (stopped.killed, stopped.cgroup_removed) == (False, True)
