"""What kube-proxy is configured with, version by version: every setting that shapes a number is pinned.

Only ``kubeproxy.config.k8s.io/v1alpha1`` exists, but its fields came and went: an unknown feature gate ends kube-proxy,
an unknown field only warns, so each version is given those that it knows. Source: ``KubeProxyConfiguration`` in
k8s.io/kube-proxy/config/v1alpha1 and the change logs of Kubernetes. Pure.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Final

from ruamel.yaml import YAML

from proxybench.experiment.compat import KubeVersion, feature_gates
from proxybench.experiment.words import format_duration
from proxybench.model import Mode
from proxybench.subjects.serving import HEALTHZ_PORT, METRICS_PORT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxybench.experiment.requests import SubjectSpec
    from proxybench.nodes.cluster import ApiAccess, Cluster
    from proxybench.nodes.node import Node

_DUAL_STACK: Final = KubeVersion(1, 21)  # without a gate
_NFTABLES_SECTION: Final = KubeVersion(1, 29)
_LOCALHOST_NODE_PORTS: Final = KubeVersion(1, 26)
_LAST_USERSPACE: Final = KubeVersion(1, 25)
_EVERY_ADDRESS: Final = "0.0.0.0/0"
"""Where NodePorts answer; unset, that is every address in iptables and IPVS mode but the primary ones in nftables."""


def render_config(spec: SubjectSpec, node: Node, cluster: Cluster, kubeconfig: str) -> str:
    """Return the configuration of a subject on a node, as YAML; ``kubeconfig`` is that file's path on the node.

    ``spec.subject.version`` must be known. ``spec.config`` is laid over it at last, mapping by mapping.
    """
    config = {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": str(spec.mode),
        "hostnameOverride": node.name,
        "clientConnection": {
            "kubeconfig": kubeconfig,
            "contentType": "application/json",
            "acceptContentTypes": "application/json",
            "qps": 5,
            "burst": 10,
        },
        "metricsBindAddress": f"127.0.0.1:{METRICS_PORT}",
        "healthzBindAddress": f"127.0.0.1:{HEALTHZ_PORT}",
        "enableProfiling": False,
        "detectLocalMode": "ClusterCIDR",
        "clusterCIDR": ",".join(filter(None, (cluster.cluster_cidr, cluster.cluster_cidr6))),
        "nodePortAddresses": [_EVERY_ADDRESS, *(["::/0"] if cluster.cluster_cidr6 else [])],
        # A namespace may not change these, and the node's own values are part of what is measured.
        "conntrack": {
            "maxPerCore": 0,
            "min": 0,
            "tcpEstablishedTimeout": "0s",
            "tcpCloseWaitTimeout": "0s",
        },
        **_sections(spec, dual_stack=cluster.cluster_cidr6 is not None),
    }
    return _yaml(overlay(config, spec.config))


def credentials(api: ApiAccess, folder: str) -> dict[str, str]:
    """Return the files by which a proxy with that folder on the node reaches the API, by name."""
    kubeconfig = render_kubeconfig(api, f"{folder}/ca.pem", f"{folder}/token")
    return {"token": api.token, "ca.pem": api.ca_pem, "kubeconfig": kubeconfig}


def render_kubeconfig(api: ApiAccess, ca_file: str, token_file: str) -> str:
    """Return a kubeconfig by which a node reaches the API; both files are named by their paths on the node."""
    return _yaml(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "measured", "cluster": {"server": api.node_url, "certificate-authority": ca_file}}],
            "users": [{"name": "proxy", "user": {"tokenFile": token_file}}],
            "contexts": [{"name": "proxy", "context": {"cluster": "measured", "user": "proxy"}}],
            "current-context": "proxy",
        }
    )


def overlay(config: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``config`` with ``changes`` laid over it: mappings are merged key by key, anything else is replaced."""
    merged = dict(config)
    for key, value in changes.items():
        below = merged.get(key)
        merged[key] = overlay(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def _sections(spec: SubjectSpec, *, dual_stack: bool) -> dict[str, Any]:
    """Return the parts that depend on the version: the sections of the modes it has, and its feature gates."""
    version = KubeVersion.of_release(spec.subject.version)
    periods = {
        "minSyncPeriod": format_duration(spec.min_sync_period),
        "syncPeriod": format_duration(spec.sync_period),
    }
    masquerade = {"masqueradeAll": False, "masqueradeBit": 14}
    local = {"localhostNodePorts": True} if version >= _LOCALHOST_NODE_PORTS else {}
    sections: dict[str, Any] = {
        "iptables": {**masquerade, **local, **periods},
        "ipvs": {"scheduler": "rr", "strictARP": False, **periods},
    }
    if version >= _NFTABLES_SECTION:
        sections["nftables"] = {**masquerade, **periods}
    if spec.mode is Mode.USERSPACE and version.release <= _LAST_USERSPACE:
        sections |= {"udpIdleTimeout": "250ms", "portRange": ""}
    gates = dict(feature_gates(spec.mode, version))
    if dual_stack and version < _DUAL_STACK:
        gates["IPv6DualStack"] = True
    if gates:
        sections["featureGates"] = gates
    return sections


def _yaml(document: Mapping[str, Any]) -> str:
    writer = YAML()
    writer.default_flow_style = False
    buffer = io.StringIO()
    writer.dump(dict(document), buffer)
    return buffer.getvalue()
