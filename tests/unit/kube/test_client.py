"""One behaviour, two implementations: the real client against the server process, and the fake."""

from __future__ import annotations

import threading
import time
import uuid
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from proxybench.errors import ApiError
from proxybench.kube.base import Kind, Ref, ServiceApi
from proxybench.kube.client import KubernetesServiceApi
from proxybench.kube.objects import NAMESPACE, SELECTOR, AddressPlan, Population, node
from proxybench.targets.lab.apiserver.certificate import make_certificate
from proxybench.testing.kube import FakeServiceApi
from tests.unit.kube.scripted import scripted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from proxybench.targets.lab.apiserver.serve_process import ApiServerProcess
    from tests.unit.kube.scripted import Answer


@pytest.fixture(params=["real", "fake"])
def api(request: pytest.FixtureRequest, server: ApiServerProcess) -> Iterator[ServiceApi]:
    made: ServiceApi = FakeServiceApi()
    if request.param == "real":
        made = KubernetesServiceApi(server.url, server.token, ca_pem=server.ca_pem)
    with made:
        yield made


@pytest.fixture
def namespace(api: ServiceApi) -> Iterator[str]:
    name = f"t-{uuid.uuid4().hex[:12]}"
    api.ensure_namespace(name)
    yield name
    api.delete_many([Ref(Kind.NAMESPACE, "", name)])


@pytest.fixture
def population(plan: AddressPlan, namespace: str) -> Population:
    return Population(plan, 2, namespace)


def names(api: ServiceApi, kind: Kind, namespace: str, label: str = "") -> list[str]:
    return [found["metadata"]["name"] for found in api.list(kind, namespace, label)]


def test_create_list_replace_delete(api: ServiceApi, population: Population, namespace: str) -> None:
    services = [population.service(index) for index in range(7)]
    seen: list[tuple[int, int]] = []
    bulk = api.create_many(services, lambda done, total: seen.append((done, total)))
    assert (bulk.objects, bulk.retries) == (7, 0)
    assert bulk.started_ns < bulk.ended_ns <= time.monotonic_ns()
    assert seen[-1] == (7, 7)
    assert names(api, Kind.SERVICE, namespace) == [f"svc-{index:05d}" for index in range(7)]
    changed = {**services[3], "metadata": {**services[3]["metadata"], "labels": {"other": "1"}}}
    api.replace_many([changed])
    assert len(names(api, Kind.SERVICE, namespace, SELECTOR)) == 6
    assert names(api, Kind.SERVICE, namespace, "other=1") == ["svc-00003"]
    refs = [Ref.of(found) for found in services[:2]]
    api.delete_many([*refs, Ref(Kind.SERVICE, namespace, "never-there")])
    api.delete_collection(Kind.SERVICE, namespace, SELECTOR)
    assert names(api, Kind.SERVICE, namespace) == ["svc-00003"]


def test_what_is_listed_can_be_written_again(api: ServiceApi, population: Population, namespace: str) -> None:
    api.create_many(population.endpoint_slices(0, 1))
    (found,) = api.list(Kind.ENDPOINT_SLICE, namespace)
    assert (found["kind"], found["apiVersion"]) == ("EndpointSlice", "discovery.k8s.io/v1")
    api.replace_many([found])
    assert list(api.list(Kind.ENDPOINT_SLICE, namespace)) == [found]


def test_refusals_name_the_request(api: ServiceApi, population: Population, namespace: str) -> None:
    service = population.service(0)
    with pytest.raises(ApiError) as caught:
        api.replace_many([service])
    assert str(caught.value) == (
        f'PUT /api/v1/namespaces/{namespace}/services/svc-00000: 404 NotFound: services "svc-00000" not found'
    )
    assert caught.value.status == 404
    api.create_many([service])
    with pytest.raises(ApiError) as caught:
        api.create_many([population.service(1), service])
    assert str(caught.value) == (
        f'POST /api/v1/namespaces/{namespace}/services: 409 AlreadyExists: services "svc-00000" already exists'
    )
    with pytest.raises(ApiError) as caught:
        api.list(Kind.SERVICE, namespace, "a b")
    assert str(caught.value) == (
        f'GET /api/v1/namespaces/{namespace}/services: 400 BadRequest: unable to parse requirement: "a b"'
    )


