from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from proxybench.conformance.registry import PROPERTIES, chosen
from proxybench.conformance.verdict import Outcome, Verdict
from proxybench.errors import UsageError
from proxybench.kube.base import Ref
from proxybench.kube.objects import AddressPlan
from proxybench.model import Mode, Subject

from .evidence import CASES, result

if TYPE_CHECKING:
    from proxybench.conformance.property import Property

PLAN = AddressPlan("10.96.0.0/12", (("node1", "10.244.0.0/17"), ("node2", "10.244.128.0/17")), 8080, "198.19.0.0/16")
BY_NAME = {one.name: one for one in PROPERTIES}


def subject(mode: Mode, kind: str = "kube-proxy", version: str = "v1.37.2") -> Subject:
    return Subject(kind, version, mode)


def test_every_property_has_a_case_that_breaks_it() -> None:
    assert set(CASES) == set(BY_NAME)
    assert len(BY_NAME) == len(PROPERTIES)
    assert all(case.broken for case in CASES.values())


@pytest.mark.parametrize("name", CASES)
def test_a_property_that_holds_passes_and_says_what_was_seen(name: str) -> None:
    case = CASES[name]
    assert BY_NAME[name].judge(case.holds, subject(case.mode)) == Verdict(Outcome.PASS, case.how)


@pytest.mark.parametrize(("name", "fault"), [(name, fault) for name, case in CASES.items() for fault in case.broken])
def test_each_way_to_break_it_is_caught(name: str, fault: str) -> None:
    case = CASES[name]
    assert BY_NAME[name].judge(case.broken[fault], subject(case.mode)) == Verdict(Outcome.FAIL, fault)


def test_a_port_that_no_rule_is_for_may_lead_anywhere_in_iptables_mode_and_must_be_refused_in_others() -> None:
    judge = BY_NAME["undefined-port"].judge
    silence = result(timeouts=2)
    outcomes = {mode: judge(silence, subject(mode)).outcome for mode in Mode}
    assert outcomes == {
        Mode.IPTABLES: Outcome.PASS,
        Mode.USERSPACE: Outcome.PASS,
        Mode.IPVS: Outcome.FAIL,
        Mode.NFTABLES: Outcome.FAIL,
    }


def test_ipvs_answers_pings_until_1_27() -> None:
    judge, silence = BY_NAME["ping"].judge, CASES["ping"].holds
    for who in (subject(Mode.IPVS, version="v1.26.15"), subject(Mode.IPVS, "reference", "0.1.0")):
        assert judge(silence, who) == Verdict(Outcome.FAIL, "it must answer; n = 3: 0 replies")
    assert judge(silence, subject(Mode.IPVS, version="v1.27.0")).outcome == Outcome.PASS


def test_ipvs_itself_refuses_where_nothing_is_local() -> None:
    ipvs = subject(Mode.IPVS)
    assert BY_NAME["local-drop"].judge(result(ECONNREFUSED=2), ipvs) == Verdict(
        Outcome.NOT_APPLICABLE,
        "2 ended at once and not by a time-out; n = 2: 2 refused: IPVS itself refuses where a virtual server has no "
        "real one",
    )
    assert BY_NAME["local-drop"].judge(result(("10.244.0.1", 1), ECONNREFUSED=1), ipvs).outcome == Outcome.FAIL


@pytest.mark.parametrize(
    ("name", "who", "why"),
    [
        (
            "no-endpoints",
            subject(Mode.USERSPACE),
            "a userspace relay accepts a connection before it looks for an endpoint",
        ),
        (
            "local-client-address",
            subject(Mode.USERSPACE),
            "a userspace relay's own address is all that an endpoint can see",
        ),
        (
            "udp-follows",
            subject(Mode.USERSPACE),
            "a userspace relay keeps a flow's endpoint until the flow is idle",
        ),
        ("terminating-fallback", subject(Mode.IPTABLES, version="v1.25.16"), "kube-proxy has it from 1.26 on"),
        ("terminating-fallback", subject(Mode.IPTABLES, version="v1.26.0"), ""),
        ("terminating-fallback", subject(Mode.IPTABLES, "reference", "0.1.0"), ""),
    ],
)
def test_what_a_subject_is_documented_to_do_otherwise_does_not_apply_to_it(name: str, who: Subject, why: str) -> None:
    assert BY_NAME[name].exempt(who) == why


def test_what_the_reference_refuses_by_name_is_not_supported_and_for_kube_proxy_nothing_is() -> None:
    userspace = {
        "local-drop": "the reference proxier's userspace mode takes Local for Cluster, and its log says so",
        "source-ranges": (
            "the reference proxier's userspace mode serves addresses with source ranges to nobody, and its log says so"
        ),
    }
    health = {"health-check-node-port": "the reference proxier serves no health checks, and its log says so"}
    for mode in Mode:
        found = {one.name: why for one in PROPERTIES if (why := one.unsupported(subject(mode, "reference", "0.1.0")))}
        assert found == (userspace | health if mode is Mode.USERSPACE else health)
        assert not any(one.unsupported(subject(mode)) for one in PROPERTIES)


def test_no_two_properties_write_the_same_object_in_two_ways() -> None:
    made: dict[Ref, Any] = {}
    vips: dict[str, str] = {}
    for one in PROPERTIES:
        for obj in one.objects(PLAN):
            assert made.setdefault(Ref.of(obj), obj) == obj
            if obj["kind"] == "Service" and obj["spec"]["clusterIP"] != "None":
                assert vips.setdefault(obj["spec"]["clusterIP"], obj["metadata"]["name"]) == obj["metadata"]["name"]
    assert len(vips) == 14
    endpoints = [
        address
        for obj in made.values()
        if obj["kind"] == "EndpointSlice"
        for endpoint in obj["endpoints"] or ()
        for address in endpoint["addresses"]
    ]
    assert len(set(endpoints)) == len(endpoints) == 28


def test_properties_are_chosen_by_name_in_their_own_order() -> None:
    assert chosen(()) == PROPERTIES
    picked: tuple[Property[Any], ...] = chosen(("hairpin", "vip-answers"))
    assert [one.name for one in picked] == ["vip-answers", "hairpin"]
    with pytest.raises(UsageError) as caught:
        chosen(("vip",))
    assert str(caught.value) == f"vip is no property of conformance; there are {', '.join(CASES)}"
