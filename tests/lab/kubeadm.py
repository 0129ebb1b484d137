"""What stands for kubeadm and the kubelets beside a real control plane: the objects, and who runs a pod's program.

Simulated: the scheduler and the kubelets, in one thread that binds each pod of the DaemonSet to its node, starts a
plain process there with the ConfigMap's configuration as it is then, and ends it when the pod is to be deleted. Real:
etcd, the API server, the controller of DaemonSets with its rollouts, the objects, kube-proxy.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from http.client import HTTPException
from typing import TYPE_CHECKING, Any, Self

from proxybench.nodes.cluster import ApiAccess
from proxybench.targets.lab import topology
from tests.lab.binaries import CLUSTER
from tests.lab.own_cluster import end_kube_proxy, start_kube_proxy

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from proxybench.nodes.node import NodeHandle
    from tests.lab.control_plane import Access

Object = dict[str, Any]
PORT = 7443
SYSTEM = "/api/v1/namespaces/kube-system"
PODS = f"{SYSTEM}/pods"
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
        "image": f"images.example/kube-proxy:{CLUSTER}",
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
    """Return what a switch may not leave changed, byte for byte: all but what API server and controllers count."""
    found = [access.get(path) for path in (f"{SYSTEM}/configmaps/kube-proxy", f"{SETS}/kube-proxy")]
    for one in found:
        one.pop("status", None)
        for counted in ("resourceVersion", "generation", "managedFields"):
            one["metadata"].pop(counted, None)
        (one["metadata"].get("annotations") or {}).pop("deprecated.daemonset.template.generation", None)
    return json.dumps(found, sort_keys=True)


class Kubelets:
    """Runs the pods of the DaemonSet on nodes, but for those that are ``dead``.

    ``started`` counts the pods, ``images`` are theirs.
    """

    def __init__(self, access: Access, nodes: Sequence[NodeHandle], binary: Path) -> None:
        self._access = access
        self._nodes = {handle.name: handle for handle in nodes}
        self._binary = binary
        self._running: dict[str, str] = {}  # pods by node
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.started = 0
        self.images: set[str] = set()
        self.dead: set[str] = set()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(30)
        for handle in self._nodes.values():
            end_kube_proxy(handle.executor)

    def await_started(self) -> None:
        """Wait until every node's first kube-proxy answers."""
        argv = ["sh", "-c", "until grep -q ':2809 00000000:0000 0A' /proc/net/tcp; do sleep 0.2; done"]  # 10249
        end = time.monotonic() + 60
        while self.started < len(self._nodes):
            assert time.monotonic() < end, "no pods are made"
            self._stop.wait(0.2)
        for handle in self._nodes.values():
            handle.executor.run(argv, timeout=60)

    def await_asked_to_end(self, node: str, said: Path) -> None:
        """Wait until the controller wants a node's pod to end; ``said`` is what the run says that asks for it."""
        end = time.monotonic() + 60
        while not any("deletionTimestamp" in pod["metadata"] for pod in self._pods() if _node_of(pod) == node):
            assert time.monotonic() < end, f"the rollout does not come to {node}: {said.read_text()}"
            self._stop.wait(0.2)

    def settled(self) -> bool:
        """Tell whether every node has a pod that runs, and none is to end."""
        pods = self._pods()
        running = [pod for pod in pods if pod.get("status", {}).get("phase") == "Running"]
        ending = [pod for pod in pods if "deletionTimestamp" in pod["metadata"]]
        return len(running) == len(pods) == len(self._nodes) and not ending

    def _pods(self) -> list[Object]:
        return list(self._access.get(PODS)["items"])

    def say_ready(self, node: str, status: str) -> None:
        """Write whether a node is ready, as its kubelet does; once that is dead, as the controller of Nodes does.

        That says of a lost node's pods, too, that they are not ready. Else the controller of DaemonSets takes one that
        is to be ended for one that runs, if it was made of the template that has come back.
        """
        condition = {"type": "Ready", "status": status, "reason": "KubeletReady" if status == "True" else "NodeLost"}
        self._write_status(f"/api/v1/nodes/{node}", condition)
        if status != "True":
            for pod in self._pods():
                if _node_of(pod) == node:
                    self._write_status(f"{PODS}/{pod['metadata']['name']}", {"type": "Ready", "status": "False"})

    def _write_status(self, path: str, condition: Object) -> None:
        body = {"status": {"conditions": [condition]}}
        patch = {"Content-Type": "application/strategic-merge-patch+json"}
        code, answer = self._access.ask("PATCH", f"{path}/status", body, 10.0, **patch)
        assert code == 200, answer

    def _run(self) -> None:
        while not self._stop.wait(0.2):
            with suppress(OSError, HTTPException, AssertionError):  # the API server may be away, or not ready yet
                for pod in self._pods():
                    self._look_at(pod)

    def _look_at(self, pod: Object) -> None:
        name, node = pod["metadata"]["name"], _node_of(pod)
        if node in self.dead:
            return
        if "deletionTimestamp" in pod["metadata"]:
            if self._running.get(node) == name:
                end_kube_proxy(self._nodes[node].executor)
                del self._running[node]
            self._access.ask("DELETE", f"{PODS}/{name}", {"gracePeriodSeconds": 0})
        elif "nodeName" not in pod["spec"]:
            target = {"apiVersion": "v1", "kind": "Node", "name": node}
            binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}, "target": target}
            self._access.ask("POST", f"{PODS}/{name}/binding", binding)
        elif node not in self._running:
            self._start(pod, self._nodes[node])
        elif pod["status"]["phase"] == "Pending" and self._running[node] == name:
            self._say_running(pod)

    def _start(self, pod: Object, handle: NodeHandle) -> None:
        config = self._access.get(f"{SYSTEM}/configmaps/kube-proxy")["data"]["config.conf"]
        own = config.replace("hostnameOverride: ''", f"hostnameOverride: {handle.name}")
        start_kube_proxy(handle, self._binary, node_access(self._access), own)
        self._running[handle.name] = pod["metadata"]["name"]
        self.started += 1
        self.images |= {one["image"] for one in pod["spec"]["containers"]}
        self._say_running(pod)

    def _say_running(self, pod: Object) -> None:
        ready = [
            {"type": kind, "status": "True"} for kind in ("Initialized", "PodScheduled", "ContainersReady", "Ready")
        ]
        body = {"status": {"phase": "Running", "conditions": ready}}
        path = f"{PODS}/{pod['metadata']['name']}/status"
        code, answer = self._access.ask("PATCH", path, body, 10.0, **{"Content-Type": "application/merge-patch+json"})
        assert code in {200, 404}, answer


def _node_of(pod: Object) -> str:
    """Return the node for which the controller has made a pod."""
    terms = pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    (field,) = terms["nodeSelectorTerms"][0]["matchFields"]
    return str(field["values"][0])