def test_objects_given_are_left_as_they_were(api: ServiceApi, population: Population) -> None:
    service = population.service(0)
    api.create_many([service])
    assert service == population.service(0)


def test_a_namespace_may_be_ensured_twice(api: ServiceApi, namespace: str) -> None:
    api.ensure_namespace(namespace)
    assert namespace in names(api, Kind.NAMESPACE, "", SELECTOR)


def test_nodes_are_created_and_replaced(api: ServiceApi) -> None:
    name = f"n-{uuid.uuid4().hex[:8]}"
    api.create_many([node(name, "198.18.0.1", "10.244.0.0/17")])
    api.replace_many([node(name, "198.18.0.2", "10.244.0.0/17")])
    (found,) = [one for one in api.list(Kind.NODE) if one["metadata"]["name"] == name]
    assert found["status"]["addresses"][0] == {"type": "InternalIP", "address": "198.18.0.2"}
    assert found["spec"] == {"podCIDR": "10.244.0.0/17", "podCIDRs": ["10.244.0.0/17"]}
    api.replace_many([node(name, "198.18.0.2", "10.244.0.0/17", ("fd00::2", "fd00:1::/64"))])
    (found,) = [one for one in api.list(Kind.NODE) if one["metadata"]["name"] == name]
    assert [one["address"] for one in found["status"]["addresses"]] == ["198.18.0.2", "fd00::2", name]
    assert found["spec"] == {"podCIDR": "10.244.0.0/17", "podCIDRs": ["10.244.0.0/17", "fd00:1::/64"]}


def test_the_fake_tells_its_writes_and_refuses_use_after_close(plan: AddressPlan) -> None:
    api = FakeServiceApi()
    api.ensure_namespace(NAMESPACE)
    api.create_many([Population(plan, 2).service(0)])
    assert api.log == ["POST /api/v1/namespaces", "POST /api/v1/namespaces/proxybench/services"]
    api.close()
    with pytest.raises(AssertionError, match=r"GET /api/v1/services after close\(\)"):
        api.list(Kind.SERVICE)


def test_no_server(plan: AddressPlan) -> None:
    with KubernetesServiceApi("http://127.0.0.1:1", "t", request_seconds=2) as api, pytest.raises(ApiError) as caught:
        api.ensure_namespace("x")
    assert caught.value.status is None
    assert str(caught.value) == (
        "POST /api/v1/namespaces: cannot reach the Kubernetes API at http://127.0.0.1:1: Connection refused"
    )


def test_a_wrong_token(server: ApiServerProcess) -> None:
    with KubernetesServiceApi(server.url, "wrong", ca_pem=server.ca_pem) as api, pytest.raises(ApiError) as caught:
        api.list(Kind.SERVICE)
    assert str(caught.value) == "GET /api/v1/services: 401 Unauthorized: Unauthorized"


def test_a_server_of_another_authority_is_not_shown_the_token(server: ApiServerProcess) -> None:
    other = make_certificate([]).certificate.decode()
    with KubernetesServiceApi(server.url, server.token, ca_pem=other) as api, pytest.raises(ApiError) as caught:
        api.list(Kind.SERVICE)
    assert str(caught.value) == (
        f"GET /api/v1/services: the certificate of {server.url} is not to be trusted: self-signed certificate"
    )


BUSY: Answer = (429, {"Retry-After": "0"}, b"{}")
BROKEN: Answer = (503, {}, b"not json")
MADE: Answer = (201, {}, b"{}")
TAKEN: Answer = (
    409,
    {},
    b'{"kind":"Status","reason":"AlreadyExists","message":"services \\"svc-00000\\" already exists"}',
)


def test_what_may_pass_is_tried_again(plan: AddressPlan) -> None:
    with scripted([BUSY, BROKEN, None, MADE]) as (url, asked), KubernetesServiceApi(url, "t") as api:
        bulk = api.create_many([Population(plan, 1).service(0)])
    assert (bulk.retries, len(asked)) == (3, 4)


@pytest.mark.parametrize("lost", [BROKEN, None])
def test_a_create_whose_answer_was_lost_has_worked(plan: AddressPlan, lost: Any) -> None:
    with scripted([lost, TAKEN]) as (url, _), KubernetesServiceApi(url, "t") as api:
        assert api.create_many([Population(plan, 1).service(0)]).retries == 1


