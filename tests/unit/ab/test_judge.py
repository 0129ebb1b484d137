from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

from proxybench.ab.judge import common_key, compare_sides, sides_of
from proxybench.columns import flat
from proxybench.errors import ExitCode
from proxybench.gate.outcome import Verdict
from proxybench.gate.side import FIELDS
from proxybench.stats.series import collect
from proxybench.testing.model import make_key

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxybench.gate.outcome import Outcome
    from proxybench.model import Key

FACTS = dict.fromkeys(FIELDS, "x") | {"clock": "instructions"}
LABELS = ("v1.37.2", "v1.37.2 (mine)")
CPU = [
    make_key(mode=mode, scenario=scenario, metric="cpu.control_loop", path="none", position="none", services=400)
    for mode in ("iptables", "nftables")
    for scenario in ("cold-start", "add-one", "change-endpoint", "delete-one")
]
FORWARDING = [
    make_key(mode=mode, metric=metric, position=position, services=400)
    for mode in ("iptables", "nftables")
    for metric in ("forwarding.connect", "forwarding.first_byte", "forwarding.rtt")
    for position in ("first", "last")
]
ADD_ONE = CPU[1]


def of(key: Key, name: str) -> Key:
    """Return the key as a run has it."""
    subject = replace(key.subject, kind="kube-proxy", version="v1.37.2", settings=(("name", name),))
    return replace(key, subject=subject)


def frame(
    rng: np.random.Generator,
    *,
    noise: float = 0.002,
    factor: Callable[[Key, str], float] = lambda _key, _name: 1.0,
    repetitions: int = 6,
    lacks: Callable[[Key, str, int], bool] = lambda _key, _name, _repetition: False,
) -> pd.DataFrame:
    """Return a run's samples: each number's noise is its own, unlike by a factor of 1.65."""
    rows = []
    for key in (*CPU, *FORWARDING):
        own = noise * np.exp(0.5 * rng.normal())
        drift = 0.001 * rng.normal(size=repetitions)  # of the machine, common to both
        for name in ("old", "new"):
            for repetition in range(repetitions):
                if not lacks(key, name, repetition + 1):
                    level = 2e7 * factor(key, name) * np.exp(drift[repetition] + own * rng.normal())
                    columns = flat(of(key, name))
                    rows.append({**columns, "run": "r", "repetition": repetition + 1, "value": round(level)})
    return pd.DataFrame(rows).assign(censored=False)


def judged(samples: pd.DataFrame, **how: float) -> Outcome:
    return compare_sides(*sides_of(collect(samples), FACTS, LABELS), **how)  # type: ignore[arg-type] # a float is all that is passed


def slower(key: Key, name: str) -> float:
    return 1.02 if name == "new" and key == ADD_ONE else 1.0


def test_both_subjects_have_one_key() -> None:
    old, new = sides_of(collect(frame(np.random.default_rng(1), repetitions=2)), FACTS, LABELS)
    assert old.series.keys() == new.series.keys()
    assert len(old.series) == len(CPU) + len(FORWARDING)
    assert common_key(of(ADD_ONE, "old")).subject.label == "kube-proxy iptables"


def test_what_is_neither_old_nor_new_is_passed_over() -> None:
    samples = frame(np.random.default_rng(1), repetitions=2).replace({"settings": {"name=old": "name=other"}})
    old, new = sides_of(collect(samples), FACTS, LABELS)
    assert (len(old.series), len(new.series)) == (0, len(CPU) + len(FORWARDING))


def test_two_per_cent_are_found_and_nothing_else_is() -> None:
    found = 0
    for seed in range(50):
        outcome = judged(frame(np.random.default_rng(seed), factor=slower))
        changed = [item for item in outcome.comparisons if item.verdict in (Verdict.REGRESSED, Verdict.IMPROVED)]
        assert [common_key(item.key) for item in changed] in ([], [common_key(of(ADD_ONE, "old"))])
        found += outcome.exit_code is ExitCode.REGRESSION
        if changed:
            assert changed[0].relative == pytest.approx(0.02, abs=0.01)
    assert found >= 45


def test_equal_ones_are_silent() -> None:
    silent, passed = 0, 0
    for seed in range(100):
        counts = (outcome := judged(frame(np.random.default_rng([7, seed])))).counts()
        silent += not (counts[Verdict.REGRESSED] or counts[Verdict.IMPROVED])
        passed += outcome.exit_code is ExitCode.PASS
    assert silent >= 99
    assert passed >= 90


def test_noise_that_hides_the_threshold_is_no_pass() -> None:
    outcome = judged(frame(np.random.default_rng(3), noise=0.02))
    assert outcome.exit_code is ExitCode.INCONCLUSIVE
    assert outcome.counts()[Verdict.REGRESSED] == 0
    wide = judged(frame(np.random.default_rng(3), noise=0.02), threshold=0.5)
    assert wide.exit_code is ExitCode.PASS


def test_no_noise_between_runs_is_assumed() -> None:
    outcome = judged(frame(np.random.default_rng(1)))
    assert outcome.assumed_noise is None
    assert "run-to-run" not in outcome.sentence()


@pytest.mark.parametrize("missing", ["old", "new"])
def test_a_number_that_one_lacks_is_named(missing: str) -> None:
    samples = frame(np.random.default_rng(1), lacks=lambda key, name, _: key == ADD_ONE and name == missing)
    outcome = judged(samples)
    (item,) = [item for item in outcome.comparisons if item.verdict is Verdict.NOT_COMPARABLE]
    assert (item.key.scenario, item.reason) == ("add-one", f"not measured with {missing}")
    assert outcome.exit_code is ExitCode.INCONCLUSIVE
    assert outcome.undecided_metrics() == ("cpu.control_loop",)


def test_repetitions_that_one_lacks_are_counted() -> None:
    samples = frame(np.random.default_rng(1), lacks=lambda _, name, repetition: name == "new" and repetition > 4)
    outcome = judged(samples)
    assert {(item.base_repetitions, item.new_repetitions) for item in outcome.comparisons} == {(6, 4)}
