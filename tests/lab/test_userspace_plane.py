"""The userspace plane in a network namespace of this kernel: portals, relay, and what is left behind."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import textwrap
import uuid
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.lab

PROLOGUE = """
import os, signal, socket, subprocess, sys, threading, time
from dataclasses import replace
from refproxy.config import LoopConfig
from refproxy.plane import Endpoint, ServicePort, ServicePortKey
from refproxy.tools import SubprocessRunner
from refproxy.userspace_plane import UserspacePlane
CONFIG = LoopConfig("userspace", "node", ("198.18.77.1",), "", "", "", 0, 30, IPTABLES, "/tmp")
def port(number, protocol="tcp", **fields):
    ends = (Endpoint("10.244.0.1", 8080, True), Endpoint("10.244.0.2", 8080, True))
    key = ServicePortKey("ns", f"s{number}", "p", protocol)
    return replace(ServicePort(key, f"10.96.{number // 250}.{number % 250 + 1}", 80, ends), **fields)
def ports(*items):
    return {item.key: item for item in items}
def serve():
    server = socket.create_server(("0.0.0.0", 8080), backlog=100)
    while True:
        peer, _ = server.accept()
        peer.sendall(peer.getsockname()[0].encode())
        peer.close()
threading.Thread(target=serve, daemon=True).start()
def ask(address, number):
    with socket.create_connection((address, number), 10) as client:
        return client.recv(100).decode()
