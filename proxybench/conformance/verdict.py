"""A judgement on one property of one subject (pure)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from proxybench.units import NS_PER_MS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from proxybench.nodes.exchange import ExchangeResult


class Outcome(StrEnum):
    """How it ended."""

    PASS = "pass"  # noqa: S105 - no password
    FAIL = "fail"
    NOT_APPLICABLE = "not applicable"
    NOT_SUPPORTED = "not supported"


@dataclass(frozen=True)
class Verdict:
    """An outcome, and in one line what was seen, or why it does not apply, or is not supported."""

    outcome: Outcome
    evidence: str


def judged(wrong: Iterable[str], seen: Iterable[str]) -> Verdict:
    """Return a pass with what was seen when nothing is wrong, else a fail with what is wrong before it."""
    faults = [fault for fault in wrong if fault]
    return Verdict(Outcome.FAIL if faults else Outcome.PASS, "; ".join([*faults, *seen]))


def not_applicable(why: str) -> Verdict:
    """Return that the property does not apply, for this reason."""
    return Verdict(Outcome.NOT_APPLICABLE, why)


def not_supported(why: str) -> Verdict:
    """Return that the subject says of itself that it does not do this."""
    return Verdict(Outcome.NOT_SUPPORTED, why)


def told(result: ExchangeResult) -> str:
    """Say in one line how connections ended: "n = 20: 12 by 10.244.0.16, 8 refused"."""
    parts = [f"{count} by {by}" for by, count in sorted(result.by.items())]
    words = {"ECONNREFUSED": "refused", "NOLINE": "closed without an answer"}
    parts += [f"{count} {words.get(name, name)}" for name, count in sorted(result.errors.items())]
    if result.timeouts:
        parts.append(f"{result.timeouts} without an answer")
    return f"n = {result.made}: {', '.join(parts) or 'nothing'}"


def unanswered(result: ExchangeResult) -> str:
    """Return what is wrong where every connection should be answered."""
    failed = result.made - result.answered
    return f"{failed} of {result.made} got no answer" if failed or not result.made else ""


def strangers(result: ExchangeResult, expected: Iterable[str]) -> str:
    """Return what is wrong where only these endpoints should answer."""
    found = sorted(set(result.by) - set(expected))
    return f"answered by {', '.join(found)}" if found else ""


def absent(counts: Mapping[str, int], expected: Iterable[str]) -> str:
    """Return what is wrong where each of these should have been seen."""
    found = sorted(name for name in expected if not counts.get(name))
    return f"never {', '.join(found)}" if found else ""


def milliseconds(ns: int) -> str:
    """Write a time in milliseconds: "3 ms"."""
    return f"{ns / NS_PER_MS:.0f} ms"
