from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import pytest

from proxybench.errors import ApiError, UsageError
from proxybench.kube import transport
from proxybench.kube.base import Kind, Ref
from proxybench.kube.client import KubernetesServiceApi
from proxybench.kube.objects import Population
from proxybench.kube.transport import Trust, proxy_of
from proxybench.targets.lab.apiserver.certificate import make_certificate
from tests.unit.kube.scripted import scripted

if TYPE_CHECKING:
    from pathlib import Path

    from proxybench.kube.objects import AddressPlan
    from tests.unit.kube.scripted import Answer

MADE: Answer = (201, {}, b"{}")
BUSY: Answer = (429, {"Retry-After": "0"}, b'{"kind":"Status","reason":"TooManyRequests","message":"slow down"}')


def test_the_system_s_authorities_are_trusted_unless_others_are_named() -> None:
    assert Trust(None).context() is True
    made = make_certificate([])
    context = Trust(made.certificate.decode()).context()
    assert isinstance(context, ssl.SSLContext)
    (known,) = context.get_ca_certs()
    assert known["subject"] == ((("commonName", "proxybench-api"),),)


def test_a_client_certificate_is_shown_to_a_server_that_asks_for_one(tmp_path: Path) -> None:
    server, client = make_certificate([]), make_certificate([])
    pem = tmp_path / "server.pem"
    pem.write_bytes(server.certificate + server.key)
    ours = (client.certificate + client.key).decode()
    with (
        scripted([(200, {}, b'{"a": 1}')], pem=pem) as (url, asked),
        KubernetesServiceApi(url, "", ca_pem=server.certificate.decode(), client_pem=ours) as api,
    ):
        assert api.ask("GET", "/version") == {"a": 1}
    assert asked == ["GET /version"]
    assert "PRIVATE KEY" not in repr(Trust(None, ours))


def test_a_client_certificate_with_another_s_key_is_refused() -> None:
    mixed = make_certificate([]).certificate + make_certificate([]).key
    with pytest.raises(UsageError) as caught:
        Trust(None, mixed.decode()).context()
    assert str(caught.value) == "the client certificate cannot be used: KEY_VALUES_MISMATCH"


UNKNOWN: Answer = (401, {}, b'{"kind":"Status","reason":"Unauthorized","message":"Unauthorized"}')


def test_a_token_that_has_ended_is_had_anew_once() -> None:
    asked_for: list[str] = []

    def token(refused: str) -> str:
        asked_for.append(refused)
        return f"token-{len(asked_for)}"

    with (
        scripted([(200, {}, b'{"a": 1}'), UNKNOWN, (200, {}, b'{"a": 2}'), UNKNOWN, UNKNOWN]) as (url, asked),
        KubernetesServiceApi(url, token) as api,
    ):
        assert [api.ask("GET", "/version") for _ in range(2)] == [{"a": 1}, {"a": 2}]
        with pytest.raises(ApiError, match=r"^GET /version: 401 Unauthorized: Unauthorized$"):
            api.ask("GET", "/version")
    assert asked_for == ["", "token-1", "token-2"]
    assert asked.tokens == ["token-1", "token-1", "token-2", "token-2", "token-3"]


def test_that_there_is_no_other_token_is_told() -> None:
    def token(refused: str) -> str:
        if refused:
            raise UsageError("the kubeconfig's plugin login ended with 1: log in again")
        return "token"

    with scripted([UNKNOWN]) as (url, _), KubernetesServiceApi(url, token) as api, pytest.raises(ApiError) as caught:
        api.ask("GET", "/version")
    assert str(caught.value) == (
        "GET /version: 401 Unauthorized: Unauthorized; there is no other token: "
        "the kubeconfig's plugin login ended with 1: log in again"
    )


