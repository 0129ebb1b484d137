"""kube-proxy as a systemd unit: found, switched by its file, and put back whatever comes between."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from proxybench.errors import CommandFailedError, HostError, RunError, UsageError
from proxybench.hosts.fleet import Fleet
from proxybench.model import Mode
from proxybench.targets.cluster.switch.changes import TEXT, Change
from proxybench.targets.cluster.switch.switcher import restore
from proxybench.targets.cluster.switch.undo import FILE, UndoLog, make, read_undo
from proxybench.targets.cluster.switch.unit import HOW, SHOW, Unit, UnitWay, parse_how, parse_unit, read_unit
from proxybench.testing.hosts import FakeExecutor, Get, Run, done
from tests.unit.targets.cluster.kubeadm_api import HEADER, Killed
from tests.unit.targets.cluster.unit_hosts import CONFIG_TEXT, Hosts

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from proxybench.hosts.base import Completed


@pytest.fixture
def hosts(tmp_path: Path) -> Hosts:
    return Hosts(tmp_path / "hosts")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    return tmp_path / "run"


def shown(argv: str, load: str = "loaded", active: str = "active") -> str:
    ended = "start_time=[Thu 2026-11-26 09:00:00 UTC] ; stop_time=[n/a] ; pid=812 ; code=(null) ; status=0/0"
    start = f"ExecStart={{ path=/usr/bin/kube-proxy ; argv[]={argv} ; ignore_errors=no ; {ended} }}"
    return f"{start}\nLoadState={load}\nActiveState={active}\n"


STOPPED = "the unit kube-proxy is stopped; what runs there, if anything, is another kube-proxy"


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        (shown("/usr/bin/kube-proxy --v=2 --config=/etc/k p.yaml"), Unit("/etc/k")),
        (shown("/usr/bin/kube-proxy --config /var/lib/kube-proxy/c.yaml --v 2"), Unit("/var/lib/kube-proxy/c.yaml")),
        (shown('/usr/bin/kube-proxy "--config=/etc/my proxy.yaml"'), Unit("/etc/my proxy.yaml")),
        (shown("/p --config=/a --config=/b"), Unit("/b")),
        (shown("/p --config=p.yaml"), Unit("", "--config of the unit kube-proxy is no whole path: p.yaml")),
        (shown("/p $ARGS"), Unit("", "the arguments of the unit kube-proxy come from its environment")),
        (shown("/p --proxy-mode=ipvs"), Unit("", "the unit kube-proxy starts it without --config")),
        (shown("/p 'torn"), Unit("", "the unit kube-proxy starts it without --config")),
        (shown("", "not-found"), Unit("", "no systemd unit kube-proxy is loaded there")),
        ("", Unit("", "no systemd unit kube-proxy is loaded there")),
        (shown("/p --config=/a", active="inactive"), Unit("", STOPPED)),
        (shown("/p --config=/a", active="deactivating"), Unit("", STOPPED)),
        (shown("/p --config=/a", active="failed"), Unit("/a")),  # one of ours may have, in a mode before
    ],
)
def test_what_systemctl_tells_of_the_unit(text: str, unit: Unit) -> None:
    assert parse_unit(text) == unit


def test_a_host_is_asked_for_the_file_itself() -> None:
    found = Run(["readlink", "-e", "--", "/etc/p.yaml"], done("/srv/p.yaml\n"))
    assert read_unit(FakeExecutor("n1", [Run(SHOW, done(shown("/p --config=/etc/p.yaml"))), found])) == Unit(
        "/srv/p.yaml"
    )
    gone = Run(["readlink", "-e", "--", "/etc/p.yaml"], done("", "", 1))
    assert read_unit(FakeExecutor("n1", [Run(SHOW, done(shown("/p --config=/etc/p.yaml"))), gone])) == Unit(
        "", "/etc/p.yaml, which the unit kube-proxy names, is not there"
    )
    assert read_unit(FakeExecutor("n1", [Run(SHOW, done("", "systemctl: not found", 127))])) == Unit(
        "", "it has no systemd"
    )


def test_a_switch_changes_one_line_of_each_file_and_the_way_back_leaves_no_trace(hosts: Hosts, run: Path) -> None:
    if os.geteuid() == 0:
        os.chown(hosts["n1"].folder / "real.yaml", 1234, 4321)
    before = hosts.state()
    switch = hosts.switcher(run)
    switch.to(Mode.NFTABLES)
    assert hosts.modes() == {"n1": "nftables", "n2": "nftables"}
    switched = CONFIG_TEXT.replace('\nmode: ""', "\nmode: nftables").encode()
    for name, (data, *others) in hosts.state().items():
        assert (data, others[:-1]) == (switched, list(before[name][1:-1]))
    switch.to(Mode.IPVS)
    switch.to(Mode.IPVS)
    assert [hosts[name].restarts() for name in ("n1", "n2")] == [2, 2]
    switch.put_back()
    assert hosts.state() == before
    assert [hosts[name].restarts() for name in ("n1", "n2")] == [3, 3]
    assert restore(hosts.way(), run / FILE) == (f"{run / FILE}: all is back already",)
    assert [hosts[name].restarts() for name in ("n1", "n2")] == [3, 3]


def test_the_way_back_is_told_host_by_host(hosts: Hosts, run: Path) -> None:
    hosts.switcher(run).to(Mode.NFTABLES)
    assert restore(hosts.way(), run / FILE) == (
        f"put back: {hosts['n1'].path}",
        f"put back: {hosts['n2'].path}",
        "restarted kube-proxy on n1, n2",
    )


@pytest.mark.parametrize("early", [True, False])
@pytest.mark.parametrize("moment", range(1, 15))
def test_killed_at_any_moment_it_goes_back_byte_for_byte(tmp_path: Path, moment: int, *, early: bool) -> None:
    """Killed at a command on a host, in a switch or in the way back; a further way back ends at the original."""
    hosts = Hosts(tmp_path / "hosts")
    before = hosts.state()
    switch = hosts.switcher(tmp_path)
    hosts.shared.calls, hosts.shared.early = moment, early
    with suppress(Killed):
        switch.to(Mode.NFTABLES)
    if (tmp_path / FILE).exists():
        hosts.shared.calls = moment // 2
        with suppress(Killed):
            restore(hosts.way(), tmp_path / FILE)
        hosts.shared.calls = -1
        restore(hosts.way(), tmp_path / FILE)
    assert hosts.state() == before


def test_who_has_edited_a_file_meanwhile_is_not_overwritten(hosts: Hosts, run: Path) -> None:
    way, host = hosts.way(), hosts["n1"]
    found = way.get(host.path)
    theirs = CONFIG_TEXT + "bindAddress: 0.0.0.0\n"
    host.link.write_text(theirs)
    assert not way.put(host.path, found, {TEXT[0]: "ours"})
    change = Change(host.path, TEXT, CONFIG_TEXT, "ours")
    with pytest.raises(UsageError) as caught:
        make(way, UndoLog(run / FILE, HEADER), [change])
    assert str(caught.value) == f"{host.path} was edited by somebody else meanwhile; nothing of it was overwritten"
    assert (host.link.read_text(), read_undo((run / FILE).read_text(), "f").changes) == (theirs, ())


def test_who_has_edited_a_file_after_the_switch_is_not_overwritten_either(hosts: Hosts, run: Path) -> None:
    switch = hosts.switcher(run)
    switch.to(Mode.NFTABLES)
    theirs = "mode: ipvs\n"
    hosts["n1"].link.write_text(theirs)
    with pytest.raises(UsageError, match=r"real\.yaml was edited by somebody else meanwhile; nothing of it was over"):
        switch.to(Mode.IPTABLES)
    with pytest.raises(RunError) as caught:
        switch.put_back()
    assert str(caught.value) == (
        f"edited by somebody else since, and left as it is: {hosts['n1'].path} "
        f"(start kube-proxy anew when it says what you want); see {run / FILE}; "
        f"put back: {hosts['n2'].path}; restarted kube-proxy on n2"
    )
    assert (hosts["n1"].link.read_text(), hosts["n2"].link.read_text()) == (theirs, CONFIG_TEXT)


def test_a_host_that_is_lost_stops_no_other_and_is_put_back_when_it_is_there_again(hosts: Hosts, run: Path) -> None:
    before = hosts.state()
    hosts.switcher(run).to(Mode.NFTABLES)
    hosts["n1"].lost = True
    with pytest.raises(RunError) as caught:
        restore(hosts.way(), run / FILE)
    assert str(caught.value) == (
        f"not reached: {hosts['n1'].path} (n1 was not reached); run proxybench restore again when it can be; "
        f"see {run / FILE}; put back: {hosts['n2'].path}; restarted kube-proxy on n2"
    )
    assert hosts["n2"].state() == before["n2"]
    hosts["n1"].lost = False
    restore(hosts.way(), run / FILE)
    assert hosts.state() == before


def test_a_connection_that_breaks_in_a_switch_leaves_the_way_back(hosts: Hosts, run: Path) -> None:
    before = hosts.state()
    way = hosts.way()
    hosts["n2"].lost = True
    with pytest.raises(HostError, match=r"^n2: the connection broke$"):
        way.plan(Mode.NFTABLES, "", "")
    hosts["n2"].lost = False
    switch = hosts.switcher(run)
    (hosts["n2"].folder / "broken").touch()
    with pytest.raises(CommandFailedError, match=r"Job for kube-proxy\.service failed\.\n; its log: journalctl -u"):
        switch.to(Mode.NFTABLES)
    with pytest.raises(RunError, match=r"^n2: `systemctl restart kube-proxy` ended with code 1"):
        restore(hosts.way(), run / FILE)
    (hosts["n2"].folder / "broken").unlink()
    switch.put_back()
    assert hosts.state() == before


# As kube-proxy 1.37.2 says it, which answers nobody before it has seen its Node.
DEAF = (
    r'"Failed to watch" err="failed to list *v1.Node: Get \"https://192.0.2.1:6443/api/v1/nodes?fieldSelector='
    r'metadata.name%3Dn1&limit=500&resourceVersion=0\": dial tcp 192.0.2.1:6443: connect: no route to host"'
)
LOG = f"""\
I1126 18:58:05.123456   26904 server.go:180] "Using nftables Proxier"
E1126 18:58:12.875837   26904 reflector.go:227] "Failed to watch" err="nodes \\"n1\\" is forbidden"
E1126 18:59:34.776222   26904 reflector.go:227] {DEAF} logger="UnhandledError" reflector="k8s.io/client-go" type="x"
I1126 18:59:35.000001   26904 server.go:190] "Trying again"
"""


def how(state: str, result: str = "success", log: str = "") -> str:
    return f"ActiveState={state}\nResult={result}\n{log}"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", ("", "")),
        (how("active"), ("active", "active")),
        (how("active", log=LOG), ("active", f"active; its log: {DEAF}")),
        (
            how("failed", "exit-code", 'Error: unknown field "mod"\n'),
            ("failed", 'failed; exit-code; its log: unknown field "mod"'),
        ),
        (how("activating", log=f"F1126 1 x.go:1] {'y' * 400}"), ("activating", f"activating; its log: {'y' * 300}")),
    ],
)
def test_how_a_unit_is(text: str, told: tuple[str, str]) -> None:
    assert parse_how(text) == told


def test_a_kube_proxy_that_does_not_answer_after_its_restart_is_named_with_what_it_said() -> None:
    hosts = {name: FakeExecutor(name, [Run(HOW, done(text))] * 9) for name, text in (("n2", how("active", log=LOG)),)}
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        time.sleep(0.01)

    way = UnitWay(Fleet(hosts), lambda: {"n1": "ipvs", "n2": ""})
    with pytest.raises(RunError) as caught:
        way.await_running(0.02, sleep)
    assert str(caught.value) == (
        f"kube-proxy does not answer within 0.02 s of its restart: n2 (active; its log: {DEAF})"
    )
    assert set(slept) <= {1.0}


def test_a_unit_that_has_failed_is_not_waited_for() -> None:
    fine = FakeExecutor("n1", [Run(HOW, done(how("active")))])
    failed = FakeExecutor("n2", [Run(HOW, done(how("failed", "exit-code", 'Error: unknown field "mod"\n')))])
    with pytest.raises(RunError) as caught:
        UnitWay(Fleet({"n1": fine, "n2": failed}), lambda: {"n1": "", "n2": ""}).await_running(600, lambda _: None)
    assert str(caught.value) == (
        'kube-proxy does not run after its restart: n2 (failed; exit-code; its log: unknown field "mod")'
    )


def test_a_unit_that_does_not_answer_is_not_waited_for_as_long_as_a_rollout() -> None:
    silent = FakeExecutor("n1", [Run(HOW, done(how("active")))] * 99)
    way = UnitWay(Fleet({"n1": silent}), lambda: {"n1": ""}, start_s=0.02)
    with pytest.raises(RunError, match=r"^kube-proxy does not answer within 0\.02 s of its restart: n1 \(active\)$"):
        way.await_running(600, lambda _: time.sleep(0.01))


def test_an_image_is_no_unit_s(hosts: Hosts, run: Path) -> None:
    with pytest.raises(UsageError) as caught:
        hosts.switcher(run).to(Mode.IPTABLES, "kube-proxy:v1.36.3")
    assert str(caught.value) == (
        "kube-proxy runs as a systemd unit here, which has no image; leave out image: kube-proxy:v1.36.3"
    )


def test_what_cannot_be_switched_is_refused_before_anything_is_written(hosts: Hosts) -> None:
    way = hosts.way()
    hosts["n1"].link.write_text('{"mode": "ipvs"}')
    with pytest.raises(UsageError) as caught:
        way.plan(Mode.NFTABLES, "", "")
    assert str(caught.value).startswith(
        f"kube-proxy cannot be switched: {hosts['n1'].path}: its mode cannot be changed"
    )
    hosts["n1"].link.unlink()
    with pytest.raises(UsageError) as caught:
        way.plan(Mode.NFTABLES, "", "")
    what = f"n1: {hosts['n1'].link}, which the unit kube-proxy names, is not there"
    assert str(caught.value) == f"kube-proxy cannot be switched: {what}: it is observed only"
    none = [Run(SHOW, done("", "", 127))]
    with pytest.raises(UsageError) as caught:
        UnitWay(Fleet({name: FakeExecutor(name, none) for name in ("a", "b", "c")}), dict).plan(Mode.IPVS, "", "")
    assert str(caught.value) == (
        "kube-proxy cannot be switched: a: it has no systemd, and 2 further hosts lack such a thing: "
        "it is observed only"
    )


def test_a_unit_that_is_stopped_is_not_started_beside_the_kube_proxy_that_runs(hosts: Hosts, run: Path) -> None:
    """As of a cluster whose kube-proxy became a static pod, and whose hosts still have the unit."""
    before = hosts.state()
    (hosts["n2"].folder / "stopped").touch()
    with pytest.raises(UsageError) as caught:
        hosts.switcher(run).to(Mode.NFTABLES)
    assert str(caught.value) == f"kube-proxy cannot be switched: n2: {STOPPED}: it is observed only"
    (hosts["n2"].folder / "stopped").unlink()
    assert (hosts.state(), hosts["n2"].restarts()) == (before, 0)


def test_a_file_that_is_no_text_is_not_read() -> None:
    with pytest.raises(UsageError, match=r"^n1:/p is no text$"):
        UnitWay(Fleet({"n1": FakeExecutor("n1", [Get("/p", b"\xff")])}), dict).get("n1:/p")


def test_what_comes_only_in_part_changes_nothing(hosts: Hosts) -> None:
    """As when the connection breaks while the new file is sent."""
    host = hosts["n1"]
    sent: list[str] = []

    class Cut(FakeExecutor):
        def run(
            self, argv: Sequence[str], *, stdin: str | None = None, timeout: float = 30.0, check: bool = True
        ) -> Completed:
            sent.append(stdin or "")
            return host.run(argv, stdin=sent[-1][:-3], timeout=timeout, check=check)

    before = host.state()
    way = UnitWay(Fleet({"n1": Cut("n1")}), dict)
    with pytest.raises(CommandFailedError) as caught:
        way.put(host.path, {TEXT[0]: CONFIG_TEXT}, {TEXT[0]: CONFIG_TEXT + "more\n"})
    assert str(caught.value) == f"{host.path} cannot be written: cut short"
    assert (sent, host.state()) == ([CONFIG_TEXT + "more\n"], before)


@pytest.mark.parametrize("how", ["kill -9 $PPID", "while [ -e hold ]; do sleep 0.01; done"], ids=["killed", "slow"])
def test_a_shell_that_has_begun_to_replace_a_file_neither_leaves_a_trace_nor_does_it_later(
    hosts: Hosts, run: Path, how: str
) -> None:
    """Killed on its host, or still at work there when the connection of whoever asked for it has long ended."""
    before, host = hosts.state(), hosts["n1"]
    hold, sync = run / "hold", host.folder / "bin" / "sync"
    hold.touch()
    sync.write_text(f"#!/bin/sh\ncd {run} && touch begun && {how}\n")
    sync.chmod(0o755)
    with ThreadPoolExecutor() as threads:
        switched = threads.submit(hosts.switcher(run).to, Mode.NFTABLES)
        while not (run / "begun").exists():
            time.sleep(0.01)
        wait([switched], 0.3)
        told = restore(hosts.way(), run / FILE)
        hold.unlink()
        with pytest.raises(CommandFailedError, match=r"^n1:.* cannot be written: "):
            switched.result()
    assert (told, hosts.state()) == (("restarted kube-proxy on n1",), before)


def test_hosts_in_the_mode_that_is_asked_for_are_left_alone(hosts: Hosts, run: Path) -> None:
    hosts.switcher(run).to(Mode.IPTABLES)
    assert (hosts["n1"].restarts(), (run / FILE).exists()) == (0, False)
