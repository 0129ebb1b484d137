"""What is counted, and that nothing is told by which a cluster could be known."""

from __future__ import annotations

import re
import string
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxybench.experiment import profile as words
from proxybench.experiment.profile import check
from proxybench.experiment.source import parse
from proxybench.targets.cluster.profiling.tally import MOST_SHAPES, Tally, rounded
from proxybench.targets.cluster.profiling.text import as_yaml

Object = dict[str, Any]

MODELS = (words.Profile, words.Shape, words.Ports, words.NodeShares, words.Watched, words.Churn)
VOCABULARY = {name for model in MODELS for name in model.model_fields} | {
    *words.ServiceType,
    *("IPv4", "IPv6", "Cluster", "Local", "ClientIP", "true", "false", "e"),  # e: of a small share
}


def service(name: str = "a", namespace: str = "one", **spec: Any) -> Object:
    ports = [{"name": "http", "port": 80, "protocol": "TCP"}]
    usual = {"type": "ClusterIP", "clusterIP": "10.0.0.1", "ipFamilies": ["IPv4"], "ports": ports}
    return {"metadata": {"name": name, "namespace": namespace}, "spec": {**usual, **spec}, "status": {}}


def endpoint(node: str | None = "n1", **conditions: bool) -> Object:
    return {"addresses": ["10.1.0.1"], "conditions": conditions, **({"nodeName": node} if node else {})}


def slice_(*endpoints: Object, of: str = "a", namespace: str = "one", family: str = "IPv4") -> Object:
    labels = {"kubernetes.io/service-name": of} if of else None
    metadata = {"name": f"{of}-x", "namespace": namespace, "labels": labels}
    return {"metadata": metadata, "addressType": family, "endpoints": list(endpoints) or None, "ports": []}


def shapes(services: list[Object], slices: list[Object] | None = None) -> list[Object]:
    tally = Tally()
    for one in services:
        tally.service(one)
    for one in slices or []:
        tally.endpoint_slice(one)
    found, _ = tally.profile()
    dumped: list[Object] = found.model_dump()["shapes"]
    return dumped


@pytest.mark.parametrize(
    ("number", "told"),
    [(0, 0), (9, 9), (10, 10), (11, 10), (13, 12), (57, 60), (97, 100), (99, 100), (137, 140), (1_347, 1_400)],
)
def test_numbers_above_ten_are_rounded(number: int, told: int) -> None:
    assert rounded(number) == told


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ({}, {"type": "ClusterIP", "ports": {"tcp": 1}}),
        ({"clusterIP": "None"}, {"type": "Headless"}),
        ({"type": "ExternalName", "externalName": "db.example.com"}, {"type": "ExternalName"}),
        (
            {"type": "NodePort", "externalTrafficPolicy": "Local", "internalTrafficPolicy": "Local"},
            {
                "type": "NodePort",
                "ports": {"tcp": 1},
                "external_traffic_policy": "Local",
                "internal_traffic_policy": "Local",
            },
        ),
        ({"sessionAffinity": "ClientIP"}, {"type": "ClusterIP", "ports": {"tcp": 1}, "session_affinity": "ClientIP"}),
        ({"externalIPs": ["192.0.2.1"]}, {"type": "ClusterIP", "ports": {"tcp": 1}, "external_ips": True}),
        (
            {
                "ports": [
                    {"port": port, "protocol": protocol} for port, protocol in ((53, "UDP"), (53, "TCP"), (9, "SCTP"))
                ]
            },
            {"type": "ClusterIP", "ports": {"tcp": 1, "udp": 1, "sctp": 1}},
        ),
        (
            {"ipFamilies": ["IPv6", "IPv4"], "ports": [{"port": 1}, {"port": 2}]},
            {"type": "ClusterIP", "ports": {"tcp": 2}, "families": ("IPv6", "IPv4")},
        ),
        (
            {"type": "LoadBalancer", "loadBalancerSourceRanges": ["192.0.2.0/24"]},
            {"type": "LoadBalancer", "ports": {"tcp": 1}, "node_ports": False, "source_ranges": True},
        ),
    ],
)
def test_a_service_is_told_by_its_kind(spec: Object, told: Object) -> None:
    (found,) = shapes([service(**spec)])
    counts = {name: found.pop(name) for name in ("endpoints", "slices") if name in found}
    assert found == {"services": 1, **told}
    assert counts == ({"endpoints": {0: 1}, "slices": {0: 1}} if "ports" in told else {})


