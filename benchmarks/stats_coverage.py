"""Check by simulation what docs/statistics.md claims: coverage, false alarms, power.

Prints a table and ends with 1 if a check fails. Seeded, so equal on every machine. About five minutes on two cores.
"""

from __future__ import annotations

import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from scipy import special

from benchmarks.simulated_gates import POINTS, Case, alarms, passes, power
from proxybench.model import ClockKind
from proxybench.stats.changes import change_points
from proxybench.stats.curves import Outcome, crossover, slope
from proxybench.stats.intervals import bca_interval, centre_interval
from proxybench.stats.shift import hodges_lehmann_interval

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from proxybench.stats.intervals import Interval

    FloatArray = NDArray[np.float64]

EXPERIMENTS = 2_000
GATES = 5_000
PASSES = 50
CROSSING = 400  # Services
SIZES = np.array([10.0, 100.0, 1000.0, 10000.0])
WALL, INSTRUCTIONS = ClockKind.WALL.value, ClockKind.INSTRUCTIONS.value


class Table:
    """Prints a row per check and remembers whether one failed."""

    def __init__(self) -> None:
        self.failed = False

    def row(self, what: str, value: float, low: float = 0.0, high: float = 1.0, words: str = "") -> None:
        """Print a share and whether it lies between the bounds."""
        good = low <= value <= high
        self.failed |= not good
        verdict = "ok" if good else "FAIL"
        print(f"{what:<78} {100 * value:6.2f} %{words:<12} {100 * low:g} to {100 * high:g} %   {verdict}", flush=True)

    def note(self, what: str, value: float, words: str = "") -> None:
        """Print a share that has no bounds."""
        print(f"{what:<78} {100 * value:6.2f} %{words}", flush=True)


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


def coverage_of_slopes(table: Table) -> None:
    def line(rng: np.random.Generator, n: int, widths: list[float]) -> bool:
        own = 26 + 0.05 * rng.normal(size=(n, 1))  # each repetition has its own slope
        found = slope(SIZES, (116_000 + own * SIZES) * (1 + 0.005 * rng.normal(size=(n, 4)))).interval
        widths.append(found.high - found.low if found else 0.0)
        return _holds(found, 26)

    for n in (3, 5):
        widths: list[float] = []
        share = _share(partial(line, n=n, widths=widths))
        width = f", {np.mean(widths):.2f} ns wide"
        table.row(f"95 % interval of a slope of 26 ns, {n} repetitions{width}", share, 0.93, 0.97)


def coverage_of_crossings(table: Table) -> None:
    def cross(rng: np.random.Generator, n: int, bend: float, found: list[float]) -> bool:
        rising = 152_000 + 21_000 * (SIZES / CROSSING) ** bend
        noise = np.exp(0.01 * rng.normal(size=(2, n, 4)))
        answer = crossover(SIZES, rising * noise[0], 173_000 * noise[1])
        if answer.outcome is not Outcome.CROSSED:
            return False
        found.append(answer.crossings[-1].at)
        return answer.crossings[-1].low <= CROSSING <= answer.crossings[-1].high

    for n, bend in ((3, 1.0), (5, 1.0), (5, 1.2), (5, 0.8)):
        found: list[float] = []
        share = _share(partial(cross, n=n, bend=bend, found=found))
        told = f"{n} repetitions; found {100 * len(found) / EXPERIMENTS:.0f} %, middle {np.median(found):.0f}"
        if bend == 1:
            table.row(f"95 % interval of a crossover at 400, {told}", share, 0.93, 0.97)
        else:
            table.note(f"limit: a cost that grows with the power {bend:g} of N, {told}", share)

    def claims(rng: np.random.Generator, n: int, sizes: int, lacking: int = 0) -> bool:
        first, second = np.exp(0.01 * rng.normal(size=(2, n, sizes)))
        first[n - lacking :, -1] = np.nan
        return crossover(np.geomspace(10, 10_000, sizes), first, second).outcome is not Outcome.UNDECIDED

    most = 0.05 + 2 * float(np.sqrt(0.05 * 0.95 / (2 * EXPERIMENTS)))
    for n, sizes in ((3, 4), (5, 4), (5, 8)):
        name = f"equal modes of which one is said to lead somewhere, {sizes} sizes, {n} repetitions"
        share = _share(partial(claims, n=n, sizes=sizes), 2 * EXPERIMENTS)
        table.row(name, share, 0, most)
    share = _share(partial(claims, n=3, sizes=4, lacking=1), 2 * EXPERIMENTS)
    table.row("the same, 4 sizes, 3 repetitions, 2 at the largest", share, 0, most)


