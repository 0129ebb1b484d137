"""The judgements: what must have been seen for a property to hold. Pure; each has a test with broken evidence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from scipy.special import chdtrc

from proxybench.conformance.verdict import judged, milliseconds, strangers, told, unanswered
from proxybench.model import Mode
from proxybench.units import NS_PER_MS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from proxybench.conformance.verdict import Verdict
    from proxybench.nodes.exchange import ExchangeResult, PingResult, Said

LEAST_P = 1e-4
"""Of even shares, one check in 10,000 is called uneven."""

AT_ONCE_NS = 1500 * NS_PER_MS
"""By the first SYN or the second, which follows after 1 s: what takes longer was not refused but given up.

Where client and node share a kernel, the refusal of the first SYN arrives while connect() still holds the socket; Linux
then notes it as a soft error (tcp_v4_err), and the second SYN's counts.
"""


@dataclass(frozen=True)
class Seen:
    """Connections, and the endpoints that should answer them."""

    result: ExchangeResult
    expected: tuple[str, ...]


def answered(seen: Seen) -> Verdict:
    """Demand that every connection is answered, and by one of these endpoints."""
    return judged([unanswered(seen.result), strangers(seen.result, seen.expected)], [told(seen.result)])


def shared(seen: Seen) -> Verdict:
    """Demand that endpoints answer equally often: Pearson's chi-squared test with k - 1 degrees of freedom.

    With n = 400 and four endpoints a share of 17 % or less in place of 25 % is found in most cases; smaller
    differences are not.
    """
    result, count = seen.result, len(seen.expected)
    even = result.answered / count
    squared = sum((result.by.get(name, 0) - even) ** 2 / even for name in seen.expected) if even else 0.0
    p = float(chdtrc(count - 1, squared))
    uneven = f"p is below {LEAST_P:g}" if p < LEAST_P else ""
    faults = [unanswered(result), strangers(result, seen.expected), uneven]
    return judged(faults, [told(result), f"chi-squared {squared:.2f}, p = {p:.2g}"])


def refused_at_once(result: ExchangeResult) -> Verdict:
    """Demand that every connection is refused, and at once: by its first SYN or the second."""
    kinds = set(result.errors) - {"ECONNREFUSED"}
    faults = [
        f"{result.answered} answered" if result.answered else "",
        f"{result.timeouts} met silence" if result.timeouts else "",
        f"ended in {', '.join(sorted(kinds))}" if kinds else "",
        "nothing was tried" if not result.made else "",
        f"the slowest took {milliseconds(result.slowest_error_ns)}" if result.slowest_error_ns > AT_ONCE_NS else "",
    ]
    return judged(faults, [f"{told(result)} within {milliseconds(result.slowest_error_ns)}"])


def undefined_port(result: ExchangeResult, mode: Mode) -> Verdict:
    """Demand that nobody answers, and that it is refused in IPVS and nftables mode, which both have a rule for it.

    In iptables mode no rule is for it: the packet goes wherever the node's routes lead, and what happens there is no
    doing of the proxy's.
    """
    refuses = mode in {Mode.IPVS, Mode.NFTABLES} and result.errors.get("ECONNREFUSED", 0) != result.made
    faults = [
        f"{result.answered} answered" if result.answered else "",
        "nothing was tried" if not result.made else "",
        "not refused" if refuses else "",
    ]
    return judged(faults, [told(result)])


def dropped(result: ExchangeResult) -> Verdict:
    """Demand that nobody answers, and nobody refuses: the client waits for its own time-out."""
    loud = sum(result.errors.values())
    faults = [
        f"{result.answered} answered" if result.answered else "",
        f"{loud} ended at once and not by a time-out" if loud else "",
        "nothing was tried" if not result.made else "",
    ]
    return judged(faults, [told(result)])


def seen_as(seen: Seen, address: str, whose: str) -> Verdict:
    """Demand that every connection is answered by one of these endpoints, which sees it come from this address."""
    others = sorted(set(seen.result.peers) - {address})
    faults = [
        unanswered(seen.result),
        strangers(seen.result, seen.expected),
        f"endpoints saw {', '.join(others)} and not {whose} {address}" if others else "",
    ]
    good = [] if others else [f"endpoints saw {whose} {address}"]
    return judged(faults, [told(seen.result), *good])


@dataclass(frozen=True)
class Health:
    """What a healthCheckNodePort answered on the node with a local endpoint, and on the one without; 0: nothing."""

    local: int
    elsewhere: int


def health_told(health: Health) -> Verdict:
    """Demand 200 of the node with a local endpoint, 503 of the other."""
    good, bad = 200, 503
    faults = [
        "" if health.local == good else f"the node with a local endpoint said {health.local or 'nothing'}, not {good}",
        "" if health.elsewhere == bad else f"the node without one said {health.elsewhere or 'nothing'}, not {bad}",
    ]
    return judged(faults, [f"with a local endpoint {health.local}, without {health.elsewhere}"])


@dataclass(frozen=True)
class Affinity:
    """Connections in quick succession; then the endpoints that answered after each silence of ``silence_s`` seconds."""

    together: Seen
    silence_s: float
    later: tuple[str, ...]


def affine(seen: Affinity, timeout_s: float) -> Verdict:
    """Demand one endpoint as long as connections follow each other, and another one after some silence."""
    first = sorted(seen.together.result.by)
    later = ", ".join(seen.later) or "nobody"
    faults = [
        unanswered(seen.together.result),
        strangers(seen.together.result, seen.together.expected),
        f"{len(first)} endpoints answered within the timeout" if len(first) > 1 else "",
        "" if set(seen.later) - set(first) else f"still the same after {len(seen.later)} silences",
    ]
    how = f"timeout {timeout_s:g} s; after silences of {seen.silence_s:g} s: {later}"
    return judged(faults, [told(seen.together.result), how])


def pinged(result: PingResult, *, answers: bool) -> Verdict:
    """Demand that all pings are answered, or none."""
    wanted = result.sent if answers else 0
    wrong = "" if result.replies == wanted else ("it must answer" if answers else "it must not answer")
    return judged([wrong], [f"n = {result.sent}: {result.replies} replies"])


@dataclass(frozen=True)
class Ignored:
    """What a Service that is not the proxy's business led to: connections to it, and rules that name its addresses."""

    foreign: ExchangeResult
    foreign_rules: tuple[str, ...]
    headless_rules: tuple[str, ...]


