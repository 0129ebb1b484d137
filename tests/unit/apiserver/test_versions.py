from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxybench.kube.resources import ENDPOINT_SLICES
from proxybench.targets.lab.apiserver.status import StatusError
from proxybench.targets.lab.apiserver.versions import from_stored, to_stored

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


def test_a_topology_that_is_none_is_refused_by_name() -> None:
    with pytest.raises(StatusError) as caught:
        to_stored(ENDPOINT_SLICES, "v1beta1", {"endpoints": [{"topology": {}}, {"topology": ["x"]}]})
    assert (caught.value.code, str(caught.value)) == (400, "endpoints[1].topology: must be of type object")


def test_endpoints_of_any_shape_come_through_for_the_store_to_refuse() -> None:
    assert to_stored(ENDPOINT_SLICES, "v1beta1", {"endpoints": ["x", 1]})["endpoints"] == ["x", 1]
