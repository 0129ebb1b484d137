"""A mirror of releases on loopback that can misbehave."""

from __future__ import annotations

import hashlib
import re
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass
class Mirror:
    """What is served, by path, and how. ``cuts``: after how many bytes the next answers' bodies end."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    ranges: bool = True
    cuts: list[int] = field(default_factory=list)
    stall: threading.Event | None = None  # a body stops in its middle until this is set
    length: int | None = None  # what Content-Length says in place of the truth
    codes: dict[str, int] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)  # path and Range

    def publish(self, version: str, arch: str, component: str, content: bytes) -> str:
        """Serve a program and its sum as a release does; return its path."""
        path = f"/release/{version}/bin/linux/{arch}/{component}"
        self.files[path] = content
        self.files[f"{path}.sha512"] = hashlib.sha512(content).hexdigest().encode()
        return path


@contextmanager
def mirror() -> Iterator[Mirror]:
    """Serve until the end of the ``with`` block."""
    served = Mirror()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            _answer(self, served)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield served
    finally:
        if served.stall:
            served.stall.set()
        server.shutdown()
        thread.join()
        server.server_close()


def _answer(request: BaseHTTPRequestHandler, served: Mirror) -> None:
    wanted = request.headers.get("Range", "")
    served.asked.append((request.path, wanted))
    content = served.files.get(request.path)
    code = served.codes.get(request.path, 200 if content is not None else 404)
    if content is None or code != 200:
        request.send_error(code)
        return
    begin = 0
    if served.ranges and (found := re.fullmatch(r"bytes=(\d+)-", wanted)):
        begin = int(found[1])
    if begin >= len(content):
        request.send_response(416)
        request.send_header("Content-Range", f"bytes */{len(content)}")
        request.send_header("Content-Length", "0")
        request.end_headers()
        return
    request.send_response(206 if begin else 200)
    if begin:
        request.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
    request.send_header("Content-Length", str(len(content) - begin if served.length is None else served.length))
    request.end_headers()
    _send(request, served, content[begin:])


def _send(request: BaseHTTPRequestHandler, served: Mirror, body: bytes) -> None:
    if request.path.endswith(".sha512"):
        request.wfile.write(body)
        return
    if served.cuts:
        request.wfile.write(body[: served.cuts.pop(0)])
        return
    half = len(body) // 2
    request.wfile.write(body[:half])
    if served.stall:
        served.stall.wait(30)
        return
    request.wfile.write(body[half:])
