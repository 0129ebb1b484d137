"""The agent's ear: one JSON request per line on stdin, one JSON answer per line on stdout, one at a time.

Request ``{"id": n, "op": "...", field: value, ...}``; answer ``{"id": n, "ok": true, "result": {...}}`` or
``{"id": n, "ok": false, "error": "one line"}``. When the input ends, so does everything that was spawned.
"""

from __future__ import annotations

import _thread
import json
import os
import select
import signal
import sys
import time
from importlib import import_module

from proxybench.agent.fields import Fields, OpError
from proxybench.agent.state import State

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, BinaryIO

# op -> (module, function); a module is loaded when it is first asked for, since loading is slow on a slow node.
OPS = {
    "hello": ("node", "hello"),
    "clocks": ("node", "clocks"),
    "sleep": ("node", "sleep"),
    "read": ("node", "read"),
    "usage": ("usage", "usage"),
    "spawn": ("spawn", "spawn"),
    "alive": ("spawn", "alive"),
    "stop": ("spawn", "stop"),
    "api": ("http", "api"),
    "http_get": ("http", "http_get"),
    "connect": ("probe", "connect"),
    "established": ("probe", "established"),
    "await": ("canary", "await_"),
    "await_all": ("canary", "await_all"),
    "change": ("canary", "change"),
    "exchange": ("exchange", "exchange"),
    "talk": ("exchange", "talk"),
    "hang_up": ("exchange", "hang_up"),
    "ping": ("ping", "ping"),
    "watch": ("watch", "watch"),
    "watched": ("watch", "watched"),
    "fill": ("fill", "fill"),
}
TIMED = frozenset({"connect", "established", "await", "await_all", "change"})
"""What is worth nothing when the agent stood still meanwhile: the time would count as the data path's."""
REQUEST_LIMIT = 64 << 20
HANGUP_GRACE_S = 1.0


class Stopped(BaseException):
    """The agent was told to end, by a signal or by the end of its input."""


def serve() -> int:
    """Answer requests until the input ends or a signal asks for the end; return the exit code."""
    state = State()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _raise_stopped)
    signal.signal(signal.SIGCONT, state.note_continued)
    _thread.start_new_thread(_watch_for_hangup, (sys.stdin.fileno(), _thread.get_ident()))
    try:
        _answer_all(sys.stdin.buffer, sys.stdout.buffer, state)
    except (Stopped, BrokenPipeError):
        pass  # nobody listens any more: all that is left is to tidy up
    finally:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        if state.processes:
            import_module("proxybench.agent.spawn").stop_all(state.processes)
    return 0


def answer(line: bytes, state: State) -> dict[str, object]:
    """Carry out one request. Never raises but Stopped: whatever an op does wrong becomes an error line."""
    number: object = None
    try:
        request = _parse(line)
        number = request.pop("id", None)
        name = request.pop("op", None)
        if not isinstance(number, int):
            raise OpError("id must be a whole number")  # noqa: TRY301 - reported like every other wrong field
        if not isinstance(name, str) or name not in OPS:
            raise OpError(f"unknown op {name}")  # noqa: TRY301 - reported like every other wrong field
        module, function = OPS[name]
        state.stood_still = False
        result = getattr(import_module(f"proxybench.agent.{module}"), function)(Fields(request), state)
        if state.stood_still and name in TIMED:
            raise OpError("the agent stood still for a while: it got SIGSTOP and SIGCONT")  # noqa: TRY301 - as above
    except OpError as error:
        return _refusal(number, str(error), state)
    except Exception as error:  # noqa: BLE001 - a broken op must not take the agent down
        return _refusal(number, f"{type(error).__name__}: {error}", state)
    return {"id": number, "ok": True, "result": result}


def _answer_all(requests: BinaryIO, answers: BinaryIO, state: State) -> None:
    while True:
        line = requests.readline(REQUEST_LIMIT)
        if not line:
            return
        if line.strip():
            answers.write(json.dumps(answer(line, state), separators=(",", ":")).encode() + b"\n")
            answers.flush()


def _parse(line: bytes) -> dict[str, Any]:
    try:
        request = json.loads(line)
    except ValueError:
        raise OpError("a request must be one line of JSON") from None
    if not isinstance(request, dict):
        raise OpError("a request must be a JSON object")
    return request


def _refusal(number: object, text: str, state: State) -> dict[str, object]:
    if state.api is not None:
        text = text.replace(state.api.token, "***")
    return {"id": number, "ok": False, "error": " ".join(text.split())}


def _raise_stopped(_number: int, _frame: object) -> None:
    raise Stopped


def _watch_for_hangup(descriptor: int, main_thread: int) -> None:
    """Interrupt a request that goes on although its asker hung up; costs nothing until then."""
    poller = select.poll()
    poller.register(descriptor, select.POLLRDHUP)  # and POLLHUP, which is always reported
    while not poller.poll():
        pass
    time.sleep(HANGUP_GRACE_S)  # an idle agent sees the end of its input by itself
    signal.pthread_kill(main_thread, signal.SIGTERM)
    time.sleep(HANGUP_GRACE_S)


def main() -> None:
    """Run and leave at once: nothing remains to be done by the interpreter."""
    code = serve()
    sys.stdout.flush()
    os._exit(code)
