"""A real kube-proxy on a node of the lab, its binary named by PROXYBENCH_KUBE_PROXY: its files and its command."""

from __future__ import annotations

import json
import os
import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proxybench.hosts.base import Executor
    from proxybench.targets.lab.apiserver.serve_process import ApiServerProcess

BINARY = os.environ.get("PROXYBENCH_KUBE_PROXY", "")
HOST = "10.0.2.2"  # this machine's loopback, as the guest sees it


def command(folder: str) -> str:
    """Return the shell's words that become kube-proxy, configured by ``configure``."""
    path = f"{folder}/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return f"PATH={path} exec {shlex.quote(BINARY)} --config={folder}/config.yaml"


def configure(node: Executor, folder: str, mode: str, server: ApiServerProcess, *, sync_period: str = "30s") -> None:
    """Write its configuration, and links by which it finds the legacy iptables."""
    kubeconfig = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": "lab",
                "cluster": {
                    "server": f"https://{HOST}:{server.port}",
                    "certificate-authority": f"{folder}/ca.pem",
                },
            }
        ],
        "users": [{"name": "lab", "user": {"token": server.token}}],
        "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "lab"}}],
        "current-context": "lab",
    }
    periods = {"minSyncPeriod": "1s", "syncPeriod": sync_period}
    config = {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": mode,
        "clientConnection": {"kubeconfig": f"{folder}/kubeconfig", "contentType": "application/json"},
        "clusterCIDR": "10.244.0.0/16",
        "hostnameOverride": "node1",
        "metricsBindAddress": "127.0.0.1:10249",
        "healthzBindAddress": "127.0.0.1:10256",
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        "iptables": periods,
        "ipvs": periods,
        "udpIdleTimeout": "250ms",
        # The userspace mode reads Endpoints only.
        "featureGates": {"EndpointSliceProxying": mode != "userspace"},
    }
    node.run(["mkdir", "-p", f"{folder}/bin"])
    for name in ("iptables", "iptables-save", "iptables-restore"):  # it calls them by these names: the legacy ones
        for family in (name, name.replace("ip", "ip6", 1)):
            node.run(["ln", "-s", "/usr/sbin/xtables-legacy-multi", f"{folder}/bin/{family}"])
    node.put(server.ca_pem.encode(), f"{folder}/ca.pem")
    node.put(json.dumps(kubeconfig).encode(), f"{folder}/kubeconfig")
    node.put(json.dumps(config).encode(), f"{folder}/config.yaml")
