from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxybench.model import Address, Mode, Origin, ServicePath, Subject, Transport, parse_settings, settings_text
from proxybench.testing.model import make_key

NAMES = st.from_regex(r"[a-zA-Z][a-zA-Z0-9_.]*", fullmatch=True)


@given(st.dictionaries(NAMES, st.text(), max_size=4))
def test_settings_come_back_whatever_is_in_them(settings: dict[str, str]) -> None:
    pairs = tuple(sorted(settings.items()))
    assert parse_settings(settings_text(pairs)) == pairs
    assert settings_text(tuple(reversed(pairs))) == settings_text(pairs)


def test_settings_read_like_settings() -> None:
    text = settings_text((("min_sync_period", "1s"), ("gates", "A=true,B=false"), ("note", "two words")))
    assert text == "gates=A=true,B=false min_sync_period=1s note='two words'"
    assert settings_text(()) == ""


@pytest.mark.parametrize("text", ["iptables", "=nft", "a=b c"])
def test_what_is_no_setting_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no setting: write name=value"):
        parse_settings(text)


@pytest.mark.parametrize(
    ("subject", "label", "program"),
    [
        (Subject("reference", "0.1.0", Mode.IPVS), "reference 0.1.0 ipvs", "reference 0.1.0"),
        (Subject("cluster", "", Mode.IPVS), "cluster ipvs", "cluster"),
        (
            Subject("kube-proxy", "v1.37.2", Mode.IPTABLES, (("iptables", "nft"),)),
            "kube-proxy v1.37.2 iptables (iptables=nft)",
            "kube-proxy v1.37.2 (iptables=nft)",
        ),
    ],
)
def test_a_subject_has_a_name(subject: Subject, label: str, program: str) -> None:
    assert (subject.label, subject.program) == (label, program)


def test_a_key_names_its_place() -> None:
    assert make_key().label() == "forwarding.connect reference 0.1.0 iptables 10x2 steady cluster_ip last"
    place = make_key(family="ipv6", position="none", path="none", scenario="idle").place()
    assert place == "reference 0.1.0 iptables 10x2 idle none ipv6"
    place = make_key(profile="e5ff12106824").place()
    assert place == "reference 0.1.0 iptables 10x2 of profile e5ff12106824 steady cluster_ip last"


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (ServicePath(), "cluster_ip"),
        (ServicePath(Address.NODE_PORT, Origin.OTHER), "node_port@other"),
        (ServicePath(Address.NODE_PORT_LOCAL, transport=Transport.UDP), "node_port_local/udp"),
        (ServicePath(Address.EXTERNAL_IP, Origin.POD, Transport.UDP), "external_ip/udp@pod"),
    ],
)
def test_a_path_is_written_and_read(path: ServicePath, text: str) -> None:
    assert str(path) == text
    assert ServicePath.parse(text) == path


@given(st.sampled_from(Address), st.sampled_from(Origin), st.sampled_from(Transport))
def test_every_path_has_a_text_of_its_own(address: Address, origin: Origin, transport: Transport) -> None:
    path = ServicePath(address, origin, transport)
    assert ServicePath.parse(str(path)) == path


@pytest.mark.parametrize(
    "text", ["", "cluster_ip@", "cluster_ip/", "cluster_ip/tcp", "cluster_ip@client", "vip", "a@b@c"]
)
def test_what_is_no_path_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a valid|is written"):
        ServicePath.parse(text)
