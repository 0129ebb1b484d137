"""What forbids a switch of a DaemonSet before it is begun: Nodes nobody would look at, rollouts that cannot end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from proxybench.errors import ApiError, UsageError
from proxybench.kube.objects import node
from proxybench.model import Mode
from proxybench.targets.cluster.switch.changes import CONFIG_MAP, DAEMON_SET, IMAGE, MARK, read, written
from proxybench.targets.cluster.switch.daemon_set import DaemonSetWay
from tests.unit.targets.cluster.kubeadm_api import OWN_IMAGE, Api, Object, proxy_pod, switcher

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from proxybench.targets.cluster.switch.changes import Field

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


def each(hosts: Collection[str] | None) -> dict[str, set[str]] | None:
    return None if hosts is None else {name: {name} for name in hosts}


def refused(api: Api, hosts: Collection[str] | None = None) -> str:
    with pytest.raises(UsageError) as caught:
        DaemonSetWay(api, hosts=each(hosts)).plan(Mode.NFTABLES, "", "mark")
    assert api.writes == 0
    return str(caught.value).removeprefix("kube-proxy cannot be switched: ")


def assert_switchable(api: Api, hosts: Collection[str] | None = None) -> None:
    assert len(DaemonSetWay(api, hosts=each(hosts)).plan(Mode.NFTABLES, "", "mark")) == 2


def test_a_node_that_would_be_switched_and_never_looked_at_is_named_before() -> None:
    what = "it runs on Nodes that would be switched, too, and neither asked nor cleaned"
    mend = "give each the role other in the inventory"
    assert refused(ThreeNodes(), {"n1", "n3"}) == f"{what}: n2; {mend}"
    five = ThreeNodes(("n5", "n4", "n3", "n2", "n1"))
    assert refused(five, {"w1"}) == f"{what}: n1, n2, n3 and 2 more; {mend}"
    assert_switchable(five)  # nobody's inventory is to be compared


class Admission(Api):
    """An API whose admission puts a digest behind images, or into another ``field``, or answers with an error."""

    def __init__(self, error: ApiError | None = None, field: Field = IMAGE) -> None:
        super().__init__()
        self._error = error
        self.field = field

    def admitted(self, body: Object) -> Object:
        if self._error is not None:
            raise self._error
        image = read(body, IMAGE)
        return written(body, self.field, f"{image}@sha256:00") if image else body


def test_what_admission_would_store_otherwise_is_not_written_since_the_way_back_would_not_know_it() -> None:
    api, image = Admission(), "example.org/kube-proxy:v1.36.3"
    with pytest.raises(UsageError) as caught:
        DaemonSetWay(api).plan(Mode.NFTABLES, image, "mark")
    assert str(caught.value) == (
        "kube-proxy cannot be switched: admission in the API would not store daemonsets/kube-proxy "
        f"spec.template.spec.containers.kube-proxy.image as it is written, but {image}@sha256:00; name that"
    )
    assert (api.tried, api.writes) == ([CONFIG_MAP, DAEMON_SET], 0)


def test_what_admission_would_change_beside_a_mode_is_told_since_nobody_would_put_it_back() -> None:
    """As of a DaemonSet that is older than the webhook."""
    would = "admission in the API would change more of daemonsets/kube-proxy than is written"
    image = f"such as its image: {OWN_IMAGE} would become {OWN_IMAGE}@sha256:00"
    assert refused(Admission()) == f"{would}, {image}; exempt it from that"
    assert refused(Admission(field=("spec", "x"))) == f"{would}; exempt it from that"
    mark = "admission in the API would not store daemonsets/kube-proxy spec.template.metadata.annotations."
    assert refused(Admission(field=MARK)) == f"{mark}proxybench.io/switched as it is written; exempt it from that"
    assert_switchable(Admission(field=("metadata", "labels", "policy")))  # which is none of what runs


@pytest.mark.parametrize("status", [400, 403, 422])
def test_what_admission_would_refuse_is_told_before_anything_is_written(status: int) -> None:
    assert refused(Admission(ApiError("PUT x: denied by policy", status))) == "PUT x: denied by policy"


def test_an_api_that_is_away_in_a_dry_run_is_no_refusal() -> None:
    with pytest.raises(ApiError, match=r"^away$"):
        DaemonSetWay(Admission(ApiError("away"))).plan(Mode.NFTABLES, "", "mark")


@pytest.mark.parametrize(("text", "status"), [('webhook "x" does not support dry run', 400), ("conflict", 409)])
def test_where_a_dry_run_tells_nothing_a_switch_is_planned_all_the_same(text: str, status: int) -> None:
    assert_switchable(Admission(ApiError(text, status)))


def test_a_node_is_known_by_its_name_or_an_address() -> None:
    assert_switchable(ThreeNodes(), {"n1", "192.0.2.2", "n3"})


def test_a_host_that_the_daemon_set_does_not_reach_is_named_before() -> None:
    """As where one of another architecture has a DaemonSet of its own, or none runs at all (Calico's eBPF)."""
    what, mend = "of the DaemonSet kube-proxy no pod runs on", "in the inventory take the roles measured and other from"
    api = ThreeNodes()
    api.nodes.append(node("arm", "192.0.2.9", ""))
    assert refused(api, (*NAMES, "arm")) == f"{what} arm, which would stay in their mode; {mend} them"
    assert_switchable(api, (*NAMES, "gone"))  # no Node any more
    api.pods = []
    assert refused(api, NAMES) == f"{what} n1, n2, n3, which would stay in their mode; {mend} them"


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
    api.lacks = {"numberMisscheduled": 1}
    why = "3 of 3 pods are new, 3 ready, 1 on Nodes that should have none; wait until all are ready, or mend that"
    assert refused(api) == f"a rollout could not end: {why}"


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
