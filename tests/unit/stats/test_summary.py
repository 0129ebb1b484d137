from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from proxybench.model import ClockKind, Metric, Mode, Point, Sample, Scenario
from proxybench.results.frame import samples_to_frame
from proxybench.stats.series import collect
from proxybench.stats.summary import summarise
from proxybench.testing.model import make_subject


def sample(value: int, repetition: int, *, services: int = 10, late: bool = False, unsure: int = 0) -> Sample:
    point = Point(make_subject(Mode.IPVS), services, 2, Scenario.STEADY)
    metric = Metric.FORWARDING_CONNECT
    return Sample("r", point, repetition, "n", metric, value, "ns", ClockKind.WALL, late, 0, unsure)


def test_one_record_per_point_and_metric() -> None:
    samples = [sample(v + 10 * r, r) for r in range(3) for v in (90, 100, 110)]
    samples.append(sample(7, 0, services=5))
    small, record = summarise(samples_to_frame(samples))
    assert (record.n, record.repetitions, record.censored, record.median) == (9, 3, 0, 110.0)
    assert (record.mode, record.services, record.metric) == ("ipvs", 10, "forwarding.connect")
    assert record.p90 == pytest.approx(122.0)
    assert record.ci_low is not None
    assert record.ci_high is not None
    assert record.ci_low < 110 < record.ci_high
    assert (small.services, small.ci_low, small.ci_high, small.median) == (5, None, None, 7.0)


def test_an_interval_is_widened_by_what_the_samples_are_uncertain_by() -> None:
    sure, unsure = (
        summarise(samples_to_frame([sample(value, r, unsure=step) for r, value in enumerate((99, 100, 101))]))[0]
        for step in (0, 30)
    )
    assert (sure.uncertainty, unsure.uncertainty) == (0.0, 30.0)
    assert sure.ci_low is not None
    assert sure.ci_high is not None
    assert 95 < sure.ci_low < 100 < sure.ci_high
    assert [unsure.ci_low, unsure.ci_high] == pytest.approx([sure.ci_low - 30, sure.ci_high + 30])
    (coarse,) = summarise(samples_to_frame([sample(value, r, unsure=500) for r, value in enumerate((99, 100, 101))]))
    assert [coarse.ci_low, coarse.ci_high] == pytest.approx([0.0, sure.ci_high + 500])  # no time is below 0
    (alone,) = summarise(samples_to_frame([sample(100, 1, unsure=30)]))
    assert (alone.ci_low, alone.uncertainty) == (None, 30.0)  # how repetitions vary is not known from one


def test_each_repetition_has_an_uncertainty_of_its_own() -> None:
    (found,) = collect(samples_to_frame([sample(100, r, unsure=step) for r, step in enumerate((10, 30, 90, 20, 40))]))
    assert (found.uncertainty, found.uncertainties) == (30.0, (10.0, 30.0, 90.0, 20.0, 40.0))
    assert list(found.unsure().values()) == [10.0, 30.0, 90.0, 20.0, 40.0]
    (exact,) = collect(samples_to_frame([sample(100, r) for r in range(2)]))
    assert (exact.uncertainties, list(exact.unsure().values())) == ((), [0.0, 0.0])


def test_a_metric_that_is_read_in_steps_is_uncertain_by_half_of_one() -> None:
    rtt = replace(sample(5_000, 1), metric=Metric.FORWARDING_RTT)
    assert summarise(samples_to_frame([rtt]))[0].uncertainty == 500.0


def test_time_outs_count_and_take_the_interval_away_when_the_median_is_one() -> None:
    few = [sample(100 + i, r) for r in range(2) for i in range(9)]
    few += [sample(10**9, r, late=True) for r in range(2)]
    (record,) = summarise(samples_to_frame(few))
    assert (record.censored, record.ci_low is not None) == (2, True)
    assert record.bounded(0.99)
    assert not record.bounded(0.5)
    (record,) = summarise(samples_to_frame([*few, *[sample(10**9, 1, late=True)] * 20]))
    assert (record.censored, record.ci_low, record.ci_high) == (22, None, None)


def test_order_of_rows_does_not_matter() -> None:
    rng = np.random.default_rng(1)
    samples = [sample(int(v), int(r), services=int(s)) for v, r, s in rng.integers(1, 100, (500, 3)) % [10**6, 4, 3]]
    frame = samples_to_frame(samples)
    shuffled = frame.sample(frac=1, random_state=2).reset_index(drop=True)
    assert summarise(frame) == summarise(shuffled)
    plain = pd.DataFrame({name: frame[name].astype(object) for name in frame.columns})
    assert summarise(plain.astype({"value": "int64", "censored": "bool"})) == summarise(frame)


def test_it_agrees_with_pandas() -> None:
    rng = np.random.default_rng(2)
    samples = [sample(int(v), i % 5) for i, v in enumerate(rng.lognormal(10, 1, 1000))]
    frame = samples_to_frame(samples)
    (series,) = collect(frame)
    replicates = dict(zip(series.labels, series.values, strict=True))
    assert list(replicates.values()) == pytest.approx(frame.groupby("repetition")["value"].median().tolist())
    assert series.p99 == pytest.approx(frame["value"].quantile(0.99))
    assert series.labels == tuple(("r", i) for i in range(5))


def test_equal_instruction_counts_give_a_point() -> None:
    (record,) = summarise(samples_to_frame([sample(500, r) for r in range(5)]))
    assert [record.median, record.ci_low, record.ci_high] == pytest.approx([500.0] * 3)


def test_no_samples_no_records() -> None:
    assert summarise(samples_to_frame([])) == []
