"""What forbids a rollout of kube-proxy before it is begun, told by the cluster's objects. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxybench.targets.cluster.switch.changes import MARK, progress, read, rolled_out
from proxybench.targets.cluster.switch.deployment import not_ready

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from proxybench.kube.base import Object

_SHOWN: Final = 3
_HOPELESS: Final = {
    *("CrashLoopBackOff", "CreateContainerConfigError", "CreateContainerError", "ErrImageNeverPull", "ErrImagePull"),
    *("ImageInspectError", "ImagePullBackOff", "InvalidImageName", "RunContainerError"),
}
"""Why a kubelet does not run a container, by its own words; others, such as ContainerCreating, pass."""


def own_pods(pods: Sequence[Object]) -> list[Object]:
    """Return those pods that the DaemonSet kube-proxy has made."""
    return [
        pod
        for pod in pods
        for owner in pod["metadata"].get("ownerReferences") or ()
        if (owner["kind"], owner["name"]) == ("DaemonSet", "kube-proxy")
    ]


def unmatched(pods: Sequence[Object], nodes: Sequence[Object], hosts: Mapping[str, Collection[str]]) -> str:
    """Say where Nodes with a kube-proxy (``pods``) and the hosts that are asked and cleaned differ; "" for nowhere.

    Such a host that is a Node without one would never change its mode. ``hosts`` are the names and addresses of each
    host, by any of which a Node is known.
    """
    known = {str(node["metadata"]["name"]): {str(node["metadata"]["name"]), *_addresses(node)} for node in nodes}
    names = {str(pod["spec"]["nodeName"]) for pod in pods if "nodeName" in pod["spec"]}
    there = {name: known.get(name, {name}) for name in sorted(names)}
    ours = set().union(*hosts.values())
    if strange := [name for name, words in there.items() if not words & ours]:
        what = f"it runs on Nodes that would be switched, too, and neither asked nor cleaned: {_some(strange)}"
        return f"{what}; give each the role other in the inventory"
    bare = set().union(*known.values()) - set().union(*there.values())
    if left := [name for name, words in hosts.items() if bare & set(words)]:
        what = f"of the DaemonSet kube-proxy no pod runs on {_some(left)}, which would stay in their mode"
        return f"{what}; in the inventory take the roles measured and other from them"
    return ""


def unready(daemon_set: Object, pods: Sequence[Object], nodes: Sequence[Object]) -> str:
    """Say why a rollout that is begun now could not end; "" where every pod is of the newest template, and ready.

    A rollout of ours, as our mark in the template tells, may still go on, or be of pods that do not come up in a mode:
    the next switch mends that. None mends a Node that is not ready.
    """
    away = nodes_away(pods, nodes)
    if not away and (rolled_out(daemon_set) or read(daemon_set, MARK) is not None):
        return ""
    who = [*away, *(_place(pod) for pod in pods if not _ready(pod))]
    shown = f"; not ready: {_some(who)}" if who else ""
    return f"a rollout could not end: {progress(daemon_set)}{shown}; wait until all are ready, or mend that"


def nodes_away(pods: Sequence[Object], nodes: Sequence[Object]) -> tuple[str, ...]:
    """Return the Nodes by which a rollout cannot end, with reasons: not ready, and with a kube-proxy (``pods``)."""
    there = {pod["spec"].get("nodeName") for pod in pods}
    return not_ready([node for node in nodes if node["metadata"]["name"] in there])


def stuck(pods: Sequence[Object]) -> tuple[str, ...]:
    """Return the pods that do not start, and will not by themselves, each with the kubelet's reason."""
    return tuple(
        f"{_place(pod)} ({reason})"
        for pod in pods
        for one in pod.get("status", {}).get("containerStatuses") or ()
        if (reason := ((one.get("state") or {}).get("waiting") or {}).get("reason")) in _HOPELESS
    )


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{', '.join(names[:_SHOWN])}{more}"


def _addresses(node: Object) -> Iterable[str]:
    return [str(one["address"]) for one in node.get("status", {}).get("addresses") or ()]


def _ready(pod: Object) -> bool:
    conditions = pod.get("status", {}).get("conditions") or ()
    return any((one["type"], one["status"]) == ("Ready", "True") for one in conditions)


def _place(pod: Object) -> str:
    return f"{pod['metadata']['name']} on {pod['spec'].get('nodeName', 'no Node')}"
