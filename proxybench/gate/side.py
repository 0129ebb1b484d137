"""One side of a comparison: replicates per point, and the fingerprint of what they were measured on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from proxybench.errors import IncomparableError, ResultsError
from proxybench.gate.noise import RunNoise, run_noise
from proxybench.model import ClockKind
from proxybench.stats.series import collect

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from proxybench.results.folder import RunFolder
    from proxybench.results.manifest import Manifest
    from proxybench.stats.quantiles import BoolArray, FloatArray
    from proxybench.stats.series import Series, SeriesKey

# Standard deviation of a run's level, as a share of it, that repetitions within one run cannot show: another
# boot, another layout of memory, another neighbour. Assumed where fewer than three runs of the baseline tell, and
# never less; see docs/statistics.md.
ASSUMED_RUN_NOISE = {ClockKind.INSTRUCTIONS.value: 0.001, ClockKind.WALL.value: 0.005}
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
    """One number per repetition, in the key's unit; ``bounded`` ones are only known to be at least that."""

    values: FloatArray
    bounded: BoolArray


@dataclass(frozen=True)
class Side:
    """What is compared. ``noise`` is how far each number's level moves from run to run, where that was measured."""

    name: str
    fingerprint: Mapping[str, str]
    series: Mapping[SeriesKey, Replicates]
    runs: int = 1
    noise: Mapping[SeriesKey, RunNoise] = field(default_factory=dict)

    @property
    def clock(self) -> str:
        """The clock kind that all its numbers were read from."""
        return self.fingerprint["clock"]

    def run_noise(self, key: SeriesKey) -> RunNoise:
        """Return how far this number's level moves from run to run, never less than assumed."""
        assumed = RunNoise(ASSUMED_RUN_NOISE.get(self.clock, 0.0), float("inf"))
        return max(assumed, self.noise.get(key, assumed), key=lambda noise: noise.share)


def side_of_runs(folders: Sequence[RunFolder]) -> Side:
    """Read one or more runs of the same experiment as one side.

    Several runs make a better baseline: they show how a level moves from run to run. Raises ResultsError for
    damaged or unfinished folders, IncomparableError when the runs' fingerprints differ.
    """
    for folder in folders:
        if folder.manifest.state in {"running", "interrupted"}:
            raise ResultsError(
                f"{folder.path}: this run did not come to its end: proxybench run --resume {folder.path}"
            )
    first, *others = [fingerprint(folder.manifest) for folder in folders]
    for other, folder in zip(others, folders[1:], strict=True):
        differing = differences(first, other)
        if differing:
            raise IncomparableError(f"{folder.run} is not like {folders[0].run}: {'; '.join(differing)}")
    gathered: dict[SeriesKey, list[Series]] = {}
    for folder in folders:
        for series in collect(folder.samples()):
            gathered.setdefault(series.key, []).append(series)
    return Side(
        name=folders[0].run if len(folders) == 1 else f"{folders[0].run} and {len(folders) - 1} more",
        fingerprint=first,
        series={
            key: Replicates(
                np.concatenate([part.values for part in parts]),
                np.concatenate([part.bounded for part in parts]),
            )
            for key, parts in gathered.items()
        },
        runs=len(folders),
        noise=run_noise(gathered),
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
        if name not in across and base.get(name, "unknown") != new.get(name, "unknown")
    )
