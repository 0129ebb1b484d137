"""The first version of an inventory, made of the nodes that the API knows."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

from proxybench.experiment.places import ClusterSpec
from proxybench.kube.base import Kind
from proxybench.targets.cluster import access
from proxybench.targets.cluster.inventory import Role, as_yaml
from proxybench.targets.cluster.switch.deployment import not_ready
from proxybench.targets.cluster.target import open_api

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxybench.kube.base import Object

_CONTROL_PLANE: Final = {"node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master"}
_BACKENDS: Final = 2


def draft(kubeconfig: str | None, context: str | None) -> str:
    """Ask the API for its nodes and return an inventory. Raises ExperimentError, ApiError."""
    spec = ClusterSpec(inventory="nodes.yaml", kubeconfig=kubeconfig, context=context)
    with ExitStack() as stack:
        api = open_api(access.first_access(access.credentials(spec), spec), stack)
        return inventory_of(api.list(Kind.NODE))


def inventory_of(nodes: Sequence[Object]) -> str:
    """Return an inventory of Nodes: the first worker is client and measured, its peers are backends. Pure.

    A node's client reaches Services through the node's own rules, so that no further host is needed. Without a backend
    there is no run: so a Node that is not ready is none, nor is one of the control plane where others are enough. Those
    that no sshd and shell can be expected of are left out, and said to be.
    """
    left = {_name(node): why for node in nodes if (why := _left_out(node))}
    away = {one.partition(" ")[0] for one in not_ready(nodes)}
    workers = sorted(
        (node for node in nodes if _name(node) not in left),
        key=lambda node: (_name(node) in away, _is_control_plane(node), _is_cordoned(node), _name(node)),
    )
    there = [_name(node) for node in workers if _name(node) not in away]
    enough = sum(not _is_control_plane(node) for node in workers if _name(node) in there) > _BACKENDS
    entries = []
    for number, node in enumerate(workers):
        lends = _name(node) in there and not (enough and _is_control_plane(node))
        further = [Role.OTHER, *([Role.BACKEND] if lends else ())]
        words = {"name": _name(node), "roles": [Role.CLIENT, Role.MEASURED] if number == 0 else further}
        address = access.internal_ip(node)
        entries.append({**words, **({"host": address, "address": address} if address else {})})
    return as_yaml(entries, [f"{name}: {why}" for name, why in left.items()])


def _left_out(node: Object) -> str:
    """Say why a Node is left out, "" where it is not."""
    labels = _labels(node)
    if "windows" in {labels.get("kubernetes.io/os"), labels.get("beta.kubernetes.io/os")}:
        return "runs Windows"
    if labels.get("type") == "virtual-kubelet" or labels.get("eks.amazonaws.com/compute-type") == "fargate":
        return "is no host"
    return ""


def _is_control_plane(node: Object) -> bool:
    return bool(_CONTROL_PLANE & _labels(node).keys())


def _is_cordoned(node: Object) -> bool:
    return bool((node.get("spec") or {}).get("unschedulable"))


def _name(node: Object) -> str:
    return str(node["metadata"]["name"])


def _labels(node: Object) -> Object:
    return dict(node["metadata"].get("labels") or {})
