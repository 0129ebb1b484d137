"""What stands for kubeadm and the kubelet beside a real API server: the objects, and who starts kube-proxy anew.

Simulated: the DaemonSet's controller and the kubelet, in one thread that ends and starts a plain process on each node
whenever the DaemonSet's template changes, with the ConfigMap's configuration as it is then. Real: the API server with
etcd behind it, the objects, kube-proxy.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

from proxybench.nodes.cluster import ApiAccess
from proxybench.targets.lab import topology
from tests.lab.own_cluster import end_kube_proxy, start_kube_proxy

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from proxybench.nodes.node import NodeHandle
    from tests.lab.control_plane import Access

Object = dict[str, Any]
PORT = 7443
SYSTEM = "/api/v1/namespaces/kube-system"
SETS = "/apis/apps/v1/namespaces/kube-system/daemonsets"
# Listens in the lab's management network, and leads to a port of this machine's loopback.
_RELAY = """
import asyncio, sys
from proxybench.targets.lab.supervisor import _listener_in, _relay
async def main():
    gate = _listener_in(sys.argv[1], sys.argv[2], int(sys.argv[3]))
    server = await asyncio.start_server(_relay(int(sys.argv[4])), sock=gate)
    print("ready", flush=True)
    await server.serve_forever()
asyncio.run(main())
"""


def node_access(access: Access) -> ApiAccess:
    """Return the API server as nodes of the lab reach it through the relay."""
    return ApiAccess(access.url, f"https://{topology.CTL_ADDRESS}:{PORT}", access.ca_pem, access.token)


@contextmanager
def relayed(lab_pid: int, access: Access) -> Iterator[None]:
    """Let the lab's nodes reach an API server on this machine's loopback."""
    child = subprocess.run(["pgrep", "-P", str(lab_pid)], capture_output=True, text=True, check=True).stdout.split()[0]
    words = [topology.CTL, topology.CTL_ADDRESS, str(PORT), access.url.rpartition(":")[2]]
    argv = ["nsenter", "-t", child, "-m", "-p", sys.executable, "-c", _RELAY, *words]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield
    finally:
        process.kill()  # nsenter's child ends with the lab
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def objects(config: str) -> list[tuple[str, Object]]:
    """Return what kubeadm makes of kube-proxy, with where it is posted."""
    labels = {"k8s-app": "kube-proxy"}
    container = {
        "name": "kube-proxy",
        "image": "images.example/kube-proxy:v1.37.2",
        "command": ["/usr/local/bin/kube-proxy", "--config=/var/lib/kube-proxy/config.conf"],
        "volumeMounts": [{"name": "kube-proxy", "mountPath": "/var/lib/kube-proxy"}],
    }
    pod = {
        "hostNetwork": True,
        "containers": [container],
        "volumes": [{"name": "kube-proxy", "configMap": {"name": "kube-proxy"}}],
    }
    template = {"metadata": {"labels": labels}, "spec": pod}
    metadata = {"name": "kube-proxy", "namespace": "kube-system", "labels": labels}
    return [
        (
            f"{SYSTEM}/configmaps",
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"config.conf": config}},
        ),
        (
            SETS,
            {
                "apiVersion": "apps/v1",
                "kind": "DaemonSet",
                "metadata": metadata,
                "spec": {"selector": {"matchLabels": labels}, "template": template},
            },
        ),
    ]


def state(access: Access) -> str:
    """Return what a switch may not leave changed, byte for byte."""
    data = access.get(f"{SYSTEM}/configmaps/kube-proxy")["data"]
    return json.dumps([data, access.get(f"{SETS}/kube-proxy")["spec"]], sort_keys=True)


class Kubelets:
    """Keeps each node's kube-proxy at the DaemonSet's newest template."""

    def __init__(self, access: Access, nodes: Sequence[NodeHandle], binary: Path) -> None:
        self._access = access
        self._nodes = nodes
        self._binary = binary
        self._template = ""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.rollouts = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(30)
        for handle in self._nodes:
            end_kube_proxy(handle.executor)

    def await_started(self) -> None:
        """Wait until every node's first kube-proxy answers."""
        argv = ["sh", "-c", "until grep -q ':2809 00000000:0000 0A' /proc/net/tcp; do sleep 0.2; done"]  # 10249
        while not self.rollouts:
            self._stop.wait(0.2)
        for handle in self._nodes:
            handle.executor.run(argv, timeout=60)

    def _run(self) -> None:
        while not self._stop.wait(0.3):
            found = self._access.get(f"{SETS}/kube-proxy")
            template = json.dumps(found["spec"]["template"], sort_keys=True)
            if template != self._template:
                self._roll_out()
                self._template = template
                self._tell(found)

    def _roll_out(self) -> None:
        config = self._access.get(f"{SYSTEM}/configmaps/kube-proxy")["data"]["config.conf"]
        for handle in self._nodes:
            end_kube_proxy(handle.executor)
            own = config.replace("hostnameOverride: ''", f"hostnameOverride: {handle.name}")
            start_kube_proxy(handle, self._binary, node_access(self._access), own)
        self.rollouts += 1

    def _tell(self, found: Object) -> None:
        counts = ("currentNumberScheduled", "desiredNumberScheduled", "updatedNumberScheduled")
        status = dict.fromkeys((*counts, "numberAvailable", "numberReady"), len(self._nodes))
        told = {"observedGeneration": found["metadata"]["generation"], "numberMisscheduled": 0, **status}
        code = 409  # whoever switches may write meanwhile; what was rolled out is then of an older generation
        while code == 409:
            now = {**self._access.get(f"{SETS}/kube-proxy"), "status": told}
            code, body = self._access.ask("PUT", f"{SETS}/kube-proxy/status", now)
        assert code == 200, body
