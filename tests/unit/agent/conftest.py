"""Real agents, real backends and a small HTTP server, all on 127.0.0.0/8, where every address answers."""

from __future__ import annotations

import http.server
import json
import queue
import ssl
import subprocess
import threading
from typing import TYPE_CHECKING

import pytest

from proxybench.errors import CommandTimeoutError, ConnectionLostError
from proxybench.hosts.base import end_of
from proxybench.nodes.client import AgentClient
from proxybench.nodes.zipapp import build_zipapp

from .pythons import PYTHON

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


class PipeSession:
    """A Session over the pipes of a local process."""

    def __init__(self, argv: list[str]) -> None:
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._lines: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self._lines.put(line.rstrip("\n"))
        self._lines.put("")

    @property
    def ended(self) -> str:
        code = self.process.poll()
        return "" if code is None else end_of(code)

    def send_line(self, line: str) -> None:
        assert self.process.stdin
        try:
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
        except OSError as error:
            raise ConnectionLostError("the agent is gone") from error

    def read_line(self, timeout: float) -> str:
        try:
            line = self._lines.get(timeout=timeout)
        except queue.Empty:
            raise CommandTimeoutError("no line") from None
        if not line:
            raise ConnectionLostError("the agent is gone")
        return line

    def close(self) -> None:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.close()
        self.process.wait(10)
        self._reader.join(5)
        self.process.stdout.close()


@pytest.fixture(scope="session")
def zipapp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("agent") / "agent.pyz"
    path.write_bytes(build_zipapp())
    return path


@pytest.fixture
def python() -> str:
    """Return the interpreter that runs agents and backends; ``both_pythons`` replaces it."""
    return PYTHON


@pytest.fixture
def session(zipapp: Path, python: str) -> Iterator[PipeSession]:
    session = PipeSession([python, "-I", "-S", str(zipapp), "serve"])
    yield session
    session.close()


@pytest.fixture
def agent(session: PipeSession) -> AgentClient:
    return AgentClient(session, "node1", margin_s=10)


class RunningBackend:
    """A backend process; ``port`` answers on every 127.0.0.0/8 address."""

    def __init__(self, python: str, zipapp: Path, *options: str, port: int = 0) -> None:
        self.process = subprocess.Popen(
            [python, "-I", "-S", str(zipapp), "backend", "--port", str(port), *options],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout
        self.port = int(self.process.stdout.readline().split()[1])

    def stop(self) -> int:
        assert self.process.stdout
        self.process.terminate()
        code = self.process.wait(10)
        self.process.stdout.close()
        return code


@pytest.fixture(scope="session")
def backend(zipapp: Path) -> Iterator[RunningBackend]:
    backend = RunningBackend(PYTHON, zipapp)
    yield backend
    assert backend.stop() == 0


class Api(http.server.ThreadingHTTPServer):
    """Answers every write with 200 after running ``on_write``; remembers what it got."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.got: list[tuple[str, str, str | None, str | None, object]] = []
        self.status = 200
        self.retry_after: str | None = None
        self.on_write: Callable[[], None] = lambda: None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def secure(self, certificate: Path) -> str:
        """Speak TLS from now on, with the certificate and key in that file; return the URL."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        self.socket = context.wrap_socket(self.socket, server_side=True)
        return f"https://localhost:{self.server_address[1]}"


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Api

    def _write(self) -> None:
        text = self.rfile.read(int(self.headers["Content-Length"]))
        body = json.loads(text) if text else None
        self.server.got.append(
            (self.command, self.path, self.headers["Authorization"], self.headers["Content-Type"], body)
        )
        self.server.on_write()
        self._answer(self.server.status, json.dumps({"message": "said the API", "of": self.headers["Authorization"]}))

    do_POST = do_PUT = do_DELETE = _write  # noqa: N815 - the base class looks these names up

    def do_GET(self) -> None:
        if self.path == "/chunked":
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n")
            return
        self._answer(200 if self.path == "/metrics" else 404, "up 1\n")

    def _answer(self, status: int, text: str) -> None:
        self.send_response(status)
        if self.server.retry_after is not None:
            self.send_header("Retry-After", self.server.retry_after)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name for it
        """Say nothing."""


@pytest.fixture
def api() -> Iterator[Api]:
    server = Api()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server
    server.shutdown()
    thread.join(5)
    server.server_close()
