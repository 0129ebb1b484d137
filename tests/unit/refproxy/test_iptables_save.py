from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refproxy.errors import ProxierError
from refproxy.iptables_save import (
    Match,
    Option,
    Rule,
    parse_rule,
    split_words,
)
from tests.iptables_dump import parse, write_rule


def test_a_rule_is_read_into_its_parts() -> None:
    rule = parse_rule(
        '-A KUBE-SERVICES ! -s 10.244.0.0/16 -d 10.96.0.1/32 -p tcp -m comment --comment "ns/a:http cluster IP" '
        "-m tcp --dport 80 -j KUBE-MARK-MASQ"
    )
    assert rule == Rule(
        "KUBE-SERVICES",
        (
            Option("--source", ("10.244.0.0/16",), negated=True),
            Option("--destination", ("10.96.0.1/32",)),
            Option("--protocol", ("tcp",)),
        ),
        (
            Match("comment", (Option("--comment", ("ns/a:http cluster IP",)),)),
            Match("tcp", (Option("--dport", ("80",)),)),
        ),
        "KUBE-MARK-MASQ",
        (),
    )
    assert rule.comment == "ns/a:http cluster IP"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("-A C -s 10.0.0.1 -j X", "-A C -s 10.0.0.1/32 -j X"),
        ("-A C -p 6 -j X", "-A C -p tcp -j X"),
        ("-A C -p tcp -m tcp -j X", "-A C -p tcp -j X"),
        ("-A C -m tcp -p tcp --dport 80 -d 10.0.0.1 -j X", "-A C -d 10.0.0.1/32 -p tcp -m tcp --dport 80 -j X"),
        ("-A C -j REJECT", "-A C -j REJECT --reject-with icmp-port-unreachable"),
        ("-A C -j MARK --or-mark 0x4000", "-A C -j MARK --set-xmark 0x4000/0x4000"),
        ("-A C -j MARK --xor-mark 0x4000", "-A C -j MARK --set-xmark 0x4000/0x0"),
        ("-A C -j MARK --and-mark 0xff", "-A C -j MARK --set-xmark 0x0/0xffffff00"),
        ("-A C -j MARK --set-mark 1", "-A C -j MARK --set-xmark 0x1/0xffffffff"),
        ("-A C -m mark --mark 16384/16384 -j X", "-A C -m mark --mark 0x4000/0x4000 -j X"),
        (
            "-A C -m statistic --mode random --probability 0.3333333333 -j X",
            "-A C -m statistic --mode random --probability 0.33333333349 -j X",
        ),
        (
            "-A C -m recent --name N --rcheck --seconds 9 --reap --rsource --mask 255.255.255.255 -j X",
            "-A C -m recent --rcheck --seconds 9 --reap --name N --mask 255.255.255.255 --rsource -j X",
        ),
        ("-A C -m conntrack --ctstate NEW,INVALID -j X", "-A C -m conntrack --ctstate INVALID,NEW -j X"),
        ("[5:300] -A C -j X", "-A C -j X"),
        ("-A C -m tcp --dport ! 80 -j X", "-A C -m tcp ! --dport 80 -j X"),
    ],
)
def test_two_spellings_of_one_rule_are_equal(one: str, other: str) -> None:
    assert parse_rule(one) == parse_rule(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("-A C -s 10.0.0.1 -j X", "-A C ! -s 10.0.0.1 -j X"),
        ("-A C -m tcp --dport 80 -m comment --comment x -j X", "-A C -m comment --comment x -m tcp --dport 80 -j X"),
        ("-A C -m statistic --mode random --probability 0.5 -j X", "-A C -m statistic --mode random -j X"),
        ("-A C -m mark --mark 1 -j X", "-A C -m mark --mark 1/1 -j X"),
        ("-A C -j X", "-A C -g X"),
        ("-A C -j X", "-A D -j X"),
    ],
)
def test_different_rules_are_not_equal(one: str, other: str) -> None:
    assert parse_rule(one) != parse_rule(other)


