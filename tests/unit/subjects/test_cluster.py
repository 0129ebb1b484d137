from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from proxybench.errors import ProxierError, UnavailableError, UsageError
from proxybench.model import Mode
from proxybench.nodes.answers import ClockReading, HttpAnswer
from proxybench.nodes.requests import AskClocks, HttpGet, ReadFiles
from proxybench.subjects.attached import _LOG, FIND
from proxybench.subjects.cluster import ClusterDriver, ProxyFacts, read_facts
from proxybench.subjects.rule_ranks import list_argv
from proxybench.testing.clock import FakeClock
from proxybench.testing.hosts import Run, done
from proxybench.units import NS_PER_S
from tests.unit.subjects.rig import CLUSTER, HEALTHZ, METRICS, SYNCED, answer, deadline, handle, make_spec

if TYPE_CHECKING:
    from proxybench.experiment.requests import SubjectSpec
    from proxybench.nodes.requests import Request
    from proxybench.testing.hosts import Step

BUILD = 'kubernetes_build_info{build_date="x",git_version="v1.37.2",major="1"} 1\n'
PERIODS = {"minSyncPeriod": "500ms", "syncPeriod": "30s"}
CONFIG = {"kubeproxy.config.k8s.io": {"mode": "iptables", "iptables": PERIODS, "ipvs": PERIODS, "nftables": PERIODS}}
FACTS = ProxyFacts("v1.37.2", Mode.IPTABLES, dict.fromkeys(Mode, (0.5, 30.0)), "{}")


def asked(path: str, body: str, status: int = 200) -> tuple[HttpGet, HttpAnswer]:
    return HttpGet(f"http://127.0.0.1:10249{path}", 10.0, 1 << 24), HttpAnswer(status, body)


def test_what_it_says_of_itself() -> None:
    node, _, _ = handle(
        [], [asked("/proxyMode", "iptables"), asked("/metrics", BUILD), asked("/configz", json.dumps(CONFIG))]
    )
    facts = read_facts(node)
    assert (facts.version, facts.mode, facts.periods[Mode.IPTABLES]) == ("v1.37.2", "iptables", (0.5, 30.0))
    assert facts.periods[Mode.IPVS] == (0.5, 30.0)
    assert json.loads(facts.config) == CONFIG["kubeproxy.config.k8s.io"]


RECORDED = Path(__file__).parent / "configz"
"""What kube-proxies answered that had been given periods of 0s and 40s (iptables), and 2s and 50s (nftables)."""


@pytest.mark.parametrize("version", ["v1.30.14", "v1.33.13", "v1.36.3", "v1.37.2"])
@pytest.mark.parametrize(("mode", "periods"), [(Mode.IPTABLES, (1.0, 40.0)), (Mode.NFTABLES, (2.0, 50.0))])
def test_periods_as_releases_say_them(version: str, mode: Mode, periods: tuple[float, float]) -> None:
    text = (RECORDED / f"{version}-{mode}.json").read_text()
    node, _, _ = handle([], [asked("/proxyMode", mode), asked("/metrics", BUILD), asked("/configz", text)])
    assert read_facts(node).periods[mode] == periods


def test_periods_that_nobody_says_are_no_zero() -> None:
    text = json.dumps({"kubeproxy.config.k8s.io": {"mode": "iptables", "iptables": {"syncPeriod": "0s"}}})
    node, _, _ = handle([], [asked("/proxyMode", "iptables"), asked("/metrics", BUILD), asked("/configz", text)])
    with pytest.raises(
        ProxierError, match=r"^node-a: /configz of kube-proxy does not say the sync periods of iptables"
    ):
        read_facts(node)


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
    driver = ClusterDriver(FakeClock(0, 0), lambda: FACTS, lambda *_: None)
    found = driver.resolve(spec)
    assert driver.source(found) == "runs in the cluster, switched to this mode"
    assert driver.check(found, handle()[0]).supported


def test_a_mode_that_its_version_lacks() -> None:
    spec = make_spec("v1.37.2", Mode.USERSPACE, kind="cluster", iptables=None)
    assert not ClusterDriver(FakeClock(0, 0)).check(spec, handle()[0]).supported


