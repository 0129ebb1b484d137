from __future__ import annotations

import json

import pytest

from proxybench.errors import ProxierError, UnavailableError, UsageError
from proxybench.model import Mode
from proxybench.nodes.answers import HttpAnswer
from proxybench.nodes.requests import HttpGet
from proxybench.subjects.cluster import ClusterDriver, ProxyFacts, read_facts
from proxybench.testing.clock import FakeClock
from tests.unit.subjects.rig import handle, make_spec

BUILD = 'kubernetes_build_info{build_date="x",git_version="v1.37.2",major="1"} 1\n'
CONFIG = {"kubeproxy.config.k8s.io": {"mode": "iptables", "iptables": {"minSyncPeriod": "500ms", "syncPeriod": "30s"}}}
FACTS = ProxyFacts("v1.37.2", Mode.IPTABLES, dict.fromkeys(Mode, (0.5, 30.0)), "{}")


def asked(path: str, body: str, status: int = 200) -> tuple[HttpGet, HttpAnswer]:
    return HttpGet(f"http://127.0.0.1:10249{path}", 10.0, 1 << 24), HttpAnswer(status, body)


def test_what_it_says_of_itself() -> None:
    node, _, _ = handle(
        [], [asked("/proxyMode", "iptables"), asked("/metrics", BUILD), asked("/configz", json.dumps(CONFIG))]
    )
    facts = read_facts(node)
    assert (facts.version, facts.mode, facts.periods[Mode.IPTABLES]) == ("v1.37.2", "iptables", (0.5, 30.0))
    assert facts.periods[Mode.IPVS] == (0.0, 0.0)
    assert json.loads(facts.config) == CONFIG["kubeproxy.config.k8s.io"]


def test_what_cannot_be_read_says_why() -> None:
    with pytest.raises(ProxierError, match=r"^node-a: kube-proxy runs in winkernel mode, which is not known here$"):
        read_facts(handle([], [asked("/proxyMode", "winkernel")])[0])
    node, _, _ = handle([], [asked("/proxyMode", "ipvs"), asked("/metrics", ""), asked("/configz", "{}")])
    with pytest.raises(ProxierError, match=r"^node-a: /configz of kube-proxy cannot be read: 'kubeproxy"):
        read_facts(node)
    with pytest.raises(ProxierError, match=r"^node-a: /proxyMode of the cluster's kube-proxy: HTTP 404$"):
        read_facts(handle([], [asked("/proxyMode", "", 404)])[0])


def test_its_version_and_periods_are_its_own() -> None:
    driver = ClusterDriver(FakeClock(0, 0), lambda: FACTS)
    found = driver.resolve(make_spec("", kind="cluster", iptables=None))
    assert (found.subject.version, found.min_sync_period, found.sync_period) == ("v1.37.2", 0.5, 30.0)
    assert driver.source(found) == "runs in the cluster"


def test_another_mode_is_not_measured_unless_it_may_be_switched() -> None:
    spec = make_spec("", Mode.NFTABLES, kind="cluster", iptables=None)
    with pytest.raises(UnavailableError) as caught:
        ClusterDriver(FakeClock(0, 0), lambda: FACTS).resolve(spec)
    assert str(caught.value) == (
        "the cluster's kube-proxy v1.37.2: it runs in iptables mode, and nothing is switched without --allow-switch"
    )
    driver = ClusterDriver(FakeClock(0, 0), lambda: FACTS, lambda _: None)
    found = driver.resolve(spec)
    assert driver.source(found) == "runs in the cluster, switched to this mode"
    assert driver.check(found, handle()[0]).supported


def test_a_mode_that_its_version_lacks() -> None:
    spec = make_spec("v1.37.2", Mode.USERSPACE, kind="cluster", iptables=None)
    assert not ClusterDriver(FakeClock(0, 0)).check(spec, handle()[0]).supported


def test_without_a_cluster_there_is_none() -> None:
    with pytest.raises(UsageError, match=r"^kind: cluster is the kube-proxy of target\.cluster; write that, too$"):
        ClusterDriver(FakeClock(0, 0)).resolve(make_spec(kind="cluster"))
