"""The API server as a process, asked without a client of ours."""

from __future__ import annotations

import errno
import os
import signal
import socket
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
import uuid
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import orjson
import pytest

from proxybench.errors import LabError
from proxybench.targets.lab.apiserver.serve_process import ApiServerProcess

if TYPE_CHECKING:
    from collections.abc import Callable

SLICE = {
    "apiVersion": "discovery.k8s.io/v1",
    "kind": "EndpointSlice",
    "metadata": {"name": "s"},
    "addressType": "IPv4",
    "endpoints": [{"addresses": ["10.244.1.1"], "nodeName": "node1"}],
    "ports": [{"port": 8080}],
}
PROXY_SELECTOR = "!service.kubernetes.io/headless,!service.kubernetes.io/service-proxy-name"


class Http:
    """Says what came back, refusals included."""

    def __init__(self, server: ApiServerProcess) -> None:
        self.server = server
        self.namespace = f"t-{uuid.uuid4().hex[:12]}"
        self("POST", "/api/v1/namespaces", {"metadata": {"name": self.namespace}})

    def raw(self, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
        request = urllib.request.Request(self.server.url + path, body, method=method)  # noqa: S310 - always https
        context = ssl.create_default_context(cadata=self.server.ca_pem)
        request.add_header("Authorization", f"Bearer {self.server.token}")
        request.add_header("Content-Type", "application/json")
        for name, value in headers.items():
            request.add_header(name.replace("_", "-"), value)
        try:
            with urllib.request.urlopen(request, timeout=10, context=context) as response:  # noqa: S310
                return response.status, response.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    def __call__(self, method: str, path: str, body: object = None, **headers: str) -> tuple[int, Any]:
        data = None if body is None else orjson.dumps(body)
        code, answer = self.raw(method, path.replace("NS", self.namespace), data, **headers)
        return code, orjson.loads(answer)


@pytest.fixture
def http(server: ApiServerProcess) -> Http:
    return Http(server)


def service(name: str, **labels: str) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "labels": labels},
        "spec": {"clusterIP": "10.96.1.1", "ports": [{"port": 80}]},
    }


SERVICES = "/api/v1/namespaces/NS/services"
SLICES = "/apis/discovery.k8s.io/{}/namespaces/NS/endpointslices"


def test_the_life_of_a_service(http: Http) -> None:
    code, made = http("POST", SERVICES, service("a"))
    assert (code, made["metadata"]["namespace"]) == (201, http.namespace)
    assert http("GET", f"{SERVICES}/a") == (200, made)
    made["metadata"]["labels"] = {"new": "1"}
    code, replaced = http("PUT", f"{SERVICES}/a", made)
    assert (code, replaced["metadata"]["labels"]) == (200, {"new": "1"})
    assert http("DELETE", f"{SERVICES}/a") == (
        200,
        {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Success",
            "details": {"name": "a", "kind": "services", "uid": made["metadata"]["uid"]},
        },
    )
    assert http("GET", f"{SERVICES}/a")[0] == 404


def test_lists_as_kube_proxy_asks_for_them(http: Http) -> None:
    http("POST", SERVICES, service("a"))
    http(
        "POST", SERVICES, {**service("h"), "metadata": {"name": "h", "labels": {"service.kubernetes.io/headless": ""}}}
    )
    code, found = http("GET", f"{SERVICES}?labelSelector={quote(PROXY_SELECTOR)}&limit=500&resourceVersion=0")
    assert code == 200
    assert (found["kind"], found["apiVersion"]) == ("ServiceList", "v1")
    assert [item["metadata"]["name"] for item in found["items"]] == ["a"]
    assert http("GET", f"{SERVICES}?labelSelector={PROXY_SELECTOR}")[1]["items"] == found["items"]
    code, everywhere = http("GET", "/api/v1/services")
    assert {"a", "h"} <= {item["metadata"]["name"] for item in everywhere["items"]}


