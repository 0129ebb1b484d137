from __future__ import annotations

import base64
import copy
import json
import time
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from threading import Event, Thread
from typing import TYPE_CHECKING

import pytest

from proxybench.errors import ConnectionLostError, RunError, UsageError
from proxybench.experiment.places import ClusterSpec
from proxybench.kube.base import Kind
from proxybench.model import Mode
from proxybench.targets.cluster.inventory import Inventory
from proxybench.targets.cluster.switch.changes import DAEMON_SET, MARK, read
from proxybench.targets.cluster.switch.daemon_set import DaemonSetWay
from proxybench.targets.cluster.switch.recovery import still_switched
from proxybench.targets.cluster.switch.undo import FILE, UndoLog
from proxybench.targets.cluster.switching import Switching
from proxybench.targets.cluster.target import ClusterTarget
from tests.unit.targets.cluster.kubeadm_api import HEADER, Api, Object, proxy_pod, switcher

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from proxybench.targets.lab.apiserver.serve_process import ApiServerProcess

OVER = r"^the cluster is being given back; kube-proxy is not switched any more$"


def test_nothing_is_switched_once_all_is_being_put_back(tmp_path: Path) -> None:
    api = Api()
    before = copy.deepcopy(api.state())
    switch = switcher(api, tmp_path)
    switch.to(Mode.NFTABLES)
    switch.put_back()
    with pytest.raises(ConnectionLostError, match=OVER):
        switch.to(Mode.NFTABLES)
    assert api.state() == before


def test_who_waits_for_a_rollout_is_told_that_it_is_over(tmp_path: Path) -> None:
    switch = switcher(Api(), tmp_path)
    switch.modes, switch.sleep = lambda: {"n1": ""}, lambda _: switch.over.set()
    with pytest.raises(ConnectionLostError, match=OVER):
        switch.to(Mode.NFTABLES)