@pytest.mark.parametrize(
    ("ingress", "served"),
    [
        ([{"ip": "192.0.2.1"}], True),
        ([{"ip": "192.0.2.1", "ipMode": "VIP"}], True),
        ([{"ip": "192.0.2.1", "ipMode": "Proxy"}], False),
        ([{"hostname": "lb.example.com"}], False),
        (None, False),
    ],
)
def test_a_load_balancer_s_address_counts_where_a_proxy_serves_it(ingress: Any, served: bool) -> None:
    one = service(type="LoadBalancer", ports=[{"port": 80, "nodePort": 30_001}])
    one["status"] = {"loadBalancer": {"ingress": ingress}}
    (found,) = shapes([one])
    assert found.get("load_balancer_ip", False) is served
    assert "node_ports" not in found


def test_endpoints_are_counted_by_service_and_condition() -> None:
    ready, unready = endpoint(ready=True), endpoint(ready=False, serving=False)
    leaving = endpoint(ready=False, serving=True, terminating=True)
    (found,) = shapes(
        [service("a"), service("b"), service("c", "two")],
        [
            slice_(ready, endpoint(), unready, leaving),
            slice_(ready),
            slice_(of="b"),
            slice_(ready, of="b", family="IPv6"),  # of the other family
            slice_(ready, of="a", namespace="two"),  # of no Service
            slice_(ready, of=""),
            slice_(endpoint(ready=False, serving=False, terminating=True), of="c", namespace="two"),
        ],
    )
    assert found["endpoints"] == {0: 1, 1: 1, 5: 1}
    assert found["slices"] == {1: 2, 2: 1}
    assert (found["unready"], found["terminating"]) == (2, 1)


def test_nodes_are_told_by_the_share_of_endpoints_that_they_have() -> None:
    tally = Tally()
    tally.service(service())
    tally.endpoint_slice(
        slice_(*(endpoint(f"n{node}") for node in range(20) for _ in range(1 + node % 3)), endpoint(None))
    )
    nodes = tally.profile()[0].nodes
    assert nodes is not None
    assert nodes.count == 20
    assert nodes.shares == (0.026, 0.026, 0.051, 0.077, 0.077)


def test_nodes_are_left_out_where_no_endpoint_names_one() -> None:
    tally = Tally()
    tally.service(service())
    tally.endpoint_slice(slice_(endpoint(None)))
    assert tally.profile()[0].nodes is None