@pytest.mark.parametrize(
    ("config", "version", "running", "able"),
    [
        ({}, "v1.30.14", Mode.IPTABLES, False),
        ({"FeatureGates": None}, "v1.30.2+rke2r1", Mode.IPTABLES, False),
        ({"featureGates": {"NFTablesProxyMode": False}}, "v1.29.3", Mode.IPTABLES, False),
        ({"featureGates": {"NFTablesProxyMode": True}}, "v1.29.3", Mode.IPTABLES, True),
        ({"FeatureGates": {"AllAlpha": True}}, "v1.30.14", Mode.IPTABLES, True),
        ({}, "v1.31.0", Mode.IPTABLES, True),
        ({}, "v1.30.14", Mode.NFTABLES, True),  # it runs so already
    ],
)
def test_no_node_is_switched_to_a_mode_whose_feature_gate_is_shut(
    config: dict[str, Any], version: str, running: Mode, *, able: bool
) -> None:
    """Such a kube-proxy ends at its start, and a systemd unit's is started anew on all hosts at once."""
    facts = replace(FACTS, version=version, mode=running, config=json.dumps(config))
    driver = ClusterDriver(FakeClock(0, 0), lambda: facts, lambda *_: None)
    found = driver.check(driver.resolve(make_spec("", Mode.NFTABLES, kind="cluster", iptables=None)), handle()[0])
    assert found.supported is able
    if not able:
        has = f"kube-proxy {version} has nftables mode behind the feature gate NFTablesProxyMode=true"
        assert found.reason == f"{has}, which its configuration does not set"
        assert found.fix == "write featureGates: {NFTablesProxyMode: true} there, beside its mode of now"


def test_an_older_image_needs_the_feature_gate_in_the_same_mode_too() -> None:
    facts = replace(FACTS, version="v1.31.0", mode=Mode.NFTABLES)
    driver = ClusterDriver(FakeClock(0, 0), lambda: facts, lambda *_: None)
    spec = make_spec("v1.30.14", Mode.NFTABLES, kind="cluster", iptables=None, image="example.org/kube-proxy:v1.30.14")
    assert not driver.check(driver.resolve(spec), handle()[0]).supported


@pytest.mark.parametrize("running", [Mode.USERSPACE, Mode.IPTABLES])
def test_userspace_mode_is_not_measured_in_a_cluster_whether_it_runs_or_not(running: Mode) -> None:
    facts = replace(FACTS, version="v1.25.0", mode=running)
    driver = ClusterDriver(FakeClock(0, 0), lambda: facts, lambda *_: None)
    with pytest.raises(UnavailableError) as caught:
        driver.resolve(make_spec("", Mode.USERSPACE, kind="cluster", iptables=None))
    assert str(caught.value) == (
        "the cluster's kube-proxy v1.25.0: its userspace mode is not measured, since it counts no syncs and reads "
        "Endpoints, which the cluster's own controllers write; the lab measures it, with kind: kube-proxy"
    )
    found = driver.resolve(make_spec("", Mode.IPTABLES, kind="cluster", iptables=None))
    assert found.subject.version == "v1.25.0"


def test_without_a_cluster_there_is_none() -> None:
    with pytest.raises(UsageError, match=r"^kind: cluster is the kube-proxy of target\.cluster; write that, too$"):
        ClusterDriver(FakeClock(0, 0)).resolve(make_spec(kind="cluster"))


ALIVE = (ReadFiles(("/proc/75/stat",)), {"/proc/75/stat": f"75 (kube-proxy) {' '.join(map(str, range(3, 30)))}\n"})
FOUND = "pid 75\ncgroup /pod\nlog /log\nmember 75 1\n"
RULES = "-A KUBE-SERVICES -d 10.96.0.7/32 -p tcp -m tcp --dport 80 -j KUBE-SVC-AAAAAAAAAAAAAAAA\n"


def attached(*steps: Step) -> list[Step]:
    """Return what is run on the node: the search, the size of the log, then ``steps``."""
    return [
        Run(list(FIND), done(FOUND)),
        Run(["stat", "-L", "-c", "%s", "/log"], done("5\n")),
        *steps,
    ]


def listing(program: str, chain: str, stdout: str = "", code: int = 0) -> Run:
    return Run(list_argv(program, chain), done(stdout, "No chain/target/match by that name.", code))


def tables(*names: str) -> tuple[Request[Any], object]:
    """Return what the agent is asked for iptables' legacy tables that the kernel has."""
    file = "/proc/net/ip_tables_names"
    return ReadFiles((file,)), {file: "".join(f"{name}\n" for name in names)}


