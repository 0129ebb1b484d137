from __future__ import annotations

import copy
import json
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxybench.errors import ApiError, ResultsError, RunError, UsageError
from proxybench.model import Mode
from proxybench.targets.cluster.switch.changes import (
    CONFIG,
    CONFIG_MAP,
    DAEMON_SET,
    MARK,
    Change,
    read,
    rolled_out,
    strangers,
    switch_changes,
    written,
)
from proxybench.targets.cluster.switch.daemon_set import DaemonSetWay
from proxybench.targets.cluster.switch.switcher import restore
from proxybench.targets.cluster.switch.undo import FILE, UndoLog, make, read_undo, undo
from tests.unit.targets.cluster.kubeadm_api import ANNOTATIONS, HEADER, Api, Killed, Object, switcher

if TYPE_CHECKING:
    from pathlib import Path


def test_a_switch_and_the_way_back(tmp_path: Path) -> None:
    api = Api()
    before = copy.deepcopy(api.state())
    switch = switcher(api, tmp_path)
    switch.to(Mode.NFTABLES)
    assert api.mode() == "nftables"
    switch.to(Mode.NFTABLES)
    assert api.writes == 2
    switch.to(Mode.IPTABLES)
    switch.put_back()
    assert api.state() == before
    assert restore(DaemonSetWay(api), tmp_path / FILE) == (f"{tmp_path / FILE}: all is back already",)


@given(
    deaths=st.integers(1, 7),
    early=st.booleans(),
    again=st.lists(st.tuples(st.integers(1, 3), st.booleans()), max_size=3),
    notes=st.sampled_from([None, {"a": "b"}]),
    cut=st.integers(0, 200),
)
def test_killed_at_any_moment_it_goes_back_byte_for_byte(
    tmp_path_factory: pytest.TempPathFactory,
    deaths: int,
    early: bool,
    again: list[tuple[int, bool]],
    notes: Object | None,
    cut: int,
) -> None:
    """Killed in a switch, then in the restoring of it, again and again: the last one ends at the original."""
    folder = tmp_path_factory.mktemp("run")
    api = Api(notes)
    before = json.dumps(api.state())
    api.deaths, api.early = deaths, early
    switch = switcher(api, folder)
    with suppress(Killed):
        for mode in (Mode.NFTABLES, Mode.IPVS, Mode.IPTABLES):
            switch.to(mode)
    file = folder / FILE
    if early:  # a disk may have taken a part of the line of what was not begun
        file.write_text(file.read_text() + '{"path": "/x", "field": ["a"]'[: cut % 30])
    for more, before_it in again:
        api.deaths, api.early = more, before_it
        with suppress(Killed):
            restore(DaemonSetWay(api), file, 5, lambda _: None)
    api.deaths = -1
    restore(DaemonSetWay(api), file, 5, lambda _: None)
    assert json.dumps(api.state()) == before


def test_what_somebody_else_has_edited_is_left_alone(tmp_path: Path) -> None:
    api = Api()
    switcher(api, tmp_path).to(Mode.NFTABLES)
    theirs = written(api.objects[CONFIG_MAP], CONFIG, "mode: ipvs  # an operator's\n")
    api.objects[CONFIG_MAP] = theirs
    with pytest.raises(RunError) as caught:
        restore(DaemonSetWay(api), tmp_path / FILE)
    assert str(caught.value) == (
        "edited by somebody else since, and left as it is: configmaps/kube-proxy data.config.conf"
        f" (start kube-proxy anew when it says what you want); see {tmp_path / FILE}; "
        "put back: daemonsets/kube-proxy spec.template.metadata.annotations.proxybench.io/switched"
    )
    assert api.objects[CONFIG_MAP] == theirs
    assert read(api.objects[DAEMON_SET], ANNOTATIONS) is None
    assert not read_undo((tmp_path / FILE).read_text(), "f").done


def test_once_an_edit_is_undone_by_hand_all_is_back_and_the_rollout_that_it_may_take_is_told(tmp_path: Path) -> None:
    api = Api()
    before = copy.deepcopy(api.objects[CONFIG_MAP])
    switcher(api, tmp_path).to(Mode.NFTABLES)
    api.objects[CONFIG_MAP] = written(before, CONFIG, "mode: ipvs  # an operator's\n")
    with pytest.raises(RunError, match="edited by somebody else since"):
        restore(DaemonSetWay(api), tmp_path / FILE)
    api.objects[CONFIG_MAP], writes = before, api.writes
    assert restore(DaemonSetWay(api), tmp_path / FILE) == (
        (
            "all was put back before; where kube-proxy was started in between, it still takes: "
            "kubectl -n kube-system rollout restart ds/kube-proxy"
        ),
    )
    assert restore(DaemonSetWay(api), tmp_path / FILE) == (f"{tmp_path / FILE}: all is back already",)
    assert api.writes == writes


def test_a_rollout_by_hand_during_a_run_is_no_edit_of_what_we_changed(tmp_path: Path) -> None:
    api = Api()
    before = copy.deepcopy(api.objects[CONFIG_MAP])
    switcher(api, tmp_path).to(Mode.NFTABLES)
    restarted = {"kubectl.kubernetes.io/restartedAt": "2026-11-26T09:00:00Z"}
    api.objects[DAEMON_SET]["spec"]["template"]["metadata"]["annotations"] |= restarted
    assert len(restore(DaemonSetWay(api), tmp_path / FILE)) == 2
    assert api.objects[CONFIG_MAP] == before
    assert read(api.objects[DAEMON_SET], ANNOTATIONS) == restarted