def test_rare_shapes_are_counted_among_the_commonest_of_their_type() -> None:
    tally = Tally()
    for number in range(MOST_SHAPES + 7):
        ports: list[Object] = [{"port": 1 + port} for port in range(1 + number % 9)]
        ports += [{"port": 1 + port, "protocol": "UDP"} for port in range(number // 9)]
        for copy in range(2 if number < MOST_SHAPES else 1):
            tally.service(service(f"s{number}-{copy}", ports=ports))
    tally.service(service("only", type="ExternalName"))
    found, folded = tally.profile()
    assert folded == 7
    assert len(found.shapes) == MOST_SHAPES + 1
    assert found.services == 2 * MOST_SHAPES + 7 + 1
    assert check(parse(as_yaml(found), "written")) == found


NAMES = st.text(string.ascii_lowercase, min_size=8, max_size=12).map("zq".__add__)
LABELS = st.dictionaries(NAMES, NAMES, max_size=3)
ADDRESSES = st.integers(0, 2**22 - 1).map(
    lambda number: f"100.{64 + number // 65536}.{number // 256 % 256}.{number % 256}"
)
PORTS = st.integers(20_011, 65_535)


@st.composite
def clusters(draw: st.DrawFn) -> tuple[list[Object], list[Object], set[str]]:
    """Draw Services and slices full of words that must not be told, and these words."""
    services, slices, secrets = [], [], set[str]()

    def secret(kind: st.SearchStrategy[Any]) -> Any:
        found = draw(kind)
        secrets.add(str(found))
        return found

    def metadata(name: str, namespace: str, **labels: str) -> Object:
        noted = {draw(NAMES): draw(NAMES) for _ in range(2)}
        secrets.update(*noted.items())
        return {
            "name": name,
            "namespace": namespace,
            "labels": {**noted, **labels},
            "annotations": noted,
            "uid": secret(NAMES),
        }

    def port() -> Object:
        return {
            "name": secret(NAMES),
            "port": secret(PORTS),
            "targetPort": secret(NAMES),
            "nodePort": secret(PORTS),
            "protocol": draw(st.sampled_from(["TCP", "UDP", "SCTP"])),
            "appProtocol": secret(NAMES),
        }

    for _ in range(draw(st.integers(1, 5))):
        name, namespace = secret(NAMES), secret(NAMES)
        spec = {
            "type": draw(st.sampled_from(["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"])),
            "clusterIP": draw(st.sampled_from([secret(ADDRESSES), "None"])),
            "ipFamilies": draw(st.sampled_from([["IPv4"], ["IPv4", "IPv6"]])),
            "selector": {secret(NAMES): secret(NAMES)},
            "externalName": secret(NAMES),
            "externalIPs": draw(st.sampled_from([None, [secret(ADDRESSES)]])),
            "loadBalancerSourceRanges": [f"{secret(ADDRESSES)}/24"],
            "loadBalancerClass": secret(NAMES),
            "healthCheckNodePort": secret(PORTS),
            "sessionAffinity": draw(st.sampled_from(["None", "ClientIP"])),
            "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": secret(PORTS)}},
            "ports": [port() for _ in range(draw(st.integers(1, 3)))],
        }
        ingress = [{"ip": secret(ADDRESSES), "hostname": secret(NAMES)}]
        services.append(
            {"metadata": metadata(name, namespace), "spec": spec, "status": {"loadBalancer": {"ingress": ingress}}}
        )
        for _ in range(draw(st.integers(0, 2))):
            endpoints = [
                {
                    "addresses": [secret(ADDRESSES)],
                    "conditions": {"ready": draw(st.booleans())},
                    "nodeName": secret(NAMES),
                    "zone": secret(NAMES),
                    "hostname": secret(NAMES),
                    "targetRef": {"kind": "Pod", "name": secret(NAMES), "namespace": namespace},
                }
                for _ in range(draw(st.integers(0, 3)))
            ]
            labels = {"kubernetes.io/service-name": name}
            slices.append(
                {
                    "metadata": metadata(secret(NAMES), namespace, **labels),
                    "addressType": "IPv4",
                    "endpoints": endpoints,
                    "ports": [port()],
                }
            )
    return services, slices, secrets


@settings(max_examples=60, deadline=None)
@given(cluster=clusters())
def test_nothing_that_names_anything_is_in_the_file(cluster: tuple[list[Object], list[Object], set[str]]) -> None:
    services, slices, secrets = cluster
    tally = Tally()
    for one in services:
        tally.service(one)
    for one in slices:
        tally.endpoint_slice(one)
    text = as_yaml(tally.profile()[0])
    assert not [word for word in secrets if word in text]
    written = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    assert set(re.findall(r"[A-Za-z_]\w*", written)) <= VOCABULARY
    assert not re.search(r"\d+\.\d+\.\d+", written)
    assert max(map(float, re.findall(r"\d+(?:\.\d+)?", written))) < 1_000
    assert check(parse(text, "written")) == tally.profile()[0]