def ignored(seen: Ignored) -> Verdict:
    """Demand that nothing answers for it and no rule names it."""
    rules = (*seen.foreign_rules, *seen.headless_rules)
    faults = [
        f"{seen.foreign.answered} answered" if seen.foreign.answered else "",
        f"a rule names the foreign one: {seen.foreign_rules[0]}" if seen.foreign_rules else "",
        f"a rule names the headless one: {seen.headless_rules[0]}" if seen.headless_rules else "",
    ]
    return judged(faults, [f"foreign {told(seen.foreign)}; {len(rules)} rules name either"])


@dataclass(frozen=True)
class Moved:
    """Answers on one flow that keeps its source port: before its endpoint was replaced, and afterwards, in order."""

    old: str
    new: str
    before: Said
    after: tuple[Said, ...]


def followed(seen: Moved) -> Verdict:
    """Demand that the new endpoint answers at last, although the flow's conntrack entry named the old one."""
    last = seen.after[-1] if seen.after else seen.before
    faults = [
        "" if seen.before.by == seen.old else f"before, {_who(seen.before)} answered and not {seen.old}",
        "" if last.by == seen.new else f"at last, {_who(last)} answered and not {seen.new}",
    ]
    return judged(faults, [f"{seen.old} before, then n = {len(seen.after)}: {_runs(seen.after)}"])


@dataclass(frozen=True)
class Fallback:
    """Connections where a ready endpoint stands beside a terminating one, and where there are terminating ones only."""

    beside: Seen
    alone: Seen


def fell_back(seen: Fallback) -> Verdict:
    """Demand that beside a terminating one only the ready one answers, and the terminating one where there is none."""
    faults = [
        _with("beside a ready one", unanswered(seen.beside.result)),
        _with("beside a ready one", strangers(seen.beside.result, seen.beside.expected)),
        _with("alone", unanswered(seen.alone.result)),
        _with("alone", strangers(seen.alone.result, seen.alone.expected)),
    ]
    return judged(faults, [f"beside a ready one {told(seen.beside.result)}", f"alone {told(seen.alone.result)}"])


@dataclass(frozen=True)
class Drained:
    """An established connection to an endpoint that becomes terminating: lines on it, and new connections then."""

    old: str
    before: Said
    after: tuple[Said, ...]
    new: Seen


def drained(seen: Drained) -> Verdict:
    """Demand that the connection goes on with its endpoint, while new ones go to the other."""
    lost = [said for said in seen.after if said.by != seen.old]
    faults = [
        "" if seen.before.by == seen.old else f"before, {_who(seen.before)} answered and not {seen.old}",
        f"the connection broke: {_who(lost[0])}" if lost else "",
        "" if seen.after else "nothing was said afterwards",
        _with("new connections", unanswered(seen.new.result)),
        _with("new connections", strangers(seen.new.result, seen.new.expected)),
    ]
    return judged(faults, [f"established n = {len(seen.after)}: {_runs(seen.after)}", f"new {told(seen.new.result)}"])


@dataclass(frozen=True)
class Deleted:
    """Rules that named a Service's addresses while it was there, and after its deletion; connections to it then."""

    before: tuple[str, ...]
    after: tuple[str, ...]
    result: ExchangeResult


def gone(seen: Deleted) -> Verdict:
    """Demand that no rule that a packet can reach names it any more, and that nothing answers for it."""
    faults = [
        f"{seen.result.answered} still answered" if seen.result.answered else "",
        f"left: {seen.after[0]}" if seen.after else "",
        "no rule named it while it was there" if not seen.before else "",
    ]
    return judged(faults, [f"{len(seen.before)} rules before, {len(seen.after)} after; {told(seen.result)}"])


@dataclass(frozen=True)
class Ranges:
    """Connections to a load balancer's address that lets the client in, and to one that does not."""

    inside: Seen
    outside: ExchangeResult


def restricted(seen: Ranges) -> Verdict:
    """Demand that who is within the ranges is answered, and nobody else."""
    faults = [
        _with("within the ranges", unanswered(seen.inside.result)),
        _with("within the ranges", strangers(seen.inside.result, seen.inside.expected)),
        f"outside of them {seen.outside.answered} answered" if seen.outside.answered else "",
    ]
    return judged(faults, [f"within {told(seen.inside.result)}", f"outside {told(seen.outside)}"])


def _with(where: str, fault: str) -> str:
    return f"{where} {fault}" if fault else ""


def _who(said: Said) -> str:
    return said.by or f"nobody ({said.error})"


def _runs(said: Iterable[Said]) -> str:
    """Write who answered, each run of the same once: "2 by 10.0.0.1, 1 by 10.0.0.2"."""
    runs: list[tuple[str, int]] = []
    for who in map(_who, said):
        count = runs.pop()[1] + 1 if runs and runs[-1][0] == who else 1
        runs.append((who, count))
    return ", ".join(f"{count} by {who}" for who, count in runs) or "nothing"
