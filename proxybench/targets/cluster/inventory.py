"""The inventory file: which hosts there are, what each is for, and how it is reached.

Read as experiment files are: every problem at once, each with its line and column.
"""

from __future__ import annotations

import ipaddress
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError

from proxybench.errors import ExperimentError
from proxybench.experiment import source
from proxybench.experiment.limits import INVENTORY
from proxybench.experiment.wording import word
from proxybench.experiment.words import Words, distinct, many, one_of, show
from proxybench.hosts.ssh_config import HostWords

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from proxybench.experiment.source import Document, Loc

FORMAT = 1
MOST_NODES = 500


class Role(StrEnum):
    """What a host is for."""

    CLIENT = "client"
    """Sends the traffic: its route to Services leads through the measured node, or it is that node itself. The first
    one probes; further ones help to make a load."""
    MEASURED = "measured"
    """Runs the kube-proxy that is measured."""
    OTHER = "other"
    """A further node of the cluster."""
    BACKEND = "backend"
    """Runs proxybench's backend while a run lasts: its addresses are endpoints."""


def _ipv4(text: str) -> str:
    try:
        return str(ipaddress.IPv4Address(text))
    except ValueError:
        raise ValueError(f'"{text}" is no IPv4 address; write one such as 192.0.2.7') from None


def _known_format(version: int) -> int:
    if version != FORMAT:
        raise ValueError(f"{version} is no format that this proxybench reads; write {FORMAT}")
    return version


def _sudo(value: object) -> object:
    if value is None or value is True or value is False or value == "password":
        return value
    raise ValueError(f"{show(value)} is no way to use sudo; write true, false or password")


_Text = Annotated[str, Field(strict=True, min_length=1)]
_Port = Annotated[int, Field(strict=True, ge=1, le=65_535)]
_Address = Annotated[str, Field(strict=True), AfterValidator(_ipv4)]
_Tool = Literal["legacy", "nft"]


class SshWords(Words):
    """How a host is reached; what is left out is as in ``defaults``, or else as in ~/.ssh/config."""

    user: _Text | None = None
    port: _Port | None = None
    key: _Text | None = None
    """A private key of any type; its passphrase is asked for, or in PROXYBENCH_SSH_PASSPHRASE."""
    jump: _Text | None = None
    """The host behind which it lies: a name that ssh knows, or user@host:port; several with commas."""
    sudo: Annotated[bool | str | None, BeforeValidator(_sudo)] = None
    """true where commands need sudo, password where it asks for one (or PROXYBENCH_SUDO_PASSWORD)."""
    python: _Text | None = None
    """A Python 3.8 or later on the host; left out, python3."""
    workdir: _Text | None = None
    """A folder that may be written; left out, /run/proxybench."""


class NodeWords(SshWords):
    """One host."""

    name: Annotated[_Text, Field(examples=["node-1"])]
    """As the cluster's API names it."""
    roles: Annotated[
        tuple[Annotated[Role, one_of("a role", *Role)], ...],
        Field(min_length=1, examples=["[measured]"]),
        AfterValidator(distinct),
        BeforeValidator(many),
    ]
    """client, measured, other, backend; one or several."""
    host: _Text | None = None
    """Where its sshd is; left out, its name."""
    address: _Address | None = None
    """Its InternalIP; left out, as the API says."""
    addresses: Annotated[tuple[_Address, ...], AfterValidator(distinct)] = ()
    """Of a backend: its addresses that are endpoints; left out, ``address``."""
    tools: dict[_Tool, str] = {}  # noqa: RUF012 - pydantic copies it
    """Full paths of iptables' multi-call programs by backend, where they are not on the PATH."""


