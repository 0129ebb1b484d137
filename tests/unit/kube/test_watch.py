"""What the client tells of a watch, against the lab's API server and against one that says what it is told to."""

from __future__ import annotations

import threading
import time
import uuid
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from proxybench.errors import ApiError
from proxybench.kube.base import Ref
from proxybench.kube.client import KubernetesServiceApi
from proxybench.kube.objects import SELECTOR, Population
from tests.unit.kube.scripted import scripted

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxybench.kube.objects import AddressPlan
    from proxybench.targets.lab.apiserver.serve_process import ApiServerProcess
    from tests.unit.kube.scripted import Answer

PATH = "/api/v1/services"
NOW: Answer = (200, {}, b'{"metadata": {"resourceVersion": "7"}, "items": []}')
ADDED = b'{"type":"ADDED","object":{}}\n'
BOOKMARK = b'{"type":"BOOKMARK","object":{}}\n'
TOO_OLD = b'{"type":"ERROR","object":{"code":410}}\n'


def watched(url: str, seconds: float) -> tuple[list[str], float]:
    seen: list[str] = []
    with KubernetesServiceApi(url, "t") as api:
        took = api.watch({PATH: seen.append}, "a=b", seconds)
    return seen, took


def test_what_is_made_and_changed_and_deleted_from_now_on_is_told(
    server: ApiServerProcess, plan: AddressPlan, eventually: Callable[[Callable[[], bool]], None]
) -> None:
    population = Population(plan, 2, f"t-{uuid.uuid4().hex[:12]}")
    services = [population.service(index) for index in range(3)]
    seen, slices = Counter[str](), Counter[str]()
    with (
        KubernetesServiceApi(server.url, server.token, ca_pem=server.ca_pem) as api,
        KubernetesServiceApi(server.url, server.token, ca_pem=server.ca_pem) as writer,
    ):
        writer.ensure_namespace(population.namespace)
        writer.create_many(services[:1])
        paths = (f"/api/v1/namespaces/{population.namespace}/services", "/apis/discovery.k8s.io/v1/endpointslices")
        told = dict(zip(paths, (lambda kind: seen.update((kind,)), lambda kind: slices.update((kind,))), strict=True))
        took: list[float] = []
        watch = threading.Thread(target=lambda: took.append(api.watch(told, SELECTOR, 2.0)))
        watch.start()
        time.sleep(0.5)
        writer.create_many([*services[1:], *population.endpoint_slices(0, 0)])
        labels = {**services[1]["metadata"]["labels"], "changed": "1"}
        writer.replace_many([{**services[1], "metadata": {**services[1]["metadata"], "labels": labels}}])
        writer.delete_many([Ref.of(services[2])])
        writer.create_many([{**services[2], "metadata": {**services[2]["metadata"], "labels": {}}}])  # not selected
        eventually(lambda: seen.total() == 4)
        watch.join(10)
    assert seen == {"ADDED": 2, "MODIFIED": 1, "DELETED": 1}
    assert slices["ADDED"] == 1
    assert 1.5 < took[0] < 2.5


def test_a_watch_that_ends_is_opened_anew_from_now_on() -> None:
    answers: list[Answer | None] = [NOW, (200, {}, ADDED + BOOKMARK + ADDED), NOW, (200, {}, TOO_OLD)]
    with scripted(answers) as (url, asked):
        seen, took = watched(url, 1.9)
    assert seen == ["ADDED", "ADDED"]
    assert took < 1
    assert asked[0] == f"GET {PATH}?limit=1&labelSelector=a%3Db"
    assert asked[1] == f"GET {PATH}?watch=1&resourceVersion=7&labelSelector=a%3Db&timeoutSeconds=2"
    assert len(asked) == 4


def test_a_watch_that_breaks_off_is_no_error() -> None:
    with scripted([NOW, None, None, NOW, (200, {}, ADDED)]) as (url, _):  # aiohttp tries a GET twice
        assert watched(url, 1.9)[0] == ["ADDED"]


def test_only_what_was_watched_is_counted_as_such() -> None:
    """The first watch is given no answer for most of its time."""
    with scripted([NOW, None, None, NOW, (200, {}, ADDED)], slow=0.1) as (url, _):
        seen, took = watched(url, 1.9)
    assert seen == ["ADDED"]
    assert took < 0.2  # of 0.3 s in which one was asked for


def test_that_nothing_was_ever_watched_is_an_error_and_no_rest() -> None:
    with scripted([NOW, None, None, NOW, None, None]) as (url, _), pytest.raises(ApiError) as caught:
        watched(url, 1.5)
    assert str(caught.value) == (
        f"nothing was watched: the Kubernetes API answered no watch of {PATH} in 1.5 s: "
        f"GET {PATH}: cannot reach the Kubernetes API at {url}: Server disconnected"
    )


def test_a_watch_goes_through_the_proxy_that_lists_go_through(monkeypatch: pytest.MonkeyPatch) -> None:
    with scripted([NOW, (200, {}, ADDED)]) as (url, asked):
        monkeypatch.setenv("http_proxy", url)
        assert watched("http://k8s.test", 0.9)[0] == ["ADDED"]
    assert [line.partition("?")[0] for line in asked] == [f"GET http://k8s.test{PATH}"] * 2


def test_a_watch_that_is_refused_is() -> None:
    refused: Answer = (403, {}, b'{"kind":"Status","reason":"Forbidden","message":"cannot watch"}')
    with scripted([NOW, refused]) as (url, _), pytest.raises(ApiError) as caught:
        watched(url, 5)
    assert str(caught.value) == f"GET {PATH}: 403 Forbidden: cannot watch"
