"""Somebody else keeps kube-proxy's objects as they were: told before a switch, and named when it takes one back."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from proxybench.errors import ApiError, ConnectionLostError, RunError
from proxybench.model import Mode
from proxybench.targets.cluster.switch.changes import CONFIG, CONFIG_MAP, DAEMON_SET, IMAGE, MARK, written
from proxybench.targets.cluster.switch.daemon_set import DaemonSetWay
from proxybench.targets.cluster.switch.owners import keeper, last_writer
from proxybench.targets.cluster.switching import Switching
from tests.unit.targets.cluster.kubeadm_api import CONFIG_TEXT, HEADER, Api, Object, switcher
from tests.unit.targets.cluster.unit_hosts import CONFIG_TEXT as FILE_TEXT
from tests.unit.targets.cluster.unit_hosts import Hosts

if TYPE_CHECKING:
    from pathlib import Path

LET = "during the switch; let nobody write it in a run"


def managed(manager: str, time: str, **fields: object) -> Object:
    return {"manager": manager, "operation": "Apply", "time": time, "fieldsV1": fields}


class Kept(Api):
    """A controller writes the ConfigMap as soon as the DaemonSet is written, whose rollout does not end.

    ``text`` is what it writes, "" for nothing.
    """

    def __init__(self, text: str = CONFIG_TEXT) -> None:
        super().__init__()
        self.text, self.ends = text, False

    def ask(self, method: str, path: str, body: Object | None = None) -> Object:
        found = super().ask(method, path, body)
        if self.text and (method, path) == ("PUT", DAEMON_SET):
            kept = written(self.objects[CONFIG_MAP], CONFIG, self.text)
            fields: Object = {"f:data": {"f:config.conf": {}}}
            kept["metadata"]["managedFields"] = [managed("argocd-controller", "2026-11-27T08:00:00Z", **fields)]
            self.objects[CONFIG_MAP] = kept
        return found

    def rollout(self) -> Object:
        return {"desiredNumberScheduled": 3} if self.writes > 1 and not self.ends else {}


@pytest.mark.parametrize("ends", [False, True])
def test_a_switch_that_is_taken_back_ends_at_once_and_names_who_did_it(tmp_path: Path, *, ends: bool) -> None:
    """While the rollout is waited for, or after it the modes."""
    api = Kept()
    slept: list[float] = []
    before = api.state()
    api.ends = ends
    switch = replace(switcher(api, tmp_path), limit_s=600, sleep=slept.append)
    with pytest.raises(RunError) as caught:
        switch.to(Mode.NFTABLES)
    what = "configmaps/kube-proxy data.config.conf"
    assert str(caught.value) == f"{what} was taken back by argocd-controller {LET}"
    assert slept == []
    api.ends = True
    switch.put_back()
    assert (api.state(), api.writes) == (before, 3)


def test_what_somebody_edits_during_a_switch_is_told_and_left_alone(tmp_path: Path) -> None:
    api = Kept("mode: ipvs\n")
    switch = replace(switcher(api, tmp_path), limit_s=600)
    with pytest.raises(
        RunError, match=f"^configmaps/kube-proxy data.config.conf was edited by argocd-controller {LET}$"
    ):
        switch.to(Mode.NFTABLES)
    with pytest.raises(RunError, match=r"^edited by somebody else since, and left as it is: configmaps/kube-proxy"):
        switch.put_back()
    assert api.mode() == "ipvs"


def test_what_we_put_back_ourselves_is_nobody_s_doing(tmp_path: Path) -> None:
    api = Kept("")
    switch = switcher(api, tmp_path)

    def sleep(_: float) -> None:
        switch.over.set()
        api.objects[CONFIG_MAP] = written(api.objects[CONFIG_MAP], CONFIG, CONFIG_TEXT)

    switch.sleep = sleep
    with pytest.raises(ConnectionLostError, match=r"^the cluster is being given back; kube-proxy is not switched any"):
        switch.to(Mode.NFTABLES)


class Mute(Kept):
    """Its ConfigMap cannot be read once it was written."""

    def ask(self, method: str, path: str, body: Object | None = None) -> Object:
        if path == CONFIG_MAP and self.writes > 1:
            raise ApiError("cannot reach the Kubernetes API")
        return super().ask(method, path, body)


def test_a_look_that_nobody_answers_ends_no_switch(tmp_path: Path) -> None:
    api = Mute("")
    switch = switcher(api, tmp_path)
    switch.sleep = lambda _: setattr(api, "ends", True)
    switch.to(Mode.NFTABLES)
    assert (api.mode(), api.ends) == ("nftables", True)


def test_a_host_s_file_that_somebody_puts_back_is_told_once_that_host_runs_in_another_mode(tmp_path: Path) -> None:
    hosts = Hosts(tmp_path / "hosts")
    switch = replace(hosts.switcher(tmp_path), limit_s=600)
    said = iter([{"n1": "iptables", "n2": "iptables"}])

    def modes() -> dict[str, str]:
        if hosts["n2"].restarts():
            hosts["n2"].link.write_text(FILE_TEXT)
        return next(said, {"n1": "nftables", "n2": "iptables"})

    with pytest.raises(RunError) as caught:
        replace(switch, modes=modes).to(Mode.NFTABLES)
    assert str(caught.value) == f"{hosts['n2'].path} was taken back by somebody {LET}"


def test_who_may_take_a_switch_back_is_told_before_it(tmp_path: Path) -> None:
    api = Api()
    said: list[str] = []
    api.objects[CONFIG_MAP]["metadata"]["labels"] = {"argocd.argoproj.io/instance": "system"}
    api.objects[DAEMON_SET]["metadata"]["annotations"] = {"app.kubernetes.io/managed-by": "Helm"}
    way, switching = DaemonSetWay(api), Switching(folder=tmp_path)
    switching.opened([], lambda: nullcontext(way), HEADER, dict, said.append)
    what, mend = "has an owner who may take a switch back at once", "have that pause while the run lasts"
    assert said == [
        f"configmaps/kube-proxy {what} (argocd.argoproj.io/instance: system); {mend}",
        f"daemonsets/kube-proxy {what} (app.kubernetes.io/managed-by: Helm); {mend}",
    ]
    assert Hosts(tmp_path).way().warnings() == ()


@pytest.mark.parametrize(
    ("labels", "annotations", "told"),
    [
        ({}, {}, ""),
        (None, None, ""),
        ({"k8s-app": "kube-proxy", "app.kubernetes.io/name": "kube-proxy"}, {"a": "b"}, ""),
        ({"addonmanager.kubernetes.io/mode": "EnsureExists"}, {}, ""),
        ({"addonmanager.kubernetes.io/mode": "Reconcile"}, {}, "addonmanager.kubernetes.io/mode: Reconcile"),
        ({"kustomize.toolkit.fluxcd.io/name": "system"}, {}, "kustomize.toolkit.fluxcd.io/name: system"),
        ({"k0s.k0sproject.io/stack": "kubeproxy"}, {}, "k0s.k0sproject.io/stack: kubeproxy"),
        ({"kapp.k14s.io/app": "1"}, {}, "kapp.k14s.io/app: 1"),
        ({}, {"objectset.rio.cattle.io/owner-name": "kp"}, "objectset.rio.cattle.io/owner-name: kp"),
        ({"helm.toolkit.fluxcd.io/name": "kp"}, {}, "helm.toolkit.fluxcd.io/name: kp"),
        ({}, {"argocd.argoproj.io/tracking-id": "s:/ConfigMap:x"}, "argocd.argoproj.io/tracking-id: s:/ConfigMap:x"),
    ],
)
def test_what_names_an_owner(labels: Object | None, annotations: Object | None, told: str) -> None:
    assert keeper({"metadata": {"name": "kube-proxy", "labels": labels, "annotations": annotations}}) == told
    assert keeper({"metadata": {}}) == ""


def test_who_has_written_a_field_last_is_told_by_the_api_server() -> None:
    image: Object = {"f:template": {"f:spec": {"f:containers": {'k:{"name":"kube-proxy"}': {".": {}, "f:image": {}}}}}}
    note: Object = {"f:template": {"f:metadata": {"f:annotations": {"f:proxybench.io/switched": {}}}}}
    entries = [
        managed("kubeadm", "2026-01-01T00:00:00Z", **{"f:data": {"f:config.conf": {}}}),
        managed("flux", "2026-11-27T08:00:00Z", **{"f:data": {"f:config.conf": {}}}),
        managed("addon", "2026-11-27T07:00:00Z", **{"f:data": {"f:config.conf": {}}, "f:spec": image}),
        managed("later", "2026-11-27T09:00:00Z", **{"f:data": {"f:other": {}}, "f:spec": note}),
        {"manager": "odd"},
    ]
    obj = {"metadata": {"managedFields": entries}}
    assert [last_writer(obj, field) for field in (CONFIG, IMAGE, MARK)] == ["flux", "addon", "later"]
    assert last_writer(obj, ("data", "none")) == "somebody"
    assert last_writer({"metadata": {}}, CONFIG) == "somebody"
    assert last_writer({"text": "a file"}, ("text",)) == "somebody"
