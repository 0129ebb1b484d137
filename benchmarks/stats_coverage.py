"""Check by simulation what docs/statistics.md claims: coverage, false alarms, power.

Prints a table and ends with 1 if a check fails. Seeded, so equal on every machine. About a minute and a half.
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from proxybench.errors import ExitCode
from proxybench.gate.compare import Verdict, compare
from proxybench.gate.side import ASSUMED_RUN_NOISE, FIELDS, Replicates, Side
from proxybench.model import ClockKind
from proxybench.stats.curves import Outcome, crossover, slope
from proxybench.stats.intervals import bca_interval, centre_interval
from proxybench.stats.series import SeriesKey
from proxybench.stats.shift import hodges_lehmann_interval

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from proxybench.stats.intervals import Interval

    FloatArray = NDArray[np.float64]

EXPERIMENTS = 2_000
GATES = 1_000
PASSES = 50
CROSSING = 700  # Services
METRICS = (
    "forwarding.connect",
    "forwarding.direct",
    "forwarding.rtt",
    "forwarding.established",
    "forwarding.first_byte",
    "forwarding.bare",
    "cpu.control_loop",
    "sync.build",
)  # as many as a gate judges by the instruction clock
POINTS = 25
PRINT = dict.fromkeys(FIELDS, "x") | {"clock": ClockKind.INSTRUCTIONS.value}
RUN_NOISE = ASSUMED_RUN_NOISE[ClockKind.INSTRUCTIONS.value]


class Table:
    """Prints a row per check and remembers whether one failed."""

    def __init__(self) -> None:
        self.failed = False

    def row(self, what: str, value: float, low: float = 0.0, high: float = 1.0) -> None:
        """Print a share and whether it lies between the bounds."""
        good = low <= value <= high
        self.failed |= not good
        print(
            f"{what:<66} {100 * value:6.2f} %   {100 * low:g} to {100 * high:g} %   {'ok' if good else 'FAIL'}",
            flush=True,
        )

    def note(self, what: str, value: float) -> None:
        """Print a share that has no bounds."""
        print(f"{what:<66} {100 * value:6.2f} %", flush=True)


def repetitions(rng: np.random.Generator, n: int, skew: bool) -> FloatArray:
    """Return the medians of n repetitions of 101 connects each, with the truth (their centre) at 100 us.

    A repetition's level moves by 2 % (normal on a log scale, or skewed); single connects by 20 %.
    """
    level = rng.gamma(4.0, 0.5, n) - 1.836 if skew else rng.normal(size=n)  # 1.836: that gamma's median
    connects = np.exp(0.02 * level[:, np.newaxis] + 0.2 * rng.normal(size=(n, 101)))
    return np.asarray(100_000 * np.median(connects, axis=1), dtype=np.float64)


def coverage_of_centres(table: Table) -> None:
    for skew in (False, True):
        for n in (2, 3, 5, 10, 20, 30):

            def chosen(rng: np.random.Generator, n: int = n, skew: bool = skew) -> bool:
                return _holds(centre_interval(repetitions(rng, n, skew)), 100_000)

            kind = "skewed " if skew else ""
            table.row(f"95 % interval of the median, {n} {kind}repetitions", _share(chosen), 0.93, 0.97)
    for n in (3, 5, 10):

        def rejected(rng: np.random.Generator, n: int = n) -> bool:
            return _holds(bca_interval(repetitions(rng, n, skew=False)), 100_000)

        table.note(f"not used: BCa, {n} repetitions", _share(rejected, 500))


def coverage_of_curves(table: Table) -> None:
    sizes = np.array([10.0, 100.0, 1000.0, 10000.0])

    def line(rng: np.random.Generator, n: int) -> bool:
        own = 26 + 0.5 * rng.normal(size=(n, 1))  # each repetition has its own slope
        values = 116_000 + own * sizes + 300 * rng.normal(size=(n, 4))
        return _holds(slope(sizes, values).interval, 26)

    def cross(rng: np.random.Generator, n: int) -> bool:
        first = np.exp(0.3 * np.log(sizes / CROSSING) + 0.05 * rng.normal(size=(n, 4)))
        found = crossover(sizes, first, np.exp(0.05 * rng.normal(size=(n, 4))))
        return found.outcome is Outcome.CROSSED and found.crossings[-1].low <= CROSSING <= found.crossings[-1].high

    for n in (3, 5):
        share = _share(partial(line, n=n))
        table.row(f"95 % interval of a slope, {n} repetitions", share, 0.93, 0.97)
    table.row("95 % interval of a crossover, 5 repetitions", _share(partial(cross, n=5)), 0.93, 0.97)

    def shifted(rng: np.random.Generator) -> bool:
        return _holds(hodges_lehmann_interval(rng.normal(size=10), 1 + rng.normal(size=10)), 1)

    # The exact interval of 10 against 10 can only be at least 95 %: its levels come in steps.
    table.row("95 % Hodges-Lehmann interval, 10 against 10", _share(shifted), 0.93, 0.97)


def _holds(interval: Interval | None, truth: float) -> bool:
    return interval is not None and truth in interval


def _share(holds: Callable[[np.random.Generator], bool], experiments: int = EXPERIMENTS) -> float:
    rng = np.random.default_rng(1)
    return sum(holds(rng) for _ in range(experiments)) / experiments


def keys() -> list[SeriesKey]:
    return [
        SeriesKey("iptables", "reference", place, 2, "steady", "tcp-clusterip", "last", metric, "ns", PRINT["clock"])
        for metric in METRICS
        for place in range(POINTS)
    ]


def side(rng: np.random.Generator, spreads: Mapping[SeriesKey, float], n: int, wild: float = 0.0) -> Side:
    """Return a simulated run: own spread per point, a level that moves from run to run, some wild repetitions."""
    series = {}
    for key, spread in spreads.items():
        noise = rng.normal(size=n)
        outliers = rng.random(n) < wild
        noise[outliers] = 20 * np.abs(noise[outliers])
        values = np.exp(11 + spread * noise + RUN_NOISE * rng.normal())
        series[key] = Replicates(values, np.zeros(n, dtype=np.bool_))
    return Side("run", PRINT, series)


def spreads_of(rng: np.random.Generator, spread: float, unlike: float) -> dict[SeriesKey, float]:
    return {key: spread * float(np.exp(unlike * rng.normal())) for key in keys()}


def false_alarms(table: Table) -> None:
    cases = (("0.2 % noise", 0.002, 0.0), ("2 % noise", 0.02, 0.0), ("2 % noise, 5 % wild", 0.02, 0.05))
    for name, spread, wild in cases:
        rng = np.random.default_rng(2)
        alarms = 0
        for _ in range(GATES):
            spreads = spreads_of(rng, spread, 0.5)
            found = compare(side(rng, spreads, 3, wild=wild), side(rng, spreads, 3, wild=wild)).counts()
            alarms += found[Verdict.REGRESSED] > 0
        table.row(f"gates of {len(keys())} numbers, 3 against 3, that cry wolf: {name}", alarms / GATES, 0, 0.01)


def passes(table: Table) -> None:
    for n, spread, threshold in ((5, 0.001, 0.01), (5, 0.002, 0.01), (5, 0.004, 0.02)):
        rng = np.random.default_rng(4)
        passed = 0
        for _ in range(PASSES):
            spreads = spreads_of(rng, spread, 0.5)
            outcome = compare(side(rng, spreads, n), side(rng, spreads, n), threshold=threshold)
            passed += outcome.exit_code is ExitCode.PASS
        name = f"equal runs that pass at {100 * threshold:g} %, {n} against {n}, {100 * spread:g} % noise"
        table.row(name, passed / PASSES, 0.99)


def power(table: Table) -> None:
    """Slow each number of a run by just what its comparison with an equal run says that it could have shown."""
    for n, spread in ((3, 0.002), (5, 0.002), (3, 0.02), (5, 0.02)):
        rng = np.random.default_rng(3)
        hits = trials = 0
        stated: list[float] = []
        for _ in range(10):
            spreads = spreads_of(rng, spread, 0.5)
            base, new = side(rng, spreads, n), side(rng, spreads, n)
            detectable = {item.key: item.detectable or 0.0 for item in compare(base, new).comparisons}
            slower = {
                key: Replicates(replicates.values * (1 + detectable[key]), replicates.bounded)
                for key, replicates in new.series.items()
            }
            counts = compare(base, replace(new, series=slower)).counts()
            hits += counts[Verdict.REGRESSED]
            trials += len(slower)
            stated += detectable.values()
        name = f"power at what is stated (middle: {100 * np.median(stated):.2f} %), {n} against {n}"
        table.row(f"{name}, {100 * spread:g} % noise", hits / trials, 0.90)


def main() -> int:
    """Run all checks and return the exit code."""
    table = Table()
    started = time.monotonic()
    for check in (coverage_of_centres, coverage_of_curves, false_alarms, passes, power):
        check(table)
    print(f"{time.monotonic() - started:.0f} s")
    return int(table.failed)


if __name__ == "__main__":
    sys.exit(main())
