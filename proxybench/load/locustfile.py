"""New TCP connections at a set arrival rate; runs on the client nodes under locust, never inside the orchestrator.

Imports nothing of proxybench: on the node this file and locust are enough, and every import costs start-up time.

Which time is robust: connect() is called without blocking, which lets the kernel send the SYN and, between
namespaces of one machine, take the SYN-ACK before the call returns; a second call at once then finds the connection
made. So ``connected`` needs no turn through gevent's event loop, whose other events would be counted as the data
path's time. Only where the answer really takes its time does the user wait in the loop, and lets others go on.

Several clients are workers of one master, which knows when all users are there, hands on the first worker's start to
the others, and ends them when every user is done. Each counts by its own clock; the plan has what it differs by.
"""

from __future__ import annotations

import errno
import gc
import json
import os
import random
import signal
import struct
from time import monotonic_ns
from typing import Any

import gevent
from gevent import monkey
from gevent.event import Event
from gevent.socket import wait_read, wait_write
from locust import User, events, runners, task
from locust.exception import StopUser

FORMAT = 1
LEAD_NS = 200_000_000  # from the last user's birth to the first connection
NS_PER_S = 1_000_000_000
RESET_ON_CLOSE = struct.pack("ii", 1, 0)
LONGEST_ANSWER = 256

socket = monkey.get_original("socket", "socket")  # the plain one; waiting is done by wait_read and wait_write
AF_INET, AF_INET6, SOCK_STREAM, SOL_SOCKET, SO_LINGER = 2, 10, 1, 1, 13

# Whether a worker is gone is seen over SSH, at once; its reports would be made in the loop whose lateness is measured.
runners.HEARTBEAT_INTERVAL = runners.WORKER_REPORT_INTERVAL = 24 * 3600
runners.MASTER_HEARTBEAT_TIMEOUT = 2 * runners.HEARTBEAT_INTERVAL

KINDS = {
    errno.ECONNREFUSED: "refused",
    errno.ETIMEDOUT: "timeout",
    errno.EHOSTUNREACH: "unreachable",
    errno.ENETUNREACH: "unreachable",
    errno.ECONNRESET: "reset",
    errno.EPIPE: "reset",
}


class FailedError(Exception):
    """A connection that did not do what it should; its text is the kind of failure."""


