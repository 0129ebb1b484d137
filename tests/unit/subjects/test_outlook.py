from __future__ import annotations

from typing import TYPE_CHECKING

from proxybench.experiment.subjects import Backend
from proxybench.model import Mode
from proxybench.releases.prospect import Prospect, Way
from proxybench.subjects.driver import Capability
from proxybench.subjects.node_checks import ABLE
from proxybench.subjects.outlook import Candidate, Row, fitting, table
from tests.unit.subjects.rig import make_spec

if TYPE_CHECKING:
    from proxybench.subjects.outlook import Need

LEGACY: Need = (Mode.IPTABLES, Backend.LEGACY)
NFT: Need = (Mode.NFTABLES, None)
NO_KERNEL = Capability(supported=False, reason="no nf_tables", fix="a newer kernel")
CACHED = Prospect(Way.CACHED, "v1.37.2")


def test_each_subject_on_each_kind_of_node() -> None:
    two = [
        Candidate(make_spec(), CACHED),
        Candidate(make_spec(mode=Mode.NFTABLES, iptables=None), CACHED, required=False),
    ]
    nodes = {"netns": {LEGACY: ABLE, NFT: NO_KERNEL}, "vm 6.1": {LEGACY: ABLE, NFT: ABLE}}
    tables, nft = "kube-proxy v1.37.2 iptables", "kube-proxy v1.37.2 nftables"
    assert table(two, nodes) == (
        Row(tables, "netns", supported=True, required=True, binary="cached"),
        Row(tables, "vm 6.1", supported=True, required=True, binary="cached"),
        Row(nft, "netns", supported=False, required=False, binary="cached", reason=NO_KERNEL.reason, fix=NO_KERNEL.fix),
        Row(nft, "vm 6.1", supported=True, required=False, binary="cached"),
    )


def one(candidate: Candidate, able: Capability = ABLE) -> Row:
    (row,) = table([candidate], {"netns": {candidate.need: able}})
    return row


def test_all_that_is_lacking_is_said_at_once() -> None:
    prospect = Prospect(Way.NONE, "v1.37.2", "no Go", "install Go")
    row = one(Candidate(make_spec(mode=Mode.USERSPACE), prospect), NO_KERNEL)
    removed = "kube-proxy v1.37.2 has no userspace mode: userspace was removed in 1.26"
    assert (row.supported, row.binary) == (False, "none")
    assert row.reason == f"no Go; {removed}; no nf_tables"
    assert row.fix == "install Go; use 1.25 or older; a newer kernel"


def test_what_is_to_be_known_of_a_mode_is_said_only_where_it_runs() -> None:
    candidate = Candidate(make_spec(mode=Mode.IPVS), CACHED)
    assert (one(candidate).reason, one(candidate).fix) == ("ipvs is deprecated from 1.35", "")
    assert one(candidate, NO_KERNEL).reason == "no nf_tables"


def test_a_file_has_the_version_that_it_says() -> None:
    row = one(Candidate(make_spec("", Mode.NFTABLES, iptables=None), Prospect(Way.FILE, "v1.28.9")))
    assert (row.subject, row.supported) == ("kube-proxy v1.28.9 nftables", False)
    assert row.reason == "kube-proxy v1.28.9 has no nftables mode: nftables came in 1.29"


def test_a_version_that_is_not_known_is_not_judged() -> None:
    row = one(Candidate(make_spec("", Mode.USERSPACE), Prospect(Way.NONE, "", "x: cannot be read: No such file", "y")))
    assert (row.subject, row.reason) == ("kube-proxy userspace", "x: cannot be read: No such file")


def test_other_kinds_have_versions_of_their_own() -> None:
    row = one(Candidate(make_spec("0.1.0", Mode.USERSPACE, "reference"), Prospect(Way.INCLUDED, "0.1.0")))
    assert row == Row("reference 0.1.0 userspace", "netns", supported=True, required=True, binary="part of proxybench")


def row(node: str, *, supported: bool, required: bool) -> Row:
    return Row("x", node, supported, required, "cached")


def test_an_experiment_fits_where_all_that_it_requires_can_run_and_something_can() -> None:
    assert fitting(()) == ()
    assert fitting([row("a", supported=True, required=True), row("a", supported=False, required=False)]) == ("a",)
    assert fitting([row("a", supported=True, required=True), row("a", supported=False, required=True)]) == ()
    assert fitting([row("a", supported=False, required=False), row("b", supported=True, required=False)]) == ("b",)