def test_writes_are_spaced_out_and_reads_are_not(plan: AddressPlan) -> None:
    """One write in 1000 s: the second one does not get its turn within the time of a call, and is not sent."""
    page: Answer = (200, {}, b'{"kind":"NodeList","apiVersion":"v1","metadata":{},"items":[]}')
    services = [Population(plan, 1).service(index) for index in range(2)]
    with (
        scripted([MADE, page, page]) as (url, asked),
        KubernetesServiceApi(url, "t", writes_per_second=0.001, bulk_seconds=2) as api,
    ):
        api.create_many(services[:1])
        assert [api.list(Kind.NODE) for _ in range(2)] == [[], []]
        with pytest.raises(ApiError, match=r"^the Kubernetes API has not finished within 2 s$"):
            api.create_many(services[1:])
    assert [line.partition("?")[0] for line in asked] == [
        "POST /api/v1/namespaces/proxybench/services",
        "GET /api/v1/nodes",
        "GET /api/v1/nodes",
    ]


def test_an_answer_that_does_not_come_is_told_with_its_limit() -> None:
    with (
        scripted([MADE] * 6, slow=20) as (url, asked),
        KubernetesServiceApi(url, "t", request_seconds=0.1) as api,
        pytest.raises(ApiError) as caught,
    ):
        api.ask("GET", "/version")
    assert str(caught.value) == "GET /version: no answer within 0.1 s"
    assert set(asked) == {"GET /version"}


def test_what_does_not_pass_is_told_as_the_server_said_it() -> None:
    with (
        scripted([BUSY] * 6) as (url, asked),
        KubernetesServiceApi(url, "t") as api,
        pytest.raises(ApiError) as caught,
    ):
        api.delete_many([Ref(Kind.SERVICE, "ns", "a")])
    assert str(caught.value) == "DELETE /api/v1/namespaces/ns/services/a: 429 TooManyRequests: slow down"
    assert caught.value.status == 429
    assert len(asked) == 6


FORBIDDEN: Answer = (403, {}, b'{"kind":"Status","reason":"Forbidden","message":"who are you"}')
NODES: Answer = (200, {}, b'{"kind":"NodeList","apiVersion":"v1","metadata":{},"items":[]}')

TRIES = 12  # six; of a GET whose connection breaks aiohttp makes two


@pytest.fixture
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "_LONGEST_WAIT", 0.1)
    monkeypatch.setattr(transport, "_BLINK", 0.05)


@pytest.mark.usefixtures("hurry")
def test_an_api_that_is_started_anew_is_waited_for_until_it_has_read_its_roles() -> None:
    answers: list[Answer | None] = [NODES, *[None] * 20, FORBIDDEN, FORBIDDEN, NODES]
    with scripted(answers) as (url, asked), KubernetesServiceApi(url, "t") as api:
        assert [api.list(Kind.NODE) for _ in range(2)] == [[], []]
    assert len(asked) == 24


@pytest.mark.usefixtures("hurry")
def test_an_api_that_stays_away_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "_AWAY", 1.0)
    with scripted([NODES, *[None] * 1000]) as (url, asked), KubernetesServiceApi(url, "t") as api:
        assert api.list(Kind.NODE) == []
        with pytest.raises(ApiError, match=r"^GET /api/v1/nodes: cannot reach the Kubernetes API at "):
            api.list(Kind.NODE)
        waited = len(asked)
        with pytest.raises(ApiError):  # and is not waited for once more
            api.list(Kind.NODE)
    assert (waited > TRIES, len(asked) - waited) == (True, TRIES)


def test_an_api_that_never_answered_is_not_waited_for() -> None:
    with (
        scripted([None] * 100) as (url, asked),
        KubernetesServiceApi(url, "t") as api,
        pytest.raises(ApiError),
    ):
        api.list(Kind.NODE)
    assert len(asked) == TRIES


