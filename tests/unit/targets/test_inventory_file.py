from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxybench.hosts.inventory import ApiAccess, Inventory, Node, SshTarget
from proxybench.model import ClockKind, LabKind
from proxybench.targets.lab.inventory_file import from_json, known_hosts, ssh_config, to_json

texts = st.text(max_size=12)
targets = st.recursive(
    st.none(),
    lambda jump: st.builds(
        SshTarget, texts, st.integers(1, 65535), texts, texts.map(lambda name: Path("/k") / name), texts, jump
    ),
    max_leaves=3,
).filter(lambda target: target is not None)
nodes = st.builds(
    Node, texts, st.frozensets(st.sampled_from(["client", "proxy"])), targets, texts, st.none() | texts, texts
)
inventories = st.builds(
    Inventory,
    nodes=st.lists(nodes, max_size=3).map(tuple),
    api=st.builds(ApiAccess, texts, texts, texts),
    lab=st.sampled_from(LabKind),
    clock=st.sampled_from(ClockKind),
    accelerator=texts,
    cluster_cidr=texts,
    service_cidr=texts,
    python=texts,
    workdir=texts,
    iptables=texts,
    iptables_backend=texts,
    backend_port=st.integers(1, 65535),
    one_kernel=st.booleans(),
)
NEAR = SshTarget("127.0.0.1", 41, "root", Path("/s/id"), "ssh-ed25519 A")
JUMP = SshTarget("127.0.0.1", 2222, "root", Path("/s/identity"), "ssh-ed25519 CTL")
FAR = SshTarget("198.18.0.11", 22, "u", Path("/s/id"), "ssh-ed25519 B", JUMP)
EXAMPLE = Inventory(
    nodes=(
        Node("a", frozenset({"client"}), NEAR, "x", None),
        Node(
            "b",
            frozenset({"proxy"}),
            SshTarget("198.18.0.11", 22, "u", Path("/s/id"), "ssh-ed25519 B", JUMP),
            "y",
            None,
        ),
    ),
    api=ApiAccess("u", "n", "secret"),
    lab=LabKind.VM,
    clock=ClockKind.INSTRUCTIONS,
    accelerator="tcg",
    cluster_cidr="c",
    service_cidr="s",
    python="p",
    workdir="w",
    iptables="i",
    iptables_backend="legacy",
    backend_port=8080,
    one_kernel=True,
)


def host(name: str, address: str, port: int, user: str, identity: str, *more: str) -> list[str]:
    return [
        f"Host {name}",
        f"  HostName {address}",
        f"  Port {port}",
        f"  User {user}",
        f"  IdentityFile {identity}",
        "  IdentitiesOnly yes",
        f"  HostKeyAlias {name}",
        "  UserKnownHostsFile /t/known",
        "  GlobalKnownHostsFile /dev/null",
        "  StrictHostKeyChecking yes",
        *more,
    ]


@given(inventories)
def test_what_is_written_is_read_back(inventory: Inventory) -> None:
    assert from_json(json.loads(json.dumps(to_json(inventory)))) == inventory


def test_it_is_plain_json_with_the_roles_in_order() -> None:
    values = to_json(EXAMPLE)
    assert values["nodes"][1]["roles"] == ["proxy"]
    assert values["nodes"][1]["ssh"]["jump"]["identity"] == "/s/identity"
    assert (values["lab"], values["clock"]) == ("vm", "instructions")


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"lab": "moon"}, ValueError),
        ({"nodes": None}, TypeError),
        ({"surplus": 1}, TypeError),
        ({"nodes": [{"name": "a"}]}, KeyError),
    ],
)
def test_anything_else_is_an_error(change: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        from_json({**to_json(EXAMPLE), **change})


def test_ssh_reaches_each_node_with_its_key_checked_and_by_its_jump_host() -> None:
    lines = [
        *host("a", "127.0.0.1", 41, "root", "/s/id"),
        *host("b", "198.18.0.11", 22, "u", "/s/id", "  ProxyJump b-jump"),
        *host("b-jump", "127.0.0.1", 2222, "root", "/s/identity"),
    ]
    assert ssh_config(EXAMPLE, Path("/t/known")) == "\n".join(lines) + "\n"


def test_every_name_has_its_key() -> None:
    assert known_hosts(EXAMPLE) == "a ssh-ed25519 A\nb ssh-ed25519 B\nb-jump ssh-ed25519 CTL\n"