def answers(mode: str, *legacy: str) -> list[tuple[Request[Any], object]]:
    """Return what the agent is asked for the process, what kube-proxy says of itself, and iptables' tables."""
    asked_for: list[tuple[Request[Any], object]] = [
        (AskClocks(), ClockReading(5 * NS_PER_S, 1_700_000_000 * NS_PER_S)),
        ALIVE,
        asked("/proxyMode", mode),
        asked("/metrics", BUILD),
        asked("/configz", json.dumps(CONFIG)),
    ]
    return [*asked_for, tables(*legacy)] if mode.strip() == "iptables" else asked_for


def test_a_legacy_table_that_is_not_there_is_not_loaded_by_a_look() -> None:
    """On a node whose iptables are nftables' both programs are installed; to list a chain loads its table."""
    node, executor, agent = handle(attached(listing("/x/nft", "KUBE-SERVICES", RULES)), answers("iptables", "filter"))
    ClusterDriver(FakeClock(0, 0)).start(make_spec("v1.37.2", kind="cluster"), node, CLUSTER)
    executor.assert_done()
    agent.verify()


def test_it_is_found_and_watched_with_the_iptables_that_sees_its_rules() -> None:
    node, executor, agent = handle(
        attached(
            listing("/x/legacy", "KUBE-SERVICES", code=1),
            listing("/x/nft", "KUBE-SERVICES", RULES),
            listing("/x/nft", "KUBE-SERVICES", RULES),
        ),
        answers("iptables\n", "nat"),
    )
    driver = ClusterDriver(FakeClock(0, 0), lambda: FACTS)
    spec = driver.resolve(make_spec("", kind="cluster", iptables=None))
    proxy = driver.start(spec, node, CLUSTER)
    assert (proxy.cgroup, proxy.started_at.ns) == ("/sys/fs/cgroup/pod", 5 * NS_PER_S)
    assert {name: json.loads(text) for name, text in proxy.files().items()} == {
        "kube-proxy.json": CONFIG["kubeproxy.config.k8s.io"]
    }
    assert proxy.rule_ranks() == {"10.96.0.7 80/tcp": 1}
    driver.cleanup(spec, node)
    executor.assert_done()
    agent.verify()


def test_the_syncs_of_its_log_are_told_in_utc_wherever_its_host_is() -> None:
    line = 'I1127 12:00:00.000000       1 proxier.go:805] "SyncProxyRules complete" ipFamily="IPv4" elapsed="12ms"\n'
    search = Run(list(FIND), done(f"{FOUND}zone +0100\n"))
    node, executor, _ = handle([search, *attached()[1:]], answers("nftables"))
    proxy = ClusterDriver(FakeClock(0, 0)).start(make_spec("v1.37.2", Mode.NFTABLES, kind="cluster"), node, CLUSTER)
    argv = ["sh", "-c", _LOG, "log", "/log", "6", "1700000000", ""]
    executor._script.append(Run(argv, done(line)))
    (sync,) = proxy.syncs()
    assert sync.ended_utc_ns % (86_400 * NS_PER_S) == 11 * 3600 * NS_PER_S


def test_it_is_ready_without_a_sync_in_its_log_since_it_ran_before() -> None:
    node, executor, agent = handle(
        attached(listing("/x/legacy", "KUBE-SERVICES", RULES)),
        [
            *answers("iptables", "nat"),
            (HEALTHZ, answer()),
            (METRICS, answer(SYNCED)),
            ALIVE,
            asked("/proxyMode", "iptables"),
        ],
    )
    clock = FakeClock(0, 0)
    driver = ClusterDriver(clock, lambda: FACTS)
    driver.start(make_spec("v1.37.2", kind="cluster"), node, CLUSTER).wait_ready(deadline(clock), 10)
    executor.assert_done()
    agent.verify()


@pytest.mark.parametrize(
    ("mode", "steps", "message"),
    [
        (Mode.NFTABLES, [], None),
        (
            Mode.IPTABLES,
            [listing("/x/legacy", "KUBE-SERVICES", code=1), listing("/x/nft", "KUBE-SERVICES", code=1)],
            "node-a: no iptables there sees KUBE-SERVICES",
        ),
    ],
)
def test_where_no_iptables_sees_rules(mode: Mode, steps: list[Step], message: str | None) -> None:
    """In nftables mode none is asked; in iptables mode the order of rules is what cannot be read."""
    node, executor, _ = handle(attached(*steps), answers(mode, "nat"))
    proxy = ClusterDriver(FakeClock(0, 0)).start(make_spec("v1.37.2", mode, kind="cluster"), node, CLUSTER)
    if message is None:
        assert proxy.rule_ranks() is None
    else:
        with pytest.raises(ProxierError) as caught:
            proxy.rule_ranks()
        assert str(caught.value) == message
    executor.assert_done()