def test_a_create_that_was_put_off_and_then_refused_is_refused(plan: AddressPlan) -> None:
    with scripted([BUSY, TAKEN]) as (url, _), KubernetesServiceApi(url, "t") as api, pytest.raises(ApiError) as caught:
        api.create_many([Population(plan, 1).service(0)])
    assert caught.value.status == 409


def test_an_answer_without_status_is_told_as_it_is() -> None:
    no: list[Answer | None] = [(403, {}, b"go\naway")]
    with scripted(no) as (url, _), KubernetesServiceApi(url, "t") as api, pytest.raises(ApiError) as caught:
        api.list(Kind.NODE)
    assert str(caught.value) == "GET /api/v1/nodes: 403 error: go away"


def test_a_list_in_pages_begins_anew_when_they_expire() -> None:
    def page(name: str, token: str = "") -> Answer:
        item = {"metadata": {"name": name}}
        body = {"kind": "NodeList", "apiVersion": "v1", "metadata": {"continue": token}, "items": [item]}
        return 200, {}, orjson.dumps(body)

    gone: Answer = (410, {}, b'{"kind":"Status","reason":"Expired","message":"too old"}')
    answers: list[Answer | None] = [page("a", "t"), gone, page("b", "u"), page("c")]
    with scripted(answers) as (url, asked), KubernetesServiceApi(url, "t") as api:
        found = api.list(Kind.NODE)
    assert found == [{"kind": "Node", "apiVersion": "v1", "metadata": {"name": name}} for name in "bc"]
    first = "GET /api/v1/nodes?limit=500"
    assert asked == [first, f"{first}&continue=t", first, f"{first}&continue=u"]


def test_an_old_cluster_without_deletecollection() -> None:
    found = b'{"kind":"ServiceList","apiVersion":"v1","metadata":{},"items":[{"metadata":{"name":"a"}}]}'
    answers: list[Any] = [(405, {}, b"{}"), (200, {}, found), (200, {}, b"{}")]
    with scripted(answers) as (url, asked), KubernetesServiceApi(url, "t") as api:
        api.delete_collection(Kind.SERVICE, "ns", "x=y")
    assert asked == [
        "DELETE /api/v1/namespaces/ns/services?labelSelector=x%3Dy",
        "GET /api/v1/namespaces/ns/services?limit=500&labelSelector=x%3Dy",
        "DELETE /api/v1/namespaces/ns/services/a",
    ]


def test_a_call_has_a_time_limit() -> None:
    with scripted([(429, {"Retry-After": "5"}, b"{}")]) as (url, _):
        api = KubernetesServiceApi(url, "t", bulk_seconds=0.3)
        with api, pytest.raises(ApiError) as caught:
            api.ensure_namespace("x")
    assert str(caught.value) == "the Kubernetes API has not finished within 0.3 s"


def refused(status: int, reason: str) -> Answer:
    return status, {}, orjson.dumps({"kind": "Status", "reason": reason, "message": "no"})


def test_who_may_not_create_namespaces_uses_one_that_is_there() -> None:
    with scripted([refused(403, "Forbidden"), (200, {}, b"{}")]) as (url, asked), KubernetesServiceApi(url, "t") as api:
        api.ensure_namespace("x")
    assert asked == ["POST /api/v1/namespaces", "GET /api/v1/namespaces/x"]


@pytest.mark.parametrize(
    ("answers", "asked_for"),
    [
        ([refused(403, "Forbidden"), refused(404, "NotFound")], 2),
        ([refused(403, "Forbidden"), refused(403, "Forbidden")], 2),
        ([refused(401, "Unauthorized")], 1),
    ],
)
def test_a_namespace_that_cannot_be_had_is_refused_as_it_was_first(answers: list[Any], asked_for: int) -> None:
    first = orjson.loads(answers[0][2])["reason"]
    with scripted([*answers]) as (url, asked), KubernetesServiceApi(url, "t") as api, pytest.raises(ApiError) as caught:
        api.ensure_namespace("x")
    assert str(caught.value) == f"POST /api/v1/namespaces: {answers[0][0]} {first}: no"
    assert len(asked) == asked_for


