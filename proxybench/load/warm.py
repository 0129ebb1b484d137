"""Keeps locust imported on the client node, and forks one process for each load; put there and run as a program.

Importing locust takes 5 s of an idle guest's time and ten times as much of the host's, once per load; here it is
paid once per run. Each line on standard input is a load: ``{"argv": […], "plan": PATH, "log": PATH, "limit_s": N}``.
Each is answered, in order, by ``{"code": N, "said": "last line of its log"}``. An empty line ends the load that runs,
which is answered too. The end of standard input ends the load and the program.

The program itself never enters gevent's event loop, and sleeps in the kernel while a load runs: nothing of it
disturbs what is measured. Imports nothing of proxybench: on the node this file and locust are enough.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import select
import signal
import sys
import traceback
from collections import deque
from time import monotonic
from typing import Any, NoReturn

import gevent
import gevent.os
from gevent import monkey

monkey.patch_all()  # before locust's own imports, as it asks for

import locust.main  # noqa: E402 - after the patching

PLAN_VARIABLE = "PROXYBENCH_LOAD_PLAN"
KILLED = 124  # as timeout(1) has it
STDIN = 0
PR_SET_PDEATHSIG = 1  # linux/prctl.h

plain_close = monkey.get_original("os", "close")  # gevent's leaves it to its event loop, which never runs here
plain_poll = monkey.get_original("select", "poll")
plain_waitpid = monkey.get_original("os", "waitpid")  # gevent's waits for its own event loop to see the end


class Requests:
    """The lines that came on standard input."""

    def __init__(self) -> None:
        self.lines: deque[bytes] = deque()
        self.over = False
        self.rest = b""

    def fill(self) -> None:
        """Wait for more, and take what is there."""
        chunk = os.read(STDIN, 1 << 20)
        self.over = not chunk
        *whole, self.rest = (self.rest + chunk).split(b"\n")
        self.lines.extend(whole)


def main() -> None:
    """Serve loads until standard input ends."""
    requests = Requests()
    gc.collect()
    gc.freeze()  # a child that looks for garbage copies no page of what is imported
    print('{"ready": true}', flush=True)  # noqa: T201 - the protocol
    while not requests.over:
        if not requests.lines:
            requests.fill()
        elif line := requests.lines.popleft():  # an empty one came after the end of what it was to end
            answer = serve(json.loads(line), requests)
            if not requests.over:
                print(json.dumps(answer), flush=True)  # noqa: T201 - the protocol


def serve(request: dict[str, Any], requests: Requests) -> dict[str, object]:
    """Run one load in a child and wait for it; kill it at its time limit, or when nobody wants it any more."""
    try:
        log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    except OSError as error:
        return {"code": 1, "said": str(error)}
    ended, held = os.pipe()  # only the child holds the other end, so this one tells when it is gone
    parent = os.getpid()
    child = gevent.os.fork_gevent()  # gives the child an event loop of its own
    if child == 0:
        run(request, log, parent)
    plain_close(held)
    plain_close(log)
    why = wait(ended, requests, request["limit_s"])
    plain_close(ended)
    if why:
        os.kill(child, signal.SIGKILL)
    _, status = plain_waitpid(child, 0)
    if why:
        return {"code": KILLED, "said": why}
    return {"code": os.waitstatus_to_exitcode(status), "said": last_line(request["log"])}


def wait(ended: int, requests: Requests, limit_s: float) -> str:
    """Wait for the end of the load; return why it has to be killed, or nothing when it ended by itself."""
    poll = plain_poll()
    poll.register(ended, select.POLLIN)
    poll.register(STDIN, select.POLLIN)
    deadline = monotonic() + limit_s
    while (left := deadline - monotonic()) > 0:
        ready = [number for number, _ in poll.poll(left * 1000)]
        if ended in ready:
            return ""
        if STDIN in ready:
            requests.fill()
            if requests.over:
                return "nobody listens"
            if b"" in requests.lines:
                requests.lines.remove(b"")
                return "stopped on request"
    return f"killed after {limit_s:g} s"


def run(request: dict[str, Any], log: int, parent: int) -> NoReturn:
    """Be locust."""
    code = 1
    try:
        die_with(parent)
        os.dup2(os.open(os.devnull, os.O_RDONLY), STDIN)
        os.dup2(log, 1)
        os.dup2(log, 2)
        settle(os.path.dirname(request["plan"]))  # noqa: PTH120 - fewer imports
        os.environ[PLAN_VARIABLE] = request["plan"]
        sys.argv = request["argv"]
        # It still shows when the program was started; timers set by it would end the load that much too early.
        gevent.get_hub().loop.update_now()
        locust.main.main()
        code = 0
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)  # noqa: T201 - what the interpreter would do
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001 - this process must not go on as a second server, whatever happens
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def settle(folder: str) -> None:
    """Leave locust its arguments alone: it would read LOCUST_…, ~/.locust.conf, and the current folder's settings."""
    for name in [name for name in os.environ if name.startswith("LOCUST_")]:
        del os.environ[name]
    os.environ["HOME"] = os.devnull
    os.chdir(folder)


def die_with(parent: int) -> None:
    """Ask the kernel to kill this process when its parent ends, however that happens."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the kernel was asked
        os._exit(1)


def last_line(path: str) -> str:
    """Return the last line of a log."""
    with open(path, encoding="utf-8", errors="replace") as file:  # noqa: PTH123 - fewer imports
        lines = file.read().strip().splitlines()
    return lines[-1] if lines else ""


if __name__ == "__main__":
    main()