def test_quotes_and_backslashes() -> None:
    assert split_words(r'-A  C --comment "a \"b\" \\ c" --x ""') == [
        "-A",
        "C",
        "--comment",
        'a "b" \\ c',
        "--x",
        "",
    ]


def test_an_input_leaves_what_its_commands_say() -> None:
    tables = parse(
        "# comment\n*nat\n:INPUT ACCEPT [1:2]\n:OLD - [0:0]\n:NEW - [0:0]\n-A OLD -j ACCEPT\n-A NEW -j DROP\n"
        "-I NEW -j RETURN\n-F OLD\n-X OLD\nCOMMIT\n\n*filter\n-N MORE\n:MORE - [0:0]\nCOMMIT\n"
    )
    assert tables["nat"].policies == {"INPUT": "ACCEPT", "NEW": "-"}
    assert tables["nat"].own_chains == {"NEW"}
    assert [rule.target for rule in tables["nat"].rules] == ["RETURN", "DROP"]
    assert tables["filter"].own_chains == {"MORE"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("-A X -j Y", "iptables-save line 1: stands outside any table: -A X -j Y"),
        ("*nat\n:X\n", "iptables-save line 2: a chain without a policy: :X"),
        ("*nat\nhello", "iptables-save line 2: not understood: hello"),
        ('*nat\n-A X --comment "a', 'iptables-save line 2: a quote is not closed: -A X --comment "a'),
        ("*nat\n-A X --dport 80", "iptables-save line 2: --dport stands before any match: -A X --dport 80"),
        ("*nat\n-A X 80", "iptables-save line 2: expected an option, got 80: -A X 80"),
        ("*nat\n-A", "iptables-save line 2: not a rule: -A"),
    ],
)
def test_what_makes_no_sense_is_told_with_its_line(text: str, message: str) -> None:
    with pytest.raises(ProxierError) as caught:
        parse(text)
    assert str(caught.value) == message


chains = st.from_regex(r"\A[A-Z][A-Z0-9-]{0,20}\Z")
comments = st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), min_size=1, max_size=40)
addresses = st.tuples(st.ip_addresses(v=4), st.integers(0, 32)).map(lambda pair: (f"{pair[0]}/{pair[1]}",))
headers = st.builds(
    lambda options: tuple(option for option in options if option is not None),
    st.tuples(
        st.none() | st.builds(Option, st.just("--source"), addresses, st.booleans()),
        st.none() | st.builds(Option, st.just("--destination"), addresses, st.booleans()),
        st.none() | st.builds(Option, st.just("--protocol"), st.sampled_from([("tcp",), ("udp",)])),
    ),
)
matches = st.one_of(
    st.builds(lambda text: Match("comment", (Option("--comment", (text,)),)), comments),
    st.builds(
        lambda port, negated: Match("tcp", (Option("--dport", (str(port),), negated),)),
        st.integers(0, 65535),
        st.booleans(),
    ),
    st.builds(lambda mark: Match("mark", (Option("--mark", (f"{mark:#x}/0xffff",)),)), st.integers(0, 2**32 - 1)),
)
rules = st.builds(
    Rule,
    chains,
    headers,
    st.lists(matches, max_size=4).map(tuple),
    chains.filter(lambda name: name not in {"MARK", "REJECT"}),
    st.just(()),
)


@given(rules)
def test_a_written_rule_is_read_back(rule: Rule) -> None:
    assert parse_rule(write_rule(rule)) == rule


@given(st.text(max_size=80))
def test_any_text_is_split_or_refused(text: str) -> None:
    if (text + '"').count('"') == 1:  # without a quote nothing can be refused, and only blanks are lost
        assert "".join(split_words(text)) == text.replace(" ", "").replace("\t", "")
        return
    with suppress(ProxierError):
        assert sum(map(len, split_words(text))) <= len(text)
