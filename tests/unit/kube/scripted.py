"""An HTTP server that answers what it was told beforehand, in turn."""

from __future__ import annotations

import base64
import http.server
import json
import ssl
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from proxybench.targets.lab.apiserver.certificate import make_certificate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Answer = tuple[int, dict[str, str], bytes]


class Asked(list[str]):
    """The requests, "VERB path"; ``tokens`` are those by which they were sent, "" for none."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens: list[str] = []


@contextmanager
def scripted(
    answers: list[Answer | None], *, slow: float = 0.0, pem: Path | None = None, address: str = "127.0.0.1"
) -> Iterator[tuple[str, Asked]]:
    """Run a server that gives these answers in turn; None breaks the connection without one.

    ``slow`` is how many seconds each answer takes; ``pem`` a file with a certificate and its key, for https.
    """
    asked = Asked()
    over = threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            asked.append(f"{self.command} {self.path}")
            asked.tokens.append(self.headers.get("Authorization", "").removeprefix("Bearer "))
            answer = answers.pop(0)
            over.wait(slow)
            if answer is None:
                self.close_connection = True
                return
            self.send_response(answer[0])
            for name, value in {**answer[1], "Content-Length": str(len(answer[2]))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer[2])

        do_CONNECT = do_GET = do_POST = do_PUT = do_DELETE = handle_any  # noqa: N815 - the names are the base class's

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is the base class's
            pass

    with http.server.ThreadingHTTPServer((address, 0), Handler) as running:
        if pem is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(pem)
            running.socket = context.wrap_socket(running.socket, server_side=True)
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http{'s' if pem else ''}://{address}:{running.server_port}", asked
        finally:
            over.set()
            running.shutdown()
            thread.join()


@contextmanager
def kubeconfig(folder: Path, answers: list[Answer | None]) -> Iterator[tuple[Path, list[str]]]:
    """Run such a server with https; give a kubeconfig that leads there by a token, and what was asked."""
    made = make_certificate([])
    pem = folder / "server.pem"
    pem.write_bytes(made.certificate + made.key)
    with scripted(answers, pem=pem) as (url, asked):
        authority = base64.b64encode(made.certificate).decode()
        words = {
            "current-context": "one",
            "contexts": [{"name": "one", "context": {"cluster": "c", "user": "u"}}],
            "clusters": [{"name": "c", "cluster": {"server": url, "certificate-authority-data": authority}}],
            "users": [{"name": "u", "user": {"token": "t"}}],
        }
        file = folder / "kubeconfig"
        file.write_text(json.dumps(words))
        yield file, asked
