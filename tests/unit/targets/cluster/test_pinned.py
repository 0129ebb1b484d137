"""A run stays in the cluster in which it has begun, wherever the kubeconfig leads meanwhile."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from proxybench.errors import UsageError
from proxybench.kube.base import Kind
from proxybench.kube.objects import service
from proxybench.model import Mode
from proxybench.nodes.kernel.capture import Tools
from proxybench.targets.cluster import access
from proxybench.targets.cluster.switch.undo import FILE, Header, UndoLog, read_undo
from proxybench.targets.cluster.switching import Switching
from tests.unit.targets.cluster.own_cluster import NODES, URL, Own, kubeconfig
from tests.unit.targets.cluster.test_target import looked_at, mode_of

if TYPE_CHECKING:
    from pathlib import Path

    from proxybench.targets.cluster.target import ClusterTarget

OTHER = "https://192.0.2.99:6443"
ELSEWHERE = (
    f'the kubeconfig\'s context "one" leads to {OTHER} now, and led to {URL} before; '
    "have it lead to that again: no other cluster is touched"
)


def use(folder: Path, current: str, one: str = URL) -> None:
    """Make a context the current one, as `kubectl config use-context` does; ``one`` is where the first leads."""
    words: dict[str, list[Any]] = json.loads(kubeconfig(one, "admin", "the CA"))
    more = json.loads(kubeconfig(OTHER, "secret of the other", "another CA").replace('"one"', '"two"'))
    for section in ("clusters", "users", "contexts"):
        words[section] += more[section]
        words[section][1]["name"] = "two"
    words["contexts"][1]["context"] = {"cluster": "two", "user": "two"}
    (folder / "kubeconfig").write_text(json.dumps({**words, "current-context": current}))


def in_a_run(own: Own, switch: Switching | None = None) -> tuple[ClusterTarget, Path]:
    """Return a target of a run whose folder is there."""
    target, run = own.target(switch), own.folder / "run"
    run.mkdir()
    target.place.began(run)
    if switch:
        switch.began(run)
    return target, run


def test_another_context_that_is_made_current_is_not_followed(own: Own) -> None:
    target, run = in_a_run(own)
    with target.open(1, own.said.append):
        use(own.folder, "two")
        own.api.ensure_namespace("proxybench")
        own.api.create_many([service("svc-00001", "10.96.1.1", 8080)])
        with target.api():
            pass
    assert {at.url for at in own.accesses} == {URL}
    assert {at.token for at in own.accesses} == {"admin"}
    assert own.api.list(Kind.SERVICE) == []
    assert read_undo((run / FILE).read_text(), "f").header.context == "one"  # for restore, too


def test_a_token_of_another_cluster_is_never_sent(own: Own) -> None:
    renew = own.target().first_access.renew
    assert renew is not None
    use(own.folder, "two")
    assert renew("admin") == "admin"
    use(own.folder, "one", OTHER)
    with pytest.raises(UsageError) as caught:
        renew("admin")
    assert str(caught.value) == ELSEWHERE


def test_that_our_account_s_token_ends_and_there_is_none_anew_is_told_to_the_run(own: Own) -> None:
    own.token = {"token": "small", "expirationTimestamp": "2026-11-26T08:00:00Z"}
    with own.target().open(1, own.said.append) as (cluster,):
        use(own.folder, "one", OTHER)
        assert cluster.api.good_token == "small"
        use(own.folder, "one")
    assert own.said[1:] == [f"the API's token has ended, and there is none anew: {ELSEWHERE}"]


def test_that_a_plugin_has_no_token_any_more_is_told_to_the_run(own: Own) -> None:
    own.token = {}
    target = own.target()
    plugin, file = own.folder / "plugin", own.folder / "kubeconfig"
    plugin.write_text(
        """#!/bin/sh\necho '{"status": {"token": "short", "expirationTimestamp": "2026-11-26T08:00:00Z"}}'\n"""
    )
    plugin.chmod(0o755)
    words = json.loads(file.read_text())
    words["users"][0]["user"] = {"exec": {"command": str(plugin)}}
    file.write_text(json.dumps(words))
    with target.open(1, own.said.append) as (cluster,):
        plugin.write_text("#!/bin/sh\nexit 1\n")
        assert [cluster.api.good_token for _ in range(2)] == ["short", "short"]
        file.write_text(kubeconfig(URL, "admin", "the CA"))
    (told,) = own.said[1:]
    assert told.startswith("the API's token has ended, and there is none anew: ")


def test_a_context_that_leads_to_another_server_by_now_is_refused(own: Own) -> None:
    target = own.target()
    assert target.first_access.url == URL
    use(own.folder, "one", f"{URL}/")
    assert access.again(target._found, target.spec).server == f"{URL}/"
    use(own.folder, "one", OTHER)
    with pytest.raises(UsageError) as caught, target.api():
        pytest.fail("it was connected to")
    assert str(caught.value) == ELSEWHERE
    assert own.accesses == []


def test_what_cannot_be_taken_back_since_the_kubeconfig_leads_elsewhere_is_told_at_once(own: Own) -> None:
    target, run = in_a_run(own)
    opened = target.open(1, own.said.append)
    opened.__enter__()
    own.api.ensure_namespace("proxybench")
    use(own.folder, "one", OTHER)
    with pytest.raises(UsageError) as caught:
        opened.__exit__(None, None, None)
    assert str(caught.value) == f"{ELSEWHERE}; once that is mended, run proxybench restore {run}"
    assert own.clock.slept == []
    assert {at.url for at in own.accesses} == {URL}
    assert "proxybench" in {one["metadata"]["name"] for one in own.api.list(Kind.NAMESPACE)}


