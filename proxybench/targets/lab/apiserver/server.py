"""The lab's API server as a process.

Usage: ``python -m proxybench.targets.lab.apiserver.server --port 0 --token-file F --tls-file F --ready-file F``.

A process of its own, so that its work never delays the orchestrator. It listens on 127.0.0.1 only, by https
only: kube-proxy shows no token otherwise. It ends on SIGTERM, SIGINT, or when its standard input ends (which it does
when the parent dies), unless ``--detached``.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import ssl
import stat
import sys
import time
from pathlib import Path

import orjson
import uvloop
from aiohttp import web

from proxybench.targets.lab.apiserver import KUBERNETES_VERSION
from proxybench.targets.lab.apiserver.handler import ApiHandler
from proxybench.targets.lab.apiserver.paths import SERVICE_CIDRS
from proxybench.targets.lab.apiserver.store import Store

_HOST = "127.0.0.1"
_SHUTDOWN_SECONDS = 0.1  # for requests under way; watches are cut
_BACKLOG = 1024
_INPUT_CHUNK = 4096


def main(argv: list[str] | None = None) -> int:
    """Serve until told to stop; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m proxybench.targets.lab.apiserver.server", description="The lab's API server."
    )
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1; 0 takes a free one")
    parser.add_argument("--token-file", type=Path, required=True, help="file that holds the bearer token")
    parser.add_argument("--ready-file", type=Path, help='written when ready: {"pid": …, "port": …}')
    parser.add_argument("--tls-file", type=Path, required=True, help="file that holds key and certificate (PEM)")
    parser.add_argument("--kubernetes-version", default=KUBERNETES_VERSION, help="what /version says")
    parser.add_argument("--service-cidr", default="", help='range of the ServiceCIDR "kubernetes"; "" for none')
    parser.add_argument("--detached", action="store_true", help="go on when standard input ends")
    arguments = parser.parse_args(argv)
    try:
        token = arguments.token_file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        parser.error(f"cannot read the token file: {error}")
    if not token:
        parser.error("the token file is empty")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(arguments.tls_file)
    except (OSError, ssl.SSLError) as error:
        parser.error(f"cannot read the certificate: {error}")
    code: int = uvloop.run(_serve(token, context, arguments))
    return code


async def _serve(token: str, context: ssl.SSLContext, arguments: argparse.Namespace) -> int:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    if not arguments.detached:
        _stop_with_input(loop, stopped)
    # Microseconds since 1970: a restarted server counts on from above all versions of its former life.
    store = Store(first_version=time.time_ns() // 1000)
    if arguments.service_cidr:
        spec = {"cidrs": arguments.service_cidr.split(",")}
        store.create(SERVICE_CIDRS, "", {"metadata": {"name": "kubernetes"}, "spec": spec})
    handler = ApiHandler(store, token, kubernetes_version=arguments.kubernetes_version)
    server = web.Server(handler.handle, handler_cancellation=True, access_log=None)
    runner = web.ServerRunner(server, shutdown_timeout=_SHUTDOWN_SECONDS)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, _HOST, arguments.port, backlog=_BACKLOG, ssl_context=context).start()
        except OSError as error:
            words = os.strerror(error.errno or 0)
            print(f"cannot listen on {_HOST}:{arguments.port}: {words}", file=sys.stderr)  # noqa: T201 - a program's word
            return 1
        _announce(runner.addresses[0][1], arguments.ready_file)
        await stopped.wait()
    finally:
        await runner.cleanup()
    return 0


def _announce(port: int, ready_file: Path | None) -> None:
    """Tell which port was taken: a line on standard output, and a file that is whole as soon as it is there."""
    ready = {"pid": os.getpid(), "port": port}
    print(orjson.dumps(ready).decode(), flush=True)  # noqa: T201 - the program's answer
    if ready_file is not None:
        partial = ready_file.with_suffix(".partial")
        partial.write_bytes(orjson.dumps(ready))
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
