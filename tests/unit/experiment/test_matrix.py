from __future__ import annotations

from collections import Counter
from itertools import groupby

from hypothesis import given
from hypothesis import strategies as st

from proxybench.experiment.matrix import Estimate, estimate, expand
from proxybench.experiment.spec import Experiment
from proxybench.model import Cell, Mode, Subject

LEGACY = (("iptables", "legacy"),)
SIZES = st.lists(st.integers(1, 50), min_size=1, max_size=4, unique=True)
MODES = st.lists(st.sampled_from(["iptables", "ipvs", "userspace"]), min_size=1, max_size=3, unique=True)


@st.composite
def experiments(draw: st.DrawFn) -> Experiment:
    services = draw(SIZES)
    repetitions = {"default": draw(st.integers(1, 7))}
    for size in draw(st.lists(st.sampled_from(services), unique=True)):
        repetitions[str(size)] = draw(st.integers(1, 7))
    return Experiment.model_validate(
        {
            "version": 1,
            "name": "x",
            "modes": draw(MODES),
            "scale": {
                "services": services,
                "endpoints_per_service": draw(SIZES),
                "one_service_endpoints": draw(st.one_of(st.just([]), SIZES)),
            },
            "repetitions": repetitions,
            "measure": {"sync": True},
        }
    )


def test_each_family_follows_the_other_within_a_size() -> None:
    experiment = Experiment.model_validate(
        {
            "version": 1,
            "name": "x",
            "subjects": [{"kind": "kube-proxy", "version": "v1.37.2", "modes": ["iptables", "nftables"]}],
            "families": ["ipv4", "ipv6"],
            "scale": {"services": [10, 100]},
            "repetitions": 1,
            "measure": {"sync": True},
        }
    )
    found = [(step.cell.services, str(step.cell.family), str(step.cell.mode)) for step in expand(experiment)]
    assert found == [
        (services, family, mode)
        for services in (10, 100)
        for family in ("ipv4", "ipv6")
        for mode in ("iptables", "nftables")
    ]
    assert estimate(experiment) == Estimate(sizes=2, subjects=4, cells=8, steps=8)


def test_the_order_of_a_small_experiment() -> None:
    experiment = Experiment.model_validate(
        {
            "version": 1,
            "name": "x",
            "modes": ["iptables", "ipvs"],
            "scale": {"services": [100, 10], "one_service_endpoints": [50]},
            "repetitions": {"default": 2, "100": 1},
            "measure": {"sync": True},
        }
    )
    steps = expand(experiment)
    assert [
        (step.index, step.repetition, str(step.cell.mode), step.cell.services, step.cell.endpoints_per_service)
        for step in steps
    ] == [
        (1, 1, "iptables", 1, 50),
        (2, 1, "ipvs", 1, 50),
        (3, 1, "iptables", 10, 2),
        (4, 1, "ipvs", 10, 2),
        (5, 1, "iptables", 100, 2),
        (6, 1, "ipvs", 100, 2),
        (7, 2, "ipvs", 1, 50),
        (8, 2, "iptables", 1, 50),
        (9, 2, "ipvs", 10, 2),
        (10, 2, "iptables", 10, 2),
    ]
    assert {step.cell.subject.program for step in steps} == {"reference 0.1.0 (iptables=legacy)"}
    assert estimate(experiment) == Estimate(sizes=3, subjects=2, cells=6, steps=10)
    assert str(estimate(experiment)) == "10 steps (3 sizes x 2 subjects, with repetitions)"


def test_each_clock_has_its_steps_after_the_other_and_its_repetitions() -> None:
    experiment = Experiment.model_validate(
        {
            "version": 1,
            "name": "x",
            "target": {"lab": {"clock": ["instructions", "wall"]}},
            "modes": ["iptables"],
            "scale": {"services": [10, 100]},
            "repetitions": {"default": 3, "100": 1, "instructions": 2},
            "measure": {"sync": True},
        }
    )
    steps = expand(experiment)
    assert [(step.index, step.repetition, step.cell.services, str(step.clock)) for step in steps] == [
        (1, 1, 10, "wall"),
        (2, 1, 100, "wall"),
        (3, 2, 10, "wall"),
        (4, 3, 10, "wall"),
        (5, 1, 10, "instructions"),
        (6, 1, 100, "instructions"),
        (7, 2, 10, "instructions"),
    ]
    assert str(estimate(experiment)) == "7 steps (2 sizes x 1 subject, with repetitions, by 2 clocks)"


