"""What forbids a switch of a DaemonSet before it is begun: Nodes nobody would look at, rollouts that cannot end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from proxybench.errors import UsageError
from proxybench.kube.objects import node
from proxybench.model import Mode
from proxybench.targets.cluster.switch.changes import DAEMON_SET, MARK, written
from proxybench.targets.cluster.switch.daemon_set import DaemonSetWay
from tests.unit.targets.cluster.kubeadm_api import Api, Object, proxy_pod, switcher

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

NAMES = ("n1", "n2", "n3")


class ThreeNodes(Api):
    """Three Nodes with a pod each; ``lacks`` is what the DaemonSet's status says otherwise."""

    def __init__(self, names: Collection[str] = NAMES) -> None:
        super().__init__()
        self.nodes = [node(name, f"192.0.2.{place}", "") for place, name in enumerate(names, 1)]
        self.pods = [proxy_pod(name) for name in names]
        self.lacks: Object = {}

    def rollout(self) -> Object:
        there = ("desiredNumberScheduled", "updatedNumberScheduled", "numberAvailable", "numberReady")
        return dict.fromkeys(there, len(self.pods)) | self.lacks


def refused(api: Api, hosts: Collection[str] | None = None) -> str:
    with pytest.raises(UsageError) as caught:
        DaemonSetWay(api, hosts=hosts).plan(Mode.NFTABLES, "", "mark")
    assert api.writes == 0
    return str(caught.value).removeprefix("kube-proxy cannot be switched: ")


def assert_switchable(api: Api, hosts: Collection[str] | None = None) -> None:
    assert len(DaemonSetWay(api, hosts=hosts).plan(Mode.NFTABLES, "", "mark")) == 2


def test_a_node_that_would_be_switched_and_never_looked_at_is_named_before() -> None:
    what = "it runs on Nodes that would be switched, too, and neither asked nor cleaned"
    mend = "give each the role other in the inventory"
    assert refused(ThreeNodes(), {"n1", "n3"}) == f"{what}: n2; {mend}"
    five = ThreeNodes(("n5", "n4", "n3", "n2", "n1"))
    assert refused(five, {"w1"}) == f"{what}: n1, n2, n3 and 2 more; {mend}"
    assert_switchable(five)  # nobody's inventory is to be compared


def test_a_node_is_known_by_its_name_or_an_address() -> None:
    assert_switchable(ThreeNodes(), {"n1", "192.0.2.2", "n3"})


def test_nodes_without_a_pod_of_the_daemon_set_are_nobody_s_concern() -> None:
    api = ThreeNodes()
    api.nodes.append(node("windows", "192.0.2.9", ""))
    api.nodes[-1]["status"]["conditions"][0]["status"] = "False"
    api.pods += [proxy_pod("static", "False", "Node"), {"metadata": {"name": "x"}, "spec": {"nodeName": "bare"}}]
    api.lacks = dict.fromkeys(api.rollout(), 3)
    assert_switchable(api, NAMES)


def test_a_rollout_that_is_not_over_is_told_before_another_is_begun() -> None:
    api = ThreeNodes()
    api.pods[1] = proxy_pod("n2", "False")
    api.pods[2]["status"] = {}
    del api.pods[2]["spec"]["nodeName"]
    api.lacks = {"numberReady": 1, "numberAvailable": 1}
    assert refused(api) == (
        "a rollout could not end: 3 of 3 pods are new, 1 ready; not ready: kube-proxy-n2 on n2, "
        "kube-proxy-n3 on no Node; wait until all are ready, or mend that"
    )
    api = ThreeNodes()
    api.lacks = {"updatedNumberScheduled": 2}
    why = "a rollout could not end: 2 of 3 pods are new, 3 ready; wait until all are ready, or mend that"
    assert refused(api) == why


def test_a_node_that_is_not_ready_is_told_though_its_pod_still_counts() -> None:
    api = ThreeNodes()
    api.nodes[2]["status"]["conditions"] = [{"type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown"}]
    assert refused(api) == (
        "a rollout could not end: 3 of 3 pods are new, 3 ready; not ready: n3 (NodeStatusUnknown); "
        "wait until all are ready, or mend that"
    )


def test_a_rollout_of_ours_may_be_followed_by_another_while_all_nodes_are_ready() -> None:
    """Pods that do not come up in one mode forbid no other."""
    api = ThreeNodes()
    api.objects[DAEMON_SET] = written(api.objects[DAEMON_SET], MARK, "ours")
    api.lacks = {"numberReady": 0, "numberAvailable": 0}
    assert_switchable(api)
    api.nodes[0]["status"]["conditions"][0] |= {"status": "False", "reason": "KubeletNotReady"}
    assert refused(api).startswith("a rollout could not end: 3 of 3 pods are new, 0 ready; not ready: n1 (KubeletNot")


def test_nothing_is_noted_or_written_where_a_rollout_could_not_end(tmp_path: Path) -> None:
    api = ThreeNodes()
    api.lacks = {"numberReady": 2}
    with pytest.raises(UsageError, match=r"a rollout could not end: 3 of 3 pods are new, 2 ready"):
        switcher(api, tmp_path).to(Mode.NFTABLES)
    assert (api.writes, list(tmp_path.iterdir())) == (0, [])
