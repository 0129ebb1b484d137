"""The reflector against the real server process."""

from __future__ import annotations

import logging
import socket
import threading
import time
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from proxybench.kube.base import Ref
from proxybench.kube.client import KubernetesServiceApi
from proxybench.kube.objects import AddressPlan, Population
from proxybench.targets.lab.apiserver.certificate import make_certificate
from proxybench.targets.lab.apiserver.serve_process import ApiServerProcess
from refproxy.reflector import Patience, Reflector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Wait = Callable[[Callable[[], bool]], None]

QUICK = Patience(first_wait=0.02, longest_wait=0.1, silence=5)


class Mirror:
    """Keeps what a reflector tells, as a control loop would."""

    def __init__(self) -> None:
        self.lists: list[int] = []
        self.events: list[tuple[str, str]] = []
        self.objects: dict[str, dict[str, Any]] = {}

    def on_list(self, objects: list[dict[str, Any]]) -> None:
        self.objects = {found["metadata"]["name"]: found for found in objects}
        self.lists.append(len(objects))

    def on_event(self, kind: str, obj: dict[str, Any]) -> None:
        name = obj["metadata"]["name"]
        if kind == "DELETED":
            del self.objects[name]
        else:
            self.objects[name] = obj
        self.events.append((kind, name))


@pytest.fixture
def mirror() -> Mirror:
    return Mirror()


@pytest.fixture
def api(server: ApiServerProcess) -> Iterator[KubernetesServiceApi]:
    with KubernetesServiceApi(server.url, server.token, ca_pem=server.ca_pem) as made:
        yield made


@pytest.fixture
def authority(server: ApiServerProcess, tmp_path: Path) -> str:
    (tmp_path / "authority").write_text(server.ca_pem)
    return str(tmp_path / "authority")


@pytest.fixture
def population(plan: AddressPlan, api: KubernetesServiceApi) -> Population:
    name = f"r-{uuid.uuid4().hex[:12]}"
    api.ensure_namespace(name)
    return Population(plan, 2, name)


def path(population: Population) -> str:
    return f"/api/v1/namespaces/{population.namespace}/services"


def test_list_then_events(
    server: ApiServerProcess,
    authority: str,
    api: KubernetesServiceApi,
    population: Population,
    mirror: Mirror,
    eventually: Wait,
) -> None:
    api.create_many([population.service(index) for index in range(1200)])
    reflector = Reflector(
        server.url, server.token, path(population), mirror.on_list, mirror.on_event, ca_file=authority
    )
    reflector.start()
    try:
        eventually(lambda: mirror.lists == [1200])
        api.create_many([population.service(1200)])
        api.delete_many([Ref.of(population.service(0))])
        eventually(lambda: len(mirror.events) == 2)
        assert mirror.events == [("ADDED", "svc-01200"), ("DELETED", "svc-00000")]
        assert sorted(mirror.objects) == [f"svc-{index:05d}" for index in range(1, 1201)]
    finally:
        reflector.stop()
    assert not reflector._thread.is_alive()


def test_a_burst_is_told_whole_and_in_order(
    server: ApiServerProcess,
    authority: str,
    api: KubernetesServiceApi,
    population: Population,
    mirror: Mirror,
    eventually: Wait,
) -> None:
    reflector = Reflector(
        server.url, server.token, path(population), mirror.on_list, mirror.on_event, ca_file=authority
    )
    reflector.start()
    try:
        eventually(lambda: mirror.lists == [0])
        api.create_many([population.service(index) for index in range(500)])
        eventually(lambda: len(mirror.objects) == 500)
        versions = [int(found["metadata"]["resourceVersion"]) for found in mirror.objects.values()]
        assert versions == sorted(versions)
        assert mirror.lists == [0]
    finally:
        reflector.stop()


def test_a_label_selector(
    server: ApiServerProcess,
    authority: str,
    api: KubernetesServiceApi,
    population: Population,
    mirror: Mirror,
    eventually: Wait,
) -> None:
    headless = population.service(1)
    headless["metadata"]["labels"]["service.kubernetes.io/headless"] = ""
    api.create_many([population.service(0), headless])
    reflector = Reflector(
        server.url,
        server.token,
        path(population),
        mirror.on_list,
        mirror.on_event,
        ca_file=authority,
        label_selector="!service.kubernetes.io/headless",
    )
    reflector.start()
    try:
        eventually(lambda: mirror.lists == [1])
        assert list(mirror.objects) == ["svc-00000"]
    finally:
        reflector.stop()