def test_the_cluster_is_switched_before_its_proxy_is_looked_for() -> None:
    node, executor, agent = handle(attached(), answers("nftables"))
    looked: list[tuple[Mode, bool]] = []

    def switch(mode: Mode, image: str) -> None:
        assert image == ""
        looked.append((mode, "pid" in repr(executor._script[executor._position])))

    driver = ClusterDriver(FakeClock(0, 0), lambda: FACTS, switch)
    spec = make_spec("v1.37.2", Mode.NFTABLES, kind="cluster")
    driver.prepare(spec)
    assert looked == [(Mode.NFTABLES, True)]
    driver.start(spec, node, CLUSTER)
    assert len(looked) == 1  # once for all nodes, not once for each
    executor.assert_done()
    agent.verify()


def test_a_proxy_that_somebody_switched_meanwhile_is_not_measured_as_what_it_was() -> None:
    chain = [listing("/x/legacy", "KUBE-SERVICES", RULES)]
    node, _, _ = handle(attached(*chain), [*answers("ipvs"), tables("nat")])
    with pytest.raises(ProxierError) as caught:
        ClusterDriver(FakeClock(0, 0)).start(make_spec("v1.37.2", kind="cluster"), node, CLUSTER)
    assert str(caught.value) == "node-a: kube-proxy runs in ipvs mode now, not in iptables mode"


def test_it_is_looked_at_once_however_often_it_is_asked_for() -> None:
    looks: list[int] = []

    def look() -> ProxyFacts:
        looks.append(len(looks))
        return replace(FACTS, periods={**FACTS.periods, Mode.IPVS: (1.0, 20.0)}, mode=Mode.IPVS)

    driver = ClusterDriver(FakeClock(0, 0), look)
    found = driver.resolve(make_spec("", Mode.IPVS, kind="cluster", iptables=None))
    assert (found.min_sync_period, found.sync_period, driver.source(found)) == (1.0, 20.0, "runs in the cluster")
    assert looks == [0]


def test_the_periods_are_those_that_it_says_once_it_runs() -> None:
    node, _, _ = handle(attached(listing("/x/legacy", "KUBE-SERVICES", RULES)), answers("iptables", "nat"))
    spec = make_spec("v1.37.2", kind="cluster", min_sync_period=0.1)
    assert ClusterDriver(FakeClock(0, 0)).start(spec, node, CLUSTER).periods == (0.5, 30.0)


def of_image(version: str) -> SubjectSpec:
    return make_spec(version, kind="cluster", iptables=None, image=f"example.org/kube-proxy:{version}")


def test_another_image_is_not_measured_unless_it_may_be_switched() -> None:
    spec = of_image("v1.36.3")
    with pytest.raises(UnavailableError) as caught:
        ClusterDriver(FakeClock(0, 0), lambda: FACTS).resolve(spec)
    assert str(caught.value) == (
        "the cluster's kube-proxy v1.37.2: it runs not of example.org/kube-proxy:v1.36.3, "
        "and nothing is switched without --allow-switch"
    )
    driver = ClusterDriver(FakeClock(0, 0), lambda: FACTS, lambda *_: None)
    found = driver.resolve(spec)
    assert found.subject.version == "v1.36.3"
    assert driver.source(found) == "runs in the cluster, switched to example.org/kube-proxy:v1.36.3"


@pytest.mark.parametrize("version", ["v1.37.2", "v1.36.3"])
def test_an_image_must_be_what_its_tag_says(version: str) -> None:
    node, _, _ = handle(attached(listing("/x/legacy", "KUBE-SERVICES", RULES)), answers("iptables", "nat"))
    asked_for: list[tuple[Mode, str]] = []
    driver = ClusterDriver(FakeClock(0, 0), lambda: FACTS, lambda mode, image: asked_for.append((mode, image)))
    driver.prepare(of_image(version))
    if version == "v1.37.2":
        driver.start(of_image(version), node, CLUSTER)
    else:
        with pytest.raises(ProxierError) as caught:
            driver.start(of_image(version), node, CLUSTER)
        what = "kube-proxy of example.org/kube-proxy:v1.36.3 says that it is v1.37.2"
        assert str(caught.value) == f"node-a: {what}"
    assert asked_for == [(Mode.IPTABLES, f"example.org/kube-proxy:{version}")]
