"""What may happen in the middle of a switch: the orchestrator killed, the API away, a full disk, an operator."""

from __future__ import annotations

import copy
import json
import resource
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from proxybench.errors import ApiError, ConnectionLostError, RunError, UsageError
from proxybench.hosts.fleet import Fleet, Reached
from proxybench.model import Mode
from proxybench.targets.cluster.switch.changes import CONFIG, CONFIG_MAP, DAEMON_SET, IMAGE, read, written
from proxybench.targets.cluster.switch.daemon_set import DaemonSetWay
from proxybench.targets.cluster.switch.switcher import restore
from proxybench.targets.cluster.switch.undo import FILE, UndoLog, read_undo
from proxybench.targets.cluster.switching import Modes
from proxybench.testing.hosts import FakeExecutor, Run, done
from tests.unit.targets.cluster.killed import IMAGE_OF_BEFORE, MOMENTS, PROGRAM, kill_at, served
from tests.unit.targets.cluster.kubeadm_api import HEADER, OWN_IMAGE, Api, Object, switcher
from tests.unit.targets.cluster.unit_hosts import Hosts

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.mark.parametrize(("moment", "early"), MOMENTS)
def test_a_process_that_is_killed_at_any_request_leaves_the_way_back(tmp_path: Path, moment: int, early: bool) -> None:
    """A real process; with a real API server, see tests/lab."""
    api = Api({"a": "b"})
    before = json.dumps(api.state())
    kill_at(api, moment, tmp_path, early=early)
    if (tmp_path / FILE).exists():
        restore(DaemonSetWay(api), tmp_path / FILE, 5, lambda _: None)
    assert json.dumps(api.state()) == before


def test_a_process_that_nobody_kills_switches_by_those_requests(tmp_path: Path) -> None:
    paths: list[str] = []

    class Noting(Api):
        def ask(self, method: str, path: str, body: Object | None = None) -> Object:
            paths.append(f"{method} {path}")
            return super().ask(method, path, body)

    api = Noting()
    with served(api, lambda: None, lambda: None) as url:
        subprocess.run([sys.executable, "-c", PROGRAM, url, str(tmp_path), "nftables"], timeout=60, check=True)
    assert (api.mode(), api.image()) == ("nftables", IMAGE_OF_BEFORE)
    assert [index for index, path in enumerate(paths, 1) if path in {f"PUT {CONFIG_MAP}", f"PUT {DAEMON_SET}"}] == [
        9,
        11,
    ]
    assert len(paths) == 13


def test_an_image_and_a_mode_are_switched_and_put_back_together(tmp_path: Path) -> None:
    api = Api()
    before = copy.deepcopy(api.state())
    switch = switcher(api, tmp_path)
    switch.to(Mode.IPVS, IMAGE_OF_BEFORE)
    assert (api.mode(), api.image(), api.writes) == ("ipvs", IMAGE_OF_BEFORE, 2)
    switch.to(Mode.IPVS, IMAGE_OF_BEFORE)
    assert api.writes == 2
    switch.to(Mode.IPVS)  # of its own image again
    assert (api.mode(), api.image(), api.writes) == ("ipvs", OWN_IMAGE, 3)
    switch.put_back()
    assert api.state() == before


def test_an_image_alone_is_switched_where_the_mode_is_right(tmp_path: Path) -> None:
    api = Api()
    api.objects[CONFIG_MAP]["data"]["config.conf"] = "mode: ipvs\n"
    before = copy.deepcopy(api.state())
    switch = switcher(api, tmp_path)
    switch.to(Mode.IPVS, IMAGE_OF_BEFORE)
    assert (api.image(), api.writes) == (IMAGE_OF_BEFORE, 1)
    switch.put_back()
    assert api.state() == before


def test_a_daemon_set_without_such_a_container_has_no_image_to_switch(tmp_path: Path) -> None:
    api = Api()
    api.objects[DAEMON_SET]["spec"]["template"]["spec"]["containers"][1]["name"] = "proxy"
    with pytest.raises(UsageError) as caught:
        switcher(api, tmp_path).to(Mode.IPVS, IMAGE_OF_BEFORE)
    assert str(caught.value) == "the DaemonSet kube-proxy has no container kube-proxy, whose image could be another"
    assert api.writes == 0


