from __future__ import annotations

from typing import Any

import pytest

from proxybench.experiment.requests import requests
from proxybench.experiment.spec import Experiment
from proxybench.subjects.outlook import Row
from proxybench.targets.cluster.checkup import Row as Host
from proxybench.targets.cluster.outlook import able, outlook, switches

IMAGE = "registry.k8s.io/kube-proxy:v1.36.3"
FINE = {"iptables": "", "nftables": "", "ipvs": ""}
ONE = Host("n1", ("client", "measured"), "", "", "", FINE, "iptables")
TWO = Host("n2", ("other", "backend"), "", "", "", FINE, "iptables")
DEAD = Host("n3", ("other",), "the host key is not known", "add it")


def rows(hosts: list[Host], *subjects: dict[str, Any], why: str = "") -> tuple[Row, ...]:
    experiment = Experiment.model_validate(
        {
            "version": 1,
            "name": "e",
            "target": {"cluster": {"inventory": "n.yaml"}},
            "subjects": [{"kind": "cluster", **words} for words in subjects],
            "scale": {"services": [10]},
            "measure": {"sync": True},
        }
    )
    specs = requests(experiment)
    return outlook(specs, hosts, dict.fromkeys(switches(specs, hosts), why))


def can(subject: str, binary: str = "the cluster's", reason: str = "", fix: str = "") -> Row:
    return Row(subject, "your cluster", supported=True, required=False, binary=binary, reason=reason, fix=fix)


def test_the_mode_in_which_it_runs_can_be_measured_and_others_are_switched_to() -> None:
    found = rows([ONE, TWO, DEAD], {"modes": ["iptables", "ipvs", "userspace"]}, {"mode": "iptables", "image": IMAGE})
    userspace = (
        "its userspace mode is not measured, since it counts no syncs and reads Endpoints, which the cluster's own"
        " controllers write; the lab measures it, with kind: kube-proxy"
    )
    assert found[:2] == (
        can("cluster iptables"),
        can("cluster ipvs", reason="kube-proxy runs in iptables mode now", fix="run --allow-switch"),
    )
    assert (found[2].supported, found[2].reason, found[2].fix) == (False, userspace, "")
    assert found[3] == can(
        f"cluster v1.36.3 iptables (image={IMAGE})", IMAGE, f"it would run from {IMAGE}", "run --allow-switch"
    )
    assert able([ONE, TWO, DEAD], found)
    assert not able([ONE, TWO, DEAD], found[2:3])


def test_what_a_mode_lacks_counts_where_it_would_be_switched_to() -> None:
    text = "no nft there: install nftables"
    lacking = [Host(f"m{number}", ("other",), "", "", "", {"nftables": text}, "iptables") for number in range(5)]
    (found,) = rows([ONE, *lacking], {"mode": "nftables"})
    assert (found.supported, found.reason, found.fix) == (False, f"m0, m1, m2 and 2 more: {text}", "")
    bare = Host("n1", ("client", "measured"), "", "", "", {"iptables": "no iptables there: install it"}, "iptables")
    assert rows([bare], {"mode": "iptables"}) == (can("cluster iptables"),)


@pytest.mark.parametrize("lacks", [ONE, TWO])
def test_a_host_that_is_needed_must_be_mended_first(lacks: Host) -> None:
    broken = Host(lacks.node, lacks.roles, "no Python 3 there", "install python3", "", FINE, lacks.mode)
    hosts = [broken, ONE if lacks is TWO else TWO]
    found = rows(hosts, {"mode": "iptables"})
    assert [(one.supported, one.reason, one.fix) for one in found] == [
        (False, f"{lacks.node} must be mended first", "")
    ]
    assert not able(hosts, found)


def test_a_switch_that_cannot_be_is_promised_to_nobody() -> None:
    why = "kube-proxy cannot be switched: its DaemonSet has updateStrategy OnDelete: it is observed only"
    found = rows([ONE, TWO], {"modes": ["iptables", "ipvs"]}, {"mode": "iptables", "image": IMAGE}, why=why)
    assert found[0] == can("cluster iptables")
    assert [(one.supported, one.reason, one.fix) for one in found[1:]] == [(False, why, "")] * 2