plane = UserspacePlane(SubprocessRunner(), CONFIG)
plane.setup()
"""


def tool(*argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture
def namespace() -> Iterator[str]:
    name = f"pbt-user-{uuid.uuid4().hex[:8]}"
    made = tool("ip", "netns", "add", name)
    if made.returncode:
        pytest.skip(f"no network namespace can be made here: {made.stderr.strip()}")
    try:
        for what in (
            ["link", "set", "lo", "up"],
            ["addr", "add", "198.18.77.1/32", "dev", "lo"],
            ["route", "add", "local", "10.244.0.0/16", "dev", "lo"],
            ["route", "add", "default", "dev", "lo"],  # a VIP must have a route before OUTPUT sees it
        ):
            assert tool("ip", "-n", name, *what).returncode == 0
        yield name
    finally:
        tool("ip", "netns", "del", name)


def run(namespace: str, body: str, code: int = 0) -> str:
    """Run a program in the namespace, the plane being set up and cleaned up around it."""
    multi = shutil.which("xtables-legacy-multi")
    assert multi, "iptables' legacy backend is missing"
    program = (
        f"IPTABLES = {multi!r}\n{PROLOGUE}\ntry:\n{textwrap.indent(textwrap.dedent(body), '    ')}\n"
        "finally:\n    plane.cleanup()\n"
    )
    done = tool("ip", "netns", "exec", namespace, sys.executable, "-c", program)
    assert done.returncode == code, done.stderr
    assert done.stderr == ""
    return done.stdout


def left(namespace: str) -> list[str]:
    text = tool("ip", "netns", "exec", namespace, "xtables-legacy-multi", "iptables-save").stdout
    text += tool("ip", "netns", "exec", namespace, "ss", "-Hlntu").stdout
    return [line for line in text.splitlines() if not line.startswith(("*", "#", ":", "COMMIT")) or "KUBE" in line]


def test_cluster_ip_node_port_and_udp(namespace: str) -> None:
    out = run(
        namespace,
        """
        plane.sync(ports(port(0, node_port=30080), port(1, endpoints=())), None)
        print(*(ask("10.96.0.1", 80) for _ in range(4)))
        print(*(ask("198.18.77.1", 30080) for _ in range(2)), ask("127.0.0.1", 30080))
        print(repr(ask("10.96.0.2", 80)))
        udp = port(2, "udp")
        plane.sync(ports(port(0, node_port=30080), port(1, endpoints=()), udp), {udp.key})
        echo = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        echo.bind(("10.244.0.1", 8080))
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        client.settimeout(10)
        client.connect(("10.96.0.3", 80))
        client.send(b"hello")
        data, peer = echo.recvfrom(100)
        echo.sendto(data.upper(), peer)
        print(client.recv(100))
        plane.sync(ports(udp), {port(0).key, port(1).key})
        try:
            ask("198.18.77.1", 30080)
        except ConnectionRefusedError:
            print("refused")
        """,
    )
    assert out.splitlines() == [
        "10.244.0.1 10.244.0.2 10.244.0.1 10.244.0.2",
        "10.244.0.1 10.244.0.2 10.244.0.1",
        "''",
        "b'HELLO'",
        "refused",
    ]
    assert left(namespace) == []


def test_a_full_sync_mends_what_others_broke(namespace: str) -> None:
    out = run(
        namespace,
        """
        wanted = ports(port(0), port(1))
        plane.sync(wanted, None)
        save = lambda: sorted(
            line for line in subprocess.run([IPTABLES, "iptables-save"], capture_output=True).stdout.splitlines()
            if line.startswith(b"-A")
        )
        before = save()
        for chain in ("OUTPUT", "KUBE-PORTALS-HOST", "KUBE-PORTALS-CONTAINER"):
            subprocess.run([IPTABLES, "iptables", "-t", "nat", "-D", chain, "1"], check=True)
        plane.sync(wanted, None)
        print(save() == before, len(before), ask("10.96.0.2", 80))
        """,
    )
    assert out == "True 9 10.244.0.1\n"
    assert left(namespace) == []


def test_a_killed_relay_is_replaced_by_an_empty_sync(namespace: str) -> None:
    out = run(
        namespace,
        """
        import logging
        logging.basicConfig(stream=sys.stdout, format="%(message)s")
        wanted = ports(port(0), port(1, node_port=30080))
        plane.sync(wanted, None)
        killed = plane._relay.pid
        os.kill(killed, signal.SIGKILL)
        while not plane._relay.ended():
            time.sleep(0.01)
        plane.sync(wanted, set())
        print(plane._relay.pid != killed, ask("10.96.0.1", 80), ask("198.18.77.1", 30080))
        plane.sync(wanted, set())
        """,
    )
    first, second = out.splitlines()
    assert re.fullmatch(r"relay: process \d+ ended with -9; starting a new one", first)
    assert second == "True 10.244.0.1 10.244.0.1"
    assert left(namespace) == []


def test_a_udp_client_that_keeps_its_socket_finds_the_relays_new_port(namespace: str) -> None:
    out = run(
        namespace,
        """
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        server.bind(("0.0.0.0", 8080))
        def echo():
            while True:
                data, peer = server.recvfrom(100)
                server.sendto(data.upper(), peer)
        threading.Thread(target=echo, daemon=True).start()
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        client.settimeout(0.5)
        client.connect(("10.96.0.1", 80))
        def say(word):
            try:
                client.send(word)
                return client.recv(100)
            except OSError as error:
                return type(error).__name__
        dns = port(0, "udp", endpoints=(Endpoint("10.244.0.1", 8080, True),))
        plane.sync({}, None)
        print(say(b"before"))
        plane.sync(ports(dns), {dns.key})
        print(say(b"come"))
        plane.sync({}, {dns.key})
        print(say(b"gone"))
        plane.sync(ports(dns), {dns.key})
        print(say(b"again"))
        os.kill(plane._relay.pid, signal.SIGKILL)
        while not plane._relay.ended():
            time.sleep(0.01)
        import logging
        logging.disable()
        plane.sync(ports(dns), set())
        print(say(b"new relay"), plane.sync(ports(dns), set()).kernel_ns)
        """,
    )
    assert out.splitlines() == ["TimeoutError", "b'COME'", "TimeoutError", "b'AGAIN'", "b'NEW RELAY' 0"]
    assert left(namespace) == []


def test_ten_thousand_listeners(namespace: str) -> None:
    out = run(
        namespace,
        """
        wanted = ports(*(port(number) for number in range(10_000)))
        plane.sync(wanted, None)
        print(ask("10.96.0.1", 80), ask("10.96.39.250", 80))
        del wanted[port(0).key]
        plane.sync(wanted, {port(0).key})
        print(len(plane._portals), ask("10.96.39.250", 80))
        """,
    )
    assert out == "10.244.0.1 10.244.0.1\n9999 10.244.0.2\n"
    assert left(namespace) == []


def test_the_relay_dies_with_its_parent(namespace: str) -> None:
    out = run(
        namespace,
        """
        plane.sync(ports(port(0)), None)
        print(plane._relay.pid, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
        """,
        code=-9,
    )
    for _ in range(50):
        try:
            os.kill(int(out), 0)
        except ProcessLookupError:
            return
        tool("sleep", "0.1")
    pytest.fail("the relay still runs 5 s after its parent was killed")