def switching(own: Own, *looks: str) -> Switching:
    """Expect one switch to nftables mode, and that nodes are looked at for what is left, in these modes."""
    own.nodes = NODES.replace("  - {name: n2, roles: other}\n", "")
    own.scripts["n1"] += [mode_of("/python", "iptables\n"), mode_of("/python", "nftables\n")]
    tools = Tools({"legacy": "/sbin/old", "nft": "/opt/nft"}, "/python")
    own.again = [{"n1": looked_at("/python", mode, tools)} for mode in looks]
    return Switching()


@pytest.mark.usefixtures("known_mark")
def test_a_cluster_is_put_back_though_another_context_is_current(own: Own) -> None:
    switch, before = switching(own, "nftables", "iptables"), own.system.state()
    target, run = in_a_run(own, switch)
    with target.open(1, own.said.append):
        switch.to(Mode.NFTABLES)
        use(own.folder, "two")
    assert own.system.state() == before
    assert read_undo((run / FILE).read_text(), "f").done
    assert {at.url for at in own.accesses} == {URL}


@pytest.mark.usefixtures("known_mark")
def test_a_cluster_that_stays_switched_is_told_with_what_to_do_and_not_taken_for_put_back(own: Own) -> None:
    switch = switching(own, "nftables")
    target, run = in_a_run(own, switch)
    opened = target.open(1, own.said.append)
    opened.__enter__()
    switch.to(Mode.NFTABLES)
    use(own.folder, "one", OTHER)
    with pytest.raises(UsageError) as first:
        switch.switcher.put_back()  # type: ignore[union-attr]  # the cluster is open
    with pytest.raises(UsageError) as caught:
        opened.__exit__(None, None, None)
    told = f"{ELSEWHERE}; once that is mended, run proxybench restore {run}"
    assert (str(first.value), str(caught.value)) == (told, told)
    assert own.system.mode() == "nftables"
    assert not read_undo((run / FILE).read_text(), "f").done
    assert {at.url for at in own.accesses} == {URL}


def test_a_run_is_not_gone_on_with_in_another_cluster(own: Own) -> None:
    own.scripts = {}
    target, run = in_a_run(own)
    UndoLog(run / FILE, Header(OTHER, "/k", "two"))
    before = (run / FILE).read_text()
    with pytest.raises(UsageError) as caught, target.open(1, own.said.append):
        pytest.fail("it is open")
    assert str(caught.value) == (
        f"{run}: the run was begun in the cluster at {OTHER}, and this is {URL}; go on there, or begin a new run"
    )
    assert (run / FILE).read_text() == before
    own.assert_left()


def test_a_run_is_gone_on_with_by_another_context_of_the_same_server(own: Own) -> None:
    target, run = in_a_run(own)
    UndoLog(run / FILE, Header(URL, "/k", "two"))
    with target.open(1, own.said.append):
        pass
    assert read_undo((run / FILE).read_text(), "f").header == Header(URL, "/k", "two")


MORE = NODES + "  - {name: n3, roles: other}\n  - {name: b2, roles: backend, address: 192.0.2.15}\n"
N2, N3 = "  - {name: n2, roles: other}\n", "  - {name: n3, roles: other}\n"


@pytest.mark.parametrize(
    ("needed", "nodes", "was", "now"),
    [
        (1, MORE.replace(N2, "").replace(N3, N3 + N2), "other n2", "other n3"),
        (None, MORE.replace(N2, "").replace(N3, N3 + N2), "other n2", "other n3"),
        (None, MORE.replace(N3, ""), "other n3", "backend b1"),
        (
            0,
            MORE.replace("roles: measured", "roles: other").replace(N2, N2.replace("other", "measured")),
            "measured n1",
            "measured n2",
        ),
        (0, MORE.replace(", addresses: [192.0.2.13, 192.0.2.14]", "").replace("b1", "b9"), "backend b1", "backend b9"),
        (0, MORE + "  - {name: c2, roles: client}\n", "measured n1", "client c2"),
        (0, MORE + "  - {name: b3, roles: backend}\n", "no further host", "backend b3"),
    ],
)
def test_a_run_is_not_gone_on_with_on_other_hosts(own: Own, needed: int | None, nodes: str, was: str, now: str) -> None:
    """Which one is the first `@other`, say, is told by their order: numbers of two would stand under one name."""
    own.nodes, own.needed = MORE, needed
    target, run = in_a_run(own)
    UndoLog(run / FILE, target._header)
    own.nodes, own.scripts = nodes, {}
    again = replace(own.target(), file="nodes.yaml")
    again.place.began(run)
    with pytest.raises(UsageError) as caught, again.open(1, own.said.append):
        pytest.fail("it is open")
    assert str(caught.value) == (
        f"{run}: the run was begun with {was}, in whose place nodes.yaml has {now}; "
        "give the roles to the same hosts in the same order, or begin a new run"
    )
    assert own.api.list(Kind.SERVICE) == []


@pytest.mark.parametrize("nodes", [MORE.replace(N2, "").replace(N3, N3 + N2), MORE.replace(N3, "")])
def test_further_nodes_on_which_no_number_rests_may_be_others(own: Own, nodes: str) -> None:
    own.nodes = MORE
    target, run = in_a_run(own)
    UndoLog(run / FILE, target._header)
    own.nodes = nodes
    UndoLog(run / FILE, own.target()._header)
