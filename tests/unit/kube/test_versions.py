from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from proxybench.kube.resources import ENDPOINT_SLICES, SERVICES
from proxybench.kube.versions import fill_in, from_stored, to_stored

WORDS = st.text("abc-", min_size=1, max_size=5)
ENDPOINTS = st.fixed_dictionaries(
    {"addresses": st.lists(WORDS, min_size=1, max_size=1)},
    optional={
        "nodeName": WORDS,
        "zone": WORDS,
        "conditions": st.just({"ready": True}),
        "deprecatedTopology": st.dictionaries(WORDS, WORDS, min_size=1, max_size=2),
    },
)


@given(st.lists(ENDPOINTS, max_size=3))
def test_there_and_back_is_the_same(endpoints: list[dict[str, Any]]) -> None:
    stored = {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "endpoints": endpoints}
    beta = from_stored(ENDPOINT_SLICES, "v1beta1", stored)
    assert beta["apiVersion"] == "discovery.k8s.io/v1beta1"
    assert not any("nodeName" in endpoint or "zone" in endpoint for endpoint in beta["endpoints"])
    assert to_stored(ENDPOINT_SLICES, "v1beta1", beta) == stored


def test_v1beta1_tells_the_node_in_the_topology() -> None:
    stored = {"endpoints": [{"addresses": ["1"], "nodeName": "n", "zone": "z"}]}
    assert from_stored(ENDPOINT_SLICES, "v1beta1", stored)["endpoints"] == [
        {"addresses": ["1"], "topology": {"kubernetes.io/hostname": "n", "topology.kubernetes.io/zone": "z"}}
    ]


def test_a_v1beta1_slice_without_endpoints() -> None:
    assert to_stored(ENDPOINT_SLICES, "v1beta1", {"endpoints": None}) == {
        "apiVersion": "discovery.k8s.io/v1",
        "endpoints": None,
    }


def test_a_service_gets_what_proxies_rely_on() -> None:
    service: dict[str, Any] = {"spec": {"clusterIP": "10.96.1.1", "ports": [{"port": 80}], "type": "NodePort"}}
    fill_in(SERVICES, service)
    assert service == {
        "spec": {
            "clusterIP": "10.96.1.1",
            "clusterIPs": ["10.96.1.1"],
            "type": "NodePort",
            "sessionAffinity": "None",
            "externalTrafficPolicy": "Cluster",
            "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}],
        },
        "status": {"loadBalancer": {}},
    }
