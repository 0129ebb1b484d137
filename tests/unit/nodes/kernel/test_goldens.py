"""Nothing that a real kube-proxy made escapes the readings, and all of it is removed, whatever the release."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from proxybench.hosts.base import Completed
from proxybench.nodes.kernel.capture import Tools, understand
from proxybench.nodes.kernel.removal import commands
from proxybench.nodes.kernel.state import KernelState, Thing, changed
from tests.golden.cases import CASES, EVERY, OLD, READINGS, RELEASES, TABLES, Case, golden

if TYPE_CHECKING:
    from collections.abc import Iterator

TOOLS = Tools(exclusive=False)
IPVS_SETTINGS = {
    "net.ipv4.vs.conntrack": ("0", "1"),
    "net.ipv4.vs.expire_nodest_conn": ("0", "1"),
    "net.ipv4.vs.expire_quiescent_template": ("0", "1"),
}
SETTINGS: dict[str, dict[str, tuple[str, str]]] = {
    "iptables": {"net.ipv4.conf.all.route_localnet": ("0", "1")},
    "iptables-nft": {"net.ipv4.conf.all.route_localnet": ("0", "1")},
    "ipvs": IPVS_SETTINGS,
    "nftables": {},
    "userspace": {},
}
OF_OLD = {"net.ipv4.conf.all.route_localnet": ("0", "1"), "net.ipv4.vs.conn_reuse_mode": ("1", "0")}
"""What 1.20 changes in IPVS mode as well."""
PROTOCOLS = {"-t": "TCP", "-u": "UDP", "--sctp-service": "SCTP"}

every = pytest.mark.parametrize(("release", "case"), EVERY, ids=lambda one: getattr(one, "name", one))
UNTOUCHED = (RELEASES[0], CASES[-1])
"""Nftables mode changes no setting."""


def settings(release: str, case: Case) -> dict[str, tuple[str, str]]:
    """Return what a mode changes."""
    return SETTINGS[case.name] | (OF_OLD if (release, case.name) == (OLD, "ipvs") else {})


def state_of(release: str, case: Case) -> KernelState:
    """Return what the readings found while kube-proxy ran."""
    outputs = json.loads(golden(release, case.name, "readings.json"))
    return understand([Completed("".join(f"{line}\n" for line in outputs[name]), "", 0, 0.0) for name in READINGS])


def dumped(release: str, case: Case) -> Iterator[Thing | None]:
    """Yield what each line of the dumps shows; None for a line that shows nothing of kube-proxy's own."""
    for family in ("ip", "ip6"):
        for table in TABLES:
            place = f"{family}tables-{case.backend} {table}"
            yield from (rule(place, line) for line in dump(release, case, f"{family}tables-save.{table}"))
        yield from (Thing("nft", "table", f"{family} kube-proxy") for _ in dump(release, case, f"list-table.{family}"))
    yield from (Thing("ipset", "set", line.split()[1]) for line in dump(release, case, "ipset"))
    for line in dump(release, case, "ipvsadm"):
        _, protocol, where, *_ = line.split()
        yield Thing("ipvs", "virtual server", f"{PROTOCOLS[protocol]} {where}")
    for line in dump(release, case, "addr"):
        link, _, *addresses = line.split()
        yield Thing("links", "link", link)
        yield from (Thing(f"link {link}", "address", address) for address in addresses)


def dump(release: str, case: Case, what: str) -> list[str]:
    return golden(release, case.name, what).splitlines()


def rule(place: str, line: str) -> Thing | None:
    """Return what a line of ``iptables-save`` belongs to: a chain for its rules, a jump for a rule of another chain."""
    if own := re.match(r"(?::|-A )(KUBE-\S+)", line):
        return Thing(place, "chain", own[1])
    if line.startswith("-A "):
        return Thing(place, "jump", line)
    assert re.fullmatch(r"\*[a-z]+|:[A-Z]+ ACCEPT \[0:0\]|COMMIT", line), line
    return None


@every
def test_every_line_is_kube_proxys_and_nothing_else_is_found(release: str, case: Case) -> None:
    shown = set(dumped(release, case)) - {None}
    assert shown
    assert set(state_of(release, case).things) == shown


@every
def test_the_settings_that_it_changed(release: str, case: Case) -> None:
    assert changed(state_of(*UNTOUCHED), state_of(release, case)) == settings(release, case)


@every
def test_the_removal_of_everything_is_generated(release: str, case: Case) -> None:
    after = state_of(release, case)
    before = KernelState(sysctls=state_of(*UNTOUCHED).sysctls)
    lines = {line for command in commands(before, after, TOOLS) for line in command.stdin.splitlines()}
    for thing in after.things:
        assert removes(thing) & lines, thing
    for name, (was, _) in settings(release, case).items():
        assert f"/proc/sys/{name.replace('.', '/')} {was}" in lines


def removes(thing: Thing) -> set[str]:
    """Return the lines that remove a thing, each by itself."""
    place, _, table = thing.place.partition(" ")
    family = place.removesuffix("tables-nft")
    if thing.kind in {"chain", "jump"} and place.endswith("-nft"):
        return {f"delete table {family} {table}"}
    return {
        "chain": {f"-X {thing.name}"},
        "jump": {f"-D {thing.name.removeprefix('-A ')}"},
        "table": {f"delete table {thing.name}"},
        "set": {f"destroy {thing.name}"},
        "virtual server": {thing.name},
        "link": {f"link del {thing.name}"},
        "address": {f"link del {table}"},
    }[thing.kind]
