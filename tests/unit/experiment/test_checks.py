from __future__ import annotations

from pathlib import Path

import pytest

from proxybench.errors import ExperimentError
from proxybench.experiment.load import load_experiment
from proxybench.experiment.spec import MeasureSpec

SMALL = """\
version: 1
name: small
modes: [iptables, ipvs]
scale: {services: [10, 100]}
measure: {sync: true}
"""


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def problems(text: str, *overrides: str) -> list[str]:
    """Return what is wrong with a file of this text, e.yaml."""
    path = Path("e.yaml")
    path.write_text(text)
    try:
        load_experiment(path, overrides)
    except ExperimentError as error:
        return [str(problem) for problem in error.problems]
    return []


def test_users_that_clients_cannot_share_have_their_place_in_the_file() -> None:
    text = SMALL + "target: {lab: {clients: 3}}\nload: {rate: 100, users: 10}\n"
    words = "users: 10 cannot be shared evenly by 3 clients; write a multiple of 3, such as 9"
    assert problems(text) == [f"e.yaml:7:26: {words}"]
    assert problems(text, "load.users=12") == []
    assert problems(text, "target.lab.clients=4", "load.users=9") == [
        "--set load.users:1:1: users: 9 cannot be shared evenly by 4 clients; write a multiple of 4, such as 8"
    ]


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("repetitions=1001", "1:1: default: 1001 is too large; write at most 1000"),
        (f"repetitions={10**22}", f"1:1: default: {10**22} is too large; write at most 1000"),
        ("repetitions={10: 1001}", "1:6: 10: 1001 is too large; write at most 1000"),
        ("measure.forwarding.connections=100001", "1:1: connections: 100001 is too large; write at most 100000"),
        ("measure.forwarding.warmup=100001", "1:1: warmup: 100001 is too large; write at most 100000"),
        ("measure.forwarding.established=100001", "1:1: established: 100001 is too large; write at most 100000"),
        ("measure.forwarding.block=257", "1:1: block: 257 is too large; write at most 256"),
        ("load={rate: 20001}", "1:8: rate: 20001 is too large; write at most 20000"),
        ("load={rate: 1000, users: 1001}", "1:21: users: 1001 is too large; write at most 1000"),
        ("load={rate: 10, services_used: 16001}", "1:27: services_used: 16001 is too large; write at most 16000"),
        (
            "measure.sync.batch=20901",
            (
                "1:1: batch: 20901 Services beside 100 are more than the lab is laid out for; keep both together at or"
                " below 21000"
            ),
        ),
        (
            "measure.events.mass=20901",
            (
                "1:1: mass: 20901 Services beside 100 are more than the lab is laid out for; keep both together at or"
                " below 21000"
            ),
        ),
    ],
)
def test_counts_have_an_end(setting: str, words: str) -> None:
    assert problems(SMALL, setting) == [f"--set {setting.partition('=')[0]}:{words}"]


@pytest.mark.parametrize(
    "setting",
    [
        "repetitions=1000",
        "measure.forwarding={connections: 100000, warmup: 100000, established: 100000, block: 256}",
        "load={rate: 20000, users: 1000, services_used: 16000}",
        "measure.sync.batch=20900",
        "measure.events.mass=20900",
    ],
)
def test_the_largest_counts_are_taken(setting: str) -> None:
    assert problems(SMALL, setting) == []


def test_steps_have_an_end_too() -> None:
    sizes = f"scale.services={list(range(1, 12))}"
    assert problems(SMALL, "repetitions=1000", sizes) == [
        (
            "--set repetitions:1:1: repetitions: 22,000 steps (sizes x subjects x repetitions) are more than a run can"
            " take; keep them at or below 20,000"
        )
    ]
    assert problems(SMALL, "repetitions=909", sizes) == []


@pytest.mark.parametrize("name", MeasureSpec.model_fields)
def test_every_part_of_a_measurement_can_be_switched_on_with_its_defaults(name: str) -> None:
    found = problems(SMALL, f"measure={{{name}: true}}")
    needs = ["--set measure:1:11: migrate: true is not a mapping; write migrate: {to: nftables}"]
    assert found == (needs if name == "migrate" else [])


def test_what_a_cluster_of_ones_own_does_not_lend_is_told_at_once() -> None:
    cluster = ("target={cluster: {inventory: n.yaml}}", "subjects=[{kind: cluster, mode: iptables}]")
    text = SMALL.replace("modes", "#")
    assert problems(text, *cluster) == []
    assert problems(text, *cluster, "measure.forwarding.paths=[cluster_ip@pod, external_ip, load_balancer_ip/udp]") == [
        (
            "--set measure.forwarding.paths:1:2: paths: cluster_ip@pod begins on a pod of ours, and target.cluster has"
            " none; leave it out"
        ),
        ("--set measure.forwarding.paths:1:18: paths: target.cluster lends no addresses for external_ip; leave it out"),
        (
            "--set measure.forwarding.paths:1:31: paths: target.cluster lends no addresses for load_balancer_ip/udp;"
            " leave it out"
        ),
    ]
    assert problems(text, *cluster, "families=[ipv6]") == [
        "--set families:1:2: families: target.cluster is measured over IPv4 only; write families: [ipv4]"
    ]