@contextmanager
def room(bytes_left: int, file: Path) -> Iterator[None]:
    """Let files grow by so many bytes and no more, as on a disk that is full then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    size = file.stat().st_size if file.exists() else 0
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + bytes_left, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("left", [0, 10, 150])
def test_where_the_disk_is_full_nothing_is_changed(tmp_path: Path, left: int) -> None:
    """No room for the log's first line, for a part of it, or for a part of the second."""
    api, file = Api(), tmp_path / FILE
    with room(left, file), pytest.raises(RunError) as caught:
        switcher(api, tmp_path).to(Mode.NFTABLES)
    assert str(caught.value) == f"{file}: cannot be written (File too large); nothing is changed without it"
    assert api.writes == 0
    lines = file.read_text()
    assert lines == "" or lines.endswith("\n")
    switch = switcher(api, tmp_path)  # with room again
    switch.to(Mode.NFTABLES)
    switch.put_back()
    assert api.mode() == ""


def test_where_the_disk_is_full_in_the_middle_the_switch_ends_and_what_was_made_goes_back(tmp_path: Path) -> None:
    """Room for the configuration's line, and none for the DaemonSet's."""
    api, file = Api(), tmp_path / FILE
    before = copy.deepcopy(api.state())
    UndoLog(file, HEADER)
    switch = switcher(api, tmp_path)
    with room(420, file), pytest.raises(RunError, match=r"; nothing is changed without it$"):
        switch.to(Mode.NFTABLES)
    assert (api.writes, len(read_undo(file.read_text(), "f").changes)) == (1, 1)
    with room(0, file), pytest.raises(RunError, match=r"\(File too large\); all is back, which it cannot tell$"):
        switch.put_back()
    assert api.state() == before
    assert restore(DaemonSetWay(api), file) == ("nothing had been changed",)


class Away(Api):
    """Its server is stopped, and starts again when it has been asked so many times; it refuses to be reached so long.

    ``status``: what it answers meanwhile, None for nothing at all.
    """

    def __init__(self, at: int, times: int, status: int | None = None) -> None:
        super().__init__()
        self.asked, self.at, self.times, self.status = 0, at, times, status

    def ask(self, method: str, path: str, body: Object | None = None) -> Object:
        self.asked += 1
        if self.at <= self.asked < self.at + self.times:
            raise ApiError(f"{method} {path}: cannot reach the Kubernetes API", self.status)
        return super().ask(method, path, body)


@pytest.mark.parametrize("status", [None, 503, 403])
def test_an_api_server_that_starts_anew_during_a_rollout_is_waited_for(tmp_path: Path, status: int | None) -> None:
    api = Away(11, 3, status)
    switcher(api, tmp_path).to(Mode.NFTABLES)
    assert (api.mode(), api.asked) == ("nftables", 16)


def test_an_api_that_stays_away_is_told_and_refusals_are_not_waited_for(tmp_path: Path) -> None:
    with pytest.raises(ApiError, match="cannot reach the Kubernetes API"):
        replace(switcher(Away(11, 99), tmp_path), limit_s=0).to(Mode.NFTABLES)
    with pytest.raises(ApiError) as caught:
        switcher(Away(11, 99, 404), tmp_path).to(Mode.IPVS)
    assert caught.value.status == 404


@pytest.mark.parametrize("status", [None, 403])  # 403: it is there again, and has not read its roles yet
def test_an_api_server_that_is_away_when_all_is_to_be_put_back_is_waited_for(
    tmp_path: Path, status: int | None
) -> None:
    api = Away(12, 3, status)
    said: list[str] = []
    slept: list[float] = []
    before = json.dumps(api.state())
    switch = replace(switcher(api, tmp_path), say=said.append, sleep=slept.append, patience_s=120.0)
    switch.to(Mode.NFTABLES)
    switch.put_back()
    away = f"GET {CONFIG_MAP}: cannot reach the Kubernetes API; trying for 120 s to put all back"
    assert said[1:4] == [away] * 3
    assert (slept, json.dumps(api.state())) == ([5.0] * 3, before)


@pytest.mark.parametrize("at", range(1, 12))
def test_an_api_server_that_is_away_at_any_request_leaves_the_way_back(tmp_path: Path, at: int) -> None:
    api = Away(at, 99)
    before = json.dumps(api.state())
    switch = replace(switcher(api, tmp_path), limit_s=0)
    with pytest.raises(ApiError):
        switch.to(Mode.NFTABLES)
    if (tmp_path / FILE).exists() and read_undo((tmp_path / FILE).read_text(), "f").changes:
        with pytest.raises(ApiError):
            switch.put_back()
    api.times = 0
    switch.put_back()
    assert json.dumps(api.state()) == before


