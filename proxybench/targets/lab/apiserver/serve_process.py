"""The lab's API server, started and stopped from here."""

from __future__ import annotations

import secrets
import subprocess
from contextlib import ExitStack
from typing import TYPE_CHECKING, Self

import orjson

from proxybench import scratch
from proxybench.deadline import wait_until
from proxybench.errors import LabError
from proxybench.interrupts import undisturbed
from proxybench.targets.lab import process
from proxybench.targets.lab.apiserver import KUBERNETES_VERSION
from proxybench.targets.lab.apiserver.certificate import Certificate, make_certificate

if TYPE_CHECKING:
    from collections.abc import Sequence

FOLDER_PREFIX = "proxybench-api-"
_POLL_SECONDS = 0.02
_STOP_SECONDS = 5.0
_LOG_TAIL = 2000  # characters of its standard error in an error message


class ApiServerProcess:
    """One API server on 127.0.0.1 with a fresh token: a context manager that leaves nothing behind.

    ``port`` 0 takes a free one; one that takes another's place has its token and certificate too. ``addresses`` are
    those by which nodes reach it (a relay's, 10.0.2.2 for a guest): its certificate names them, besides 127.0.0.1 and
    localhost. ``kubernetes_version`` is what it says it is, and ``service_cidr`` the range that its ServiceCIDR
    "kubernetes" names ("": there is none). The server ends with this process, however that ends. Raises LabError when
    it is not ready within ``start_seconds``.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        token: str | None = None,
        certificate: Certificate | None = None,
        addresses: Sequence[str] = (),
        kubernetes_version: str = KUBERNETES_VERSION,
        service_cidr: str = "",
        start_seconds: float = 30.0,
    ) -> None:
        """Start it and wait until it answers."""
        self.token = token or secrets.token_urlsafe(32)
        self._folder = scratch.make(FOLDER_PREFIX)
        self._log = self._folder / "log"
        made = certificate or make_certificate(addresses)
        self.ca_pem = made.certificate.decode()
        with ExitStack() as failed:
            with undisturbed():  # a signal between its start and what will stop it would leave it running
                try:
                    self._process = self._start(port, made, kubernetes_version, service_cidr)
                except OSError as error:
                    scratch.remove(self._folder)
                    raise LabError(f"the API server could not be started: {error}") from error
                failed.callback(self.stop)
            self.port = self._wait(start_seconds)
            failed.pop_all()

    @property
    def url(self) -> str:
        """Where it listens: "https://127.0.0.1:PORT"; ``ca_pem`` vouches for it."""
        return f"https://127.0.0.1:{self.port}"

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """Its process."""
        return self._process

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def stop(self) -> None:
        """End it, by force if it must be, and remove its files. May be called twice.

        The end of its standard input tells it to stop. A signal beside that could meet a program that is on its way out
        and has put its handlers away.
        """
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        scratch.remove(self._folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _start(self, port: int, made: Certificate, version: str, service_cidr: str) -> subprocess.Popen[bytes]:
        named = {"kubernetes_version": version, "service_cidr": service_cidr}
        self._secret("settings.json", orjson.dumps({"port": port, "token": self.token, **named}))
        self._secret("tls", made.key + made.certificate)
        command = process.python("proxybench.targets.lab.apiserver.server", str(self._folder))
        with self._log.open("wb") as log:
            # Our end of its standard input closes when this process dies, and the server with it. A session of its
            # own keeps a Ctrl-C of the terminal from stopping it before the run has cleaned up.
            return subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=log,
                start_new_session=True,
                env=process.environment(),
            )

    def _secret(self, name: str, content: bytes) -> None:
        path = self._folder / name
        path.touch(mode=0o600)
        path.write_bytes(content)

    def _wait(self, limit_s: float) -> int:
        """Return the port, once it listens there."""
        ready = self._folder / "ready"

        def is_ready() -> bool:
            if not ready.exists() and self._process.poll() is not None:
                tail = self._log.read_text(errors="replace")[-_LOG_TAIL:].strip()
                raise LabError(f"the API server ended with code {self._process.returncode}: {tail}")
            return ready.exists()

        if not wait_until(is_ready, limit_s, _POLL_SECONDS):
            raise LabError("the API server was not ready in time")
        return int(ready.read_text())
