"""Process 1 of a ``netns`` lab: makes the network, and hands SSH connections from loopback to the nodes' sshds.

It runs in mount and PID namespaces of its own (see netns.py). Whatever it starts dies with it, and the network
namespaces, whose names lie in its own /run, go when the last process in them does: nothing can be left behind.
The nodes are reached without touching this machine's network: a socket belongs to the namespace it was made in, so
a listener on 127.0.0.1 out here serves an ``sshd -i`` that runs in there.

Usage: ``python -m proxybench.targets.lab.supervisor PLAN.json``
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pyroute2 import netns

from proxybench.hosts.base import end_of
from proxybench.targets.lab.plan import read_plan

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from proxybench.targets.lab.plan import Plan

_BACKLOG = 64
_SETUP_LIMIT = 60.0


def main(plan_file: Path) -> None:
    """Build what the plan says, write its ``ready`` file with the nodes' ports, and serve until killed."""
    plan = read_plan(plan_file.read_text())
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "run", "/run"], check=True)
    Path("/run/netns").mkdir()
    subprocess.run(["sh", plan.network], check=True, timeout=_SETUP_LIMIT)
    started = {subprocess.Popen(argv, stdin=subprocess.DEVNULL).pid: name for name, argv in plan.start.items()}
    holders = {name: _hold(name, script) for name, script in plan.holders.items()}
    started |= {pid: f"the holder of {name}" for name, pid in holders.items()}
    asyncio.run(_serve(plan, holders, started))


def _hold(name: str, script: str) -> int:
    """Start the process that keeps a node's mounts and return its pid once they are made."""
    process = subprocess.Popen(
        ["ip", "netns", "exec", name, "sh", script], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None  # noqa: S101 - asked for one line above
    line = process.stdout.readline()
    if line.strip() != "ready":
        raise SystemExit(f"the mounts of {name} could not be made")
    return process.pid


async def _serve(plan: Plan, holders: dict[str, int], started: dict[int, str]) -> None:
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGCHLD, partial(_reap, started, Path(plan.ended)))
    ports: dict[str, int] = {}
    tasks = []
    for name, pid in holders.items():
        listener = listen("127.0.0.1", 0)
        ports[name] = listener.getsockname()[1]
        enter = ["nsenter", "-t", str(pid), "-m", "-n", "sh", plan.connections[name]]
        tasks.append(loop.create_task(_accept(listener, enter)))
    gate = _listener_in(plan.relay.namespace, plan.relay.address, plan.relay.port)
    server = await asyncio.start_server(_relay(plan.relay.to), sock=gate)
    ready = Path(plan.ready)
    ready.with_suffix(".tmp").write_text(json.dumps(ports))
    ready.with_suffix(".tmp").rename(ready)
    async with server:
        await asyncio.gather(*tasks)


def listen(address: str, port: int) -> socket.socket:
    """Return what listens there over TCP and never blocks. Raises OSError."""
    listener = socket.socket()
    # What it accepts inherits this; asyncio sets it on sockets only that were made by naming TCP. Without it an answer
    # that follows another segment waits for that one's acknowledgement, which its receiver puts off by 40 ms.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listener.bind((address, port))
    listener.listen(_BACKLOG)
    listener.settimeout(0.0)
    return listener


def _listener_in(namespace: str, address: str, port: int) -> socket.socket:
    here = os.open("/proc/self/ns/net", os.O_RDONLY)
    try:
        netns.setns(namespace)
        try:
            return listen(address, port)
        finally:
            netns.setns(here)
    finally:
        os.close(here)


async def _accept(listener: socket.socket, argv: list[str]) -> None:
    loop = asyncio.get_running_loop()
    while True:
        connection, _ = await loop.sock_accept(listener)
        with connection:
            connection.settimeout(None)
            subprocess.Popen(argv, stdin=connection.fileno(), stdout=connection.fileno())  # noqa: ASYNC220 - a fork


def _relay(port: int) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there_reader, there_writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            writer.close()
            return
        await asyncio.gather(_pump(reader, there_writer), _pump(there_reader, writer))

    return relay


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    with contextlib.suppress(OSError):
        writer.close()


def _reap(started: dict[int, str], ended: Path) -> None:
    """Collect what has ended, and tell of what was to stay. As process 1 we inherit every orphan of the namespace."""
    with contextlib.suppress(ChildProcessError):
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            pid, status = found
            if pid in started:
                with ended.open("a") as file:
                    file.write(f"{started[pid]} {end_of(os.waitstatus_to_exitcode(status))}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
