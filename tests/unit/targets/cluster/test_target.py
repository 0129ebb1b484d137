"""The user's own cluster: what is made of it while a run lasts, and how it is given back."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import pytest

from proxybench.agent.node import AGENT
from proxybench.clocks import ClockDomain
from proxybench.errors import (
    CommandTimeoutError,
    ConnectionLostError,
    ExperimentError,
    ProxierError,
    RunError,
    UsageError,
)
from proxybench.experiment.places import ClusterSpec, PodsSpec
from proxybench.experiment.spec import LoadSpec
from proxybench.kube.base import Kind
from proxybench.kube.objects import node as node_object
from proxybench.model import ClockKind, Mode
from proxybench.nodes.answers import Hello, HttpAnswer
from proxybench.nodes.cluster import ApiAccess, Cluster, Traits
from proxybench.nodes.kernel.capture import Tools
from proxybench.nodes.node import Node
from proxybench.nodes.requests import HttpGet
from proxybench.run.testbed import address_plan
from proxybench.targets.base import TargetFacts
from proxybench.targets.cluster.host_facts import _ASK
from proxybench.targets.cluster.inventory import Role
from proxybench.targets.cluster.switch.tidying import ASK_SYNCED
from proxybench.targets.cluster.switching import Switching
from proxybench.targets.cluster.target import ASK_MODE, cluster_target
from proxybench.testing.hosts import FakeSession, Line, Open, Run, Sent, Step, done
from tests.unit.nodes.kernel.looks import look
from tests.unit.run.test_session import answered
from tests.unit.targets.cluster.kubeadm_api import proxy_pod
from tests.unit.targets.cluster.own_cluster import NODES, URL, Own, agent_file, backend, facts, installed, pod, shop

if TYPE_CHECKING:
    from pathlib import Path

    from proxybench.hosts.inventory import SshTarget

FIRST = ApiAccess(URL, "https://10.0.0.1:6443", "the CA", "admin", "", 50)
HELLO = asdict(Hello(AGENT, "3.11.2", "6.1.0", "cpu", 2))


def made(name: str, boot: str, address: str, ssh: SshTarget, **changes: object) -> Node:
    known = {"python": "python3", "workdir": "/run/pb", "iptables": {"legacy": "/sbin/legacy"}, **changes}
    return Node(name, ssh, address, None, ClockDomain(f"kernel {boot}"), **known)  # type: ignore[arg-type] # by name


@pytest.mark.parametrize(
    ("switch", "how"), [(None, "observed as it is"), (Switching(), "its kube-proxy switched, and put back")]
)
def test_what_it_is(own: Own, switch: Switching | None, how: str) -> None:
    target = own.target(switch)
    why = f"the cluster that the experiment names, {how}"
    assert target.facts == TargetFacts("cluster", ClockKind.WALL, "none", why, exclusive=False, starts_proxies=False)
    assert target.capacity() == 1


def test_a_host_s_own_words_come_before_the_defaults_and_those_before_ours(own: Own) -> None:
    target = own.target()
    client, measured, _, last = target.inventory.nodes
    assert [target.python(one) for one in (client, measured)] == ["python3", "/python"]
    assert [target.workdir(one) for one in (client, last)] == ["/run/pb", "/var/pb"]
    bare = replace(
        target, inventory=target.inventory.model_copy(update={"defaults": type(target.inventory.defaults)()})
    )
    assert bare.workdir(client) == "/run/proxybench"


def test_an_observed_cluster_is_all_that_a_run_needs_and_nothing_of_it_is_ours(own: Own) -> None:
    shop(own)
    target = own.target()
    with target.open(3, own.said.append) as (cluster,):
        ssh = target.targets
        assert cluster == Cluster(
            client=made("c1", "c", "192.0.2.10", ssh["c1"]),
            measured=made(
                "n1",
                "n",
                "192.0.2.11",
                ssh["n1"],
                python="/python",
                iptables={"legacy": "/sbin/old", "nft": "/opt/nft"},
            ),
            others=(made("n2", "o", "192.0.2.12", ssh["n2"]),),
            api=replace(FIRST, token="small"),
            clock=ClockKind.WALL,
            kind="cluster",
            accelerator="none",
            cluster_cidr="",
            service_cidr="10.96.0.0/12",
            backend_port=18080,
            traits=Traits(exclusive=False, starts_proxies=False),
            endpoints=(("b1", "192.0.2.13"), ("b1", "192.0.2.14")),
            taken=("10.96.0.7",),
        )
        assert {name: (one.host, one.user) for name, one in ssh.items()} == {
            name: (name, "root") for name in ("c1", "n1", "n2", "b1")
        }
        assert own.reached == [ssh, {"b1": ssh["b1"]}]
        assert not own.ready.closed
    assert own.said == ["starting a backend on b1, port 18080"]
    own.ready.assert_done()  # which it is only when it was closed
    own.assert_left()
    assert set(own.accesses) == {FIRST}


def test_two_runs_are_not_in_one_cluster_at_a_time(own: Own) -> None:
    first, second = (own.target().open(1, own.said.append) for _ in range(2))
    with first, pytest.raises(RunError) as caught, second:
        pytest.fail("it is open")
    assert str(caught.value) == (
        f"another proxybench of this machine measures the cluster at {URL}; wait until it has ended"
    )
    assert own.claims == set()


def test_all_is_given_back_when_what_is_done_there_fails(own: Own) -> None:
    opened = own.target().open(1, own.said.append)
    opened.__enter__()
    own.api.ensure_namespace("proxybench")
    error = RunError("it broke")
    assert opened.__exit__(RunError, error, None) is False
    own.ready.assert_done()
    own.assert_left()
    assert "proxybench" not in {one["metadata"]["name"] for one in own.api.list(Kind.NAMESPACE)}


def test_a_further_node_may_be_dead(own: Own) -> None:
    own.lost = {"n2": "n2: no route to host"}
    with own.target().open(1, own.said.append) as (cluster,):
        assert cluster.others == ()
    assert own.said == ["goes on without n2: n2: no route to host", "starting a backend on b1, port 18080"]


HUNG = "`sh -c '\nPATH=$PATH…` did not end within 60 s"


def test_a_further_node_that_hangs_or_dies_after_its_login_is_left_out(own: Own) -> None:
    own.nodes += "  - {name: n3, roles: other}\n"
    own.scripts["n2"] = [Run(["sh", "-c", _ASK], CommandTimeoutError(f"n2: {HUNG}"))]
    own.scripts["n3"] = [Run(["sh", "-c", _ASK], ConnectionLostError("n3: the connection broke"))]
    with own.target().open(1, own.said.append) as (cluster,):
        assert cluster.others == ()
        assert [one.closed for name, one in own.executors.items() if name.startswith(("n2", "n3"))] == [True, True]
    assert own.said == [
        "goes on without n2: n2: the look at it did not end within 60 s",
        "goes on without n3: n3: the connection broke",
        "starting a backend on b1, port 18080",
    ]
    own.assert_left()


@pytest.mark.parametrize("name", ["c1", "n1", "b1"])
def test_a_host_that_is_needed_must_say_what_it_is(own: Own, name: str) -> None:
    own.scripts[name] = [Run(["sh", "-c", _ASK], CommandTimeoutError(f"{name}: {HUNG}"))]
    with pytest.raises(CommandTimeoutError) as caught, own.target().open(1, own.said.append):
        pytest.fail("it is open")
    assert str(caught.value) == f"{name}: the look at it did not end within 60 s"
    own.assert_left()


@pytest.mark.parametrize("name", ["c1", "n1", "b1"])
def test_a_host_that_is_needed_must_be_reached(own: Own, name: str) -> None:
    own.lost, own.scripts = {name: f"{name}: no route to host"}, {}
    with pytest.raises(ConnectionLostError) as caught, own.target().open(1, own.said.append):
        pytest.fail("it is open")
    assert str(caught.value) == f"{name}: no route to host"
    own.assert_left()
    assert own.accesses == []


MORE = NODES + "  - {name: n3, roles: other, address: 192.0.2.15}\n"


@pytest.mark.parametrize(("needed", "name"), [(1, "n2"), (None, "n2"), (None, "n3")])
def test_a_further_node_on_which_numbers_rest_must_be_reached_and_say_what_it_is(
    own: Own, needed: int | None, name: str
) -> None:
    """Else the next one would be measured in its place, in a session or by a run that is gone on with."""
    own.nodes, own.needed = MORE, needed
    own.lost, scripts, own.scripts = {name: f"{name}: no route to host"}, own.scripts, {}
    for _ in range(2):
        with pytest.raises(ConnectionLostError) as lost, own.target().open(1, own.said.append):
            pytest.fail("it is open")
        assert str(lost.value) == f"{name}: no route to host"
    own.lost, own.scripts = {}, {**scripts, "n3": [facts("p")]}
    own.scripts[name] = [Run(["sh", "-c", _ASK], CommandTimeoutError(f"{name}: {HUNG}"))]
    with pytest.raises(CommandTimeoutError) as late, own.target().open(1, own.said.append):
        pytest.fail("it is open")
    assert str(late.value) == f"{name}: the look at it did not end within 60 s"
    assert own.said == []
    own.assert_left()


def test_behind_the_first_further_node_others_may_be_dead_and_the_first_stays_the_first(own: Own) -> None:
    own.nodes, own.needed = MORE, 1
    own.scripts["n3"] = [facts("p")]
    with own.target().open(1, own.said.append) as (cluster,):
        assert [one.name for one in cluster.others] == ["n2", "n3"]
    own.scripts, own.lost = {}, {"n3": "n3: no route to host"}
    with own.target().fleet(cluster.targets, own.said.append) as fleet:
        assert list(fleet) == ["c1", "n1", "n2"]
    own.lost = {"n2": "n2: no route to host"}
    with pytest.raises(ConnectionLostError, match=r"^n2: no route to host$"):
        own.target().fleet(cluster.targets)
    assert own.said[1:] == ["goes on without n3: n3: no route to host"]


def test_a_further_node_with_a_backend_is_needed_too(own: Own) -> None:
    own.nodes = NODES.replace("n2, roles: other", "n2, roles: [other, backend]")
    own.lost, own.scripts = {"n2": "n2: refused"}, {}
    with pytest.raises(ConnectionLostError, match=r"^n2: refused$"), own.target().open(1, own.said.append):
        pytest.fail("it is open")


def test_without_a_backend_there_are_no_endpoints_which_is_told_before_anything_is_reached(tmp_path: Path) -> None:
    file = tmp_path / "nodes.yaml"
    file.write_text(NODES.replace("roles: backend", "roles: other").replace("addresses: [192.0.2.13, 192.0.2.14]", ""))
    with pytest.raises(UsageError) as caught:
        cluster_target(ClusterSpec(inventory="nodes.yaml"), tmp_path)
    why = "two addresses are needed as endpoints, since one is changed for another"
    assert str(caught.value) == f"{file}: no host has the role backend; {why}"
    pods = PodsSpec(selector="app=web", namespace="shop")
    assert cluster_target(ClusterSpec(inventory="nodes.yaml", pods=pods), tmp_path).spec.pods == pods


@pytest.mark.parametrize(
    "where", ["b1, roles: backend, addresses: [192.0.2.13]", "b1, roles: backend, address: 192.0.2.13"]
)
def test_one_address_is_too_few(own: Own, where: str) -> None:
    own.nodes = NODES.replace("b1, roles: backend, workdir: /var/pb, addresses: [192.0.2.13, 192.0.2.14]", where)
    with pytest.raises(UsageError) as caught, own.target().open(1, own.said.append):
        pytest.fail("it is open")
    assert str(caught.value) == (
        "the inventory's backends have one address; two addresses are needed as endpoints, since one is changed for "
        "another: give the role backend to another host, or this one's addresses: of its own"
    )
    own.assert_left()


def test_a_backend_whose_address_nobody_knows_is_told(own: Own) -> None:
    own.nodes = NODES.replace(", addresses: [192.0.2.13, 192.0.2.14]", "")
    with pytest.raises(UsageError) as caught, own.target().open(1, own.said.append):
        pytest.fail("it is open")
    assert str(caught.value) == "b1: it is no Node of the cluster that tells an IPv4 address; write address: there"
    own.assert_left()


def test_one_pod_is_too_few(own: Own) -> None:
    own.pods = PodsSpec(selector="app=web", namespace="shop")
    own.lost, own.scripts["n2"] = {"n2": "n2: refused"}, []
    with pytest.raises(UsageError) as caught, own.target().open(1, own.said.append):
        pytest.fail("it is open")
    assert str(caught.value) == (
        "one pod of shop with app=web runs in a network of its own on a host of the inventory that was reached; "
        "two addresses are needed as endpoints, since one is changed for another"
    )


def test_the_measured_node_may_be_the_client_and_a_further_node_is_told_once(own: Own) -> None:
    own.nodes = NODES.replace("  - {name: c1, roles: client, address: 192.0.2.10}\n", "").replace(
        "n1, roles: measured", "n1, roles: [measured, client, other]"
    )
    del own.scripts["c1"]
    with own.target().open(1, own.said.append) as (cluster,):
        assert (cluster.client.name, cluster.measured.name) == ("n1-client", "n1")
        assert replace(cluster.client, name="n1") == cluster.measured
        assert [one.name for one in cluster.others] == ["n2"]


def test_a_cluster_whose_addresses_are_of_ipv6_first_keeps_what_others_have_of_ipv4(own: Own) -> None:
    """Services of all types are there; ours must not get the address that one of them has besides."""
    theirs = [
        {"type": "ExternalName", "externalName": "example.org"},
        {"clusterIP": "None", "clusterIPs": ["None"]},
        {"clusterIP": "fd00::7", "clusterIPs": ["fd00::7", "10.96.1.0"]},
    ]
    own.services = [
        {"metadata": {"namespace": "shop", "name": f"s{number}"}, "spec": spec} for number, spec in enumerate(theirs)
    ]
    with own.target().open(1, own.said.append) as (cluster,):
        assert cluster.taken == ("fd00::7", "10.96.1.0")
        plan = address_plan(cluster)
        assert [plan.vip(index) for index in range(2)] == ["10.96.1.1", "10.96.1.2"]


def test_a_cluster_without_ipv4_is_refused_before_anything_is_asked_of_its_hosts(own: Own) -> None:
    own.scripts, own.service_cidr = {}, "fd00::/112"
    with pytest.raises(UsageError, match=r"^ClusterIPs are of IPv6 alone \(fd00::/112\); IPv4 is needed: "):
        own.target().open(1, own.said.append).__enter__()
    own.assert_left()


def test_pods_that_are_there_lend_their_addresses_and_our_backend_runs_in_their_network(own: Own) -> None:
    own.pods = PodsSpec(selector="app=web", namespace="shop")
    second = FakeSession([Line("ready 18080")])
    own.alone = {"n2": backend(own.ready, "/run/pb", pod="10.244.1.5"), "b1": backend(second, pod="10.244.2.5")}
    with own.target().open(1, own.said.append) as (cluster,):
        assert cluster.endpoints == (("n2", "10.244.1.5"), ("b1", "10.244.2.5"))
    assert own.said == ["starting a backend in the network of 10.244.1.5 on n2 and 1 more, port 18080"]
    own.ready.assert_done()
    second.assert_done()
    own.assert_left()


def test_backends_of_one_host_have_a_connection_each(own: Own) -> None:
    own.pods, own.more_pods = PodsSpec(selector="app=web", namespace="shop"), [pod("n2", "10.244.1.6")]
    sessions = [own.ready, *(FakeSession([Line("ready 18080")]) for _ in range(2))]
    own.alone = {
        "n2": backend(sessions[0], "/run/pb", pod="10.244.1.5"),
        "b1": backend(sessions[1], pod="10.244.2.5"),
        "n2 (2)": backend(sessions[2], "/run/pb", pod="10.244.1.6"),
    }
    with own.target().open(1, own.said.append):
        (ssh, again) = own.reached
        assert again == {"n2": ssh["n2"], "b1": ssh["b1"], "n2 (2)": ssh["n2"]}
    assert own.said == ["starting a backend in the network of 10.244.1.5 on n2 and 2 more, port 18080"]
    for session in sessions:
        session.assert_done()
    own.assert_left()


def test_no_host_is_logged_in_to_more_than_four_times_at_once(own: Own) -> None:
    own.pods = PodsSpec(selector="app=web", namespace="shop")
    own.more_pods = [pod("n2", f"10.244.1.{number}") for number in range(6, 11)]
    names = ["n2", *(f"n2 ({number})" for number in range(2, 7))]
    sessions = {name: FakeSession([Line("ready 18080")]) for name in names}
    own.alone = {
        name: backend(session, "/run/pb", pod=f"10.244.1.{number}")
        for number, (name, session) in enumerate(sessions.items(), 5)
    } | {"b1": backend(own.ready, pod="10.244.2.5")}
    with own.target().open(1, own.said.append):
        assert [list(targets) for targets in own.reached[1:]] == [["n2", "b1", *names[1:4]], names[4:]]
    own.assert_left()


def test_a_host_that_is_lost_before_its_backend_is_started_ends_it(own: Own) -> None:
    own.nodes = NODES.replace("n2, roles: other", "n2, roles: backend")
    own.alone = {"n2": [], "b1": []}
    own.gone = {"b1": "b1: no route to host"}
    with pytest.raises(ConnectionLostError) as caught, own.target().open(1, own.said.append):
        pytest.fail("it is open")
    assert str(caught.value) == "b1: no route to host"
    own.assert_left()


def test_without_a_pod_on_a_host_that_is_known_there_are_no_endpoints(own: Own) -> None:
    own.pods = PodsSpec(selector="app=web", namespace="shop")
    own.lost = {"n2": "n2: refused"}
    own.nodes = NODES.replace("{name: b1", "{name: b2")
    own.scripts["b2"] = own.scripts.pop("b1")
    with pytest.raises(UsageError) as caught, own.target().open(1, own.said.append):
        pytest.fail("it is open")
    assert str(caught.value) == (
        "no pod of shop with app=web runs in a network of its own on a host of the inventory that was reached; "
        "two addresses are needed as endpoints, since one is changed for another"
    )


def test_a_backend_whose_connection_broke_is_started_anew_when_a_run_connects_again(own: Own) -> None:
    broken = FakeSession([Line("ready 18080"), Line(ConnectionLostError("b1: the connection broke"))])
    own.alone["b1"] = backend(broken)
    target = own.target()
    with target.open(1, own.said.append):
        own.scripts, own.alone["b1"] = {}, backend(own.ready)
        target.fleet(target.targets).close()
        broken.assert_done()
        assert not own.ready.closed
    own.ready.assert_done()


def test_a_backend_that_goes_on_is_left_alone(own: Own) -> None:
    own.alone["b1"] = backend(going := FakeSession([Line("ready 18080"), Line(CommandTimeoutError("said nothing"))]))
    target = own.target()
    with target.open(1, own.said.append):
        own.scripts = {}
        target.fleet(target.targets).close()
        assert not going.closed
    going.assert_done()


def test_further_clients_help_with_a_load(own: Own) -> None:
    own.nodes = NODES.replace("n2, roles: other", "n2, roles: [other, client]")
    with own.target().open(1, own.said.append) as (cluster,):
        assert [one.name for one in cluster.clients] == ["c1", "n2"]
        assert [one.name for one in cluster.others] == ["n2"]
        assert list(cluster.targets) == ["c1", "n1", "n2"]


def test_a_session_s_further_node_may_be_dead_and_no_other(own: Own) -> None:
    target = own.target()
    own.scripts, own.lost = {}, {"n2": "n2: no route to host"}
    with target.fleet(target.targets, own.said.append) as fleet:
        assert list(fleet) == ["c1", "n1", "b1"]
    assert own.said == ["goes on without n2: n2: no route to host"]
    own.lost = {"n1": "n1: no route to host"}
    with pytest.raises(ConnectionLostError, match=r"^n1: no route to host$"):
        target.fleet(target.targets)
    own.assert_left()


def test_a_cluster_is_not_switched_before_it_is_open(tmp_path: Path) -> None:
    switch = Switching()
    switch.began(tmp_path)
    with pytest.raises(RunError, match=r"^the cluster is not open yet$"):
        switch.to(Mode.IPVS)


def mode_of(python: str, said: str, code: int = 0) -> Run:
    return Run([python, "-c", ASK_MODE], done(said, "", code))


def looked_at(python: str, mode: str, tools: Tools, left: str = "") -> list[Step]:
    """Expect a host to be looked at for what other modes have left, "" for nothing."""
    return [
        facts(legacy=tools.iptables.get("legacy", "")),
        Run([python, "-c", ASK_SYNCED], done(f"{mode} True 9 9\n")),
        look(tools, iptables=left),
    ]


@pytest.mark.usefixtures("known_mark")
def test_every_node_that_was_reached_is_asked_for_its_mode_and_all_is_put_back(own: Own) -> None:
    first, third = Tools({"legacy": "/sbin/old", "nft": "/opt/nft"}, "/python"), Tools({"legacy": "/sbin/legacy"})
    own.again = [
        {"n1": looked_at("/python", mode, first), "n3": looked_at("python3", mode, third)}
        for mode in ("nftables", "iptables")
    ]
    own.lost = {"n2": "n2: refused"}
    own.nodes = NODES + "  - {name: n3, roles: [other], address: 192.0.2.14}\n"
    own.scripts["n1"] += [mode_of("/python", "iptables\n"), mode_of("/python", "nftables\n")]
    own.scripts["n3"] = [facts("p"), mode_of("python3", "", 1), mode_of("python3", "nftables\n")]
    switch, before = Switching(), own.system.state()
    switch.began(own.folder)
    with own.target(switch).open(1, own.said.append):
        switch.to(Mode.NFTABLES)
        assert own.system.mode() == "nftables"
    assert own.system.state() == before
    assert own.said[:5] == [
        "goes on without n2: n2: refused",
        "starting a backend on b1, port 18080",
        f"switching kube-proxy to nftables mode, with {own.folder}/undo.jsonl for the way back",
        "n2 is left as it is: n2: refused",
        "put back: configmaps/kube-proxy data.config.conf",
    ]
    assert own.again == []
    own.assert_left()


def test_a_cluster_in_the_mode_that_is_asked_for_is_left_alone(own: Own) -> None:
    own.scripts["n1"] += [mode_of("/python", "ipvs\n")]
    own.scripts["n2"] += [mode_of("python3", "ipvs\n")]
    switch = Switching()
    switch.began(own.folder)
    with own.target(switch).open(1, own.said.append):
        switch.to(Mode.IPVS)
    assert own.system.writes == 0
    assert not (own.folder / "undo.jsonl").exists()
    own.assert_left()


def test_no_switch_where_others_would_feel_it(own: Own) -> None:
    shop(own)
    own.scripts = {}
    with pytest.raises(UsageError) as caught, own.target(Switching()).open(1, own.said.append):
        pytest.fail("it is open")
    assert str(caught.value) == (
        "1 Services of others would feel a switch (shop/web); if that is right: --i-understand-this-interrupts-traffic"
    )
    own.assert_left()
    own.usual()
    with own.target(Switching(interrupts=True)).open(1, own.said.append) as (cluster,):
        assert cluster.taken == ("10.96.0.7",)


def test_no_switch_where_kube_proxy_cannot_be_switched(own: Own) -> None:
    own.scripts = {}
    daemon_set = next(one for path, one in own.system.objects.items() if path.endswith("daemonsets/kube-proxy"))
    daemon_set["spec"]["template"]["spec"]["volumes"] = []
    with pytest.raises(UsageError) as caught, own.target(Switching()).open(1, own.said.append):
        pytest.fail("it is open")
    assert str(caught.value) == (
        "kube-proxy cannot be switched: the DaemonSet kube-proxy does not mount the ConfigMap kube-proxy: "
        "it is observed only"
    )
    own.assert_left()


def test_no_switch_where_a_node_would_not_be_asked_and_cleaned(own: Own) -> None:
    """b1 is a Node, and a backend alone; n9 is in no inventory; ten is known by the address that is written there."""
    own.nodes = NODES.replace("{name: n2, roles: other}", "{name: n2, roles: other, host: 192.0.2.12}")
    own.scripts = {}
    own.system.nodes = [node_object("ten", "192.0.2.12", "10.244.1.0/24")]
    own.system.pods = [proxy_pod(name) for name in ("n1", "ten", "b1", "n9")]
    with pytest.raises(UsageError) as caught, own.target(Switching()).open(1, own.said.append):
        pytest.fail("it is open")
    assert str(caught.value) == (
        "kube-proxy cannot be switched: it runs on Nodes that would be switched, too, and neither asked nor cleaned: "
        "b1, n9; give each the role other in the inventory"
    )
    own.assert_left()
    own.usual()
    own.system.pods = own.system.pods[:2]
    with own.target(Switching()).open(1, own.said.append):
        pass


BUILD = 'kubernetes_build_info{git_version="v1.37.2",major="1"} 1\n'
PERIODS = {"kubeproxy.config.k8s.io": {"ipvs": {"minSyncPeriod": "500ms", "syncPeriod": "30s"}}}


def asked(number: int, path: str, body: str) -> list[Sent | Line]:
    fields = HttpGet(f"http://127.0.0.1:10249{path}").wire()
    return answered(number, "http_get", asdict(HttpAnswer(200, body)), **fields)


def looking(own: Own, *answers: Sent | Line) -> FakeSession:
    agent = FakeSession([*answered(1, "hello", HELLO), *answers])
    serve = Open(["/python", "-I", "-S", agent_file("/run/pb"), "serve"], agent)
    own.alone["n1"] = [installed("/run/pb"), serve]
    return agent


def test_a_look_asks_the_measured_node_alone_and_leaves_it(own: Own) -> None:
    config = json.dumps(PERIODS)
    agent = looking(own, *asked(2, "/proxyMode", "ipvs"), *asked(3, "/metrics", BUILD), *asked(4, "/configz", config))
    target = own.target()
    found = target.look()
    assert (found.version, found.mode, found.periods[Mode.IPVS]) == ("v1.37.2", Mode.IPVS, (0.5, 30.0))
    assert own.reached == [{"n1": target.targets["n1"]}]
    assert own.accesses == []
    agent.assert_done()
    own.assert_left()


def test_a_look_at_what_is_not_known_leaves_the_node_too(own: Own) -> None:
    agent = looking(own, *asked(2, "/proxyMode", "winkernel"))
    with pytest.raises(ProxierError, match=r"^n1: kube-proxy runs in winkernel mode, which is not known here$"):
        own.target().look()
    agent.assert_done()
    own.assert_left()


def test_users_of_a_load_that_the_inventory_s_clients_cannot_share_are_told_before_anything_is_reached(
    tmp_path: Path,
) -> None:
    (tmp_path / "nodes.yaml").write_text(NODES.replace("roles: other", "roles: [client, other]"))
    spec = ClusterSpec(inventory="nodes.yaml")
    clients = len(cluster_target(spec, tmp_path, load=LoadSpec(rate=100)).inventory.with_role(Role.CLIENT))
    assert clients == 2
    with pytest.raises(UsageError) as caught:
        cluster_target(spec, tmp_path, load=LoadSpec(rate=100, users=9))
    words = "load.users: 9 cannot be shared evenly by 2 clients; write a multiple of 2, such as 8"
    assert str(caught.value) == f"{words}; the clients are those of {tmp_path}/nodes.yaml"


def test_an_inventory_is_seen_from_the_experiment_s_folder(tmp_path: Path) -> None:
    (tmp_path / "nodes.yaml").write_text(NODES)
    switch = Switching()
    target = cluster_target(ClusterSpec(inventory="nodes.yaml"), tmp_path, switch)
    assert [one.name for one in target.inventory.nodes] == ["c1", "n1", "n2", "b1"]
    assert target.switch is switch
    with pytest.raises(ExperimentError, match=r"/none\.yaml:1:1: cannot be read: No such file or directory$"):
        cluster_target(ClusterSpec(inventory="none.yaml"), tmp_path)
