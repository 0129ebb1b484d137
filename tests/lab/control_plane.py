"""A real control plane on loopback: etcd, kube-apiserver and a controller as processes with a folder of their own."""

from __future__ import annotations

import base64
import json
import secrets
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from proxybench.experiment.compat import KubeVersion
from proxybench.targets.lab.apiserver.certificate import make_certificate
from tests.lab.binaries import CLUSTER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

SERVICE_CIDR = "10.96.0.0/16"
_RELEASE, _LONG_NAMES = KubeVersion.of_release(CLUSTER), KubeVersion(1, 28)
_READY_S = 120.0
_STOP_S = 20.0


@dataclass(frozen=True)
class Access:
    """An API server, asked by plain HTTP: no client of ours, no retries. ``program`` may be stopped and started."""

    url: str
    token: str
    ca_pem: str
    program: Program

    def ask(
        self, method: str, path: str, body: object = None, seconds: float = 10.0, **headers: str
    ) -> tuple[int, bytes]:
        """Return the status and the body of the answer; a refusal is no error. Raises OSError."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, method=method)  # noqa: S310 - always https
        sent = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json", **headers}
        for name, value in sent.items():
            request.add_header(name, value)
        context = ssl.create_default_context(cadata=self.ca_pem)
        try:
            with urllib.request.urlopen(request, timeout=seconds, context=context) as response:  # noqa: S310
                return response.status, response.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    def start(self) -> None:
        """Start the API server, and wait until it is ready."""
        self.program.start(lambda: self.ask("GET", "/readyz", seconds=2)[0] == 200)

    def get(self, path: str) -> Any:
        """Return the decoded answer."""
        code, body = self.ask("GET", path)
        assert code == 200, body
        return json.loads(body)

    def watch(self, path: str, **query: str) -> list[dict[str, Any]]:
        """Return the events of a watch of one second."""
        words = "&".join(f"{name}={value}" for name, value in {"watch": "1", "timeoutSeconds": "1", **query}.items())
        code, body = self.ask("GET", f"{path}?{words}", seconds=20)
        assert code == 200, body
        return [json.loads(line) for line in body.splitlines()]


class Program:
    """A process and its log, which holds on where it was when it is started again."""

    def __init__(self, folder: Path, command: Sequence[str]) -> None:
        self._command = list(command)
        self.log = folder / f"{command[0].rsplit('/', 1)[-1]}.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, ready: Callable[[], bool]) -> None:
        """Start it, and wait until it is ready."""
        with self.log.open("ab") as log:
            process = subprocess.Popen(self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self._process = process
        _await(ready, process, self.log)

    def kill(self) -> None:
        """End it by force: told to end, an API server first waits for those who watch it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        """End it, if it runs."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None


@contextmanager
def control_plane(
    folder: Path,
    etcd: Path,
    apiserver: Path,
    addresses: Sequence[str] = (),
    *,
    users: Sequence[str] = (),
    client_ca: bytes = b"",
) -> Iterator[Access]:
    """Start both on free ports and wait until they are ready; end them and leave the folder to the caller.

    ``addresses`` are further ones at which its certificate is good. ``users`` have their names as tokens, and the
    rights that RBAC gives them; without any, everybody may do everything. ``client_ca`` vouches for users by
    certificates (PEM).
    """
    made = make_certificate(list(addresses))
    token = secrets.token_urlsafe(16)
    known = "".join([f'{token},t,1,"system:masters"\n', *(f"{user},{user},{user}\n" for user in users)])
    for name, content in (
        ("crt", made.certificate),
        ("key", made.key),
        ("tokens", known.encode()),
        ("users", client_ca),
    ):
        (folder / name).touch(mode=0o600)
        (folder / name).write_bytes(content)
    store, peer, port = _free_ports(3)
    with ExitStack() as stack:
        keeper = Program(folder, [str(etcd), *_etcd(folder, store, peer)])
        stack.callback(keeper.stop)
        keeper.start(lambda: _grow_old(store))
        words = _apiserver(folder, store, port, "RBAC" if users else "AlwaysAllow")
        words += [f"--client-ca-file={folder}/users"] if client_ca else []
        access = Access(
            f"https://127.0.0.1:{port}", token, made.certificate.decode(), Program(folder, [str(apiserver), *words])
        )
        stack.callback(access.program.stop)
        access.start()
        yield access


@contextmanager
def daemon_set_controller(folder: Path, manager: Path, access: Access) -> Iterator[None]:
    """Run kube-controller-manager's controller of DaemonSets, and nothing else of it."""
    config = folder / "controller.kubeconfig"
    config.touch(mode=0o600)
    config.write_text(json.dumps(kubeconfig(access.url, access.token, access.ca_pem)))
    (port,) = _free_ports(1)
    words = [
        f"--kubeconfig={config}",
        f"--controllers={'daemonset-controller' if _RELEASE >= _LONG_NAMES else 'daemonset'}",
        "--leader-elect=false",
        "--bind-address=127.0.0.1",
        f"--secure-port={port}",
        f"--cert-dir={folder}/controller",
    ]
    program = Program(folder, [str(manager), *words])
    try:
        program.start(lambda: _listens(port))
        yield
    finally:
        program.stop()


def kubeconfig(url: str, token: str, ca_pem: str) -> dict[str, object]:
    """Return a kubeconfig with a token."""
    authority = base64.b64encode(ca_pem.encode()).decode()
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "lab",
        "clusters": [{"name": "lab", "cluster": {"server": url, "certificate-authority-data": authority}}],
        "users": [{"name": "admin", "user": {"token": token}}],
        "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "admin"}}],
    }


def _etcd(folder: Path, port: int, peer: int) -> list[str]:
    client = f"http://127.0.0.1:{port}"
    return [
        f"--data-dir={folder}/data",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls=http://127.0.0.1:{peer}",
        "--unsafe-no-fsync",
    ]


def _apiserver(folder: Path, store: int, port: int, authorization: str) -> list[str]:
    return [
        f"--etcd-servers=http://127.0.0.1:{store}",
        "--bind-address=127.0.0.1",
        "--advertise-address=192.0.2.1",  # nobody goes there; without it a default route is needed
        f"--secure-port={port}",
        f"--tls-cert-file={folder}/crt",
        f"--tls-private-key-file={folder}/key",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={folder}/crt",
        f"--service-account-signing-key-file={folder}/key",
        f"--token-auth-file={folder}/tokens",
        f"--authorization-mode={authorization}",
        f"--service-cluster-ip-range={SERVICE_CIDR}",
        # Nobody else writes: no endpoints of the API server's own, no taint on a node that never becomes ready.
        "--endpoint-reconciler-type=none",
        "--disable-admission-plugins=ServiceAccount,TaintNodesByCondition",
    ]


def _listens(port: int) -> bool:
    with socket.create_connection(("127.0.0.1", port), timeout=1):
        return True


def _grow_old(port: int) -> bool:
    """Write something, so that the API server's life does not begin with version 1, and a watch can come too late."""
    body = json.dumps({"key": "YQ==", "value": "YQ=="}).encode()
    for _ in range(10):
        request = urllib.request.Request(f"http://127.0.0.1:{port}/v3/kv/put", body)
        urllib.request.urlopen(request, timeout=2).close()  # noqa: S310 - always http
    return True


def _await(ready: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _READY_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if ready():
                return
        except OSError:
            pass
        time.sleep(0.2)
    pytest.fail(f"the control plane is not ready: {log.read_text(errors='replace')[-2000:]}")


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
