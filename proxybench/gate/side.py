"""One side of a comparison: replicates per point, what they were measured on, and with which settings."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from proxybench.errors import IncomparableError, RunError
from proxybench.gate.noise import run_noise
from proxybench.gate.settings import setting_differences, settings_of
from proxybench.metric_facts import find
from proxybench.model import ClockKind
from proxybench.stats.series import collect

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from proxybench.gate.noise import RunNoise
    from proxybench.gate.settings import Settings
    from proxybench.model import Key, Subject
    from proxybench.results.folder import RunFolder
    from proxybench.results.manifest import LabFacts, Manifest
    from proxybench.stats.quantiles import BoolArray, FloatArray
    from proxybench.stats.series import Series

_ALWAYS = (
    "clock",
    "lab_kind",
    "kernel",
    "iptables_version",
    "iptables_backend",
    "python",  # what the reference proxier runs on
    "min_sync_period",
    "sync_period",
)
_WALL_ONLY = ("accelerator", "cpu")  # instructions are the same on any of them
FIELDS = (*_ALWAYS, *_WALL_ONLY)
FIRST_METHOD = 1
"""The version of a metric's method where a run does not say: it was made before there was a second one."""


@dataclass(frozen=True)
class Replicates:
    """One number per repetition, in the key's unit; ``bounded`` ones are only known to be at least that.

    ``lengths`` says how many of them each run has, in order; empty: all are of one run. Each is true within
    ``± uncertainty``.
    """

    values: FloatArray
    bounded: BoolArray
    lengths: tuple[int, ...] = ()
    uncertainty: float = 0.0

    @property
    def timed_out(self) -> bool:
        """Whether the median is only known to be at least what it is."""
        return bool(np.count_nonzero(self.bounded) * 2 >= self.bounded.size)

    @property
    def share(self) -> float:
        """What the median is uncertain by, as a share of it; infinite where that is 0."""
        if not self.uncertainty:
            return 0.0
        middle = float(np.median(self.values))
        return self.uncertainty / middle if middle > 0 else math.inf

    @property
    def runs(self) -> list[FloatArray]:
        """The values run by run."""
        return np.split(self.values, np.cumsum(self.lengths[:-1])) if self.lengths else [self.values]


@dataclass(frozen=True)
class Side:
    """What is compared. ``settings``: the experiment's, None where they are not known.

    ``methods``: the version of how each metric was measured. ``incomplete``: which runs lack something, and what.
    """

    name: str
    fingerprint: Mapping[str, str]
    series: Mapping[Key, Replicates]
    runs: int = 1
    settings: Settings | None = None
    methods: Mapping[str, int] = field(default_factory=dict)
    incomplete: tuple[str, ...] = ()

    def method(self, metric: str) -> int:
        """Return the version of how a metric was measured."""
        return self.methods.get(metric, FIRST_METHOD)

    @property
    def subjects(self) -> frozenset[Subject]:
        """What was measured."""
        return frozenset(key.subject for key in self.series)

    @property
    def clock(self) -> str:
        """The clock kind that all its numbers were read from."""
        return self.fingerprint["clock"]

    @cached_property
    def noise(self) -> Mapping[Key, RunNoise]:
        """How far each number's level moves from run to run, where three runs or more tell."""
        return run_noise({key: replicates.runs for key, replicates in self.series.items()})


def side_of_runs(folders: Sequence[RunFolder]) -> Side:
    """Read one or more runs of the same experiment as one side.

    Several runs make a better baseline: they show how a level moves from run to run. Raises ResultsError for
    damaged folders, RunError for unfinished ones, IncomparableError when the runs' fingerprints or settings differ.
    """
    for folder in folders:
        if folder.manifest.state in {"running", "interrupted"}:
            raise RunError(f"{folder.path}: this run did not come to its end: proxybench run --resume {folder.path}")
    first, *others = [(fingerprint(folder.manifest), settings_of(folder.manifest)) for folder in folders]
    for other, folder in zip(others, folders[1:], strict=True):
        differing = (
            *differences(first[0], other[0]),
            *setting_differences(first[1], other[1]),
            *_method_differences(folders[0].manifest.methods, folder.manifest.methods),
        )
        if differing:
            raise IncomparableError(f"{folder.run} is not like {folders[0].run}: {'; '.join(differing)}")
    gathered: dict[Key, list[Series]] = {}
    for folder in folders:
        clock = judging(folder.manifest).clock
        for series in (each for each in collect(folder.samples()) if each.key.clock == clock):
            gathered.setdefault(series.key, []).append(series)
    return Side(
        name=folders[0].run if len(folders) == 1 else f"{folders[0].run} and {len(folders) - 1} more",
        fingerprint=first[0],
        series={key: replicates(parts) for key, parts in gathered.items()},
        runs=len(folders),
        settings=first[1],
        methods=folders[0].manifest.methods,
        incomplete=tuple(lack for folder in folders if (lack := lacking(folder))),
    )


