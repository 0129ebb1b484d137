from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ruamel.yaml import YAML

from proxybench.model import Mode
from proxybench.subjects.kube_proxy_config import overlay, render_config, render_kubeconfig
from tests.unit.subjects.rig import CLUSTER, FOLDER, NODE, make_spec

PERIODS = {"minSyncPeriod": "1s", "syncPeriod": "10m"}


def rendered(version: str, mode: Mode, **changes: Any) -> dict[str, Any]:
    spec = make_spec(version=version, mode=mode, sync_period=600.0, **changes)
    found: dict[str, Any] = YAML(typ="safe").load(render_config(spec, NODE, CLUSTER, f"{FOLDER}/kubeconfig"))
    return found


def test_on_a_dual_stack_node_both_families_are_served_everywhere() -> None:
    cluster = replace(CLUSTER, cluster_cidr6="fd00:10:244::/48", service_cidr6="fd00:10:96::/108")
    for version, gates in (("v1.37.2", None), ("v1.20.2", {"IPv6DualStack": True})):
        spec = make_spec(version=version, mode=Mode.IPTABLES)
        found = YAML(typ="safe").load(render_config(spec, NODE, cluster, "/kubeconfig"))
        assert found["clusterCIDR"] == "10.244.0.0/16,fd00:10:244::/48"
        assert found["nodePortAddresses"] == ["0.0.0.0/0", "::/0"]
        assert found.get("featureGates") == gates


def test_the_whole_of_1_37() -> None:
    assert rendered("v1.37.2", Mode.NFTABLES) == {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "hostnameOverride": "node-a",
        "clientConnection": {
            "kubeconfig": f"{FOLDER}/kubeconfig",
            "contentType": "application/json",
            "acceptContentTypes": "application/json",
            "qps": 5,
            "burst": 10,
        },
        "metricsBindAddress": "127.0.0.1:10249",
        "healthzBindAddress": "127.0.0.1:10256",
        "enableProfiling": False,
        "detectLocalMode": "ClusterCIDR",
        "clusterCIDR": "10.244.0.0/16",
        "nodePortAddresses": ["0.0.0.0/0"],
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        "iptables": {"masqueradeAll": False, "masqueradeBit": 14, "localhostNodePorts": True, **PERIODS},
        "ipvs": {"scheduler": "rr", "strictARP": False, **PERIODS},
        "nftables": {"masqueradeAll": False, "masqueradeBit": 14, **PERIODS},
    }


@pytest.mark.parametrize(
    ("version", "mode", "gates"),
    [
        ("v1.20.2", Mode.IPTABLES, None),
        ("v1.20.2", Mode.USERSPACE, {"EndpointSliceProxying": False}),
        ("v1.21.0", Mode.USERSPACE, None),
        ("v1.29.0", Mode.NFTABLES, {"NFTablesProxyMode": True}),
        ("v1.30.14", Mode.NFTABLES, {"NFTablesProxyMode": True}),
        ("v1.30.14", Mode.IPTABLES, None),
        ("v1.31.0", Mode.NFTABLES, None),
        ("v1.39.1", Mode.IPVS, None),
        ("v1.40.0", Mode.IPVS, {"KubeProxyIPVS": True}),
        ("v1.40.0-alpha.1.12+0123456789abcd", Mode.IPVS, {"KubeProxyIPVS": True}),
    ],
)
def test_only_the_gates_that_a_version_knows_and_needs(version: str, mode: Mode, gates: dict[str, bool] | None) -> None:
    assert rendered(version, mode).get("featureGates") == gates


@pytest.mark.parametrize(
    ("version", "mode", "present", "absent"),
    [
        ("v1.20.2", Mode.USERSPACE, {"udpIdleTimeout", "portRange"}, {"nftables"}),
        ("v1.20.2", Mode.IPTABLES, set(), {"nftables", "udpIdleTimeout", "portRange"}),
        ("v1.28.0", Mode.IPVS, set(), {"nftables"}),
        ("v1.29.0", Mode.IPVS, {"nftables"}, {"udpIdleTimeout", "portRange"}),
    ],
)
def test_fields_come_and_go(version: str, mode: Mode, present: set[str], absent: set[str]) -> None:
    config = rendered(version, mode)
    assert present <= config.keys()
    assert not absent & config.keys()
    assert ("localhostNodePorts" in config["iptables"]) is (version >= "v1.26")


def test_the_users_overlay_comes_last() -> None:
    changes = {"ipvs": {"scheduler": "lc"}, "nodePortAddresses": ["primary"], "detectLocal": {"bridgeInterface": "br0"}}
    config = rendered("v1.37.2", Mode.IPVS, config=changes)
    assert config["ipvs"] == {"scheduler": "lc", "strictARP": False, **PERIODS}
    assert config["nodePortAddresses"] == ["primary"]
    assert config["detectLocal"] == {"bridgeInterface": "br0"}


def test_an_overlay_changes_nothing_else() -> None:
    base = {"a": {"b": 1, "c": {"d": 2}}, "e": [1]}
    assert overlay(base, {"a": {"c": {"f": 3}}, "e": [2]}) == {"a": {"b": 1, "c": {"d": 2, "f": 3}}, "e": [2]}
    assert base == {"a": {"b": 1, "c": {"d": 2}}, "e": [1]}
    assert overlay({"a": {"b": 1}}, {"a": None}) == {"a": None}


def test_a_kubeconfig_names_the_token_and_does_not_hold_it() -> None:
    text = render_kubeconfig(replace(CLUSTER.api, token="topsecret"), "/f/ca.pem", "/f/token")
    assert "topsecret" not in text
    assert YAML(typ="safe").load(text) == {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": "measured",
                "cluster": {"server": "https://198.18.0.1:6443", "certificate-authority": "/f/ca.pem"},
            }
        ],
        "users": [{"name": "proxy", "user": {"tokenFile": "/f/token"}}],
        "contexts": [{"name": "proxy", "context": {"cluster": "measured", "user": "proxy"}}],
        "current-context": "proxy",
    }