def test_deletecollection_by_label(http: Http) -> None:
    for name in "abc":
        http("POST", SERVICES, service(name, gone=str(name < "c")))
    code, gone = http("DELETE", f"{SERVICES}?labelSelector=gone%3DTrue")
    assert (code, [item["metadata"]["name"] for item in gone["items"]]) == (200, ["a", "b"])
    assert [item["metadata"]["name"] for item in http("GET", SERVICES)[1]["items"]] == ["c"]


def watch(http: Http, path: str) -> list[dict[str, Any]]:
    code, body = http.raw("GET", path.replace("NS", http.namespace))
    assert code == 200
    return [orjson.loads(line) for line in body.splitlines()]


def test_a_watch_tells_what_happened_since(http: Http) -> None:
    since = http("GET", SERVICES)[1]["metadata"]["resourceVersion"]
    http("POST", SERVICES, service("a"))
    http("PUT", f"{SERVICES}/a", service("a", new="1"))
    http("DELETE", f"{SERVICES}/a")
    events = watch(http, f"{SERVICES}?watch=true&timeoutSeconds=1&resourceVersion={since}")
    assert [event["type"] for event in events] == ["ADDED", "MODIFIED", "DELETED"]
    versions = [int(event["object"]["metadata"]["resourceVersion"]) for event in events]
    assert versions == sorted(set(versions))


def test_a_watch_from_nowhere_begins_with_what_is_there(http: Http) -> None:
    http("POST", SLICES.format("v1"), SLICE)
    events = watch(http, SLICES.format("v1beta1") + "?watch=1&timeoutSeconds=1&resourceVersion=0")
    assert [(event["type"], event["object"]["apiVersion"]) for event in events] == [
        ("ADDED", "discovery.k8s.io/v1beta1")
    ]


def test_a_watch_that_comes_too_late(http: Http) -> None:
    assert watch(http, f"{SERVICES}?watch=true&resourceVersion=5")[0]["type"] == "ERROR"
    (event,) = watch(http, f"{SERVICES}?watch=true&resourceVersion=5")
    status = event["object"]
    assert (status["code"], status["reason"]) == (410, "Expired")
    assert status["message"].startswith("too old resource version: 5 (")


NO_METHOD = "the server does not allow this method on the requested resource"


@pytest.mark.parametrize(
    ("method", "path", "body", "code", "reason", "message"),
    [
        ("GET", "/api/v1/pods", None, 404, "NotFound", "the server could not find the requested resource"),
        ("GET", "/nothing", None, 404, "NotFound", "the server could not find the requested resource"),
        ("PATCH", f"{SERVICES}/a", {}, 405, "MethodNotAllowed", NO_METHOD),
        ("POST", "/api/v1/services", {}, 405, "MethodNotAllowed", NO_METHOD),
        ("DELETE", "/api/v1/services", None, 405, "MethodNotAllowed", NO_METHOD),
        ("PUT", SERVICES, {}, 405, "MethodNotAllowed", NO_METHOD),
        ("POST", f"{SERVICES}/a", {}, 405, "MethodNotAllowed", NO_METHOD),
        (
            "POST",
            SERVICES,
            SLICE,
            400,
            "BadRequest",
            "the object provided is EndpointSlice of discovery.k8s.io/v1, the path takes Service of v1",
        ),
        (
            "POST",
            SERVICES,
            [],
            400,
            "BadRequest",
            "the object provided is unrecognized: it is not a JSON object",
        ),
        ("GET", f"{SERVICES}?labelSelector=a%20b", None, 400, "BadRequest", 'unable to parse requirement: "a b"'),
    ],
)
def test_refusals(http: Http, method: str, path: str, body: object, code: int, reason: str, message: str) -> None:
    found_code, status = http(method, path, body)
    assert (found_code, status["code"], status["reason"], status["message"]) == (code, code, reason, message)
    assert (status["kind"], status["apiVersion"], status["status"]) == ("Status", "v1", "Failure")


def test_namespaces_are_deleted_one_by_one(http: Http) -> None:
    code, status = http("DELETE", "/api/v1/namespaces")
    assert (code, status["message"]) == (405, NO_METHOD)


