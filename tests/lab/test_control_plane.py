"""The lab's API server against a real one: what we write comes back alike, watches and refusals are alike."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from proxybench.kube import access as service_access
from proxybench.kube import objects
from proxybench.kube.base import Kind, Ref
from proxybench.kube.client import KubernetesServiceApi
from proxybench.kube.objects import NAMESPACE, SELECTOR, AddressPlan, Population
from proxybench.kube.resources import BY_KIND
from proxybench.targets.lab.apiserver.serve_process import ApiServerProcess
from tests.lab.binaries import ETCD, FIRST_BUILD_S, program
from tests.lab.control_plane import SERVICE_CIDR, Access, control_plane

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.lab, pytest.mark.timeout(2 * FIRST_BUILD_S)]

Object = dict[str, Any]
VERSION = "1.37.2"
CHANGED_NS = 1_700_000_000_123_456_789
BY_SERVER = frozenset({"creationTimestamp", "generation", "managedFields", "resourceVersion", "uid"})
"""What a real server sets in an object's metadata and the lab's does not, or not alike: never compared."""

PLAN = AddressPlan(SERVICE_CIDR, (("node1", "10.244.0.0/17"), ("node2", "10.244.128.0/17")), 8080)
POPULATION = Population(PLAN, 2)
WRITTEN: list[Object] = [
    objects.node("node1", "198.18.1.11", "10.244.0.0/17"),
    POPULATION.service(0),
    POPULATION.service(1),
    objects.service("node-port", PLAN.vip(2), 8080, access=service_access.Access(30_080)),
    objects.service("local", PLAN.vip(3), 8080, access=service_access.Access(30_081, local_only=True)),
    objects.service("udp", PLAN.vip(4), 8080, access=service_access.Access(protocols=("UDP",))),
    objects.service(
        "external", PLAN.vip(5), 8080, access=service_access.Access(external_ips=("198.19.0.1",), affinity_s=60)
    ),
    *POPULATION.endpoint_slices(0, CHANGED_NS),
    *POPULATION.endpoint_slices(1, 0),
    *Population(PLAN, 101).endpoint_slices(2, CHANGED_NS),
    *objects.endpoint_slices("empty", [], 8080, CHANGED_NS),
    POPULATION.endpoints(0, CHANGED_NS),
    objects.endpoints("empty", [], 8080, CHANGED_NS),
]
KINDS = (Kind.SERVICE, Kind.ENDPOINT_SLICE, Kind.ENDPOINTS)
SERVICES = "/api/v1/namespaces/proxybench/services"


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Access, Access]]:
    """Return the lab's server and a real one, both with the same objects in them."""
    etcd, apiserver = program("etcd", ETCD), program("kube-apiserver", VERSION)
    with (
        ApiServerProcess(service_cidr=SERVICE_CIDR) as ours,
        control_plane(tmp_path_factory.mktemp("real"), etcd, apiserver) as real,
    ):
        both = Access(ours.url, ours.token, ours.ca_pem, real.program), real
        for access in both:
            with client(access) as api:
                api.ensure_namespace(NAMESPACE)
                for obj in WRITTEN:
                    api.create_many([obj])
        yield both


def client(access: Access) -> KubernetesServiceApi:
    return KubernetesServiceApi(access.url, access.token, ca_pem=access.ca_pem)


def plain(obj: Object) -> Object:
    """Return an object without what the server sets."""
    metadata = {key: value for key, value in obj["metadata"].items() if key not in BY_SERVER}
    return {**obj, "metadata": metadata}


def path(obj: Object) -> str:
    ref = Ref.of(obj)
    return BY_KIND[ref.kind].path(ref.namespace, ref.name)


def alike(servers: tuple[Access, Access], method: str, path: str, body: object = None) -> tuple[int, str, str]:
    """Return the status, reason and message that both servers answer."""
    found = []
    for access in servers:
        code, answer = access.ask(method, path, body)
        status = json.loads(answer)
        assert (status["kind"], status["status"], status["code"]) == ("Status", "Failure", code)
        found.append((code, str(status["reason"]), str(status["message"])))
    assert found[0] == found[1]
    return found[0]


@pytest.mark.parametrize("obj", [*WRITTEN, objects.namespace(NAMESPACE)], ids=path)
def test_what_is_written_comes_back_as_it_was(servers: tuple[Access, Access], obj: Object) -> None:
    for access in servers:
        assert plain(access.get(path(obj))) == obj


@pytest.mark.parametrize("kind", KINDS)
def test_lists_hold_the_same_in_the_same_order(servers: tuple[Access, Access], kind: Kind) -> None:
    resource = BY_KIND[kind]
    found = []
    for access in servers:
        whole = access.get(resource.path(NAMESPACE))
        assert (whole["kind"], whole["apiVersion"]) == (f"{kind}List", resource.api_version("v1"))
        # A real server's items may leave out what the list says of all of them.
        head = {"kind": kind.value, "apiVersion": resource.api_version("v1")}
        found.append([{**head, **plain(item)} for item in whole["items"]])
        with client(access) as api:
            assert [plain(item) for item in api.list(kind, NAMESPACE, SELECTOR)] == found[-1]
    assert found[0] == found[1]
    assert len(found[0]) == sum(obj["kind"] == kind for obj in WRITTEN)