def test_where_our_mark_is_gone_the_rollout_that_is_still_needed_is_told(tmp_path: Path) -> None:
    needed = (
        "put back: configmaps/kube-proxy data.config.conf",
        (
            "nothing was rolled out; where kube-proxy was started anew since, it still takes: "
            "kubectl -n kube-system rollout restart ds/kube-proxy"
        ),
    )
    api = Api()
    switcher(api, tmp_path).to(Mode.NFTABLES)
    api.objects[DAEMON_SET] = written(api.objects[DAEMON_SET], MARK, None)
    assert restore(DaemonSetWay(api), tmp_path / FILE) == needed
    switcher(api, tmp_path).to(Mode.NFTABLES)
    api.objects[DAEMON_SET] = written(api.objects[DAEMON_SET], MARK, "theirs")
    with pytest.raises(RunError) as caught:
        restore(DaemonSetWay(api), tmp_path / FILE)
    what = "daemonsets/kube-proxy spec.template.metadata.annotations.proxybench.io/switched"
    hint = "start kube-proxy anew when it says what you want"
    edited = f"edited by somebody else since, and left as it is: {what} ({hint}); see {tmp_path / FILE}"
    assert str(caught.value) == "; ".join([edited, *needed])


def test_an_edit_in_the_middle_of_a_switch_is_not_overwritten(tmp_path: Path) -> None:
    api = Api()
    log = UndoLog(tmp_path / FILE, HEADER)
    with pytest.raises(UsageError) as caught:
        make(DaemonSetWay(api), log, [Change(CONFIG_MAP, CONFIG, "what it was", "what it becomes")])
    assert str(caught.value) == (
        "configmaps/kube-proxy data.config.conf was edited by somebody else meanwhile; nothing of it was overwritten"
    )
    assert api.writes == 0


def test_a_write_between_reading_and_writing_is_read_again(tmp_path: Path) -> None:
    api = Api()
    api.conflicts = 2
    (change, _) = switch_changes(api.objects[CONFIG_MAP], api.objects[DAEMON_SET], Mode.IPVS, "", "mark")
    make(DaemonSetWay(api), UndoLog(tmp_path / FILE, HEADER), [change])
    assert api.mode() == "ipvs"
    api.conflicts = 9
    with pytest.raises(ApiError, match=r"^configmaps/kube-proxy data\.config\.conf: others write it all the time$"):
        undo(DaemonSetWay(api), [change])


def test_the_log_lies_there_before_the_change(tmp_path: Path) -> None:
    api = Api()
    api.deaths, api.early = 1, True
    with pytest.raises(Killed):
        switcher(api, tmp_path).to(Mode.NFTABLES)
    known = read_undo((tmp_path / FILE).read_text(), "f")
    assert (known.header, len(known.changes), known.done) == (HEADER, 1, False)
    assert api.writes == 0
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600


def test_what_is_no_log(tmp_path: Path) -> None:
    assert read_undo("", "f").done
    assert read_undo('{"server": "x"', "f").done  # nothing is changed before the first line is whole
    del tmp_path


HEAD = '{"server": "https://a", "kubeconfig": "k", "context": "c"}'


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[]", "Input should be an object"),
        ("{}", "server: Field required"),
        (HEAD.replace('"k"', "5"), "kubeconfig: Input should be a valid string"),
        (HEAD.replace("}", ', "later": 1}'), "later: Unexpected keyword argument"),
        (f'{HEAD}\n{{"path": 7, "field": [], "before": 1, "after": 2}}', "path: Input should be a valid string"),
        (
            f'{HEAD}\n{{"path": "/a", "field": [{{}}], "before": 1, "after": 2}}',
            "field.0: Input should be a valid string",
        ),
        (f"{HEAD}\nnonsense", "Expecting value: line 1 column 1 (char 0)"),
    ],
)
def test_what_is_no_log_says_where(text: str, why: str) -> None:
    with pytest.raises(ResultsError) as raised:
        read_undo(f"{text}\n", "f")
    assert str(raised.value) == f"f: is no undo log: {why}"


def test_a_rollout_is_over_when_every_node_has_the_newest() -> None:
    done = {"observedGeneration": 2, "desiredNumberScheduled": 3}
    done |= dict.fromkeys(["updatedNumberScheduled", "numberAvailable", "numberReady"], 3)
    whole = {"metadata": {"generation": 2}, "status": done}
    assert rolled_out(whole)
    for lack in (
        {"observedGeneration": 1},
        {"updatedNumberScheduled": 2},
        {"numberReady": 2},
        {"numberMisscheduled": 1},
    ):
        assert not rolled_out({**whole, "status": {**done, **lack}})
    assert rolled_out({"metadata": {}})


def test_whose_services_would_feel_it() -> None:
    specs: dict[tuple[str, str], dict[str, str]] = {
        ("default", "kubernetes"): {"clusterIP": "10.96.0.1"},
        ("proxybench", "svc-00001"): {"clusterIP": "10.96.1.0"},
        ("shop", "web"): {"clusterIP": "10.96.0.7"},
        ("shop", "headless"): {"clusterIP": "None"},
        ("shop", "elsewhere"): {"type": "ExternalName", "externalName": "web.example"},
    }
    services = [{"metadata": {"namespace": space, "name": name}, "spec": spec} for (space, name), spec in specs.items()]
    assert strangers(services, "proxybench") == ("shop/web",)