def test_a_streaming_list_ends_with_a_bookmark(http: Http) -> None:
    http("POST", SERVICES, service("a"))
    words = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&timeoutSeconds=1"
    added, bookmark = watch(http, f"{SERVICES}?{words}")
    assert (added["type"], added["object"]["metadata"]["name"]) == ("ADDED", "a")
    assert (bookmark["type"], bookmark["object"]["kind"]) == ("BOOKMARK", "Service")
    assert bookmark["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
    assert int(bookmark["object"]["metadata"]["resourceVersion"]) >= int(added["object"]["metadata"]["resourceVersion"])
    assert watch(http, f"{SERVICES}?{words.replace('=true&r', '=false&r')}") == []


@pytest.mark.parametrize("header", ["", "Bearer wrong", "Basic abc", "Bearer \u00e9"])
@pytest.mark.parametrize("path", ["/api/v1/services", "/version", "/nothing"])
def test_without_the_token_nothing_is_told(http: Http, path: str, header: str) -> None:
    code, body = http.raw("GET", path, Authorization=header)
    assert code == 401
    assert orjson.loads(body) == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": "Unauthorized",
        "reason": "Unauthorized",
        "code": 401,
    }


def test_a_client_that_reads_no_json_is_refused(http: Http) -> None:
    path = SERVICES.replace("NS", http.namespace)
    code, body = http.raw("GET", path, Accept="application/vnd.kubernetes.protobuf")
    assert (code, orjson.loads(body)["message"]) == (
        406,
        "only the following media types are accepted: application/json",
    )
    code, body = http.raw("GET", path, Accept="application/vnd.kubernetes.protobuf, application/json;q=0.5")
    assert code == 200


def test_a_body_that_is_no_json(http: Http) -> None:
    code, body = http.raw("POST", SERVICES.replace("NS", http.namespace), b"{")
    assert (code, orjson.loads(body)["message"][:35]) == (400, "the object provided is unrecognized")


def test_a_limit_is_no_reason_for_less(http: Http) -> None:
    for name in "abc":
        http("POST", SERVICES, service(name))
    _, found = http("GET", f"{SERVICES}?limit=2")
    assert [item["metadata"]["name"] for item in found["items"]] == ["a", "b", "c"]
    assert "continue" not in found["metadata"]


def test_health_needs_no_token(http: Http) -> None:
    assert http.raw("GET", "/healthz", Authorization="") == (200, b"ok")


@pytest.mark.parametrize(
    "path", ["/api/v1/namespaces/default/events", "/apis/events.k8s.io/v1/namespaces/default/events"]
)
@pytest.mark.parametrize("kind", ["application/json", "application/vnd.kubernetes.protobuf"])
def test_events_are_taken_and_dropped(http: Http, path: str, kind: str) -> None:
    code, answer = http.raw("POST", path, b"k8s\0\n\x0b", Content_Type=kind, Accept=kind)
    assert (code, orjson.loads(answer)["kind"]) == (201, "Event")
    code, answer = http.raw("PATCH", f"{path}/e", b"{", Content_Type="application/strategic-merge-patch+json")
    assert (code, orjson.loads(answer)["metadata"]["name"]) == (200, "e")
    assert http("GET", path)[1]["items"] == []


def test_headless_services_are_left_out_where_kube_proxy_asks_for_it(http: Http) -> None:
    since = http("GET", SERVICES)[1]["metadata"]["resourceVersion"]
    http("POST", SERVICES, service("a"))
    http("POST", SERVICES, {"metadata": {"name": "h"}, "spec": {"clusterIP": "None", "ports": [{"port": 80}]}})
    query = "fieldSelector=spec.clusterIP%21%3DNone"
    assert [item["metadata"]["name"] for item in http("GET", f"{SERVICES}?{query}")[1]["items"]] == ["a"]
    seen = watch(http, f"{SERVICES}?watch=1&timeoutSeconds=1&resourceVersion={since}&{query}")
    assert [(event["type"], event["object"]["metadata"]["name"]) for event in seen] == [("ADDED", "a")]