class Load:
    """The plan, the time grid and the records of this process."""

    def __init__(self) -> None:
        with open(os.environ["PROXYBENCH_LOAD_PLAN"], encoding="utf-8") as file:  # noqa: PTH123 - fewer imports
            self.plan = json.load(file)
        self.targets = [
            (target["address"], target["port"], frozenset(target["endpoints"])) for target in self.plan["targets"]
        ]
        random.Random(0).shuffle(self.targets)  # noqa: S311 - an order, not a secret
        self.all_users = self.plan["users"]
        self.users = self.all_users // self.plan["clients"]
        self.slots = self.plan["slots_per_user"]
        self.timeout_ns = self.plan["timeout_ns"]
        self.begun = Event()
        self.born = 0
        self.finished = 0
        self.start_ns = 0
        self.end_ns = 0
        self.stood_still = False  # stopped by a signal, and continued
        self.records: list[tuple[int, int, int, int, int, str]] = []

    def begin(self, start_ns: int) -> None:
        """Fix the time grid and let the users go; from here on nothing is collected or logged in between."""
        gc.collect()
        gc.freeze()
        gc.disable()
        self.start_ns = start_ns
        self.end_ns = self.start_ns + self.plan["duration_ns"] + self.timeout_ns
        self.begun.set()

    def intended_ns(self, slot: int) -> int:
        """Return when the ``slot``-th connection of all users is to start."""
        turn, user = divmod(slot, self.all_users)
        period = self.plan["period_ns"]
        return int(self.start_ns + turn * period + user * period // self.all_users)

    def write(self) -> None:
        """Write head, records (ns since the grid's start; 0 where a moment never came) and foot, at once."""
        begun = self.start_ns
        head = {"format": FORMAT, "begun": self.begun.is_set(), "users": self.users, "slots": self.slots * self.users}
        head |= {"stood_still": self.stood_still, "early": self.finished < self.users and monotonic_ns() < self.end_ns}
        head |= {key: self.plan[key] for key in ("period_ns", "duration_ns", "timeout_ns")}
        lines = [json.dumps(head)]
        lines += [
            f"{slot},{intended - begun},{started - begun},{max(connected - begun, 0)},{max(first - begun, 0)},{kind}"
            for slot, intended, started, connected, first, kind in self.records
        ]
        lines.append(json.dumps({"records": len(self.records)}))
        part = self.plan["output"] + ".part"
        with open(part, "w", encoding="utf-8") as file:  # noqa: PTH123 - fewer imports
            file.write("\n".join(lines) + "\n")
        os.replace(part, self.plan["output"])  # noqa: PTH105 - fewer imports


LOAD = Load()


def _continued(_number: int, _frame: object) -> None:
    LOAD.stood_still = True


signal.signal(signal.SIGCONT, _continued)


class NewConnections(User):  # type: ignore[misc]  # locust's types are not followed
    """One user: opens its connections one after the other, each at its moment or, when late, at once."""

    def on_start(self) -> None:
        """Take the next free place in the grid, and wait until all users are there."""
        self.slot = LOAD.born * LOAD.plan["clients"] + LOAD.plan["place"]
        LOAD.born += 1
        LOAD.begun.wait()
        gevent.sleep(self.wait_time())

    def wait_time(self) -> float:
        """Return the seconds until the next intended start; 0 when that has passed (then the waiting is counted)."""
        if self.slot >= LOAD.slots * LOAD.all_users:
            return 0.0
        return max(LOAD.intended_ns(self.slot) - monotonic_ns(), 0) / NS_PER_S

    @task  # type: ignore[untyped-decorator]  # locust's types are not followed
    def connect(self) -> None:
        """Open, check and reset one connection, and report it."""
        intended = LOAD.intended_ns(self.slot)
        if self.slot >= LOAD.slots * LOAD.all_users or monotonic_ns() > LOAD.end_ns:
            self.finish()
        while (left := intended - monotonic_ns()) > 0:  # the loop's clock is a little behind
            gevent.sleep(left / NS_PER_S)
        address, port, endpoints = LOAD.targets[self.slot % len(LOAD.targets)]
        context = attempt(address, port, endpoints)
        context |= {"slot": self.slot, "intended": intended}
        self.slot += LOAD.all_users
        self.environment.events.request.fire(
            request_type="tcp",
            name=f"{address}:{port}",
            response_time=(monotonic_ns() - context["started"]) / 1e6,
            response_length=0,
            exception=FailedError(context["kind"]) if context["kind"] else None,
            context=context,
        )

    def finish(self) -> None:
        """End this user; the last one ends the run, or tells the master that this worker is done."""
        LOAD.finished += 1
        if LOAD.finished == LOAD.users:
            runner = self.environment.runner
            if isinstance(runner, runners.WorkerRunner):
                runner.send_message("done")
            else:
                gevent.spawn(runner.quit)
        raise StopUser


def attempt(address: str, port: int, endpoints: frozenset[str]) -> dict[str, Any]:
    """Make one connection and return its moments (monotonic ns, 0 for one that never came) and kind of failure."""
    moments: dict[str, Any] = {"connected": 0, "first_byte": 0, "kind": ""}
    sock = socket(AF_INET6 if ":" in address else AF_INET, SOCK_STREAM)
    try:
        sock.setblocking(False)  # noqa: FBT003 - the standard library's signature
        sock.setsockopt(SOL_SOCKET, SO_LINGER, RESET_ON_CLOSE)
        moments["started"] = started = monotonic_ns()
        establish(sock, (address, port), started)
        moments["connected"] = monotonic_ns()
        moments["first_byte"] = read_answer(sock, started, endpoints)
    except FailedError as error:
        moments["kind"] = str(error)
    except OSError as error:
        moments["kind"] = KINDS.get(error.errno or 0, errno.errorcode.get(error.errno or 0, "other"))
    finally:
        sock.close()
    return moments


def establish(sock: Any, where: tuple[str, int], started: int) -> None:  # noqa: ANN401 - gevent's plain socket
    """Connect, in the loop only if the kernel needs time for it. Raises FailedError or OSError."""
    code = sock.connect_ex(where)
    if code == errno.EINPROGRESS:
        code = sock.connect_ex(where)
    while code in (errno.EALREADY, errno.EINPROGRESS):
        wait_write(sock.fileno(), left_s(started), FailedError("timeout"))
        code = sock.connect_ex(where)
    if code not in (0, errno.EISCONN):
        raise OSError(code, os.strerror(code))


def read_answer(sock: Any, started: int, endpoints: frozenset[str]) -> int:  # noqa: ANN401 - gevent's plain socket
    """Read the backend's line; return when its first byte was there. Raises FailedError or OSError."""
    first_byte, answer = 0, b""
    while b"\n" not in answer:
        try:
            data = sock.recv(LONGEST_ANSWER)
        except BlockingIOError:
            wait_read(sock.fileno(), left_s(started), FailedError("timeout"))
            continue
        first_byte = first_byte or monotonic_ns()
        answer += data
        if not data or len(answer) > LONGEST_ANSWER:
            raise FailedError("closed" if not data else "protocol")
    words = answer.split(None, 1)
    if not words:
        raise FailedError("protocol")
    if words[0].decode("ascii", "replace") not in endpoints:
        raise FailedError("wrong-endpoint")
    return first_byte


def left_s(started: int) -> float:
    """Return the seconds left to a connection that was begun at ``started``."""
    left: int = started + LOAD.timeout_ns - monotonic_ns()
    if left <= 0:
        raise FailedError("timeout")
    return left / NS_PER_S


@events.init.add_listener  # type: ignore[untyped-decorator]  # locust's types are not followed
def _join(environment: Any, **_unused: object) -> None:  # noqa: ANN401 - locust's
    runner, complete = environment.runner, environment.events.spawning_complete
    if isinstance(runner, runners.MasterRunner):
        runner.register_message("start", lambda msg, **_: runner.send_message("start", msg.data))
        runner.register_message("done", lambda **_: _count(runner))
    elif isinstance(runner, runners.WorkerRunner):
        runner.register_message("start", lambda msg, **_: LOAD.begin(msg.data + LOAD.plan["offset_ns"]))
        if LOAD.plan["place"] == 0:
            complete.add_listener(lambda **_: runner.send_message("start", monotonic_ns() + LEAD_NS))
    else:
        complete.add_listener(lambda **_: LOAD.begin(monotonic_ns() + LEAD_NS))


def _count(master: Any) -> None:  # noqa: ANN401 - locust's
    LOAD.finished += 1
    if LOAD.finished == LOAD.plan["clients"]:
        gevent.spawn(master.quit)


@events.request.add_listener  # type: ignore[untyped-decorator]  # locust's types are not followed
def _record(context: dict[str, int], **_unused: object) -> None:
    # locust's own statistics round to milliseconds; these are the raw moments.
    moments = (context[name] for name in ("slot", "intended", "started", "connected", "first_byte"))
    LOAD.records.append((*moments, context["kind"]))  # type: ignore[arg-type]  # five numbers and a word


@events.quitting.add_listener  # type: ignore[untyped-decorator]  # locust's types are not followed
def _write(environment: Any, **_unused: object) -> None:  # noqa: ANN401 - locust's
    if not isinstance(environment.runner, runners.MasterRunner):
        LOAD.write()