def test_an_operator_who_edits_between_two_switches_is_not_overwritten(tmp_path: Path) -> None:
    """Neither by the second switch nor by the way back: what they wrote never counts as ours."""
    api = Api()
    switch = switcher(api, tmp_path)
    switch.to(Mode.NFTABLES)
    theirs = written(api.objects[CONFIG_MAP], CONFIG, "mode: nftables\nbindAddress: 192.0.2.7\n")
    api.objects[CONFIG_MAP] = theirs
    with pytest.raises(UsageError) as caught:
        switch.to(Mode.IPVS)
    assert str(caught.value) == (
        "configmaps/kube-proxy data.config.conf was edited by somebody else meanwhile; nothing of it was overwritten"
    )
    with pytest.raises(RunError, match=r"^edited by somebody else since, and left as it is: configmaps/kube-proxy"):
        switch.put_back()
    assert api.objects[CONFIG_MAP] == theirs


def test_an_operator_who_takes_another_image_meanwhile_keeps_it(tmp_path: Path) -> None:
    api = Api()
    switch = switcher(api, tmp_path)
    switch.to(Mode.IPVS, IMAGE_OF_BEFORE)
    theirs = written(api.objects[DAEMON_SET], IMAGE, "theirs:v1")
    api.objects[DAEMON_SET] = theirs
    with pytest.raises(RunError) as caught:
        switch.put_back()
    what = "daemonsets/kube-proxy spec.template.spec.containers.kube-proxy.image"
    assert str(caught.value).startswith(f"edited by somebody else since, and left as it is: {what} (start kube-proxy")
    assert read(api.objects[DAEMON_SET], IMAGE) == "theirs:v1"
    assert api.mode() == ""


def test_what_an_operator_edits_after_all_was_put_back_is_what_the_next_switch_goes_back_to(tmp_path: Path) -> None:
    """A run that is resumed writes on in its log; what lies before "done" is no longer what was there first."""
    api = Api()
    switch = switcher(api, tmp_path)
    switch.to(Mode.NFTABLES)
    switch.put_back()
    theirs = written(api.objects[CONFIG_MAP], CONFIG, "mode: ipvs\nbindAddress: 192.0.2.7\n")
    api.objects[CONFIG_MAP] = copy.deepcopy(theirs)
    again = switcher(api, tmp_path)
    again.to(Mode.NFTABLES)
    again.put_back()
    assert api.objects[CONFIG_MAP] == theirs


class Racing(Api):
    """Somebody writes the ConfigMap between our reading and our writing, which the API server refuses then."""

    def ask(self, method: str, path: str, body: Object | None = None) -> Object:
        if method == "PUT" and path == CONFIG_MAP:
            self.objects[CONFIG_MAP] = written(self.objects[CONFIG_MAP], CONFIG, "mode: ipvs  # theirs\n")
            raise ApiError("conflict", 409)
        return super().ask(method, path, body)


def test_an_operator_who_is_faster_wins(tmp_path: Path) -> None:
    api = Racing()
    switch = switcher(api, tmp_path)
    with pytest.raises(UsageError, match=r"was edited by somebody else meanwhile; nothing of it was overwritten$"):
        switch.to(Mode.NFTABLES)
    with pytest.raises(RunError, match=r"^edited by somebody else since"):
        switch.put_back()
    assert read(api.objects[CONFIG_MAP], CONFIG) == "mode: ipvs  # theirs\n"
    assert api.writes == 0


def test_ssh_that_is_cut_while_modes_are_awaited_ends_the_switch_and_leaves_the_way_back(tmp_path: Path) -> None:
    api = Api()
    before = copy.deepcopy(api.state())
    looks = 0

    def modes() -> dict[str, str]:
        nonlocal looks
        looks += 1
        if looks > 1:
            raise ConnectionLostError("n1: the connection broke")
        return {"n1": ""}

    switch = replace(switcher(api, tmp_path), modes=modes)
    with pytest.raises(ConnectionLostError, match=r"^n1: the connection broke$"):
        switch.to(Mode.NFTABLES)
    assert api.mode() == "nftables"
    switch.put_back()
    assert api.state() == before


NODES = ("n1", "n2")


def ask(fleet: Fleet) -> dict[str, str]:
    return {name: fleet[name].run(["mode"]).stdout for name in fleet}


