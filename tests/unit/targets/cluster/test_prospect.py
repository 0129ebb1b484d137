"""Whether kube-proxy could be switched, of an API that was told what it will be asked."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from proxybench.hosts.fleet import Fleet, Reached
from proxybench.model import Mode
from proxybench.targets.cluster.prospect import refusals
from proxybench.targets.cluster.switch.unit import SHOW
from proxybench.testing.hosts import FakeExecutor, Run, done
from tests.unit.targets.cluster.test_dry_run import (
    ASKED_FOR_A_PLAN,
    CONFIG_MAP,
    DAEMON_SET,
    IMAGE,
    K3S,
    LOOKED,
    SELECTOR,
    TEMPLATE,
    a_plan,
    cluster,
    items,
    looked,
    make_target,
)

if TYPE_CHECKING:
    from pathlib import Path

TO_IPVS, OTHER_IMAGE = (Mode.IPVS, ""), (Mode.IPTABLES, IMAGE)


def test_each_switch_is_planned_and_nothing_is_written(tmp_path: Path) -> None:
    with cluster(tmp_path, [*looked(), *a_plan("ipvs", ""), *a_plan("iptables", "", IMAGE)]) as (target, asked):
        assert refusals(target, [TO_IPVS, OTHER_IMAGE]) == {TO_IPVS: "", OTHER_IMAGE: ""}
    assert asked == [*LOOKED, *ASKED_FOR_A_PLAN, *ASKED_FOR_A_PLAN]


def test_why_it_cannot_be_switched_is_told(tmp_path: Path) -> None:
    with cluster(tmp_path, [items(), items(), items(K3S)] * 2) as (target, _):
        found = refusals(target, [TO_IPVS])
    assert found == {
        TO_IPVS: "kube-proxy cannot be switched: k3s runs kube-proxy inside its own process "
        "(--kube-proxy-arg of the k3s server): it is observed only"
    }
    spec = {"selector": SELECTOR, "template": TEMPLATE, "updateStrategy": {"type": "OnDelete"}}
    by_hand = {**DAEMON_SET, "spec": spec}
    with cluster(tmp_path, [items(by_hand), items(CONFIG_MAP), items()] * 2) as (target, _):
        assert "OnDelete" in refusals(target, [TO_IPVS])[TO_IPVS]


def test_of_a_unit_its_hosts_are_asked(tmp_path: Path) -> None:
    none = FakeExecutor("worker-1", [Run(SHOW, done("LoadState=not-found\n"))])
    with cluster(tmp_path, [items(), items(), items()]) as (target, _):
        reached = replace(target, hosts=lambda _: Reached(Fleet({"worker-1": none}), {}))
        found = refusals(reached, [TO_IPVS, OTHER_IMAGE])
    assert found == {
        TO_IPVS: "kube-proxy cannot be switched: worker-1: no systemd unit kube-proxy is loaded there: it is observed "
        "only",
        OTHER_IMAGE: f"kube-proxy runs as a systemd unit here, which has no image; leave out image: {IMAGE}",
    }


def test_what_is_not_known_is_no_yes(tmp_path: Path) -> None:
    lacking = refusals(make_target(tmp_path, None, kubeconfig="/none"), [TO_IPVS, OTHER_IMAGE])
    assert set(lacking.values()) == {
        "whether kube-proxy can be switched is not known: /none:1:1: cannot be read: No such file or directory"
    }
    with cluster(tmp_path, [(401, {}, b"{}")]) as (target, _):
        (why,) = refusals(target, [TO_IPVS]).values()
    assert why.startswith("whether kube-proxy can be switched is not known: ")


def test_without_a_switch_nobody_is_asked(tmp_path: Path) -> None:
    with cluster(tmp_path, []) as (target, asked):
        assert (refusals(target, []), asked) == ({}, [])