@pytest.mark.parametrize("first", [refused(409, "AlreadyExists"), refused(403, "Forbidden")])
def test_nothing_is_made_in_a_namespace_that_is_being_deleted(first: Answer) -> None:
    leaving: Answer = (200, {}, b'{"metadata": {"deletionTimestamp": "2026-11-27T07:00:00Z"}}')
    with scripted([first, leaving]) as (url, _), KubernetesServiceApi(url, "t") as api, pytest.raises(ApiError) as seen:
        api.ensure_namespace("x")
    assert str(seen.value) == "the namespace x is being deleted; try again when it is gone"


def test_a_namespace_that_is_there_and_may_not_be_looked_at_is_used() -> None:
    answers = [refused(409, "AlreadyExists"), refused(403, "Forbidden")]
    with scripted([*answers]) as (url, asked), KubernetesServiceApi(url, "t") as api:
        api.ensure_namespace("x")
    assert asked == ["POST /api/v1/namespaces", "GET /api/v1/namespaces/x"]


def test_a_collection_that_may_not_be_deleted_is_not_deleted_one_by_one() -> None:
    with (
        scripted([refused(403, "Forbidden")]) as (url, asked),
        KubernetesServiceApi(url, "t") as api,
        pytest.raises(ApiError) as caught,
    ):
        api.delete_collection(Kind.SERVICE, "ns", "x=y")
    assert str(caught.value) == "DELETE /api/v1/namespaces/ns/services: 403 Forbidden: no"
    assert asked == ["DELETE /api/v1/namespaces/ns/services?labelSelector=x%3Dy"]


def test_a_list_that_may_not_be_read_is_not_tried_again_and_one_that_always_expires_ends() -> None:
    with (
        scripted([refused(403, "Forbidden")]) as (url, asked),
        KubernetesServiceApi(url, "t") as api,
        pytest.raises(ApiError, match=r"^GET /api/v1/nodes: 403 Forbidden: no$"),
    ):
        api.list(Kind.NODE)
    assert len(asked) == 1
    with (
        scripted([refused(410, "Expired")] * 3) as (url, asked),
        KubernetesServiceApi(url, "t") as api,
        pytest.raises(ApiError, match=r"^GET /api/v1/nodes: 410 Expired: no$"),
    ):
        api.list(Kind.NODE)
    assert len(asked) == 3


def test_any_object_is_asked_for_and_written() -> None:
    answers: list[Any] = [(200, {}, b'{"data": {"a": "1"}}'), (200, {}, b'{"data": {"a": "2"}}')]
    with scripted(answers) as (url, asked), KubernetesServiceApi(url, "t") as api:
        assert api.ask("GET", "/x") == {"data": {"a": "1"}}
        assert api.ask("PUT", "/x", {"data": {"a": "2"}}) == {"data": {"a": "2"}}
    assert asked == ["GET /x", "PUT /x"]


def test_who_waits_is_told_how_far_it_is_and_it_may_be_closed_twice(plan: AddressPlan) -> None:
    told: list[tuple[int, int]] = []
    services = [Population(plan, 1).service(index) for index in range(2)]
    with scripted([MADE, MADE], slow=1) as (url, _), KubernetesServiceApi(url, "t", connections=1) as api:
        api.create_many(services, lambda done, total: told.append((done, total)))
        api.close()
        api.close()
    assert told[0][0] < 2
    assert told[-1] == (2, 2)
    assert told == sorted(told)


def test_what_waits_when_it_is_closed_ends_and_nothing_is_sent_after_that() -> None:
    with scripted([(200, {}, b"{}")] * 3, slow=5.0) as (url, asked), KubernetesServiceApi(url, "t") as api:
        ended: list[str] = []

        def wait() -> None:
            try:
                api.ask("GET", "/slow")
            except ApiError as error:
                ended.append(str(error))

        waiting = threading.Thread(target=wait)
        waiting.start()
        while not asked:
            time.sleep(0.01)
        api.close()
        waiting.join(3)
        closed = "the connection to the Kubernetes API was closed"
        assert ended == [closed]
        with pytest.raises(ApiError, match=f"^{closed}$"):
            api.create_many([{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "x", "namespace": "y"}}])
        assert asked == ["GET /slow"]