@pytest.mark.parametrize(
    ("path", "query"),
    [
        (
            "/api/v1/services",
            "labelSelector=!service.kubernetes.io/service-proxy-name&fieldSelector=spec.clusterIP!=None",
        ),
        ("/api/v1/nodes", "fieldSelector=metadata.name=node1"),
        ("/apis/networking.k8s.io/v1/servicecidrs", "labelSelector="),
    ],
)
def test_streaming_lists_as_kube_proxy_asks_for_them(servers: tuple[Access, Access], path: str, query: str) -> None:
    """The Service "kubernetes" is a real server's own; its ServiceCIDR has a finalizer and a status."""
    words = dict(item.split("=", 1) for item in query.split("&"))
    asked = {name: quote(value) for name, value in words.items()}
    stream = {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan", "allowWatchBookmarks": "true"}
    found = []
    for access in servers:
        *events, end = access.watch(path, **asked, **stream)
        assert (end["type"], end["object"]["metadata"]["annotations"]) == (
            "BOOKMARK",
            {"k8s.io/initial-events-end": "true"},
        )
        seen = [(event["type"], event["object"]["metadata"]["name"], event["object"]["spec"]) for event in events]
        found.append([event for event in seen if path != "/api/v1/services" or event[1] != "kubernetes"])
        assert end["object"]["kind"] == BY_NAME[path]
    assert sorted(found[0], key=str) == sorted(found[1], key=str)
    assert found[0]


BY_NAME = {
    "/api/v1/services": "Service",
    "/api/v1/nodes": "Node",
    "/apis/networking.k8s.io/v1/servicecidrs": "ServiceCIDR",
}


def test_refusals_are_the_same_to_the_word(servers: tuple[Access, Access]) -> None:
    service, endpoints = POPULATION.service(0), POPULATION.endpoints(0, 1)
    taken = (409, "AlreadyExists", 'endpoints "svc-00000" already exists')
    assert alike(servers, "POST", "/api/v1/namespaces/proxybench/endpoints", endpoints) == taken
    stale = {**service, "metadata": {**service["metadata"], "resourceVersion": "1"}}
    code, reason, message = alike(servers, "PUT", f"{SERVICES}/svc-00000", stale)
    assert (code, reason) == (409, "Conflict")
    assert message.startswith('Operation cannot be fulfilled on services "svc-00000": the object has been modified')
    assert alike(servers, "GET", f"{SERVICES}/nobody") == (404, "NotFound", 'services "nobody" not found')
    assert alike(servers, "DELETE", f"{SERVICES}/nobody") == (404, "NotFound", 'services "nobody" not found')
    elsewhere = objects.service("a", PLAN.vip(9), 80, namespace="nowhere")
    assert alike(servers, "POST", SERVICES.replace("proxybench", "nowhere"), elsewhere) == (
        404,
        "NotFound",
        'namespaces "nowhere" not found',
    )
    other = "the name of the object (svc-00000) does not match the name on the URL (svc-00001)"
    assert alike(servers, "PUT", f"{SERVICES}/svc-00001", service) == (400, "BadRequest", other)
    wrong = tuple(replace(access, token="wrong") for access in servers)
    assert alike((wrong[0], wrong[1]), "GET", SERVICES) == (401, "Unauthorized", "Unauthorized")


def test_a_watch_from_long_ago_is_expired(servers: tuple[Access, Access]) -> None:
    for access in servers:
        (event,) = access.watch(SERVICES, resourceVersion="1")
        assert (event["type"], event["object"]["code"], event["object"]["reason"]) == ("ERROR", 410, "Expired")
        assert event["object"]["message"].startswith("too old resource version: 1 (")


@pytest.mark.parametrize("kind", KINDS)
def test_a_watch_sees_the_same_changes(servers: tuple[Access, Access], kind: Kind) -> None:
    """A change, the same again, a deletion, another deletion of it, a whole collection: as both servers report them."""
    made = {
        Kind.SERVICE: [POPULATION.service(index) for index in range(20, 23)],
        Kind.ENDPOINT_SLICE: [obj for index in range(20, 23) for obj in POPULATION.endpoint_slices(index, CHANGED_NS)],
        Kind.ENDPOINTS: [POPULATION.endpoints(index, CHANGED_NS) for index in range(20, 23)],
    }[kind]
    for obj in made:
        obj["metadata"]["namespace"] = "changes"
    first = {**made[0], "metadata": {**made[0]["metadata"], "annotations": {"new": "1"}}}
    where = BY_KIND[kind].path("changes")
    found = []
    for access in servers:
        since = access.get(where)["metadata"]["resourceVersion"]
        with client(access) as api:
            api.ensure_namespace("changes")
            for obj in made:
                api.create_many([obj])
            api.replace_many([first])
            api.replace_many([first])
            api.delete_many([Ref.of(made[1])])
            api.delete_many([Ref.of(made[1])])
            api.delete_collection(kind, "changes", SELECTOR)
            assert list(api.list(kind, "changes")) == []
        found.append([(event["type"], plain(event["object"])) for event in access.watch(where, resourceVersion=since)])
    assert found[0] == found[1]
    assert [(how, obj["metadata"]["name"]) for how, obj in found[0]] == [
        *(("ADDED", obj["metadata"]["name"]) for obj in made),
        ("MODIFIED", first["metadata"]["name"]),
        *(("DELETED", made[index]["metadata"]["name"]) for index in (1, 0, 2)),
    ]
