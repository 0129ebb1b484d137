"""How many rounds and repetitions ``proxybench ab`` needs to find 2 % more CPU for one change, by the measured scatter.

Run as ``python -m benchmarks.ab_power``: simulated, seeded, a minute. What is simulated was measured in the lab at 100
Services (v1.33.13 and v1.37.2, iptables mode): the CPU of one change scatters by 1.2 %, and in one of eight Go's
garbage collector runs as well, which costs 58 % more. Prints the share of tables in which the change was found, and in
which one of 15 equal numbers raised an alarm.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from proxybench.gate.compare import compare
from proxybench.gate.outcome import Verdict
from proxybench.gate.side import FIELDS, Replicates, Side
from proxybench.testing.model import make_key

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxybench.model import Key

SCATTER, COLLECTED, COLLECTING = 0.012, 0.12, 0.58
LEVEL, CHANGE = 50e6, 1.02
TABLES, NUMBERS = 60, 16
FACTS = dict.fromkeys(FIELDS, "x") | {"clock": "instructions"}
KEYS = [
    make_key(metric="cpu.control_loop", scenario="add-one", position="none", path="none", services=size)
    for size in range(1, NUMBERS + 1)
]
ALARMS = (Verdict.REGRESSED, Verdict.IMPROVED)


def main() -> None:
    rng = np.random.default_rng(5)
    print("times  repetitions  2 % found  alarms of equal ones")
    for times in (1, 2, 4, 8, 16, 32):
        for repetitions in (3, 6, 10):
            tables = [table(rng, times, repetitions) for _ in range(TABLES)]
            found = np.mean([verdicts[KEYS[0]] is Verdict.REGRESSED for verdicts in tables])
            alarms = np.mean([any(verdicts[key] in ALARMS for key in KEYS[1:]) for verdicts in tables])
            print(f"{times:5}  {repetitions:11}  {found:9.0%}  {alarms:20.0%}")


def table(rng: np.random.Generator, times: int, repetitions: int) -> Mapping[Key, Verdict]:
    """Return one table's verdicts: the first number is 2 % more on the new side, the others are equal."""
    old = {key: replicates(rng, times, repetitions) for key in KEYS}
    new = {key: replicates(rng, times, repetitions, CHANGE if key == KEYS[0] else 1.0) for key in KEYS}
    outcome = compare(Side("old", FACTS, old), Side("new", FACTS, new), same_run=True)
    return {item.key: item.verdict for item in outcome.comparisons}


def replicates(rng: np.random.Generator, times: int, repetitions: int, factor: float = 1.0) -> Replicates:
    """Return medians of so many changes each, as a repetition is counted for."""
    shape = repetitions, times
    samples = 1 + rng.normal(0, SCATTER, shape) + COLLECTING * (rng.random(shape) < COLLECTED)
    return Replicates(LEVEL * factor * np.median(samples, axis=1), np.zeros(repetitions, dtype=np.bool_))


if __name__ == "__main__":
    main()