def test_it_says_the_version_and_the_service_range_that_it_is_given() -> None:
    with ApiServerProcess(kubernetes_version="v1.20.2", service_cidr="10.96.0.0/16") as server:
        http = Http(server)
        assert http("GET", "/version") == (
            200,
            {"major": "1", "minor": "20", "gitVersion": "v1.20.2", "platform": "linux/amd64"},
        )
        code, found = http("GET", "/apis/networking.k8s.io/v1/servicecidrs")
    assert (code, found["kind"], found["apiVersion"]) == (200, "ServiceCIDRList", "networking.k8s.io/v1")
    assert [(item["metadata"]["name"], item["spec"]) for item in found["items"]] == [
        ("kubernetes", {"cidrs": ["10.96.0.0/16"]})
    ]


def test_service_cidrs_can_be_listed_where_there_are_none(http: Http) -> None:
    assert http("GET", "/apis/networking.k8s.io/v1beta1/servicecidrs")[1]["items"] == []


def test_https_with_the_certificate_of_this_server(server: ApiServerProcess) -> None:
    context = ssl.create_default_context(cadata=server.ca_pem)
    url = f"{server.url}/healthz"
    with urllib.request.urlopen(url, context=context, timeout=10) as response:  # noqa: S310 - always https
        assert response.read() == b"ok"
    for name, good in (("localhost", True), ("198.18.0.1", True), ("198.18.0.2", False)):
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as plain:
            if good:
                context.wrap_socket(plain, server_hostname=name).close()
            else:
                with pytest.raises(ssl.SSLCertVerificationError):
                    context.wrap_socket(plain, server_hostname=name)


def test_it_listens_on_loopback_only(server: ApiServerProcess) -> None:
    listening = set()
    with open("/proc/net/tcp", encoding="ascii") as table:  # noqa: PTH123 - a file of the kernel
        for line in table.readlines()[1:]:
            _, local, _, state, *_ = line.split()
            address, port = local.split(":")
            if state == "0A" and int(port, 16) == server.port:
                listening.add(address)
    assert listening == {"0100007F"}


def test_the_token_stays_out_of_argv(server: ApiServerProcess) -> None:
    with open(f"/proc/{server.pid}/cmdline", encoding="ascii") as words:  # noqa: PTH123 - a file of the kernel
        assert server.token not in words.read()


def test_stop_leaves_nothing() -> None:
    with ApiServerProcess() as running:
        folder = running._folder
        assert folder.exists()
        assert {path.stat().st_mode & 0o077 for path in (folder / "settings.json", folder / "tls")} == {0}
    running.stop()
    assert not folder.exists()
    assert running._process.returncode == 0
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", running.port), timeout=5)


def test_it_ends_with_its_parent(eventually: Callable[[Callable[[], bool]], None]) -> None:
    program = (
        "import sys, time\n"
        "from proxybench.targets.lab.apiserver.serve_process import ApiServerProcess\n"
        "running = ApiServerProcess()\n"
        "print(running.pid, running._folder, flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        try:
            pid, _, folder = parent.stdout.readline().strip().partition(" ")
        finally:
            parent.send_signal(signal.SIGKILL)
    eventually(lambda: not _alive(int(pid)))
    subprocess.run(["rm", "-r", folder], check=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{pid}/stat", encoding="ascii") as stat:  # noqa: PTH123 - a file of the kernel
        return stat.read().rpartition(")")[2].split()[0] != "Z"


def test_a_port_that_is_taken(server: ApiServerProcess) -> None:
    with pytest.raises(LabError) as caught:
        ApiServerProcess(port=server.port)
    assert str(caught.value) == (
        f"the API server ended with code 1: cannot listen on 127.0.0.1:{server.port}: {os.strerror(errno.EADDRINUSE)}"
    )


def test_a_start_that_takes_too_long() -> None:
    with pytest.raises(LabError) as caught:
        ApiServerProcess(start_seconds=0)
    assert str(caught.value) == "the API server was not ready in time"
