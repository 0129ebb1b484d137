"""A kubeadm cluster's objects in memory, written as the API server writes them; a write may kill whoever makes it."""

from __future__ import annotations

import copy
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from proxybench.errors import ApiError
from proxybench.targets.cluster.switch.changes import CONFIG_MAP, DAEMON_SET, IMAGE, MARK, read
from proxybench.targets.cluster.switch.daemon_set import DaemonSetWay
from proxybench.targets.cluster.switch.switcher import Switcher
from proxybench.targets.cluster.switch.undo import Header

if TYPE_CHECKING:
    from pathlib import Path

Object = dict[str, Any]
ANNOTATIONS = MARK[:-1]
HEADER = Header("https://192.0.2.1", "/k", "one")
OWN_IMAGE = "registry.k8s.io/kube-proxy:v1.37.2"
PODS = "/api/v1/namespaces/kube-system/pods?labelSelector=k8s-app%3Dkube-proxy"
_DRY_RUN = "?dryRun=All"
CONFIG_TEXT = 'apiVersion: v1alpha1\nipvs:\n  mode: x\nmode: ""\nmetricsBindAddress: ""\n'


def proxy_pod(node: str, ready: str = "True", owner: str = "DaemonSet") -> Object:
    """Return a pod of the DaemonSet's on a node."""
    return {
        "metadata": {"name": f"kube-proxy-{node}", "ownerReferences": [{"kind": owner, "name": "kube-proxy"}]},
        "spec": {"nodeName": node},
        "status": {"conditions": [{"type": "PodScheduled", "status": "True"}, {"type": "Ready", "status": ready}]},
    }


class Killed(BaseException):
    """The orchestrator was killed."""


class Api:
    """An API with the objects of a kubeadm cluster; a DaemonSet's rollout is done at once.

    ``deaths`` counts down: the write at which it is 0 kills, after it was made or (``early``) before. ``tried`` are the
    dry runs of writes.
    """

    def __init__(self, notes: Object | None = None) -> None:
        template: Object = {"metadata": {"labels": {"k8s-app": "kube-proxy"}}, "spec": {}}
        proxy = {"name": "kube-proxy", "image": OWN_IMAGE, "command": ["kube-proxy", "--config=/lib/config.conf"]}
        template["spec"]["containers"] = [{"name": "other", "image": "o:1"}, proxy]
        template["spec"]["volumes"] = [{"name": "kube-proxy", "configMap": {"name": "kube-proxy"}}]
        if notes is not None:
            template["metadata"]["annotations"] = notes
        self.objects: dict[str, Object] = {
            CONFIG_MAP: {
                "metadata": {"name": "kube-proxy"},
                "data": {"config.conf": CONFIG_TEXT, "kubeconfig.conf": "k"},
            },
            DAEMON_SET: {
                "metadata": {"name": "kube-proxy", "generation": 1},
                "spec": {"selector": {"matchLabels": {"k8s-app": "kube-proxy"}}, "template": template},
            },
        }
        self.nodes: list[Object] = []
        self.pods: list[Object] = []
        self.deaths, self.early = -1, False
        self.conflicts = 0
        self.writes = 0
        self.tried: list[str] = []

    def ask(self, method: str, path: str, body: Object | None = None) -> Object:
        lists = {
            "/apis/apps/v1/namespaces/kube-system/daemonsets": DAEMON_SET,
            "/api/v1/namespaces/kube-system/configmaps": CONFIG_MAP,
        }
        if path in lists:
            return {"items": [self._found(lists[path])]}
        if path == "/api/v1/nodes":
            return {"items": copy.deepcopy(self.nodes)}
        if path == PODS:
            return {"items": copy.deepcopy(self.pods)}
        if method == "PUT" and path.endswith(_DRY_RUN):
            self.tried.append(path.removesuffix(_DRY_RUN))
            return self.admitted(copy.deepcopy(body or {}))
        if method == "PUT":
            self._write(path, body or {})
        return self._found(path)

    def admitted(self, body: Object) -> Object:
        """Return what admission makes of an object that is written."""
        return body

    def rollout(self) -> Object:
        """Return what the DaemonSet's status says beside the generation; nothing is wanted anywhere, so all is done."""
        return {}

    def mode(self) -> str:
        text: str = self.objects[CONFIG_MAP]["data"]["config.conf"]
        return next(line[6:].strip('"') for line in text.splitlines() if line.startswith("mode:"))

    def image(self) -> Any:
        return read(self.objects[DAEMON_SET], IMAGE)

    def state(self) -> Object:
        return {path: {**obj, "metadata": {}} for path, obj in self.objects.items()}

    def _found(self, path: str) -> Object:
        found = copy.deepcopy(self.objects[path])
        found["status"] = {"observedGeneration": found["metadata"].get("generation", 0)}
        if path == DAEMON_SET:
            found["status"] |= self.rollout()
        return found

    def _write(self, path: str, body: Object) -> None:
        if self.conflicts:
            self.conflicts -= 1
            raise ApiError("conflict", 409)
        self.deaths -= 1
        if self.deaths == 0 and self.early:
            raise Killed
        made = {key: value for key, value in copy.deepcopy(body).items() if key != "status"}
        if path == DAEMON_SET and not read(made, ANNOTATIONS):
            made["spec"]["template"]["metadata"].pop("annotations", None)  # as the API server drops an empty map
        self.objects[path] = made
        self.writes += 1
        if self.deaths == 0:
            raise Killed


def switcher(api: Api, folder: Path) -> Switcher:
    way = DaemonSetWay(api)
    return Switcher(
        lambda: nullcontext(way), HEADER, lambda: {"n1": api.mode()}, lambda _: None, 5, 0, lambda _: None, folder
    )