class Inventory(Words):
    """All of the file."""

    version: Annotated[int, Field(strict=True, examples=["1"]), AfterValidator(_known_format)]
    defaults: SshWords = SshWords()
    nodes: Annotated[
        tuple[NodeWords, ...],
        Field(min_length=1, max_length=MOST_NODES, examples=["[{name: node-1, roles: measured}]"]),
    ]

    def with_role(self, role: Role) -> tuple[NodeWords, ...]:
        """Return the hosts that have a role."""
        return tuple(node for node in self.nodes if role in node.roles)

    @property
    def proxies(self) -> tuple[NodeWords, ...]:
        """The hosts that run a kube-proxy."""
        return tuple(node for node in self.nodes if {Role.MEASURED, Role.OTHER} & set(node.roles))

    @property
    def others(self) -> tuple[NodeWords, ...]:
        """The further nodes: those that are neither measured nor probe."""
        first = {node.name for role in (Role.CLIENT, Role.MEASURED) for node in self.with_role(role)[:1]}
        return tuple(node for node in self.with_role(Role.OTHER) if node.name not in first)

    def further(self, needed: int | None) -> frozenset[str]:
        """Return the hosts that may be dead: all that are nothing but further nodes, behind the first ``needed``.

        None: all of them are needed.
        """
        names = {node.name for node in self.nodes if node.roles == (Role.OTHER,)}
        return frozenset(names - {node.name for node in self.others[:needed]})

    def relied_on(self, needed: int | None) -> tuple[str, ...]:
        """Return the hosts on which numbers rest with their roles, "client n1", in the order that tells them apart.

        ``needed`` as in ``further``.
        """
        hosts = {
            Role.CLIENT: self.with_role(Role.CLIENT),
            Role.MEASURED: self.with_role(Role.MEASURED),
            Role.OTHER: self.others[:needed],
            Role.BACKEND: self.with_role(Role.BACKEND),
        }
        return tuple(f"{role} {node.name}" for role, nodes in hosts.items() for node in nodes)

    def ssh(self, node: NodeWords) -> HostWords:
        """Return how a host is reached."""
        return HostWords(
            host=node.host or node.name,
            port=node.port or self.defaults.port,
            user=node.user or self.defaults.user,
            key=node.key or self.defaults.key,
            jump=node.jump or self.defaults.jump,
            sudo=(self.defaults.sudo if node.sudo is None else node.sudo) or False,
        )


def read_inventory(path: Path) -> Inventory:
    """Read and check an inventory file. Raises ExperimentError with every problem, as file:line:column."""
    return check(source.read(path, kind=INVENTORY))


def check(document: Document) -> Inventory:
    """Check an inventory that was read. Raises ExperimentError with every problem."""
    if not isinstance(document.data, dict):
        raise ExperimentError(document.problems)
    problems = list(document.problems)
    try:
        inventory = Inventory.model_validate(document.data)
    except ValidationError as error:
        found = [word(detail, Inventory) for detail in error.errors()]
        problems += [document.problem(one.loc, one.text, key=one.key) for one in found if one]
        raise ExperimentError(problems) from None
    problems += [document.problem(loc, text) for loc, text in _findings(inventory)]
    if problems:
        raise ExperimentError(problems)
    return inventory


def _findings(inventory: Inventory) -> Iterator[tuple[Loc, str]]:
    seen: dict[str, int] = {}
    for index, node in enumerate(inventory.nodes):
        if node.name in seen:
            yield ("nodes", index, "name"), f'name: "{node.name}" is there already, as number {seen[node.name] + 1}'
        seen.setdefault(node.name, index)
        if node.addresses and Role.BACKEND not in node.roles:
            yield ("nodes", index, "addresses"), "addresses: only a backend has them; add the role backend"
    for role in (Role.CLIENT, Role.MEASURED):
        found = inventory.with_role(role)
        if not found:
            yield ("nodes",), f"nodes: none has the role {role}; give it to one"
        for node in found[1:] if role is Role.MEASURED else ():
            index = inventory.nodes.index(node)
            yield ("nodes", index, "roles"), f'roles: {role} is "{found[0].name}" already; only one host can be'


def as_yaml(nodes: Sequence[Mapping[str, str | Sequence[str]]], left_out: Sequence[str] = ()) -> str:
    """Return an inventory file of these hosts, for people to go on with; ``left_out`` is told in comments."""
    lines = ["version: 1", "defaults: {user: root}  # key, port, jump, sudo, python: see docs/cluster.md", "nodes:"]
    if len(nodes) > MOST_NODES:
        lines.insert(0, f"# {len(nodes)} hosts; {MOST_NODES} are the most: remove some")
    for node in nodes:
        words = ", ".join(f"{key}: {_flow(value)}" for key, value in node.items())
        lines.append(f"  - {{{words}}}")
    return "\n".join([*lines, *(f"  # left out: {line}" for line in left_out)]) + "\n"


def _flow(value: str | Sequence[str]) -> str:
    if not isinstance(value, str):
        return f"[{', '.join(value)}]"
    return value if source.parse(value, "", INVENTORY).data == value else f'"{value}"'  # a host may be named 1e3