def test_one_of_each_is_written_in_the_singular() -> None:
    assert str(Estimate(1, 1, 1, 1)) == "1 step (1 size x 1 subject, with repetitions)"


@given(experiments())
def test_every_cell_is_measured_exactly_as_often_as_asked(experiment: Experiment) -> None:
    scale = experiment.scale
    sizes = {(many, each) for many in scale.services for each in scale.endpoints_per_service}
    sizes |= {(1, endpoints) for endpoints in scale.one_service_endpoints}
    expected = {
        Cell(Subject("reference", "0.1.0", mode, LEGACY), many, each): experiment.repetitions.of(many)
        for many, each in sizes
        for mode in experiment.modes
    }
    steps = expand(experiment)
    assert Counter(step.cell for step in steps) == expected
    assert all(
        sorted(step.repetition for step in steps if step.cell == cell) == list(range(1, times + 1))
        for cell, times in expected.items()
    )
    assert [step.index for step in steps] == list(range(1, len(steps) + 1))
    assert estimate(experiment).steps == len(steps)


@given(experiments())
def test_within_a_repetition_sizes_ascend_and_modes_are_adjacent(experiment: Experiment) -> None:
    steps = expand(experiment)
    assert [step.repetition for step in steps] == sorted(step.repetition for step in steps)
    for _, group in groupby(steps, key=lambda step: step.repetition):
        runs = [
            (size, [step.cell.mode for step in of_size])
            for size, of_size in groupby(group, key=lambda step: (step.cell.services, step.cell.endpoints_per_service))
        ]
        sizes = [size for size, _ in runs]
        assert sizes == sorted(set(sizes))
        assert all(sorted(modes) == sorted(experiment.modes) for _, modes in runs)


@given(MODES)
def test_rotation_moves_each_mode_through_each_place(modes: list[str]) -> None:
    experiment = Experiment.model_validate(
        {
            "version": 1,
            "name": "x",
            "modes": modes,
            "scale": {"services": [10]},
            "repetitions": len(modes),
            "measure": {"sync": True},
        }
    )
    places: dict[Mode, set[int]] = {mode: set() for mode in experiment.modes}
    for step in expand(experiment):
        places[step.cell.mode].add((step.index - 1) % len(modes))
    assert all(seen == set(range(len(modes))) for seen in places.values())


def test_subjects_are_rotated_like_modes_and_may_be_told_apart_by_now() -> None:
    experiment = Experiment.model_validate(
        {
            "version": 1,
            "name": "x",
            "subjects": [
                {"kind": "kube-proxy", "version": "v1.37.2", "modes": ["nftables", "ipvs"]},
                {"kind": "kube-proxy", "path": "./kube-proxy", "mode": "nftables"},
            ],
            "scale": {"services": [10]},
            "repetitions": 2,
            "measure": {"sync": True},
        }
    )
    nft, ipvs = Subject("kube-proxy", "v1.37.2", Mode.NFTABLES), Subject("kube-proxy", "v1.37.2", Mode.IPVS, LEGACY)
    file = Subject("kube-proxy", "", Mode.NFTABLES, (("path", "./kube-proxy"),))
    assert [step.cell.subject for step in expand(experiment)] == [nft, ipvs, file, ipvs, file, nft]
    assert estimate(experiment) == Estimate(sizes=1, subjects=3, cells=3, steps=6)
    told = Subject("kube-proxy", "v1.36.0", Mode.NFTABLES, (("path", "./kube-proxy"),))
    assert [step.cell.subject for step in expand(experiment, (nft, told))] == [nft, told, told, nft]
    assert expand(experiment, ()) == ()