class Slow(Api):
    """Its first write begins, and ends only when it may."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.may_end = Event(), Event()

    def ask(self, method: str, path: str, body: Object | None = None) -> Object:
        if method == "PUT" and not self.begun.is_set():
            self.begun.set()
            assert self.may_end.wait(10)
        return super().ask(method, path, body)


def test_a_switch_that_is_being_written_is_whole_before_it_is_put_back(tmp_path: Path) -> None:
    api = Slow()
    before = copy.deepcopy(api.state())
    switch = switcher(api, tmp_path)
    told: list[str] = []

    def to() -> None:
        try:
            switch.to(Mode.NFTABLES)
        except ConnectionLostError as error:
            told.append(str(error))

    switching, back = Thread(target=to), Thread(target=switch.put_back)
    switching.start()
    assert api.begun.wait(10)
    back.start()
    assert switch.over.wait(10)
    back.join(0.1)
    assert back.is_alive()
    api.may_end.set()
    switching.join(10)
    back.join(10)
    assert api.state() == before
    assert len(told) <= 1


def test_a_run_that_goes_on_rolls_out_what_an_earlier_part_of_it_did(tmp_path: Path) -> None:
    api = Api()
    switcher(api, tmp_path).to(Mode.NFTABLES)
    first = read(api.objects[DAEMON_SET], MARK)
    switcher(api, tmp_path).to(Mode.IPTABLES)
    assert read(api.objects[DAEMON_SET], MARK) not in {first, None}


def test_each_switch_and_the_way_back_connect_anew(tmp_path: Path) -> None:
    api = Api()
    opened: list[str] = []

    @contextmanager
    def connect() -> Iterator[DaemonSetWay]:
        opened.append("open")
        yield DaemonSetWay(api)
        opened.append("close")

    switch = replace(switcher(api, tmp_path), connect=connect)
    switch.to(Mode.NFTABLES)
    assert opened == ["open", "close"]
    switch.put_back()
    assert opened == ["open", "close"] * 2


def test_a_resumed_run_that_switches_nothing_puts_back_what_it_found_switched(tmp_path: Path) -> None:
    api = Api()
    before = copy.deepcopy(api.state())
    switcher(api, tmp_path).to(Mode.NFTABLES)
    switching = Switching()
    switching.began(tmp_path)
    way = DaemonSetWay(api)
    again = switching.opened([], lambda: nullcontext(way), HEADER, lambda: {"n1": api.mode()}, lambda _: None)
    again.put_back()
    assert api.state() == before


def test_others_services_forbid_a_switch() -> None:
    way, services = (
        DaemonSetWay(Api()),
        [{"metadata": {"namespace": "shop", "name": "web"}, "spec": {"clusterIP": "10.96.0.7"}}],
    )
    with pytest.raises(UsageError, match=r"^1 Services of others would feel a switch \(shop/web\); "):
        Switching().opened(services, lambda: nullcontext(way), HEADER, dict, lambda _: None)
    Switching(interrupts=True).opened(services, lambda: nullcontext(way), HEADER, dict, lambda _: None)


def test_what_is_still_switched_is_told(tmp_path: Path) -> None:
    assert still_switched(tmp_path) == ""
    UndoLog(tmp_path / FILE, HEADER)
    assert still_switched(tmp_path) == ""
    switch = switcher(Api(), tmp_path)
    switch.to(Mode.NFTABLES)
    assert still_switched(tmp_path) == (
        f"{tmp_path}: the cluster's kube-proxy is still switched; run proxybench restore {tmp_path}"
    )
    switch.put_back()
    assert still_switched(tmp_path) == ""


def kubeconfig(server: ApiServerProcess, token: str) -> str:
    authority = base64.b64encode(server.ca_pem.encode()).decode()
    return json.dumps(
        {
            "current-context": "lab",
            "clusters": [{"name": "lab", "cluster": {"server": server.url, "certificate-authority-data": authority}}],
            "users": [{"name": "admin", "user": {"token": token}}],
            "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "admin"}}],
        }
    )


def test_credentials_are_read_anew_for_what_comes_late(tmp_path: Path, server: ApiServerProcess) -> None:
    file = tmp_path / "config"
    file.write_text(kubeconfig(server, "expires"))
    target = ClusterTarget(
        ClusterSpec(inventory="-", kubeconfig=str(file)), Inventory.model_construct(version=1, nodes=())
    )
    assert target.first_access.token == "expires"
    file.write_text(kubeconfig(server, server.token))
    with target.api() as api:
        api.list(Kind.SERVICE)


class Stuck(Api):
    """Its DaemonSet never rolls out, once so many objects were written."""

    after = 2

    def rollout(self) -> Object:
        return {"updatedNumberScheduled": 1, "desiredNumberScheduled": 3} if self.writes >= self.after else {}


def test_a_rollout_that_does_not_end_is_told_in_pods(tmp_path: Path) -> None:
    switch = replace(switcher(Stuck(), tmp_path), limit_s=0)
    with pytest.raises(RunError, match=r"^kube-proxy's rollout did not end within 0 s: 1 of 3 pods are new, 0 ready$"):
        switch.to(Mode.NFTABLES)


def test_a_rollout_is_asked_for_again_after_a_wait(tmp_path: Path) -> None:
    waits: list[float] = []
    with pytest.raises(RunError, match=r"^kube-proxy's rollout did not end within 0\.05 s: "):
        replace(switcher(Stuck(), tmp_path), limit_s=0.05, sleep=waits.append).to(Mode.NFTABLES)
    assert set(waits) == {1.0}


def test_nodes_that_stay_in_another_mode_are_named(tmp_path: Path) -> None:
    found = {"n1": "nftables", "n2": "iptables", "n3": ""}
    switch = replace(switcher(Api(), tmp_path), modes=lambda: found, limit_s=0)
    with pytest.raises(RunError) as caught:
        switch.to(Mode.NFTABLES)
    assert str(caught.value) == (
        "not every node's kube-proxy runs in nftables mode within 0 s: n2 in iptables, n3 in none"
    )


def test_a_kube_proxy_that_never_answers_is_not_waited_for_as_long_as_a_rollout(
    tmp_path: Path,
) -> None:
    said = iter([{"n1": "iptables", "n2": "", "n3": ""}, {"n1": "nftables", "n2": "", "n3": "iptables"}])
    last = {"n1": "nftables", "n2": "", "n3": ""}
    switch = replace(switcher(Api(), tmp_path), modes=lambda: next(said, last), limit_s=600, start_s=0.01)
    with pytest.raises(RunError) as caught:
        replace(switch, sleep=lambda _: time.sleep(0.004)).to(Mode.NFTABLES)
    assert str(caught.value) == "kube-proxy does not answer within 0.01 s of its start; see its log: n2"


def test_a_rollout_that_goes_on_no_more_names_the_nodes_that_are_not_ready() -> None:
    api = Stuck()
    api.after = 0
    conditions = [{"type": "DiskPressure", "status": "False"}, {"type": "Ready", "status": "True"}]
    api.nodes = [{"metadata": {"name": "n1"}, "status": {"conditions": conditions}}, {"metadata": {"name": "n2"}}]
    with pytest.raises(RunError, match=r"did not end within 0\.05 s: 1 of 3 pods are new, 0 ready$"):
        DaemonSetWay(api, stuck_s=0).await_running(0.05, lambda _: time.sleep(0.01))
    lost = [{"type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown"}]
    api.nodes += [
        {"metadata": {"name": name}, "status": {"conditions": [{**lost[0], **more}]}}
        for name, more in (("n3", {}), ("n4", {"status": "False", "reason": ""}))
    ]
    with pytest.raises(RunError, match=r"did not end within 0\.05 s"):  # no pod is there: such as a Node of Windows
        DaemonSetWay(api, stuck_s=0).await_running(0.05, lambda _: time.sleep(0.01))
    api.pods = [*(proxy_pod(f"n{number}") for number in (1, 3, 4)), proxy_pod("n5", owner="ReplicaSet")]
    api.nodes.append({"metadata": {"name": "n5"}, "status": {"conditions": lost}})
    with pytest.raises(RunError, match=r"did not end within 0\.05 s"):
        DaemonSetWay(api, stuck_s=9).await_running(0.05, lambda _: time.sleep(0.01))
    with pytest.raises(RunError) as caught:
        DaemonSetWay(api, stuck_s=0.01).await_running(9, lambda _: time.sleep(0.01))
    assert str(caught.value) == (
        "kube-proxy's rollout goes on no more: 1 of 3 pods are new, 0 ready; "
        "not ready: n3 (NodeStatusUnknown), n4 (False)"
    )


@pytest.mark.parametrize("reason", ["ImagePullBackOff", "CrashLoopBackOff", "ContainerCreating"])
def test_a_rollout_that_goes_on_no_more_names_the_pods_that_do_not_start(reason: str) -> None:
    """Their nodes are without a kube-proxy for as long as it is waited for."""
    api = Stuck()
    api.after = 0
    api.pods = [proxy_pod("n1", "False"), proxy_pod("n2")]
    api.pods[0]["status"]["containerStatuses"] = [{"state": {"waiting": {"reason": reason}}}]
    api.pods[1]["status"]["containerStatuses"] = [{"state": {"running": {}}}, {}]
    way = DaemonSetWay(api, stuck_s=0.01)
    if reason == "ContainerCreating":  # which passes
        with pytest.raises(RunError, match=r"did not end within 0\.05 s"):
            way.await_running(0.05, lambda _: time.sleep(0.01))
        return
    with pytest.raises(RunError) as caught:
        way.await_running(9, lambda _: time.sleep(0.01))
    assert str(caught.value) == (
        f"kube-proxy's rollout goes on no more: 1 of 3 pods are new, 0 ready; not ready: kube-proxy-n1 on n1 ({reason})"
    )


def test_nothing_is_switched_without_a_place_for_the_undo_log(tmp_path: Path) -> None:
    api = Api()
    with pytest.raises(RunError, match=r"^there is no run folder yet, where an undo log could lie$"):
        replace(switcher(api, tmp_path), folder=None).to(Mode.NFTABLES)
    replace(switcher(api, tmp_path), folder=None).put_back()
    switcher(api, tmp_path / "none").put_back()
    switch = switcher(api, tmp_path)
    UndoLog(tmp_path / FILE, switch.header)
    switch.put_back()
    assert api.writes == 0


def test_a_cluster_that_cannot_be_switched_is_not_written_to(tmp_path: Path) -> None:
    api = Api()
    api.objects[DAEMON_SET]["spec"]["updateStrategy"] = {"type": "OnDelete"}
    with pytest.raises(UsageError) as caught:
        switcher(api, tmp_path).to(Mode.NFTABLES)
    assert str(caught.value) == (
        "kube-proxy cannot be switched: the DaemonSet kube-proxy is updated by hand (updateStrategy OnDelete): "
        "it is observed only"
    )
    assert (api.writes, (tmp_path / FILE).exists()) == (0, False)
