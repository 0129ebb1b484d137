from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from proxybench.errors import ResultsError
from proxybench.model import Cell, ClockKind, Family, LabKind, Mode, Subject
from proxybench.results.manifest import (
    Conformance,
    Fingerprint,
    LabFacts,
    Manifest,
    NodeFacts,
    NotMeasured,
    Step,
    SubjectFacts,
    manifest_from_dict,
    manifest_to_dict,
)
from proxybench.testing.model import make_cell

if TYPE_CHECKING:
    from collections.abc import Callable

REAL = Subject("kube-proxy", "v1.37.2", Mode.IPVS, (("iptables", "nft"),))
NODE = NodeFacts(
    "6.1.192",
    "QEMU",
    1,
    2**31,
    sysctls={"net.ipv4.ip_forward": "1"},
    iptables={"nft": "1.8.9"},
    nft_version="1.0.6",
)
FULL = Manifest(
    run="20261123T083000Z-abc123",
    name="quickstart",
    created="2026-11-23T08:30:00Z",
    finished="2026-11-23T08:34:00Z",
    state="incomplete",
    command=("proxybench", "run", "experiments/quickstart.yaml"),
    proxybench="0.1.0",
    experiment={"version": 1, "modes": ["iptables", "ipvs"]},
    matrix=(
        Step(0, 0, make_cell(), "done", 12.5),
        Step(
            1,
            0,
            Cell(REAL, 10, 2, Family.IPV6),
            "failed",
            1.0,
            "the VIP did not answer",
            ("left on node-1, and removed: sysctl a: 0 became 1",),
        ),
    ),
    lab=LabFacts(
        LabKind.VM,
        ClockKind.INSTRUCTIONS,
        "tcg",
        "no ip_vs in this kernel",
        None,
        exclusive=True,
        starts_proxies=True,
    ),
    subjects=(
        SubjectFacts(make_cell().subject, 1.0, 30.0, "part of proxybench 0.1.0"),
        SubjectFacts(REAL, 0.5, 30.0, "sha256:5f", "logs/kube-proxy-v1.37.2-ipvs.yaml", "/sys/fs/cgroup/x/proxy"),
    ),
    proxy_nodes=("node-1",),
    methods={"sync.build": 2},
    fingerprint=Fingerprint({"cpus": 2}, {"node-1": NODE}),
    not_measured=(NotMeasured(Mode.NFTABLES, None, "needs kube-proxy 1.29"),),
    conformance=(Conformance(Mode.IPVS, 10, "VIP answers", passed=False, detail="timed out"),),
)


def test_a_full_manifest_survives_the_round_trip() -> None:
    data = manifest_to_dict(FULL)
    assert data["schema"] == 2
    assert data["matrix"][1] == {
        "index": 1,
        "repetition": 0,
        "cell": {
            "subject": {"kind": "kube-proxy", "version": "v1.37.2", "mode": "ipvs", "settings": [["iptables", "nft"]]},
            "services": 10,
            "endpoints_per_service": 2,
            "family": "ipv6",
            "profile": "",
        },
        "state": "failed",
        "seconds": 1.0,
        "problem": "the VIP did not answer",
        "notes": ["left on node-1, and removed: sysctl a: 0 became 1"],
        "clock": None,
    }
    assert manifest_from_dict(data, "m") == FULL


def test_what_an_older_program_did_not_say_is_not_known() -> None:
    data = manifest_to_dict(FULL)
    for name in ("exclusive", "starts_proxies"):
        del data["lab"][name]
    del data["fingerprint"]["nodes"]["node-1"]["real_time"]
    for subject in data["subjects"]:
        del subject["cgroup"], subject["no_cpu"]
    older = manifest_from_dict(data, "m")
    assert (older.lab.exclusive, older.lab.starts_proxies) == (None, None)
    assert [(subject.cgroup, subject.no_cpu) for subject in older.subjects] == [(None, "")] * 2
    assert older.fingerprint.nodes["node-1"].real_time is None


def test_unknown_keys_are_ignored(manifest: Callable[..., dict[str, Any]]) -> None:
    assert manifest_from_dict(manifest(weather="rain"), "m").name == "quickstart"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"state": "fine"}, "m: state: Input should be 'running', 'complete', 'incomplete' or 'interrupted'"),
        (
            {"lab": {"kind": "moon", "clock": "wall"}},
            "m: lab.kind: Input should be 'netns', 'vm' or 'cluster'",
        ),
        ({"name": None}, "m: name: Input should be a valid string"),
    ],
)
def test_the_first_wrong_key_is_named(
    manifest: Callable[..., dict[str, Any]], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ResultsError) as caught:
        manifest_from_dict(manifest(**changes), "m")
    assert str(caught.value) == message


def test_a_list_is_no_manifest() -> None:
    with pytest.raises(ResultsError) as caught:
        manifest_from_dict([], "m")
    assert str(caught.value) == "m: not a manifest (its top level is no JSON object)"
