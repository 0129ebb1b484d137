from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from proxybench.errors import ExperimentError
from proxybench.hosts.ssh_config import HostWords
from proxybench.targets.cluster.inventory import Role, as_yaml, read_inventory

if TYPE_CHECKING:
    from pathlib import Path

USUAL = """\
version: 1
defaults: {user: root, sudo: password, jump: gate}
nodes:
  - {name: c1, roles: client}
  - {name: n1, roles: [measured, other], host: 192.0.2.7, port: 23, user: me, sudo: false, tools: {legacy: /x}}
  - {name: b1, roles: backend, addresses: [192.0.2.8, 192.0.2.9]}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "nodes.yaml"
    path.write_text(USUAL)
    return path


def test_roles_and_how_each_is_reached(file: Path) -> None:
    found = read_inventory(file)
    (client,), (measured,) = found.with_role(Role.CLIENT), found.with_role(Role.MEASURED)
    assert found.ssh(client) == HostWords("c1", None, "root", None, "gate", "password")
    assert found.ssh(measured) == HostWords("192.0.2.7", 23, "me", None, "gate", sudo=False)
    assert found.with_role(Role.BACKEND)[0].addresses == ("192.0.2.8", "192.0.2.9")


@pytest.mark.parametrize(
    ("old", "new", "problems"),
    [
        ("version: 1", "version: 2", ["1:10: version: 2 is no format that this proxybench reads; write 1"]),
        ("roles: client", "roles: [clint]", ['4:24: roles, number 1: "clint" is not a role; did you mean "client"?']),
        ("host: ", "hots: ", ['5:42: unknown key "hots"; did you mean "host"?']),
        (
            "192.0.2.9",
            "192.0.2",
            ['6:55: addresses, number 2: "192.0.2" is no IPv4 address; write one such as 192.0.2.7'],
        ),
        ("sudo: false", "sudo: 3", ["5:85: sudo: 3 is no way to use sudo; write true, false or password"]),
        (
            "name: b1, roles: backend",
            "name: n1, roles: [client, other]",
            [
                '6:12: name: "n1" is there already, as number 2',
                "6:51: addresses: only a backend has them; add the role backend",
            ],
        ),
        (
            "roles: client",
            "roles: [client, measured]",
            ['5:23: roles: measured is "c1" already; only one host can be'],
        ),
        ("[measured, other]", "other", ["4:3: nodes: none has the role measured; give it to one"]),
    ],
)
def test_every_problem_has_its_place(file: Path, old: str, new: str, problems: list[str]) -> None:
    assert old in USUAL
    file.write_text(USUAL.replace(old, new, 1))
    with pytest.raises(ExperimentError) as caught:
        read_inventory(file)
    assert str(caught.value).splitlines() == [f"{file}:{problem}" for problem in problems]


def test_what_is_drafted_can_be_read(file: Path) -> None:
    file.write_text(as_yaml([{"name": "n1", "roles": ["client", "measured"]}, {"name": "n2", "roles": "other"}]))
    assert [node.name for node in read_inventory(file).nodes] == ["n1", "n2"]


def test_several_clients_make_a_load_together_and_the_first_one_probes(file: Path) -> None:
    roles = [("n1", ["client", "measured"]), ("n2", ["other", "client"]), ("n3", ["client"])]
    file.write_text(as_yaml([{"name": name, "roles": words} for name, words in roles]))
    assert [node.name for node in read_inventory(file).with_role(Role.CLIENT)] == ["n1", "n2", "n3"]
