from __future__ import annotations

import errno
import os
import socket
from http.client import HTTPConnection
from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families

from refproxy.errors import ProxierError
from refproxy.metrics import PROGRAMMING_BUCKETS, SYNC_BUCKETS, Histogram, LoopMetrics
from refproxy.web import Answer, WebServer

if TYPE_CHECKING:
    from collections.abc import Iterator


def samples(metrics: LoopMetrics) -> dict[str, float]:
    return {
        sample.name + "".join(sample.labels.values()): sample.value
        for family in text_string_to_metric_families(metrics.render().decode())
        for sample in family.samples
    }


def test_buckets_are_kube_proxys() -> None:
    assert SYNC_BUCKETS[:3] == (0.001, 0.002, 0.004)
    assert (len(SYNC_BUCKETS), SYNC_BUCKETS[-1]) == (15, 16.384)
    assert PROGRAMMING_BUCKETS[:4] == (0.25, 0.5, 1, 2)
    assert PROGRAMMING_BUCKETS[60:63] == (59, 60, 65)
    assert PROGRAMMING_BUCKETS[-8:] == (115, 120, 150, 180, 210, 240, 270, 300)


def test_a_bucket_holds_what_is_at_most_its_bound_and_all_before() -> None:
    histogram = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 3.0):
        histogram.observe(value)
    assert histogram.lines("h") == [
        'h_bucket{le="1"} 2',
        'h_bucket{le="2"} 3',
        'h_bucket{le="+Inf"} 4',
        "h_sum 6",
        "h_count 4",
    ]


def test_the_text_is_read_back_by_prometheus_own_parser() -> None:
    metrics = LoopMetrics()
    metrics.sync_duration.observe(0.003)
    metrics.programming.observe(0.3)
    metrics.syncs_total = 1
    metrics.build_seconds = 0.001
    metrics.tool_seconds = 0.0015
    metrics.service_changes_pending = 7
    found = samples(metrics)
    assert found["kubeproxy_sync_proxy_rules_duration_seconds_bucket0.002"] == 0
    assert found["kubeproxy_sync_proxy_rules_duration_seconds_bucket0.004"] == 1
    assert found["kubeproxy_sync_proxy_rules_duration_seconds_bucket+Inf"] == 1
    assert found["kubeproxy_sync_proxy_rules_duration_seconds_sum"] == 0.003
    assert found["kubeproxy_network_programming_duration_seconds_bucket0.5"] == 1
    assert found["kubeproxy_sync_proxy_rules_service_changes_pending"] == 7
    assert found["proxybench_sync_build_seconds_total"] == 0.001
    assert found["proxybench_sync_tool_seconds_total"] == 0.0015
    assert found["proxybench_sync_kernel_seconds_total"] == 0
    assert found["proxybench_sync_wait_seconds_total"] == 0
    assert found["proxybench_syncs_total"] == 1
    assert "proxybench_relay_cpu_seconds_total" not in found


def test_a_relays_cpu_is_told_where_there_is_a_relay() -> None:
    metrics = LoopMetrics()
    metrics.relayed_ns = lambda: 1_500_000
    assert samples(metrics)["proxybench_relay_cpu_seconds_total"] == 0.0015


def answer(path: str) -> Answer:
    if path == "/broken":
        raise KeyError(path)
    if path == "/healthz":
        return Answer(200, b"ok\n")
    return Answer(404, b"not here\n")


@pytest.fixture
def server() -> Iterator[WebServer]:
    made = WebServer(0, answer)
    yield made
    made.close()


def ask(server: WebServer, method: str, path: str) -> tuple[int, bytes]:
    connection = HTTPConnection("127.0.0.1", server.port, timeout=5)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def test_the_server_answers_a_get_without_its_query(server: WebServer) -> None:
    assert ask(server, "GET", "/healthz?verbose") == (200, b"ok\n")
    assert ask(server, "GET", "/else") == (404, b"not here\n")
    assert ask(server, "POST", "/healthz") == (405, b"GET only\n")


def test_a_client_that_leaves_does_not_stop_the_server(server: WebServer) -> None:
    socket.create_connection(("127.0.0.1", server.port), timeout=5).close()
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as half:
        half.sendall(b"nonsense\r\n\r\n")
        assert half.recv(100).startswith(b"HTTP/1.1 405 Method Not Allowed\r\n")
    assert ask(server, "GET", "/healthz") == (200, b"ok\n")


def test_a_taken_port_is_told(server: WebServer) -> None:
    with pytest.raises(ProxierError) as caught:
        WebServer(server.port, answer)
    assert str(caught.value) == f"127.0.0.1:{server.port} cannot be listened on: {os.strerror(errno.EADDRINUSE)}"


def test_a_mistake_in_an_answer_does_not_stop_the_server(server: WebServer, caplog: pytest.LogCaptureFixture) -> None:
    assert ask(server, "GET", "/broken") == (500, b"see the log\n")
    assert "/broken: unexpected" in caplog.text
    assert ask(server, "GET", "/healthz") == (200, b"ok\n")
