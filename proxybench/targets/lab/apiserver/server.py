"""The lab's API server as a process: ``python -m proxybench.targets.lab.apiserver.server FOLDER``.

A process of its own, so that its work never delays the orchestrator. ``serve_process`` starts it, and fills the folder:
``settings.json`` (of ``_serve``) and ``tls``, its key and certificate (PEM); here the port is written into ``ready``
once it can be asked. It listens on 127.0.0.1 only, by https only: kube-proxy shows no token otherwise. It ends on
SIGTERM, SIGINT, or when its standard input does, which is a pipe that ends with the parent.
"""

from __future__ import annotations

import asyncio
import os
import signal
import ssl
import sys
import time
from pathlib import Path

import orjson
import uvloop
from aiohttp import web

from proxybench.targets.lab.apiserver.handler import ApiHandler
from proxybench.targets.lab.apiserver.paths import SERVICE_CIDRS
from proxybench.targets.lab.apiserver.store import Store

_HOST = "127.0.0.1"
_SHUTDOWN_SECONDS = 0.1  # for requests under way; watches are cut
_BACKLOG = 1024
_INPUT_CHUNK = 4096


def main(folder: Path) -> int:
    """Serve until told to stop; return the exit code."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "tls")
    settings = orjson.loads((folder / "settings.json").read_bytes())
    code: int = uvloop.run(_serve(folder, context, **settings))
    return code


async def _serve(
    folder: Path, context: ssl.SSLContext, *, port: int, token: str, kubernetes_version: str, service_cidr: str
) -> int:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    _stop_with_input(loop, stopped)
    # Microseconds since 1970: a restarted server counts on from above all versions of its former life.
    store = Store(first_version=time.time_ns() // 1000)
    if service_cidr:
        spec = {"cidrs": service_cidr.split(",")}
        store.create(SERVICE_CIDRS, "", {"metadata": {"name": "kubernetes"}, "spec": spec})
    handler = ApiHandler(store, token, kubernetes_version=kubernetes_version)
    server = web.Server(handler.handle, handler_cancellation=True, access_log=None)
    runner = web.ServerRunner(server, shutdown_timeout=_SHUTDOWN_SECONDS)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, _HOST, port, backlog=_BACKLOG, ssl_context=context).start()
        except OSError as error:
            words = os.strerror(error.errno or 0)
            print(f"cannot listen on {_HOST}:{port}: {words}", file=sys.stderr)  # noqa: T201 - a program's word
            return 1
        partial = folder / "ready.partial"
        partial.write_text(str(runner.addresses[0][1]))
        partial.rename(folder / "ready")  # whole as soon as it is there
        await stopped.wait()
    finally:
        await runner.cleanup()
    return 0


def _stop_with_input(loop: asyncio.AbstractEventLoop, stopped: asyncio.Event) -> None:
    descriptor = sys.stdin.fileno()

    def readable() -> None:
        if not os.read(descriptor, _INPUT_CHUNK):
            loop.remove_reader(descriptor)
            stopped.set()

    loop.add_reader(descriptor, readable)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
