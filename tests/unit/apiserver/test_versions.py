from __future__ import annotations

from proxybench.kube.resources import ENDPOINT_SLICES
from proxybench.targets.lab.apiserver.paths import SERVICE_CIDRS
from proxybench.targets.lab.apiserver.versions import from_stored


def test_v1beta1_names_the_node_in_the_topology() -> None:
    stored = {"endpoints": [{"addresses": ["1"], "nodeName": "n", "zone": "z"}, {"addresses": ["2"]}]}
    assert from_stored(ENDPOINT_SLICES, "v1beta1", stored) == {
        "apiVersion": "discovery.k8s.io/v1beta1",
        "endpoints": [
            {"addresses": ["1"], "topology": {"kubernetes.io/hostname": "n", "topology.kubernetes.io/zone": "z"}},
            {"addresses": ["2"]},
        ],
    }
    assert stored["endpoints"][0] == {"addresses": ["1"], "nodeName": "n", "zone": "z"}


def test_a_slice_without_endpoints_stays_one() -> None:
    assert from_stored(ENDPOINT_SLICES, "v1beta1", {"endpoints": None})["endpoints"] is None


def test_other_kinds_change_their_name_only() -> None:
    stored = {"apiVersion": "networking.k8s.io/v1", "spec": {"cidrs": ["10.96.0.0/16"]}}
    assert from_stored(SERVICE_CIDRS, "v1beta1", stored) == {**stored, "apiVersion": "networking.k8s.io/v1beta1"}