def test_a_restarted_server_is_listed_again(
    plan: AddressPlan, mirror: Mirror, eventually: Wait, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    population = Population(plan, 2, "default")
    made = make_certificate([])
    pem = made.certificate.decode()
    (tmp_path / "ca.pem").write_text(pem)
    authority = str(tmp_path / "ca.pem")
    with ApiServerProcess(certificate=made) as first, KubernetesServiceApi(first.url, first.token, ca_pem=pem) as api:
        port, token, url = first.port, first.token, first.url
        api.create_many([population.service(0)])
        reflector = Reflector(
            url, token, path(population), mirror.on_list, mirror.on_event, ca_file=authority, patience=QUICK
        )
        reflector.start()
        eventually(lambda: mirror.lists == [1])
    try:
        eventually(lambda: any("listing again" in record.message for record in caplog.records))
        with (
            ApiServerProcess(port=port, token=token, certificate=made),
            KubernetesServiceApi(url, token, ca_pem=pem) as api,
        ):
            eventually(lambda: mirror.lists == [1, 0])
            api.create_many([population.service(7)])
            eventually(lambda: mirror.events == [("ADDED", "svc-00007")])
    finally:
        reflector.stop()
    assert not reflector._thread.is_alive()


def test_a_forgotten_history_is_listed_again(
    server: ApiServerProcess,
    authority: str,
    api: KubernetesServiceApi,
    population: Population,
    mirror: Mirror,
    eventually: Wait,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    api.create_many([population.service(0)])
    reflector = Reflector(
        server.url, server.token, path(population), mirror.on_list, mirror.on_event, ca_file=authority, patience=QUICK
    )
    real = reflector._list
    versions = iter(["5", "6"])  # as if the list had been read before anything that the server remembers
    monkeypatch.setattr(reflector, "_list", lambda connection: next(versions, "") or real(connection))
    reflector.start()
    try:
        eventually(lambda: mirror.lists == [1])
        api.create_many([population.service(1)])
        eventually(lambda: mirror.events == [("ADDED", "svc-00001")])
    finally:
        reflector.stop()


def test_a_wrong_token_is_logged_and_tried_again(
    server: ApiServerProcess, authority: str, mirror: Mirror, eventually: Wait, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    reflector = Reflector(
        server.url, "wrong", "/api/v1/services", mirror.on_list, mirror.on_event, ca_file=authority, patience=QUICK
    )
    reflector.start()
    try:
        eventually(lambda: len(caplog.records) >= 3)
    finally:
        reflector.stop()
    assert [record.message for record in caplog.records[:3]] == [
        "/api/v1/services: 401: Unauthorized; listing again in 0.02 s",
        "/api/v1/services: 401: Unauthorized; listing again in 0.04 s",
        "/api/v1/services: 401: Unauthorized; listing again in 0.08 s",
    ]
    assert mirror.lists == []


class Scripted:
    """Answers each request with the next of some bodies, then ends the connection; the last one again and again."""

    def __init__(self, *bodies: bytes) -> None:
        self.bodies = list(bodies)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.thread = threading.Thread(target=self._serve)
        self.thread.start()

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.thread.join(5)
        self.listener.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            with client:
                client.recv(65_536)
                body = self.bodies.pop(0) if len(self.bodies) > 1 else self.bodies[0]
                client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))


GOOD = b'{"items": [], "metadata": {"resourceVersion": "1"}}'


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"kind": "Status"}', "the answer is no list: it lacks items or metadata; listing again in 0.02 s"),
        (b"[]", "the answer is no list: it lacks items or metadata; listing again in 0.02 s"),
        (b'{"items": [], "metadata": 5}', "unexpected; listing again in 0.02 s"),
    ],
)
def test_an_answer_that_is_no_list_is_logged_and_asked_for_again(
    body: bytes, words: str, mirror: Mirror, eventually: Wait, caplog: pytest.LogCaptureFixture
) -> None:
    served = Scripted(body, GOOD)
    reflector = Reflector(served.url, "t", "/api/v1/services", mirror.on_list, mirror.on_event, patience=QUICK)
    assert not reflector.alive
    reflector.start()
    try:
        eventually(lambda: bool(mirror.lists))
        assert reflector.alive
    finally:
        reflector.stop()
        served.close()
    assert not reflector.alive
    assert caplog.records[0].message == f"/api/v1/services: {words}"


def test_a_callback_that_fails_is_logged_and_called_again(eventually: Wait, caplog: pytest.LogCaptureFixture) -> None:
    served = Scripted(GOOD)
    calls: list[int] = []

    def fail_once(objects: list[dict[str, Any]]) -> None:
        calls.append(len(objects))
        if len(calls) == 1:
            raise KeyError("spec")

    reflector = Reflector(served.url, "t", "/x", fail_once, lambda *_: None, patience=QUICK)
    reflector.start()
    try:
        eventually(lambda: len(calls) >= 2)
    finally:
        reflector.stop()
        served.close()
    assert caplog.records[0].message == "/x: unexpected; listing again in 0.02 s"


def test_stop_wakes_a_silent_watch(server: ApiServerProcess, authority: str, mirror: Mirror, eventually: Wait) -> None:
    reflector = Reflector(server.url, server.token, "/api/v1/nodes", mirror.on_list, mirror.on_event, ca_file=authority)
    reflector.start()
    eventually(lambda: bool(mirror.lists))
    started = time.monotonic()
    reflector.stop()
    assert not reflector._thread.is_alive()
    assert time.monotonic() - started < 2


def test_stop_before_start(server: ApiServerProcess, authority: str, mirror: Mirror) -> None:
    reflector = Reflector(server.url, server.token, "/api/v1/nodes", mirror.on_list, mirror.on_event, ca_file=authority)
    reflector.stop()
    reflector.start()
    reflector._thread.join(5)
    assert not reflector._thread.is_alive()
    assert mirror.lists == []