def test_modes_are_asked_over_new_connections_when_one_has_broken() -> None:
    broken = FakeExecutor("n1", [Run(["mode"], ConnectionLostError("n1: broke"))])
    new = FakeExecutor("n1", [Run(["mode"], done("ipvs")), Run(["mode"], done("nftables"))])
    first = Fleet({"n1": broken})
    modes = Modes(first, ask, lambda: Reached(Fleet({"n1": new}), {"n9": "n9: never was there"}))
    assert (modes(), modes()) == ({"n1": "ipvs"}, {"n1": "nftables"})
    modes.close()
    assert (broken.closed, new.closed) == (False, True)


def test_no_node_without_which_a_run_goes_on_is_asked_for_its_mode_over_new_connections() -> None:
    broken = FakeExecutor("n1", [Run(["mode"], ConnectionLostError("n1: broke"))])
    left_out, new = FakeExecutor("n2"), FakeExecutor("n1", [Run(["mode"], done("ipvs"))])
    modes = Modes(Fleet({"n1": broken}), ask, lambda: Reached(Fleet({"n1": new, "n2": left_out}), {}))
    assert modes() == {"n1": "ipvs"}
    assert left_out.closed


def test_a_node_that_is_lost_for_good_is_named() -> None:
    broken = FakeExecutor("n1", [Run(["mode"], ConnectionLostError("n1: broke"))])
    modes = Modes(Fleet({"n1": broken}), ask, lambda: Reached(Fleet({}), {"n1": "n1: no route to host"}))
    with pytest.raises(ConnectionLostError, match=r"^n1: no route to host$"):
        modes()


def test_no_mode_is_told_until_a_lost_node_is_back() -> None:
    """A fleet without it would say that all nodes run in a mode, and it would be asked never again."""
    broken = FakeExecutor("n1", [Run(["mode"], ConnectionLostError("n1: broke"))])
    alone = [FakeExecutor("n1"), FakeExecutor("n1")]
    back = {name: FakeExecutor(name, [Run(["mode"], done(said)) for said in ("ipvs", "nftables")]) for name in NODES}
    lost = {"n2": "n2: no route to host"}
    reached = [*(Reached(Fleet({"n1": one}), lost) for one in alone), Reached(Fleet(back), {})]
    modes = Modes(Fleet({"n1": broken, "n2": FakeExecutor("n2")}), ask, lambda: reached.pop(0))
    for _ in alone:
        with pytest.raises(ConnectionLostError, match=r"^n2: no route to host$"):
            modes()
    assert (modes(), modes()) == (dict.fromkeys(NODES, "ipvs"), dict.fromkeys(NODES, "nftables"))
    assert ([one.closed for one in alone], reached) == ([True, True], [])


class OneNodeDead(Api):
    """One of three nodes dies as soon as something is rolled out: that never ends."""

    def rollout(self) -> Object:
        return {"updatedNumberScheduled": 2, "desiredNumberScheduled": 3} if self.writes > 1 else {}


def test_a_node_that_is_lost_for_good_keeps_nothing_from_being_put_back(tmp_path: Path) -> None:
    api = OneNodeDead()
    before = copy.deepcopy(api.state())
    switch = replace(switcher(api, tmp_path), limit_s=0)
    ended = "kube-proxy's rollout did not end within 0 s: 2 of 3 pods are new, 0 ready"
    with pytest.raises(RunError, match=f"^{ended}$"):
        switch.to(Mode.NFTABLES)
    with pytest.raises(RunError) as caught:
        switch.put_back()
    assert str(caught.value) == (
        "put back: configmaps/kube-proxy data.config.conf; "
        f"put back: daemonsets/kube-proxy spec.template.metadata.annotations.proxybench.io/switched; but {ended}"
    )
    assert api.state() == before
    assert restore(DaemonSetWay(api), tmp_path / FILE) == (f"{tmp_path / FILE}: all is back already",)


def test_a_unit_s_host_that_is_lost_in_a_switch_is_told_and_the_others_are_put_back(tmp_path: Path) -> None:
    hosts = Hosts(tmp_path / "hosts")
    before = hosts.state()
    switch = hosts.switcher(tmp_path)
    switch.to(Mode.NFTABLES)
    hosts["n2"].lost = True
    with pytest.raises(RunError, match=r"^not reached: n2:.*real\.yaml \(n2 was not reached\); run proxybench restore"):
        switch.put_back()
    assert hosts["n1"].state() == before["n1"]
    hosts["n2"].lost = False
    restore(hosts.way(), tmp_path / FILE, 5, lambda _: None)
    assert hosts.state() == before
