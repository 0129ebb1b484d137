from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxybench.nodes.kernel.state import KernelState, Thing, added, changed, diff

CHAINS = tuple(Thing("iptables-legacy nat", "chain", f"KUBE-SVC-{number:03d}") for number in range(304))
JUMPS = tuple(Thing("iptables-legacy nat", "jump", f"-A {chain} -j KUBE-X") for chain in ("OUTPUT", "PREROUTING"))


def state(*things: Thing, **fields: object) -> KernelState:
    return KernelState(tuple(sorted(things)), **fields)  # type: ignore[arg-type] # the tests name fields


def test_nothing_is_left() -> None:
    held = state(*CHAINS, sysctls=(("net.ipv4.ip_forward", "1"),))
    assert diff(held, held) == ()
    assert diff(KernelState(), KernelState(tracked=7)) == ()
    assert KernelState() == KernelState(tracked=7)


def test_many_things_are_counted() -> None:
    after = state(*CHAINS, *JUMPS, rules=(("iptables-legacy nat", 1805),))
    words = "304 chains (KUBE-SVC-000 …), 1,805 rules, 2 jumps from OUTPUT and PREROUTING"
    assert diff(state(), after) == (f"iptables-legacy nat: {words}",)


def test_few_things_are_named() -> None:
    after = state(
        Thing("iptables-nft nat", "chain", "KUBE-X"),
        Thing("ipset", "set", "KUBE-A"),
        Thing("ipset", "set", "KUBE-B"),
        Thing("nft", "table", "ip kube-proxy"),
        Thing("links", "link", "kube-ipvs0"),
        Thing("link kube-ipvs0", "address", "10.96.0.1/32"),
        Thing("link kube-ipvs0", "address", "fd00:96::1/128"),
        rules=(("iptables-nft nat", 1),),
    )
    assert diff(state(), after) == (
        "ipset: sets KUBE-A KUBE-B",
        "iptables-nft nat: chain KUBE-X, 1 rule",
        "link kube-ipvs0: addresses 10.96.0.1/32 fd00:96::1/128",
        "links: link kube-ipvs0",
        "nft: table ip kube-proxy",
    )


def test_what_was_there_before_is_not_left() -> None:
    before = state(*CHAINS[:300], JUMPS[0], rules=(("iptables-legacy nat", 800),))
    after = state(*CHAINS, JUMPS[0], JUMPS[0], rules=(("iptables-legacy nat", 805),))
    words = "4 chains (KUBE-SVC-300 …), 5 rules, 1 jump from OUTPUT"
    assert diff(before, after) == (f"iptables-legacy nat: {words}",)
    assert added(before, after) == (*CHAINS[300:], JUMPS[0])


def test_what_is_gone_is_named_too() -> None:
    assert diff(state(*CHAINS), state()) == ("gone: iptables-legacy nat: 304 chains (KUBE-SVC-000 …)",)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({"net.ipv4.ip_forward": "0"}, {"net.ipv4.ip_forward": "1"}, {"net.ipv4.ip_forward": ("0", "1")}),
        ({"net.ipv4.ip_forward": "0"}, {}, {}),
        ({}, {"net.ipv4.vs.conntrack": "1"}, {"net.ipv4.vs.conntrack": ("0", "1")}),
        ({}, {"net.ipv4.vs.conntrack": "0"}, {}),
        ({}, {"net.netfilter.nf_conntrack_max": "262144"}, {}),
    ],
    ids=["changed", "module gone", "module new and changed", "module new", "default unknown"],
)
def test_settings(before: dict[str, str], after: dict[str, str], expected: dict[str, tuple[str, str]]) -> None:
    states = [KernelState(sysctls=tuple(values.items())) for values in (before, after)]
    assert changed(*states) == expected
    lines = tuple(f"sysctl {name}: {was} became {value}" for name, (was, value) in expected.items())
    assert diff(*states) == lines


THINGS = st.lists(
    st.builds(Thing, st.sampled_from(["a", "b"]), st.sampled_from(["chain", "set"]), st.sampled_from("xyz"))
)


@given(THINGS, THINGS)
def test_what_came_and_went_makes_one_of_the_other(before: list[Thing], after: list[Thing]) -> None:
    old, new = state(*before), state(*after)
    rest = list(old.things)
    for thing in added(new, old):
        rest.remove(thing)
    assert sorted([*rest, *added(old, new)]) == list(new.things)
    assert (diff(old, new) == ()) == (old.things == new.things)
