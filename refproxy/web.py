"""The smallest HTTP server that can answer a scrape: GET, one connection at a time, on 127.0.0.1 only.

The standard library's http.server would do too, but importing it takes longer than a sync of ten Services.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from typing import TYPE_CHECKING, NamedTuple

from refproxy.errors import ProxierError

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)

_CLIENT_SECONDS = 2.0  # how long a client may take to send its request or read the answer
_REQUEST_BYTES = 8192
_REASONS = {
    200: "OK",
    404: "Not Found",
    405: "Method Not Allowed",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


class Answer(NamedTuple):
    """What a path answers."""

    status: int
    body: bytes
    content_type: str = "text/plain; charset=utf-8"


class WebServer:
    """Serves ``answer(path)`` in a thread of its own. Raises ProxierError when the port is taken."""

    def __init__(self, port: int, answer: Callable[[str], Answer]) -> None:
        self._answer = answer
        try:
            self._listener = socket.create_server(("127.0.0.1", port))
        except OSError as error:
            raise ProxierError(f"127.0.0.1:{port} cannot be listened on: {os.strerror(error.errno or 0)}") from error
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, name=f"http-{self.port}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening and wait for the request at hand."""
        try:
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes accept()
        finally:
            self._thread.join(2 * _CLIENT_SECONDS)
            self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return  # closed
            with client:
                client.settimeout(_CLIENT_SECONDS)
                try:
                    self._talk(client)
                except OSError:
                    continue  # the client went away or was too slow: its loss

    def _talk(self, client: socket.socket) -> None:
        request = b""
        while b"\r\n\r\n" not in request and len(request) < _REQUEST_BYTES:
            part = client.recv(_REQUEST_BYTES)
            if not part:
                return
            request += part
        method, path, *_ = [*request.split(b"\r\n", 1)[0].decode("latin-1").split(" "), "", ""]
        answer = self._safe_answer(path.partition("?")[0]) if method == "GET" else Answer(405, b"GET only\n")
        head = (
            f"HTTP/1.1 {answer.status} {_REASONS[answer.status]}\r\nContent-Type: {answer.content_type}\r\n"
            f"Content-Length: {len(answer.body)}\r\nConnection: close\r\n\r\n"
        )
        client.sendall(head.encode() + answer.body)

    def _safe_answer(self, path: str) -> Answer:
        try:
            return self._answer(path)
        except Exception:  # or the thread would end, and nobody answer any more
            log.exception("%s: unexpected", path)
            return Answer(500, b"see the log\n")
