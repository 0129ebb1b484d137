from __future__ import annotations

from typing import Any

import pytest

from proxybench.kube.objects import node
from proxybench.targets.cluster.switch.changes import progress, rolled_out
from proxybench.targets.cluster.switch.daemon_set import look
from proxybench.targets.cluster.switch.deployment import Deployment, not_ready, recognise

Object = dict[str, Any]
ONLY = "it is observed only"
COMMAND = ["/usr/local/bin/kube-proxy", "--config=/var/lib/kube-proxy/config.conf", "--hostname-override=$(NODE_NAME)"]


def daemon_set(
    name: str = "kube-proxy", mounted: str = "kube-proxy", command: list[str] | None = None, **spec: Any
) -> Object:
    volumes = [{"name": "lib", "hostPath": {"path": "/lib"}}, {"name": "v", "configMap": {"name": mounted}}]
    pod = {
        "volumes": volumes,
        "containers": [{"name": "kube-proxy", "command": COMMAND if command is None else command}],
    }
    return {"metadata": {"name": name}, "spec": {"template": {"spec": pod}, **spec}}


def config_map(**data: str) -> Object:
    return {"metadata": {"name": "kube-proxy"}, "data": data}


def worker(version: str = "v1.37.2", **labels: str) -> Object:
    made = node("n", "192.0.2.1", "10.244.0.0/24")
    made["status"]["nodeInfo"]["kubeletVersion"] = version
    made["metadata"]["labels"] |= labels
    return made


KUBEADM = config_map(**{"config.conf": "mode: iptables\n"})


def test_kubeadm_s_can_be_switched() -> None:
    others = [daemon_set("kube-proxy-windows", mounted="kube-proxy-windows"), daemon_set("flannel", mounted="flannel")]
    assert recognise([daemon_set(), *others], [KUBEADM], [worker()]) == Deployment("daemonset", switchable=True)


def test_a_config_map_that_is_projected_is_mounted_too() -> None:
    found = daemon_set(mounted="x")
    parts = [{"serviceAccountToken": {"path": "t"}}, {"configMap": {"name": "kube-proxy"}}]
    found["spec"]["template"]["spec"]["volumes"].append({"name": "all", "projected": {"sources": parts}})
    assert recognise([found], [KUBEADM], [worker()]).switchable
    found["metadata"]["name"] = "kube-proxy-arm64"
    assert not recognise([daemon_set(), found], [KUBEADM], [worker()]).switchable


@pytest.mark.parametrize(
    "command",
    [
        ["kube-proxy", "--config", "/etc/config.conf"],
        ["sh", "-c", "exec kube-proxy --v=2 --config=/var/lib/kube-proxy/config.conf"],
    ],
)
def test_the_file_is_found_however_the_command_names_it(command: list[str]) -> None:
    assert recognise([daemon_set(command=command)], [KUBEADM], [worker()]).switchable
    by_args = daemon_set(command=[])
    by_args["spec"]["template"]["spec"]["containers"][0]["args"] = command
    assert recognise([by_args], [KUBEADM], [worker()]).switchable


@pytest.mark.parametrize(
    ("sets", "maps", "nodes", "name", "why"),
    [
        ([], [], [worker("v1.31.2+k3s1")], "k3s", "k3s runs kube-proxy inside its own process"),
        ([], [], [worker("v1.31.2+rke2r1")], "rke2", "RKE2 runs kube-proxy as a static pod"),
        ([], [], [worker("v1.31.2-gke.100")], "gke", "GKE manages kube-proxy as a static pod"),
        ([daemon_set()], [KUBEADM], [worker("v1.31.2-eks-abc")], "eks", "EKS manages kube-proxy as an add-on"),
        ([daemon_set()], [], [worker(**{"kubernetes.azure.com/cluster": "x"})], "aks", "AKS manages kube-proxy"),
        ([daemon_set("cilium")], [], [worker()], "cilium", "Cilium stands for kube-proxy, which does not run"),
        ([], [], [worker()], "unit", "kube-system has no DaemonSet kube-proxy; a systemd unit or a static pod runs it"),
        ([daemon_set()], [], [], "daemonset", "the DaemonSet kube-proxy has no ConfigMap kube-proxy with config.conf"),
        ([daemon_set()], [config_map(other="x")], [], "daemonset", "the DaemonSet kube-proxy has no ConfigMap"),
        (
            [daemon_set(updateStrategy={"type": "OnDelete"})],
            [KUBEADM],
            [],
            "daemonset",
            "the DaemonSet kube-proxy is updated by hand (updateStrategy OnDelete)",
        ),
        (
            [daemon_set(mounted="x")],
            [KUBEADM],
            [],
            "daemonset",
            "the DaemonSet kube-proxy does not mount the ConfigMap",
        ),
        (
            [
                daemon_set(
                    command=["kube-proxy", "--proxy-mode=iptables", "--kubeconfig=/var/lib/kube-proxy/config.conf"]
                )
            ],
            [KUBEADM],
            [],
            "daemonset",
            "the DaemonSet kube-proxy starts it without --config=…/config.conf",
        ),
        (
            [daemon_set("k-arm64"), daemon_set(), daemon_set("k-arm32")],
            [KUBEADM],
            [],
            "daemonset",
            "further DaemonSets mount the ConfigMap kube-proxy, and would not be rolled out: k-arm64, k-arm32",
        ),
    ],
)
def test_what_cannot_be_switched_is_recognised_and_explained(
    sets: list[Object], maps: list[Object], nodes: list[Object], name: str, why: str
) -> None:
    found = recognise(sets, maps, nodes)
    assert (found.name, found.switchable) == (name, False)
    assert found.why.startswith(why)
    assert found.why.endswith(f": {ONLY}")


def test_what_others_left_out_is_nothing() -> None:
    """An API leaves out what is empty, and a list of nothing may be null."""

    class Empty:
        def ask(self, method: str, path: str, body: Object | None = None) -> Object:
            assert (method, body) == ("GET", None)
            return {"metadata": {}, "items": None}

    assert look(Empty()).name == "unit"
    bare: Object = {"metadata": {"name": "kube-proxy", "generation": 1}}
    found = recognise([daemon_set()], [bare], [{"metadata": {"name": "n", "labels": None}}])
    assert (
        found.why == f"the DaemonSet kube-proxy has no ConfigMap kube-proxy with config.conf, as kubeadm's has: {ONLY}"
    )
    assert not_ready([{"metadata": {"name": "n"}}, {"metadata": {"name": "m"}, "status": {"conditions": None}}]) == ()
    assert not rolled_out(bare)
    assert progress(bare) == "0 of 0 pods are new, 0 ready"
