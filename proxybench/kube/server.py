"""The lab's API server as a process: ``python -m proxybench.kube.server --port 0 --token-file F --ready-file F``.

A process of its own, so that its work never delays the orchestrator. It listens on 127.0.0.1 only, and ends on
SIGTERM, SIGINT, or when its standard input ends (which it does when the parent dies), unless ``--detached``.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import stat
import sys
import time
from pathlib import Path

import orjson
import uvloop
from aiohttp import web

from proxybench.kube.handler import ApiHandler
from proxybench.kube.store import Store

_HOST = "127.0.0.1"
_SHUTDOWN_SECONDS = 0.5  # for requests under way; watches are cut
_INPUT_CHUNK = 4096


def main(argv: list[str] | None = None) -> int:
    """Serve until told to stop; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m proxybench.kube.server", description="The lab's API server.")
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1; 0 takes a free one")
    parser.add_argument("--token-file", type=Path, required=True, help="file that holds the bearer token")
    parser.add_argument("--ready-file", type=Path, help='written when ready: {"pid": …, "port": …}')
    parser.add_argument("--detached", action="store_true", help="go on when standard input ends")
    arguments = parser.parse_args(argv)
    try:
        token = arguments.token_file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        parser.error(f"cannot read the token file: {error}")
    if not token:
        parser.error("the token file is empty")
    code: int = uvloop.run(_serve(token, arguments.port, arguments.ready_file, detached=arguments.detached))
    return code


async def _serve(token: str, port: int, ready_file: Path | None, *, detached: bool) -> int:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    if not detached:
        _stop_with_input(loop, stopped)
    # Microseconds since 1970: a restarted server counts on from above all versions of its former life.
    store = Store(first_version=time.time_ns() // 1000)
    server = web.Server(ApiHandler(store, token).handle, handler_cancellation=True, access_log=None)
    runner = web.ServerRunner(server, shutdown_timeout=_SHUTDOWN_SECONDS)
    await runner.setup()
    try:
        site = web.TCPSite(runner, _HOST, port, backlog=1024)
        try:
            await site.start()
        except OSError as error:
            print(f"cannot listen on {_HOST}:{port}: {error.strerror}", file=sys.stderr)  # noqa: T201 - a program's last word
            return 1
        _announce(runner.addresses[0][1], ready_file)
        await stopped.wait()
    finally:
        await runner.cleanup()
    return 0


def _announce(port: int, ready_file: Path | None) -> None:
    """Tell which port was taken: a line on standard output, and a file that is whole as soon as it is there."""
    print(f"listening on http://{_HOST}:{port}", flush=True)  # noqa: T201 - the program's answer
    if ready_file is not None:
        partial = ready_file.with_suffix(".partial")
        partial.write_bytes(orjson.dumps({"pid": os.getpid(), "port": port}))
        partial.replace(ready_file)


def _stop_with_input(loop: asyncio.AbstractEventLoop, stopped: asyncio.Event) -> None:
    """End when standard input does. Only a pipe, socket or terminal can tell; a file or /dev/null has ended."""
    descriptor = sys.stdin.fileno()

    def readable() -> None:
        if not os.read(descriptor, _INPUT_CHUNK):
            loop.remove_reader(descriptor)
            stopped.set()

    mode = os.fstat(descriptor).st_mode
    if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or os.isatty(descriptor):
        loop.add_reader(descriptor, readable)
    else:
        stopped.set()


if __name__ == "__main__":
    sys.exit(main())
