"""Which subject can run on which kind of node: the table of ``proxybench doctor``. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from proxybench.releases.prospect import Way
from proxybench.subjects.driver import Capability
from proxybench.subjects.mode_check import check_mode

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from proxybench.experiment.requests import SubjectSpec
    from proxybench.model import Mode
    from proxybench.releases.prospect import Prospect

Need = tuple["Mode", "str | None"]
"""What a subject needs of a node: its mode, and the backend of iptables (None in nftables mode)."""


@dataclass(frozen=True)
class Candidate:
    """A subject as it was asked for, and where its program would come from.

    ``required``: whether an experiment ends without it; a stand-in, or what names one, is not.
    """

    spec: SubjectSpec
    prospect: Prospect
    required: bool = True

    @property
    def need(self) -> Need:
        """What it needs of a node."""
        return self.spec.mode, self.spec.iptables


@dataclass(frozen=True)
class Row:
    """Whether a subject can run on a kind of node; if not, every reason, and what would mend each.

    The ``reason`` of one that can is what to know of it. ``binary`` says where its program would come from.
    """

    subject: str
    node: str
    supported: bool
    required: bool
    binary: str
    reason: str = ""
    fix: str = ""


def table(candidates: Sequence[Candidate], nodes: Mapping[str, Mapping[Need, Capability]]) -> tuple[Row, ...]:
    """Return a row for each subject on each kind of node; ``nodes`` says what each has."""
    return tuple(_row(one, name, able[one.need]) for one in candidates for name, able in nodes.items())


def fitting(rows: Sequence[Row]) -> tuple[str, ...]:
    """Return the kinds of node on which an experiment with these subjects can run.

    All that are required must be able to, and one at least.
    """
    names = dict.fromkeys(row.node for row in rows)
    return tuple(name for name in names if _fits([row for row in rows if row.node == name]))


def _fits(rows: Sequence[Row]) -> bool:
    return any(row.supported for row in rows) and all(row.supported for row in rows if row.required)


def _row(candidate: Candidate, node: str, able: Capability) -> Row:
    prospect, subject = candidate.prospect, candidate.spec.subject
    known = replace(subject, version=prospect.version or subject.version)
    found = [Capability(prospect.way is not Way.NONE, prospect.reason, prospect.fix)]
    if known.kind == "kube-proxy" and known.version:
        found.append(check_mode(known.mode, known.version))
    found.append(able)
    lacking = [one for one in found if not one.supported]
    words = lacking or found
    return Row(
        subject=known.label,
        node=node,
        supported=not lacking,
        required=candidate.required,
        binary=str(prospect.way),
        reason=_joined([one.reason for one in words]),
        fix=_joined([one.fix for one in words]),
    )


def _joined(texts: Sequence[str]) -> str:
    return "; ".join(dict.fromkeys(filter(None, texts)))
