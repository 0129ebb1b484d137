from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxybench.clocks import ClockDomain
from proxybench.hosts.inventory import SshTarget
from proxybench.model import ClockKind
from proxybench.nodes.cluster import ApiAccess, Cluster, Traits
from proxybench.nodes.node import Node
from proxybench.targets.lab.cluster_file import from_json, identities, known_hosts, ssh_config, to_json
from tests.factories import make_cluster, make_node

texts = st.text(max_size=12)
targets = st.recursive(
    st.none(),
    lambda jump: st.builds(
        SshTarget, texts, st.integers(1, 65535), texts, texts.map(lambda name: Path("/k") / name), texts, jump
    ),
    max_leaves=3,
).filter(lambda target: target is not None)
nodes = st.builds(
    Node,
    name=texts,
    ssh=targets,
    address=texts,
    pod_cidr=st.none() | texts,
    clock=texts.map(ClockDomain),
    cgroup_root=texts,
    python=texts,
    workdir=texts,
    iptables=st.dictionaries(texts, texts, max_size=2),
)
clusters = st.builds(
    Cluster,
    client=nodes,
    measured=nodes,
    others=st.lists(nodes, max_size=2).map(tuple),
    api=st.builds(ApiAccess, texts, texts, texts, texts),
    clock=st.sampled_from(ClockKind),
    kind=texts,
    accelerator=texts,
    cluster_cidr=texts,
    service_cidr=texts,
    backend_port=st.integers(1, 65535),
    traits=st.builds(Traits, st.booleans(), st.booleans(), st.dictionaries(texts, st.booleans())),
    pod=st.none() | nodes,
    external_cidr=texts,
)
NEAR = SshTarget("127.0.0.1", 41, "root", Path("/s/id"), "ssh-ed25519 A")
JUMP = SshTarget("127.0.0.1", 2222, "root", Path("/s/identity"), "ssh-ed25519 CTL")
FAR = SshTarget("198.18.0.11", 22, "u", Path("/s/id"), "ssh-ed25519 B", JUMP)
EXAMPLE = make_cluster(client=make_node("a", ssh=NEAR), measured=make_node("b", ssh=FAR), others=(), kind="vm")


def host(name: str, address: str, port: int, user: str, *more: str) -> list[str]:
    return [
        f"Host {name}",
        f"  HostName {address}",
        f"  Port {port}",
        f"  User {user}",
        f"  IdentityFile {name}.key",
        "  IdentitiesOnly yes",
        f"  HostKeyAlias {name}",
        "  UserKnownHostsFile known_hosts",
        "  GlobalKnownHostsFile /dev/null",
        "  StrictHostKeyChecking yes",
        *more,
    ]


@given(clusters)
def test_what_is_written_is_read_back(cluster: Cluster) -> None:
    assert from_json(json.loads(json.dumps(to_json(cluster)))) == cluster


def test_it_is_plain_json() -> None:
    values = to_json(EXAMPLE)
    assert values["measured"]["ssh"]["jump"]["identity"] == "/s/identity"
    assert (values["kind"], values["clock"]) == ("vm", "wall")


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"clock": "moon"}, ValueError),
        ({"client": None}, TypeError),
        ({"surplus": 1}, TypeError),
        ({"others": [{"name": "a"}]}, KeyError),
    ],
)
def test_anything_else_is_an_error(change: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        from_json({**to_json(EXAMPLE), **change})


def test_ssh_reaches_each_node_with_its_key_checked_and_by_its_jump_host() -> None:
    lines = [
        *host("a", "127.0.0.1", 41, "root"),
        *host("b", "198.18.0.11", 22, "u", "  ProxyJump b-jump"),
        *host("b-jump", "127.0.0.1", 2222, "root"),
    ]
    assert ssh_config(EXAMPLE) == "\n".join(lines) + "\n"
    assert identities(EXAMPLE) == {
        "a.key": Path("/s/id"),
        "b.key": Path("/s/id"),
        "b-jump.key": Path("/s/identity"),
    }


def test_every_name_has_its_key() -> None:
    assert known_hosts(EXAMPLE) == "a ssh-ed25519 A\nb ssh-ed25519 B\nb-jump ssh-ed25519 CTL\n"
