"""A watch: connects to targets every few milliseconds for as long as an event lasts, in a process beside the agent.

The agent goes on answering meanwhile: it writes to the API, and probes. ``watch`` starts one, ``watched`` ends it and
tells what it saw.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import signal
import time

from proxybench.agent.fields import OpError
from proxybench.agent.spawn import HELD_SIGNALS, Process
from proxybench.agent.watchers import Held, Tcp, Udp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import NoReturn

    from proxybench.agent.fields import Fields
    from proxybench.agent.state import PortWalk, State
    from proxybench.agent.watchers import Watcher

READY = b"ready\n"
MARGIN_S = 20.0  # how long a busy node may take to hand over what was seen
ORPHAN_LOOK_NS = 1_000_000_000
NS_PER_S = 1_000_000_000
KINDS: Mapping[str, Callable[[Fields, PortWalk], Watcher]] = {"tcp": Tcp, "udp": Udp, "held": Held}


def watch(fields: Fields, state: State) -> dict[str, object]:
    """Begin; return once every held connection is established. Raises OpError when one is not."""
    ports = state.watch_ports
    watchers = [_watcher(group, ports) for group in fields.groups("targets")]
    fields.finish()
    reader, writer = os.pipe()
    # Signals wait until the child is on the list: an agent told to stop must not forget one.
    held = signal.pthread_sigmask(signal.SIG_BLOCK, HELD_SIGNALS)
    try:
        pid = os.fork()
        if pid == 0:
            os.close(reader)
            _child(watchers, writer, ports)
        os.close(writer)
        state.processes[pid] = Process(pid, None, MARGIN_S)
        state.watches[pid] = reader
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held)
    line = b""
    while not line.endswith(b"\n") and (byte := os.read(reader, 1)):
        line += byte
    if line != READY:
        _end(pid, state)
        raise OpError(line.decode("utf-8", "replace").strip() or "the watch ended at once")
    return {"pid": pid}


def watched(fields: Fields, state: State) -> dict[str, object]:
    """End a watch; return what it saw. Attempts under way are waited for."""
    pid = fields.whole("pid", 1, 2**31)
    fields.finish()
    if pid not in state.watches:
        raise OpError(f"no watch with pid {pid} was begun here")
    with contextlib.suppress(ProcessLookupError):
        state.processes[pid].signal(signal.SIGTERM)
    text, how = _end(pid, state)
    try:
        result = json.loads(text)
        # The kernel remembers a SYN that no rule took for two minutes: the next watch must not use these ports again.
        state.watch_ports.next = result.pop("port")
    except (ValueError, AttributeError, KeyError):
        said = text.decode("utf-8", "replace").strip()
        raise OpError(f"the watch has no result: {said or how}") from None
    return dict(result)


def _watcher(fields: Fields, ports: PortWalk) -> Watcher:
    kind = fields.text("kind")
    if kind not in KINDS:
        raise OpError(f"kind must be one of {', '.join(KINDS)}")
    return KINDS[kind](fields, ports)


def _end(pid: int, state: State) -> tuple[bytes, str]:
    """Read to the end what the child writes, and forget it; return that, and how the child ended."""
    reader, process = state.watches.pop(pid), state.processes.pop(pid)
    pieces = []
    deadline = time.monotonic() + MARGIN_S
    try:
        while time.monotonic() < deadline:
            if select.select([reader], [], [], 1.0)[0]:
                piece = os.read(reader, 1 << 16)
                if not piece:
                    break
                pieces.append(piece)
    finally:
        os.close(reader)
        how = ""
        if not process.wait(1.0):
            how = f"its process {pid} did not end within {MARGIN_S:g} s, and was killed"
            process.signal(signal.SIGKILL)
            process.wait(MARGIN_S)
        process.sweep()
    return b"".join(pieces), how or _how(process)


def _how(process: Process) -> str:
    code = process.code or 0
    names = {number.value: number.name for number in signal.Signals}
    how = f"ended with code {code}" if code >= 0 else f"was ended by {names.get(-code, -code)}"
    return f"its process {process.pid} {how}"


def _child(watchers: list[Watcher], writer: int, ports: PortWalk) -> NoReturn:
    """Watch until told to end, then write what was seen; never returns."""
    try:
        parent = os.getppid()
        os.setsid()
        nothing = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):  # the agent's conversation is none of its business
            os.dup2(nothing, descriptor)
        told: list[int] = []
        signal.signal(signal.SIGTERM, lambda number, _: told.append(number))
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        continued: list[int] = []
        signal.signal(signal.SIGCONT, lambda number, _: continued.append(number))
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        seen = {**_run(watchers, writer, told, parent), "port": ports.next}
        text = "it stood still for a while: it got SIGSTOP and SIGCONT"
        view = memoryview((text if continued else json.dumps(seen, separators=(",", ":"))).encode())
        while view:
            view = view[os.write(writer, view) :]
    except OpError as error:
        os.write(writer, f"{error}\n".encode())
    except BaseException as error:  # noqa: BLE001 - whatever it is, the parent must hear of it
        with contextlib.suppress(OSError):
            os.write(writer, f"{type(error).__name__}: {error}\n".encode())
    finally:
        os._exit(0)


def _run(watchers: list[Watcher], writer: int, told: list[int], parent: int) -> dict[str, object]:
    poller = select.epoll()
    begun_cpu = time.process_time_ns()
    start = time.monotonic_ns()
    for number, watcher in enumerate(watchers):
        watcher.start(poller, start + number * watcher.interval_ns // len(watchers))
    os.write(writer, READY)
    look = start
    while not told:
        now = time.monotonic_ns()
        wake = min(watcher.launch(now) for watcher in watchers)
        _step(poller, watchers, wake)
        if now >= look:
            look = now + ORPHAN_LOOK_NS
            if os.getppid() != parent:
                raise OpError("the agent is gone")
    end = time.monotonic_ns()
    while (wake := max(watcher.deadline_ns() for watcher in watchers)) > time.monotonic_ns():
        _step(poller, watchers, min(wake, time.monotonic_ns() + ORPHAN_LOOK_NS // 10))
    for watcher in watchers:
        watcher.expire(time.monotonic_ns())  # one that stayed open would hide all that were sent after it
    return {
        "start_ns": start,
        "end_ns": end,
        "cpu_ns": time.process_time_ns() - begun_cpu,
        "targets": {watcher.label: watcher.result() for watcher in watchers if not isinstance(watcher, Held)},
        "held": {watcher.label: watcher.result() for watcher in watchers if isinstance(watcher, Held)},
    }


def _step(poller: select.epoll, watchers: list[Watcher], wake: int) -> None:
    """Handle what arrived until ``wake``, then give up what was too old before: its answer would have been there."""
    begun = time.monotonic_ns()
    for descriptor, _ in poller.poll(max(0, wake - begun) / NS_PER_S):
        for watcher in watchers:
            if descriptor in watcher.descriptors:
                watcher.hear(descriptor)
                break
    for watcher in watchers:
        watcher.expire(begun)