def others(table: Table) -> None:
    def shifted(rng: np.random.Generator) -> bool:
        return _holds(hodges_lehmann_interval(rng.normal(size=10), 1 + rng.normal(size=10)), 1)

    # The exact interval of 10 against 10 can only be at least 95 %: its levels come in steps.
    table.row("95 % Hodges-Lehmann interval, 10 against 10", _share(shifted), 0.93, 0.97)

    def marked(rng: np.random.Generator, runs: int) -> bool:
        return bool(change_points(np.exp(0.01 * rng.normal(size=runs))))

    for runs in (10, 20):
        name = f"series of {runs} equal runs that get a change point"
        table.row(name, _share(partial(marked, runs=runs), 1_000), 0, 0.01 + 2 * float(np.sqrt(0.01 * 0.99 / 1_000)))


def _holds(interval: Interval | None, truth: float) -> bool:
    return interval is not None and truth in interval


def _share(holds: Callable[[np.random.Generator], bool], experiments: int = EXPERIMENTS) -> float:
    rng = np.random.default_rng(1)
    return sum(holds(rng) for _ in range(experiments)) / experiments


# What is claimed: a baseline of five runs or more, whatever their noise; fewer, if it is as assumed.
CLAIMED = (
    *(Case(clock, runs, noise, 0.0) for clock, noise in ((INSTRUCTIONS, 0.003), (WALL, 0.03)) for runs in (1, 3)),
    Case(INSTRUCTIONS, 1, 0.001, 0.5),
    Case(INSTRUCTIONS, 3, 0.001, 0.5),
    Case(INSTRUCTIONS, 1, 0.003, 0.0, wild=0.05),
    *(
        Case(clock, runs, noise, unlike)
        for runs in (5, 10)
        for clock, noise in ((INSTRUCTIONS, 0.001), (WALL, 0.03))
        for unlike in (0.0, 0.5, 1.0)
    ),
    Case(INSTRUCTIONS, 10, 0.003, 0.5),
    Case(INSTRUCTIONS, 10, 0.001, 0.5, wild=0.05),
    Case(WALL, 10, 0.03, 0.5, repetitions=3, new_repetitions=3),
)
# What is not: noise beyond the assumption, levels with heavy tails, few repetitions of which many are wild.
LIMITS = (
    *(Case(clock, runs, noise, 0.5) for clock, noise in ((INSTRUCTIONS, 0.003), (WALL, 0.03)) for runs in (1, 3)),
    Case(INSTRUCTIONS, 10, 0.001, 0.5, heavy=True),
    Case(INSTRUCTIONS, 10, 0.003, 0.5, heavy=True),
    Case(INSTRUCTIONS, 10, 0.001, 0.5, wild=0.05, new_repetitions=3),
)


def upper_bound(count: int, of: int) -> float:
    """Return the one-sided 95 % bound of a share (Clopper and Pearson, 1934)."""
    return float(special.betaincinv(count + 1, of - count, 0.95)) if count < of else 1.0


def gates(table: Table, pool: ProcessPoolExecutor) -> None:
    print(f"gates of {8 * POINTS} numbers between equal runs that find a regression, with the one-sided 95 % bound:")
    for case, count in zip(CLAIMED, pool.map(partial(alarms, gates=GATES), CLAIMED), strict=True):
        table.row(f"  {case}", count / GATES, 0, 0.01, f" (< {100 * upper_bound(count, GATES):.2f} %)")
    print("limits, not claimed:")
    for case, count in zip(LIMITS, pool.map(partial(alarms, gates=1_000), LIMITS), strict=True):
        table.note(f"  {case}", count / 1_000)
    print("power at the change that a comparison says it detects:")
    strong = (*(Case(INSTRUCTIONS, runs, 0.001, 0.5) for runs in (1, 5, 10)), Case(WALL, 1, 0.03, 0.0))
    strong = (*strong, Case(WALL, 10, 0.03, 0.5), Case(WALL, 10, 0.01, 0.5))
    for case, (share, middle) in zip(strong, pool.map(power, strong), strict=True):
        table.row(f"  {case}: middle {100 * middle:.2f} %", share, 0.9)
    print("equal runs that end with 0:")
    for case, share in zip(strong, pool.map(partial(passes, gates=PASSES), strong), strict=True):
        if case.runs == 10 and case.clock == INSTRUCTIONS:  # noqa: PLR2004 -- the committed baseline's kind
            table.row(f"  {case}", share, 0.95)
        else:
            table.note(f"  {case}", share)


def main() -> int:
    """Run all checks and return the exit code."""
    table = Table()
    started = time.monotonic()
    for check in (coverage_of_centres, coverage_of_slopes, coverage_of_crossings, others):
        check(table)
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        gates(table, pool)
    print(f"{time.monotonic() - started:.0f} s")
    return int(table.failed)


if __name__ == "__main__":
    sys.exit(main())
