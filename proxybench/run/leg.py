"""A part of a run: what is measured on one target, by its clock. Most runs have one; with two clocks there are two."""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import Event
from typing import TYPE_CHECKING, Protocol

from proxybench.experiment.matrix import number, walk

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import ExitStack

    from proxybench.experiment.matrix import Step
    from proxybench.experiment.requests import SubjectSpec
    from proxybench.experiment.spec import Experiment
    from proxybench.model import ClockKind, Subject
    from proxybench.nodes.cluster import Cluster
    from proxybench.run.session import Assignment
    from proxybench.run.worker import Session
    from proxybench.targets.base import Target, TargetFacts


class Connect(Protocol):
    """How a cluster is reached; ``run.session.Sessions.connect`` is one."""

    def __call__(self, cluster: Cluster, assignment: Assignment, stack: ExitStack) -> Session:
        """Connect; leaving ``stack`` ends the connection. Raises HostError, ApiError."""
        ...


@dataclass(frozen=True)
class Leg:
    """One part: measured on the clusters that ``target`` opens and ``connect`` reaches; they go away at ``stop``."""

    target: Target
    connect: Connect
    stop: Event = field(default_factory=Event)


def clock_of(leg: Leg, among: Sequence[Leg]) -> ClockKind | None:
    """Return the clock that tells a leg from the others; None where there is one leg."""
    return leg.target.facts.clock if len(among) > 1 else None


def why_not(facts: TargetFacts, spec: SubjectSpec) -> str | None:
    """Return why a target lacks what a subject needs; None where it does not."""
    return facts.lacks.get((spec.mode, spec.iptables))


def steps_of(experiment: Experiment, legs: Sequence[Leg], specs: Mapping[Subject, SubjectSpec]) -> tuple[Step, ...]:
    """Return the steps of all legs, one leg after the other, each without what its target lacks."""
    return number(
        step
        for leg in legs
        for step in walk(
            experiment,
            [subject for subject, spec in specs.items() if why_not(leg.target.facts, spec) is None],
            clock_of(leg, legs),
        )
    )