@pytest.mark.usefixtures("hurry")
def test_what_stays_forbidden_after_a_start_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "_SETTLED", 1.0)
    with scripted([NODES, *[None] * 16, *[FORBIDDEN] * 1000]) as (url, asked), KubernetesServiceApi(url, "t") as api:
        api.list(Kind.NODE)
        with pytest.raises(ApiError) as caught:
            api.list(Kind.NODE)
        assert len(asked) > 20
        waited = len(asked)
        with pytest.raises(ApiError):
            api.list(Kind.NODE)
    assert (str(caught.value), len(asked) - waited) == ("GET /api/v1/nodes: 403 Forbidden: who are you", 1)


@pytest.mark.usefixtures("hurry")
def test_a_create_that_was_forbidden_first_and_is_there_then_is_a_conflict(plan: AddressPlan) -> None:
    taken: Answer = (409, {}, b'{"kind":"Status","reason":"AlreadyExists","message":"it is there"}')
    answers: list[Answer | None] = [NODES, *[None] * 16, FORBIDDEN, NODES, FORBIDDEN, taken]
    with scripted(answers) as (url, _), KubernetesServiceApi(url, "t") as api:
        assert [api.list(Kind.NODE) for _ in range(2)] == [[], []]
        with pytest.raises(ApiError) as caught:
            api.create_many([Population(plan, 1).service(0)])
    assert caught.value.status == 409


@pytest.mark.parametrize(
    ("url", "environ", "proxy"),
    [
        ("https://k8s.test:6443", {}, None),
        ("https://k8s.test:6443", {"https_proxy": "http://me:x@proxy.test:3128"}, "http://me:x@proxy.test:3128"),
        ("https://k8s.test:6443", {"HTTPS_PROXY": "proxy.test:3128"}, "http://proxy.test:3128"),
        ("https://k8s.test:6443", {"http_proxy": "http://proxy.test"}, None),
        ("https://k8s.test:6443", {"https_proxy": "http://proxy.test", "no_proxy": ".test"}, None),
        ("https://10.1.2.3", {"https_proxy": "http://proxy.test", "no_proxy": "k8s.test, 10.0.0.0/8"}, None),
        ("https://11.1.2.3", {"https_proxy": "http://proxy.test", "no_proxy": "10.0.0.0/8"}, "http://proxy.test"),
        ("https://[fd00::1]:6443", {"https_proxy": "http://proxy.test", "no_proxy": "fd00::/8"}, None),
        ("https://127.0.0.1:6443", {"https_proxy": "http://proxy.test"}, None),
        ("https://[::1]:6443", {"https_proxy": "http://proxy.test"}, None),
        ("https://localhost:6443", {"https_proxy": "http://proxy.test"}, None),
    ],
)
def test_a_proxy_of_the_environment(
    url: str, environ: dict[str, str], proxy: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert proxy_of(url) == proxy


@pytest.mark.parametrize(
    ("place", "why"),
    [
        ("", "answers 407"),
        (":no port", "has no address such as http://192.0.2.1:3128"),
    ],
)
def test_the_password_of_a_proxy_is_told_to_nobody(place: str, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with scripted([(407, {}, b"")] * 6) as (url, _):
        monkeypatch.delenv("https_proxy", raising=False)
        monkeypatch.setenv("HTTPS_PROXY", f"http://me:secret@{url.removeprefix('http://')}{place}")
        with KubernetesServiceApi("https://k8s.test:6443", "t") as api, pytest.raises(ApiError) as caught:
            api.ask("GET", "/version")
    assert str(caught.value) == (
        "GET /version: cannot reach the Kubernetes API at https://k8s.test:6443: the HTTP proxy that the environment "
        f"names {why}"
    )


def test_a_user_s_netrc_does_not_take_the_token_s_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "netrc").write_text("default login me password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    # Not 127.0.0.1, as a cluster's API is elsewhere.
    with (
        scripted([(200, {}, b'{"a": 1}')], address="127.0.0.2") as (url, asked),
        KubernetesServiceApi(url, "token", ca_pem=None) as api,
    ):
        assert api.ask("GET", "/version") == {"a": 1}
    assert asked == ["GET /version"]