def replicates(parts: Sequence[Series]) -> Replicates:
    """Put the numbers of one key from one or several runs together.

    What they are uncertain by is the worst run's. The step of a metric that is read in steps is not in it: it is the
    same on both sides, and the quantile of grouped data tells of moves within it.
    """
    about = find(parts[0].key.metric)
    in_steps = about is not None and about.resolution > 0
    return Replicates(
        np.concatenate([part.values for part in parts]),
        np.concatenate([part.bounded for part in parts]),
        tuple(part.values.size for part in parts),
        0.0 if in_steps else max(part.uncertainty for part in parts),
    )


def lacking(folder: RunFolder) -> str:
    """Say which part of its matrix a run has not measured, "" for a complete one."""
    manifest = folder.manifest
    if manifest.state == "complete":
        return ""
    missing = sum(step.state != "done" for step in manifest.matrix)
    return f"{folder.run} has not measured {missing} of {len(manifest.matrix)} steps"


def _method_differences(base: Mapping[str, int], new: Mapping[str, int]) -> tuple[str, ...]:
    pairs = [(name, base.get(name, FIRST_METHOD), new.get(name, FIRST_METHOD)) for name in sorted({*base, *new})]
    return tuple(f"method of {name}: {old} -> {young}" for name, old, young in pairs if old != young)


def judging(manifest: Manifest) -> LabFacts:
    """Return the lab whose numbers are compared: of two clocks the instructions, which repeat and so show change."""
    return max(manifest.labs, key=lambda lab: lab.clock is ClockKind.INSTRUCTIONS)


def fingerprint(manifest: Manifest) -> dict[str, str]:
    """Return what must be equal for two runs to be comparable, in words. Several nodes are joined."""
    lab = judging(manifest)
    several = f" ({lab.clock})" if manifest.other_labs else ""  # then nodes are named so (run/journal.py)
    nodes = [facts for name, facts in manifest.fingerprint.nodes.items() if name.endswith(several)]

    def of_nodes(name: str) -> str:
        return ", ".join(sorted({str(getattr(node, name)) for node in nodes})) or "unknown"

    def periods(name: str) -> str:
        return ", ".join(f"{seconds:g} s" for seconds in sorted({getattr(each, name) for each in manifest.subjects}))

    return {
        "clock": lab.clock.value,
        "lab_kind": lab.kind.value,
        "kernel": of_nodes("kernel"),
        "iptables_version": of_nodes("iptables_version"),
        "iptables_backend": of_nodes("iptables_backend"),
        "python": of_nodes("python"),
        "min_sync_period": periods("min_sync_period"),
        "sync_period": periods("sync_period"),
        "accelerator": lab.accelerator or "none",
        "cpu": of_nodes("cpu"),
    }


def differences(base: Mapping[str, str], new: Mapping[str, str], across: Sequence[str] = ()) -> tuple[str, ...]:
    """Name the fields that make two fingerprints incomparable, as ``field: base -> new``.

    ``across`` lists fields that may differ, since their effect is what is asked for.
    """
    matter = _ALWAYS if base["clock"] == ClockKind.INSTRUCTIONS.value else FIELDS
    return tuple(
        f"{name}: {base.get(name, 'unknown')} -> {new.get(name, 'unknown')}"
        for name in matter
        if name not in across and _comparable(name, base) != _comparable(name, new)
    )


def _comparable(name: str, fields: Mapping[str, str]) -> str:
    """Return the part of a field that changes what is measured."""
    value = fields.get(name, "unknown")
    if name != "python":
        return value
    # A patch release brings fixes, and the same work; nodes of several make a list.
    return ", ".join(sorted({".".join(version.split(".")[:2]) for version in value.split(", ")}))
