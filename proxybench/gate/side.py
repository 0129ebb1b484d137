"""One side of a comparison: replicates per point, what they were measured on, and with which settings."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from proxybench.errors import IncomparableError, ResultsError
from proxybench.gate.noise import run_noise
from proxybench.gate.settings import setting_differences, settings_of
from proxybench.model import ClockKind
from proxybench.stats.series import collect

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from proxybench.gate.noise import RunNoise
    from proxybench.gate.settings import Settings
    from proxybench.model import Key
    from proxybench.results.folder import RunFolder
    from proxybench.results.manifest import Manifest
    from proxybench.stats.quantiles import BoolArray, FloatArray
    from proxybench.stats.series import Series

_ALWAYS = (
    "clock",
    "lab_kind",
    "kernel",
    "iptables_version",
    "iptables_backend",
    "proxier_kind",
    "proxier_version",
    "python",  # what the reference proxier runs on
    "min_sync_period",
    "sync_period",
)
_WALL_ONLY = ("accelerator", "cpu")  # instructions are the same on any of them
FIELDS = (*_ALWAYS, *_WALL_ONLY)


@dataclass(frozen=True)
class Replicates:
    """One number per repetition, in the key's unit; ``bounded`` ones are only known to be at least that.

    ``lengths`` says how many of them each run has, in order; empty: all are of one run.
    """

    values: FloatArray
    bounded: BoolArray
    lengths: tuple[int, ...] = ()

    @property
    def runs(self) -> list[FloatArray]:
        """The values run by run."""
        return np.split(self.values, np.cumsum(self.lengths[:-1])) if self.lengths else [self.values]


@dataclass(frozen=True)
class Side:
    """What is compared. ``settings``: the experiment's, None where they are not known."""

    name: str
    fingerprint: Mapping[str, str]
    series: Mapping[Key, Replicates]
    runs: int = 1
    settings: Settings | None = None

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
    damaged or unfinished folders, IncomparableError when the runs' fingerprints or settings differ.
    """
    for folder in folders:
        if folder.manifest.state in {"running", "interrupted"}:
            raise ResultsError(
                f"{folder.path}: this run did not come to its end: proxybench run --resume {folder.path}"
            )
    first, *others = [(fingerprint(folder.manifest), settings_of(folder.manifest)) for folder in folders]
    for other, folder in zip(others, folders[1:], strict=True):
        differing = (*differences(first[0], other[0]), *setting_differences(first[1], other[1]))
        if differing:
            raise IncomparableError(f"{folder.run} is not like {folders[0].run}: {'; '.join(differing)}")
    gathered: dict[Key, list[Series]] = {}
    for folder in folders:
        for series in collect(folder.samples()):
            gathered.setdefault(series.key, []).append(series)
    return Side(
        name=folders[0].run if len(folders) == 1 else f"{folders[0].run} and {len(folders) - 1} more",
        fingerprint=first[0],
        series={
            key: Replicates(
                np.concatenate([part.values for part in parts]),
                np.concatenate([part.bounded for part in parts]),
                tuple(part.values.size for part in parts),
            )
            for key, parts in gathered.items()
        },
        runs=len(folders),
        settings=first[1],
    )


def fingerprint(manifest: Manifest) -> dict[str, str]:
    """Return what must be equal for two runs to be comparable, in words. Several nodes are joined."""
    nodes = manifest.fingerprint.nodes.values()

    def of_nodes(name: str) -> str:
        return ", ".join(sorted({str(getattr(node, name)) for node in nodes})) or "unknown"

    return {
        "clock": manifest.lab.clock.value,
        "lab_kind": manifest.lab.kind.value,
        "kernel": of_nodes("kernel"),
        "iptables_version": of_nodes("iptables_version"),
        "iptables_backend": of_nodes("iptables_backend"),
        "proxier_kind": manifest.proxier.kind,
        "proxier_version": manifest.proxier.version,
        "python": of_nodes("python"),
        "min_sync_period": f"{manifest.proxier.min_sync_period:g} s",
        "sync_period": f"{manifest.proxier.sync_period:g} s",
        "accelerator": manifest.lab.accelerator or "none",
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
