from __future__ import annotations

from dataclasses import fields

import pytest

from proxybench.errors import UsageError
from proxybench.model import Mode, Subject
from proxybench.subjects.settings import ProxySettings, read_settings


def subject(**settings: str) -> Subject:
    return Subject("kube-proxy", "v1.37.2", Mode.IPTABLES, tuple(sorted(settings.items())))


def test_a_subject_without_settings_takes_those_of_all() -> None:
    common = ProxySettings(min_sync_period=0.0, iptables="nft")
    assert read_settings(subject(), common) == common


def test_every_setting() -> None:
    settings = read_settings(
        subject(
            min_sync_period="0.5",
            sync_period="3600",
            iptables="nft",
            content_type="application/vnd.kubernetes.protobuf",
            node_port_addresses="10.0.0.0/8,192.0.2.0/24",
            path="/kube-proxy",
            source="/kubernetes",
            config='{"iptables": {"masqueradeAll": true}}',
            binary="0123",
        )
    )
    assert settings == ProxySettings(
        min_sync_period=0.5,
        sync_period=3600.0,
        iptables="nft",
        content_type="application/vnd.kubernetes.protobuf",
        node_port_addresses=("10.0.0.0/8", "192.0.2.0/24"),
        path="/kube-proxy",
        source="/kubernetes",
        config={"iptables": {"masqueradeAll": True}},
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sync_period": "1m"}, 'sync_period: expected seconds, got "1m"'),
        ({"min_sync_period": "-1"}, 'min_sync_period: expected seconds, got "-1"'),
        ({"min_sync_period": "nan"}, 'min_sync_period: expected seconds, got "nan"'),
        ({"iptables": "old"}, 'iptables: expected one of legacy, nft, got "old"'),
        ({"config": "[1]"}, "config: expected a mapping, as JSON"),
        ({"config": "{"}, "config: expected a mapping, as JSON"),
        (
            {"speed": "1"},
            "kube-proxy: there is no setting speed; there are "
            + ", ".join(field.name for field in fields(ProxySettings)),
        ),
    ],
)
def test_what_makes_no_sense(settings: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_settings(subject(**settings))
    assert str(caught.value) == message
