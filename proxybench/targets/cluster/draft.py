"""The first version of an inventory, made of the nodes that the API knows."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from proxybench.experiment.places import ClusterSpec
from proxybench.kube.base import Kind
from proxybench.targets.cluster import access
from proxybench.targets.cluster.inventory import Role, as_yaml
from proxybench.targets.cluster.target import open_api

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxybench.kube.base import Object


def draft(kubeconfig: str | None, context: str | None) -> str:
    """Ask the API for its nodes and return an inventory. Raises ExperimentError, ApiError."""
    spec = ClusterSpec(inventory="nodes.yaml", kubeconfig=kubeconfig, context=context)
    with ExitStack() as stack:
        api = open_api(access.first_access(access.credentials(spec), spec), stack)
        return inventory_of(api.list(Kind.NODE))


def inventory_of(nodes: Sequence[Object]) -> str:
    """Return an inventory of Nodes: the first worker is client and measured, its peers are backends. Pure.

    A node's client reaches Services through the node's own rules, so that no further host is needed.
    """
    workers = sorted(nodes, key=lambda node: ("node-role.kubernetes.io/control-plane" in _labels(node), _name(node)))
    entries = []
    for number, node in enumerate(workers):
        roles = [Role.CLIENT, Role.MEASURED] if number == 0 else [Role.OTHER, Role.BACKEND]
        words = {"name": _name(node), "roles": f"[{', '.join(roles)}]"}
        address = access.internal_ip(node)
        entries.append({**words, **({"host": address, "address": address} if address else {})})
    return as_yaml(entries)


def _name(node: Object) -> str:
    return str(node["metadata"]["name"])


def _labels(node: Object) -> Object:
    return dict(node["metadata"].get("labels") or {})
