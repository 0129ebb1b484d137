"""How a cluster runs its kube-proxy, recognised from its objects: what can be switched, and what cannot. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from proxybench.targets.cluster.switch.changes import CONFIG, read

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxybench.kube.base import Object

_ONLY: Final = "it is observed only"
# Of kubelets' versions and nodes' labels, as the distributions set them.
_VERSIONS: Final = {
    "+k3s": "k3s runs kube-proxy inside its own process (--kube-proxy-arg of the k3s server)",
    "+rke2": "RKE2 runs kube-proxy as a static pod that it writes itself (kube-proxy-arg in its config.yaml)",
    "-gke.": "GKE manages kube-proxy as a static pod; Dataplane V2 has none",
    "-eks-": "EKS manages kube-proxy as an add-on, which takes changes back",
}
_LABELS: Final = {"kubernetes.azure.com/cluster": "AKS manages kube-proxy, and takes changes back"}


@dataclass(frozen=True)
class Deployment:
    """``name`` for people, whether it can be switched, and if not, ``why``."""

    name: str
    switchable: bool
    why: str = ""

    @property
    def by_unit(self) -> bool:
        """Whether the hosts themselves must be asked how it runs."""
        return self.name == "unit"


def recognise(daemon_sets: Sequence[Object], config_maps: Sequence[Object], nodes: Sequence[Object]) -> Deployment:
    """Say how kube-proxy runs; the objects are those of kube-system, and all Nodes."""
    for node in nodes:
        version = node.get("status", {}).get("nodeInfo", {}).get("kubeletVersion", "")
        for part, why in _VERSIONS.items():
            if part in version:
                return Deployment(part.strip("+-."), switchable=False, why=f"{why}: {_ONLY}")
        for label, why in _LABELS.items():
            if label in (node["metadata"].get("labels") or {}):
                return Deployment("aks", switchable=False, why=f"{why}: {_ONLY}")
    sets = {one["metadata"]["name"]: one for one in daemon_sets}
    maps = {one["metadata"]["name"]: one for one in config_maps}
    if "kube-proxy" in sets:
        others = [name for name, one in sets.items() if name != "kube-proxy" and _mounts(one, "kube-proxy")]
        return _daemon_set(sets["kube-proxy"], maps.get("kube-proxy"), others)
    if "cilium" in sets:
        return Deployment("cilium", switchable=False, why=f"Cilium stands for kube-proxy, which does not run: {_ONLY}")
    why = "kube-system has no DaemonSet kube-proxy; a systemd unit or a static pod runs it"
    return Deployment("unit", switchable=False, why=f"{why}: {_ONLY}")


def not_ready(nodes: Sequence[Object]) -> tuple[str, ...]:
    """Return the Nodes that say that they are not ready, or that nobody hears of any more, each with its reason."""
    return tuple(
        f"{node['metadata']['name']} ({condition.get('reason') or condition['status']})"
        for node in nodes
        for condition in node.get("status", {}).get("conditions") or ()
        if condition["type"] == "Ready" and condition["status"] != "True"
    )


def _daemon_set(found: Object, config_map: Object | None, others: Sequence[str]) -> Deployment:
    why = ""
    if config_map is None or not isinstance(read(config_map, CONFIG), str):
        why = "the DaemonSet kube-proxy has no ConfigMap kube-proxy with config.conf, as kubeadm's has"
    elif found["spec"].get("updateStrategy", {}).get("type", "RollingUpdate") != "RollingUpdate":
        why = "the DaemonSet kube-proxy is updated by hand (updateStrategy OnDelete)"
    elif not _mounts(found, "kube-proxy"):
        why = "the DaemonSet kube-proxy does not mount the ConfigMap kube-proxy"
    elif not _takes_file(found):
        why = "the DaemonSet kube-proxy starts it without --config=…/config.conf"
    elif others:
        why = f"further DaemonSets mount the ConfigMap kube-proxy, and would not be rolled out: {', '.join(others)}"
    return Deployment("daemonset", switchable=not why, why=f"{why}: {_ONLY}" if why else "")


def _takes_file(found: Object) -> bool:
    """Tell whether a container's command names the file of the ConfigMap, in whatever folder; a shell's may, too."""
    containers = found["spec"]["template"]["spec"].get("containers") or ()
    words = [word for one in containers for word in (*(one.get("command") or ()), *(one.get("args") or ()))]
    return "--config" in (said := " ".join(words)) and CONFIG[-1] in said


def _mounts(found: Object, name: str) -> bool:
    volumes = found["spec"]["template"]["spec"].get("volumes") or ()
    parts = [part for volume in volumes for part in (volume, *((volume.get("projected") or {}).get("sources") or ()))]
    return any((part.get("configMap") or {}).get("name") == name for part in parts)
