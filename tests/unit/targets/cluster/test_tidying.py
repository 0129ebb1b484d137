"""Nodes of a cluster are cleaned of what modes have left there, one by one, and told of in the undo log before."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from proxybench.errors import CommandFailedError, RunError
from proxybench.hosts.fleet import Fleet, Reached
from proxybench.model import Mode
from proxybench.nodes.kernel.capture import Tools
from proxybench.targets.cluster.switch.changes import CONFIG, CONFIG_MAP, TEXT, Change
from proxybench.targets.cluster.switch.daemon_set import DaemonSetWay
from proxybench.targets.cluster.switch.switcher import restore
from proxybench.targets.cluster.switch.tidying import ASK_SYNCED, Tidied, Tidying, leave, modes_of, surely_left
from proxybench.targets.cluster.switch.undo import FILE, read_undo
from proxybench.testing.hosts import FakeExecutor, Run, done
from tests.unit.nodes.kernel.looks import look
from tests.unit.nodes.kernel.test_tidy import CLEAN, LEFT, LINES, removed
from tests.unit.targets.cluster.kubeadm_api import Api, switcher

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

    from proxybench.targets.cluster.switch.tidying import Note

PYTHON = "/usr/bin/python3"
BY = "xtables-legacy-multi iptables-restore -w 30 --noflush"
pytestmark = pytest.mark.usefixtures("known_mark")


def asked(answer: str, code: int = 0, requests: str = "5 5") -> Run:
    answer = f"{answer.rstrip()} {requests}\n" if answer else answer
    return Run([PYTHON, "-c", ASK_SYNCED], done(answer, code=code))


def tools(executor: object) -> Tools:
    del executor
    return Tools(python=PYTHON, exclusive=False)


def tidying(*executors: FakeExecutor, limit_s: float = 5, deaf_s: float = 5, **lost: str) -> Tidying:
    return Tidying(lambda: Reached(Fleet({one.name: one for one in executors}), lost), tools, limit_s, deaf_s)


def test_each_node_is_cleaned_after_its_first_sync_by_the_mode_that_it_runs() -> None:
    first = FakeExecutor(
        "n1",
        [
            asked("", 1),
            asked("ipvs False\n"),
            asked("ipvs True\n"),
            look(iptables=LEFT),
            removed(),
            look(iptables=CLEAN),
        ],
    )
    second = FakeExecutor("n2", [asked("iptables True\n")])
    noted: list[Note] = []
    slept: list[float] = []
    found = tidying(first, second, n3="n3: no route")((Mode.IPTABLES,), noted.append, slept.append)
    assert found == Tidied(
        (f"removed from n1, as iptables left it: {LINES[0]}", "n3 is left as it is: n3: no route"), ()
    )
    assert noted == [{"host": "n1", "leftovers": [LINES[0]], "removed_by": [BY]}]
    assert slept == [1.0, 1.0]
    first.assert_done()
    second.assert_done()
    assert (first.closed, second.closed) == (True, True)


def test_a_node_that_cannot_be_cleaned_stops_no_other() -> None:
    refusing = FakeExecutor("n1", [asked("ipvs True\n"), look(links="Operation not permitted\nfailed 1\n")])
    slow = FakeExecutor("n2", [asked("ipvs False\n")])
    third = FakeExecutor("n3", [asked("ipvs True\n"), look(iptables=LEFT), removed(), look(iptables=CLEAN)])
    found = tidying(refusing, slow, third, limit_s=0)((Mode.IPTABLES,), lambda _: None, lambda _: None)
    assert found == Tidied(
        (f"removed from n3, as iptables left it: {LINES[0]}",),
        (
            "n1 was not cleaned: n1: ip failed: Operation not permitted",
            "n2 was not cleaned: its kube-proxy has written no rules within 0 s of its start",
        ),
    )


def test_a_kube_proxy_that_has_reached_no_api_is_not_waited_for_as_long_as_a_first_sync() -> None:
    deaf = FakeExecutor("n1", [asked("", 1), asked("ipvs False", requests="0 7")])
    slow = FakeExecutor(
        "n2",
        [
            asked("ipvs False", requests="3 7"),
            asked("ipvs False", requests="0 0"),
            asked("ipvs True"),
            look(iptables=CLEAN),
        ],
    )
    found = tidying(deaf, slow, deaf_s=0)((Mode.IPTABLES,), lambda _: None, lambda _: None)
    why = "the API has answered none of its kube-proxy's 7 requests in 0 s; look at its log, and at the way to the API"
    assert found.faults == (f"n1 was not cleaned: {why}",)


def test_a_kube_proxy_in_userspace_mode_counts_no_syncs() -> None:
    host = FakeExecutor("n1", [asked("userspace False\n"), look(iptables=CLEAN)])
    assert tidying(host)((Mode.USERSPACE,), lambda _: None, lambda _: None) == Tidied()


def test_what_would_be_left_is_foreseen_and_nothing_is_changed() -> None:
    host = FakeExecutor("n1", [asked("iptables True\n"), look(iptables=LEFT)])
    dead = FakeExecutor("n2", [asked("iptables True\n"), look(links="no\nfailed 1\n")])
    there = FakeExecutor("n3", [asked("ipvs True\n")])
    assert tidying(host, dead, there).foreseen(Mode.IPVS) == Tidied(
        (f"n1 from iptables to ipvs: unless kube-proxy removes it, by {BY}: {LINES[0]}",),
        ("n2 would not be cleaned: n2: ip failed: no",),
    )
    nothing = FakeExecutor("n1", [asked("iptables True\n"), look(iptables="*nat\n")])
    assert tidying(nothing).foreseen(Mode.IPVS) == Tidied()


def test_modes_are_those_of_configurations_before_and_after() -> None:
    def changed(field: tuple[str, ...], before: object, after: object) -> Change:
        return Change("n1:/f", field, before, after)

    assert modes_of([changed(CONFIG, 'kind: K\nmode: ""\n', "mode: 'ipvs'\n")]) == {Mode.IPTABLES, Mode.IPVS}
    assert modes_of([changed(TEXT, "ipvs:\n  mode: x\n", "mode: nftables  # new\n")]) == {Mode.IPTABLES, Mode.NFTABLES}
    assert modes_of([changed(("spec",), "mode: ipvs\n", None)]) == frozenset()
    assert modes_of([changed(TEXT, "mode: kernelspace\n", "mode: ipvs\n")]) == {Mode.IPVS}
    assert modes_of([changed(TEXT, "mode: ~\n", "mode: &its ipvs\n")]) == {Mode.IPTABLES, Mode.IPVS}
    assert modes_of([changed(TEXT, "mode: [a]\n", "mode: ipvs\n")]) == {Mode.IPVS}


@pytest.mark.parametrize(
    ("old", "new", "stays"),
    [
        ([Mode.IPTABLES], Mode.IPVS, True),
        ([Mode.IPVS, Mode.NFTABLES], Mode.IPTABLES, True),
        ([Mode.IPTABLES, Mode.IPVS], Mode.NFTABLES, False),
        ([Mode.NFTABLES], Mode.IPVS, False),
        ([Mode.IPVS], Mode.IPVS, False),
    ],
)
def test_between_which_modes_kube_proxy_surely_leaves_something(old: list[Mode], new: Mode, stays: bool) -> None:
    assert surely_left(old, new) is stays


class Cleaner:
    """Stands for ``Tidying``: writes down which modes it was told to clean of, and whether a switch had ended then."""

    def __init__(self, api: Api, found: Tidied | None = None) -> None:
        self.api, self.found = api, found or Tidied()
        self.calls: list[tuple[list[Mode], str]] = []

    def __call__(self, old: Collection[Mode], note: Callable[[Note], None], sleep: Callable[[float], None]) -> Tidied:
        sleep(0)
        note({"host": "n1", "leftovers": ["x"], "removed_by": ["y"]})
        self.calls.append((list(old), self.api.mode()))
        return self.found


def test_a_switch_is_followed_by_a_cleaning_and_the_way_back_by_one_of_all_modes_of_the_run(tmp_path: Path) -> None:
    api = Api()
    cleaner = Cleaner(api, Tidied(("removed from n1, as iptables left it: x",)))
    said: list[str] = []
    switch = replace(switcher(api, tmp_path), say=said.append, tidy=cleaner)
    switch.modes = lambda: {"n1": api.mode() or "iptables"}
    switch.to(Mode.IPVS)
    switch.to(Mode.IPVS)
    switch.to(Mode.NFTABLES)
    assert cleaner.calls == [([Mode.IPTABLES], "ipvs"), ([Mode.IPVS], "nftables")]
    switch.put_back()
    assert cleaner.calls[2:] == [([Mode.IPTABLES, Mode.IPVS, Mode.NFTABLES], "")]
    assert said.count("removed from n1, as iptables left it: x") == 3
    log = [json.loads(line) for line in (tmp_path / FILE).read_text().splitlines()]
    assert [one for one in log if "host" in one] == [{"host": "n1", "leftovers": ["x"], "removed_by": ["y"]}] * 3
    assert read_undo((tmp_path / FILE).read_text(), "f").done


def test_a_restore_that_is_repeated_cleans_again(tmp_path: Path) -> None:
    api = Api()
    switch = switcher(api, tmp_path)
    switch.to(Mode.NFTABLES)
    way, file = DaemonSetWay(api), tmp_path / FILE
    cleaner = Cleaner(api, Tidied(("removed: x",), ("n2 was not cleaned: no",)))
    first = restore(way, file, 5, lambda _: None, cleaner)
    assert first[-2:] == ("removed: x", "n2 was not cleaned: no")
    again = (f"{file}: all is back already", "removed: x", "n2 was not cleaned: no")
    assert restore(way, file, 5, lambda _: None, cleaner) == again
    assert cleaner.calls == [([Mode.IPTABLES, Mode.NFTABLES], "")] * 2


def test_who_cannot_clean_after_all_is_back_says_so_and_all_is_back(tmp_path: Path) -> None:
    def broken(*_: object) -> Tidied:
        raise CommandFailedError("n1: no")

    api = Api()
    switcher(api, tmp_path).to(Mode.NFTABLES)
    lines = restore(DaemonSetWay(api), tmp_path / FILE, 5, lambda _: None, broken)
    assert (lines[-1], api.mode()) == ("no node was cleaned: n1: no", "")


@pytest.mark.parametrize("mode", [Mode.IPVS, Mode.NFTABLES])
def test_a_node_that_was_not_cleaned_ends_a_switch_only_where_something_stays_for_sure(
    tmp_path: Path, mode: Mode
) -> None:
    api = Api()
    said: list[str] = []
    switch = replace(
        switcher(api, tmp_path), say=said.append, tidy=Cleaner(api, Tidied((), ("n1 was not cleaned: no",)))
    )
    switch.modes = lambda: {"n1": api.mode() or "iptables"}
    if mode is Mode.IPVS:
        with pytest.raises(RunError) as caught:
            switch.to(mode)
        assert str(caught.value) == "n1 was not cleaned: no; kube-proxy itself leaves what iptables mode made"
    else:
        switch.to(mode)
    assert said[-1] == "n1 was not cleaned: no"


def test_nothing_is_cleaned_where_nothing_was_switched(tmp_path: Path) -> None:
    api = Api()
    api.objects[CONFIG_MAP]["data"]["config.conf"] = "mode: ipvs\n"
    cleaner = Cleaner(api)
    switch = replace(switcher(api, tmp_path), tidy=cleaner)
    switch.to(Mode.IPVS)
    switch.put_back()
    assert cleaner.calls == []
    assert leave((), lambda _: None, lambda _: None) == Tidied()
