from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from proxybench.errors import ExitCode, ExperimentError, Problem
from proxybench.experiment.load import load_experiment
from proxybench.experiment.places import ClockChoice, LabChoice
from proxybench.experiment.source import parse
from proxybench.experiment.spec import (
    Experiment,
    ProxierKind,
    ProxierNodes,
)
from proxybench.experiment.words import Batch
from proxybench.model import Mode, Position, Scenario

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Write = Callable[[str], Path]

OUT = "cannot stand in it; remove it, or save the file as UTF-8"
SMALL = """\
version: 1
name: small
modes: [iptables, ipvs]
scale: {services: [10, 100]}
measure: {sync: true}
"""

FULL = """\
version: 1
name: full-1
description: all words
target:
  lab: {kind: vm, clock: instructions}
modes: [userspace, ipvs]
proxier: {kind: reference, min_sync_period: 500ms, sync_period: 1m, nodes: all}
scale:
  services: [100, 10]
  endpoints_per_service: [1, 3]
  one_service_endpoints: [10, 1000]
repetitions: {default: 4, 100: 2, "1": 5}
warmup: true
measure:
  sync: {scenarios: [add-one, delete-one], batch: 20, timeout: 10s}
  cpu: {idle: 2s}
  forwarding: {connections: 50, warmup: 0, block: 5, positions: [last], established: 0}
load: {rate: 100, users: 5, duration: 20s, services_used: 3, at: [100]}
limits: {cell: 1m, run: 2h}
"""


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    monkeypatch.chdir(tmp_path)

    def to_file(text: str) -> Path:
        path = tmp_path / "e.yaml"
        path.write_text(text, encoding="utf-8")
        return path.relative_to(tmp_path)

    return to_file


def problems(path: Path, *overrides: str) -> list[str]:
    with pytest.raises(ExperimentError) as caught:
        load_experiment(path, overrides)
    assert caught.value.exit_code is ExitCode.USAGE
    return str(caught.value).splitlines()


def test_every_word_arrives(write: Write) -> None:
    experiment = load_experiment(write(FULL))
    assert experiment.name == "full-1"
    assert experiment.description == "all words"
    assert (experiment.target.lab.kind, experiment.target.lab.clock) == (LabChoice.VM, ClockChoice.INSTRUCTIONS)
    assert experiment.modes == (Mode.USERSPACE, Mode.IPVS)
    proxier = experiment.proxier
    assert (proxier.kind, proxier.nodes) == (ProxierKind.REFERENCE, ProxierNodes.ALL)
    assert (proxier.min_sync_period, proxier.sync_period) == (0.5, 60.0)
    assert experiment.scale.services == (100, 10)
    assert experiment.scale.endpoints_per_service == (1, 3)
    assert experiment.scale.one_service_endpoints == (10, 1000)
    assert [experiment.repetitions.of(size) for size in (1, 10, 100)] == [5, 4, 2]
    assert experiment.warmup is True
    sync, cpu, forwarding = experiment.measure.sync, experiment.measure.cpu, experiment.measure.forwarding
    assert sync is not None
    assert sync.scenarios == (Scenario.ADD_ONE, Scenario.DELETE_ONE)
    assert (sync.batch, sync.timeout) == (Batch(count=20), 10.0)
    assert cpu is not None
    assert cpu.idle == 2.0
    assert forwarding is not None
    assert forwarding.positions == (Position.LAST,)
    assert (forwarding.connections, forwarding.warmup, forwarding.block, forwarding.established) == (50, 0, 5, 0)
    load = experiment.load
    assert load is not None
    assert (load.rate, load.users, load.duration, load.services_used) == (100, 5, 20.0, 3)
    assert [load.runs_at(size) for size in (10, 100)] == [False, True]
    assert (experiment.limits.cell, experiment.limits.run) == (60.0, 7200.0)


def test_a_size_may_have_a_limit_of_its_own(write: Write) -> None:
    limits = load_experiment(write(SMALL), ["limits.cells={100: 3m}"]).limits
    assert [limits.of(size) for size in (10, 100)] == [300.0, 180.0]


def test_what_is_left_out_is_as_documented(write: Write) -> None:
    experiment = load_experiment(write(SMALL))
    assert experiment.target.lab.kind is LabChoice.AUTO
    assert (experiment.proxier.min_sync_period, experiment.proxier.sync_period) == (1.0, 30.0)
    assert experiment.proxier.nodes is ProxierNodes.MEASURED
    assert experiment.scale.endpoints_per_service == (2,)
    assert experiment.repetitions.of(10) == 3
    assert experiment.warmup is False
    assert experiment.measure.sync is not None
    assert experiment.measure.sync.batch == Batch(share=0.1)
    assert experiment.measure.sync.timeout == 120.0
    assert len(experiment.measure.sync.scenarios) == 5
    assert (experiment.measure.cpu, experiment.measure.forwarding, experiment.load) == (None, None, None)
    assert (experiment.limits.cell, experiment.limits.run) == (300.0, 1800.0)


def test_an_experiment_cannot_be_changed(write: Write) -> None:
    experiment = load_experiment(write(FULL))
    for part, name in ((experiment, "name"), (experiment.scale, "services"), (experiment.repetitions, "default")):
        with pytest.raises(ValidationError, match="frozen"):
            setattr(part, name, 1)


@pytest.mark.parametrize("text", [SMALL, FULL])
def test_what_is_dumped_can_be_loaded_again(write: Write, text: str) -> None:
    experiment = load_experiment(write(text))
    dumped = json.dumps(experiment.model_dump(mode="json"))
    assert load_experiment(write(dumped)) == experiment


def test_load_at_all_means_everywhere(write: Write) -> None:
    experiment = load_experiment(write(SMALL + "load: {rate: 50, at: all}\n"))
    assert experiment.load is not None
    assert experiment.load.runs_at(10)
    assert experiment.load.runs_at(12345)


def test_everything_wrong_is_told_at_once(write: Write) -> None:
    path = write("""\
version: 2
nam: x
modes: [iptable, ipvs]
min_sync_period: 3s
scale:
  services: [10, 0, 20000, "x", true, 1.5]
  endpoints_per_service: []
  servces: 3
repetitions: {default: 0}
modes: [ipvs]
measure:
  sync: {timeout: 5, batch: 200%, scenarios: [add-on, [3]]}
  cpu:
  forwarding: [1]
  foo: false
proxier: kube
load: {rate: 1.5, at: 3, services_used: "a", users: 1001}
limits: {cell: 2h, run: 10m}
target: {lab: {kind: netns, clock: instructions}}
description: 3
""")
    assert problems(path) == [
        'e.yaml:1:1: "name" is missing; write name: my-test',
        "e.yaml:1:10: version: 2 is no format that this proxybench reads; write 1",
        'e.yaml:2:1: unknown key "nam"; did you mean "name"?',
        'e.yaml:3:9: modes, number 1: "iptable" is not a mode; did you mean "iptables"?',
        'e.yaml:4:1: unknown key "min_sync_period"; it belongs in subjects.settings or proxier',
        "e.yaml:6:18: services, number 2: 0 is too small; write at least 1",
        "e.yaml:6:21: services, number 3: 20000 Services are more than the lab is laid out for; write at most 16000",
        'e.yaml:6:28: services, number 4: "x" is not a whole number; write one, such as 10',
        "e.yaml:6:33: services, number 5: true is not a whole number; write one, such as 10",
        "e.yaml:6:39: services, number 6: 1.5 is not a whole number; write one, such as 10",
        "e.yaml:7:26: endpoints_per_service: the list is empty; write at least one, such as [2]",
        'e.yaml:8:3: unknown key "servces"; did you mean "services"?',
        "e.yaml:9:24: default: 0 is too small; write at least 1",
        'e.yaml:10:1: "modes" is written twice (first in line 3); keep one',
        "e.yaml:12:19: timeout: 5 has no unit; write a duration such as 5s or 5ms",
        "e.yaml:12:29: batch: 200% is out of range; write more than 0% and at most 100%",
        'e.yaml:12:47: scenarios, number 1: "add-on" is not a scenario of sync; did you mean "add-one"?',
        (
            "e.yaml:12:55: scenarios, number 2: a list is not a scenario of sync;"
            " one of: cold-start, new-service, add-one, add-batch, change-endpoint, replace-endpoint, delete-one,"
            " add-paths, delete-paths"
        ),
        "e.yaml:13:3: cpu: nothing is written here; write true, false or the settings",
        (
            "e.yaml:14:15: forwarding: a list is not a mapping; write its keys below it:"
            " connections, warmup, block, positions, paths, by_endpoint, established"
        ),
        'e.yaml:15:3: unknown key "foo"; known here: sync, events, migrate, soak, cpu, forwarding',
        (
            'e.yaml:16:10: proxier: "kube" is not a mapping; write its keys below it:'
            " kind, version, min_sync_period, sync_period, nodes"
        ),
        "e.yaml:17:14: rate: 1.5 is not a whole number; write rate: 200",
        "e.yaml:17:23: at: 3 is no list of sizes; write all, or numbers of Services: [1000, 10000]",
        'e.yaml:17:41: services_used: "a" is not a whole number; write services_used: 9',
        "e.yaml:17:53: users: 1001 is too large; write at most 1000",
        "e.yaml:18:16: cell: 2h is longer than run (10m); make it shorter",
        "e.yaml:19:36: clock: only a VM can count instructions; write clock: wall, or kind: vm",
        "e.yaml:20:14: description: 3 is not text; write it in quotes",
    ]


CONTRADICTIONS = {
    "one clock in a list": (
        {"target.lab.clock": "[wall]"},
        (
            "--set target.lab.clock:1:1: clock: a list of clocks has both: write clock: [wall, instructions], or one of"
            " them alone"
        ),
    ),
    "no clock": (
        {"target.lab.clock": "wal"},
        '--set target.lab.clock:1:1: clock: "wal" is not a clock; did you mean "wall"?',
    ),
    "both clocks in namespaces": (
        {"target.lab": "{kind: netns, clock: [wall, instructions]}"},
        "--set target.lab:1:22: clock: only a VM can count instructions; write clock: wall, or kind: auto",
    ),
    "repetitions of a clock that is alone": (
        {"target.lab.clock": "wall", "repetitions": "{instructions: 2}"},
        (
            "--set repetitions:1:16: instructions: has a meaning with clock: [wall, instructions] only; write default,"
            " or numbers of Services"
        ),
    ),
    "nftables": (
        {"modes": "[nftables, ipvs]"},
        "--set modes:1:2: the reference proxier has no mode nftables; write kind: kube-proxy, or another mode",
    ),
    "mode twice": ({"modes": "[ipvs, ipvs]"}, '--set modes:1:1: modes: "ipvs" is named twice; name it once'),
    "no mode": (
        {"modes": "[]"},
        "--set modes:1:1: modes: the list is empty; write at least one, such as [iptables, ipvs, userspace]",
    ),
    "modes no list": (
        {"modes": "ipvs"},
        '--set modes:1:1: modes: "ipvs" is not a list; write modes: [iptables, ipvs, userspace]',
    ),
    "daemonset": (
        {"proxier.kind": "daemonset"},
        (
            "--set proxier.kind:1:1: kind: daemonset is no kind of proxier; "
            "write subjects: [{kind: cluster, mode: iptables}]"
        ),
    ),
    "proxier's kind": (
        {"proxier.kind": "referenc"},
        '--set proxier.kind:1:1: kind: "referenc" is not a kind of proxier; did you mean "reference"?',
    ),
    "reference with version": (
        {"proxier.version": "v1.29.3"},
        "--set proxier.version:1:1: version: the reference proxier has none; remove it",
    ),
    "version no text": (
        {"proxier.version": "1.29"},
        "--set proxier.version:1:1: version: 1.29 is not text; write version: v1.37.2",
    ),
    "periods": (
        {"proxier.min_sync_period": "31s"},
        "--set proxier.min_sync_period:1:1: min_sync_period: 31s is longer than sync_period (30s); make it shorter",
    ),
    "no size": (
        {"scale": "{endpoints_per_service: [1]}"},
        "--set scale:1:1: scale names no size; write services: [10, 100] or one_service_endpoints: [10, 100]",
    ),
    "product": (
        {"scale": "{services: [10, 10000], endpoints_per_service: [1, 7]}"},
        (
            "--set scale:1:17: services: 10000 Services with 7 endpoints each are more than the lab has pod addresses;"
            " keep the product at or below 60000"
        ),
    ),
    "endpoints": (
        {"scale.one_service_endpoints": "[32001]"},
        (
            "--set scale.one_service_endpoints:1:2: one_service_endpoints, number 1: 32001 endpoints of one Service"
            " are more than a node has pod addresses; write at most 32000"
        ),
    ),
    "repetitions of no size": (
        {"repetitions": "{default: 1, 1000: 2}"},
        '--set repetitions:1:20: "1000" is no number of Services in scale; write default or one of: 10, 100',
    ),
    "repetitions no number": (
        {"repetitions": "many"},
        '--set repetitions:1:1: repetitions: "many" is not a mapping; write repetitions: 3',
    ),
    "repetitions of a size": (
        {"repetitions": "{10: 0}"},
        "--set repetitions:1:6: 10: 0 is too small; write at least 1",
    ),
    "load at no size": (
        {"load": "{rate: 100, at: [10, 11]}"},
        "--set load:1:22: at: 11 is no number of Services in scale; write one of: 10, 100",
    ),
    "load too thin": (
        {"load": "{rate: 9}"},
        "--set load:1:8: rate: 9 connections per second are too few for 10 users; write at least one per user",
    ),
    "load without rate": ({"load": "{users: 5}"}, '--set load:1:1: "rate" is missing; write rate: 200'),
    "nothing measured": (
        {"measure": "{sync: false}"},
        "--set measure:1:1: measure: nothing is switched on; write sync: true, cpu: true or forwarding: true",
    ),
    "block": (
        {"measure.forwarding": "{connections: 5}"},
        "--set measure.forwarding:1:1: block: 10 is more than all connections (5); write fewer",
    ),
    "patience": (
        {"limits.cell": "60s"},
        "e.yaml:5:17: timeout: 2m is longer than limits.cell (1m); make it shorter",
    ),
    "patience at a size": (
        {"limits.cells": "{100: 60s}"},
        "e.yaml:5:17: timeout: 2m is longer than limits.cells.100 (1m); make it shorter",
    ),
    "patience at no size": (
        {"limits.cells": "{1000: 10m}"},
        '--set limits.cells:1:8: "1000" is no number of Services in scale; write one of: 10, 100',
    ),
    "patience longer than the run": (
        {"limits.cells": "{100: 2h}", "limits.run": "1h"},
        "--set limits.cells:1:7: 100: 2h is longer than run (1h); make it shorter",
    ),
    "patience with events": (
        {"measure.events": "{timeout: 10m}"},
        "--set measure.events:1:11: timeout: 10m is longer than limits.cell (5m); make it shorter",
    ),
    "a soak as long as a cell": (
        {"measure.soak": "{duration: 5m}"},
        (
            "--set measure.soak:1:12: duration: 5m must be less than limits.cell (5m); make it shorter,"
            " or limits.cell longer"
        ),
    ),
    "watching nothing for longer than a cell": (
        {"measure.cpu": "{idle: 10m}", "limits.cells": "{100: 4m}"},
        (
            "--set measure.cpu:1:8: idle: 10m must be less than limits.cells.100 (4m); make it shorter,"
            " or limits.cells.100 longer"
        ),
    ),
    "a load as long as a cell": (
        {"load": "{rate: 100, duration: 5m}"},
        "--set load:1:23: duration: 5m must be less than limits.cell (5m); make it shorter, or limits.cell longer",
    ),
    "users that clients cannot share": (
        {"load": "{rate: 100, users: 10}", "target.lab.clients": "3"},
        ("--set load:1:20: users: 10 cannot be shared evenly by 3 clients; write a multiple of 3, such as 9"),
    ),
    "fewer users than clients": (
        {"load": "{rate: 100, users: 2}", "target.lab.clients": "3"},
        "--set load:1:20: users: 2 cannot be shared evenly by 3 clients; write a multiple of 3, such as 3",
    ),
    "shards in namespaces": (
        {"target.lab": "{kind: netns, shards: 2}"},
        ("--set target.lab:1:23: shards: in namespaces one step is taken at a time; write kind: vm, or remove shards"),
    ),
    "shards by the wall clock": (
        {"target.lab": "{clock: wall, shards: 2}"},
        (
            "--set target.lab:1:23: shards: by the wall clock one step is taken at a time; write clock: instructions,"
            " or remove shards"
        ),
    ),
    "migration to nowhere": (
        {"measure.migrate": "{to: nftables}"},
        ("--set measure.migrate:1:6: to: there is no subject in nftables mode to migrate to; add one to subjects"),
    ),
    "name": (
        {"name": "../up"},
        '--set name:1:1: name: "../up" cannot name a folder; use letters, digits and dashes, such as my-test',
    ),
    "no name": (
        {"name": '""'},
        '--set name:1:1: name: "" cannot name a folder; use letters, digits and dashes, such as my-test',
    ),
    "name too long": (
        {"name": "n" * 61},
        "--set name:1:1: name: the text is too long; write at most 60 characters",
    ),
    "version true": ({"version": "true"}, "--set version:1:1: version: true is not a whole number; write version: 1"),
}


@pytest.mark.parametrize(("changes", "line"), CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_each_contradiction_has_its_words(write: Write, changes: dict[str, str], line: str) -> None:
    assert problems(write(SMALL), *(f"{key}={value}" for key, value in changes.items())) == [line]


def test_the_short_form_of_kube_proxy_is_checked_like_the_long_one(write: Write) -> None:
    assert problems(write(SMALL), "proxier={kind: kube-proxy, version: v1.28.3}", "modes=[userspace, nftables]") == [
        "--set modes:1:2: kube-proxy 1.28.3 has no mode userspace: userspace was removed in 1.26; use 1.25 or older",
        "--set modes:1:13: kube-proxy 1.28.3 has no mode nftables: nftables came in 1.29; use 1.29 or newer",
    ]
    assert problems(write(SMALL), "proxier={kind: kube-proxy}") == [
        "--set proxier:1:1: kind kube-proxy needs a version; write version: v1.37.2",
    ]
    assert problems(write(SMALL), "proxier={kind: kube-proxy, version: latest}") == [
        '--set proxier:1:29: version: "latest" is no exact release; write all three numbers, such as v1.37.2',
    ]


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", ["e.yaml:1:1: is empty; an experiment begins with version: 1"]),
        ("# nothing\n", ["e.yaml:1:1: is empty; an experiment begins with version: 1"]),
        ("- 1\n", ["e.yaml:1:1: holds no mapping; an experiment begins with version: 1"]),
        (
            "name: a: b\n",
            [
                (
                    "e.yaml:1:8: not valid YAML: mapping values are not allowed here;"
                    " quote the text, or begin a new line before the key"
                )
            ],
        ),
        ("scale:\n\tservices: 3\n", ["e.yaml:2:1: not valid YAML: a tab cannot indent; use spaces"]),
        (
            "modes: [ipvs\n",
            ["e.yaml:2:1: not valid YAML: expected ',' or ']', but got '<stream end>' while parsing a flow sequence"],
        ),
        (
            "a: 1\n---\nb: 2\n",
            ["e.yaml:2:1: not valid YAML: but found another document; keep one document per file; remove the line ---"],
        ),
        ("a: *b\n", ["e.yaml:1:4: not valid YAML: found undefined alias 'b'"]),
        ("a: !b 1\n", ["e.yaml:1:4: the tag !b means nothing here; remove it"]),
        ('a: "\x01"\n', [f"e.yaml:1:5: not valid YAML: the character U+0001 {OUT}"]),
        ("a: 1\nname: a\0b\n", [f"e.yaml:2:8: not valid YAML: the character U+0000 {OUT}"]),
        ("# é\r\nname: \x80\n", [f"e.yaml:2:7: not valid YAML: the character U+0080 {OUT}"]),
        ("a: 1\r\ufffe\n", [f"e.yaml:2:1: not valid YAML: the character U+FFFE {OUT}"]),
    ],
)
def test_what_is_no_yaml_has_its_place(write: Write, text: str, lines: list[str]) -> None:
    assert problems(write(text)) == lines


def test_a_file_that_cannot_be_read_is_a_problem_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path.relative_to(tmp_path) / "e.yaml"
    assert problems(path) == ["e.yaml:1:1: cannot be read: No such file or directory"]
    assert problems(tmp_path.relative_to(tmp_path)) == [".:1:1: cannot be read: Is a directory"]
    path.write_bytes(b"version: 1\nname: \xff\n")
    assert problems(path) == ["e.yaml:2:7: is not UTF-8 text; save it as UTF-8"]
    path.write_bytes(b"\xef\xbb\xbf# \xc3\xa9\r\nname: \xc3\xa9\xff\n")
    assert problems(path) == ["e.yaml:2:8: is not UTF-8 text; save it as UTF-8"]
    path.write_bytes(b"#" * 262_145)
    assert problems(path) == ["e.yaml:1:1: is larger than 256 KiB; name the file of an experiment"]


def test_merged_and_aliased_mappings_are_read_and_keep_their_places(write: Write) -> None:
    path = write(
        "version: 1\nname: m\nmodes: [ipvs]\nscale: {services: &sizes [10, x]}\n"
        "measure: {cpu: &idle {idle: 5s}}\nlimits: {<<: {cell: 1s}, run: 0s}\nload: {rate: 50, at: *sizes}\n"
    )
    assert problems(path) == [
        'e.yaml:4:31: at, number 2: "x" is not a whole number; write one, such as 10',
        'e.yaml:4:31: services, number 2: "x" is not a whole number; write one, such as 10',
        "e.yaml:6:31: run: 0s is out of range; write 1s to 168h",
    ]


def test_overrides_change_single_words(write: Write) -> None:
    path = write(SMALL)
    experiment = load_experiment(
        path,
        [
            "scale.services=[7]",
            "name=other",
            "target.lab.kind=vm",
            "measure.sync.timeout=5s",
            "measure.cpu.idle=1s",
            "repetitions.7=9",
            "modes=[iptables]",
            "modes=[ipvs]",
        ],
    )
    assert experiment.scale.services == (7,)
    assert experiment.name == "other"
    assert experiment.target.lab.kind is LabChoice.VM
    assert experiment.measure.sync is not None
    assert experiment.measure.sync.timeout == 5.0
    assert experiment.measure.cpu is not None
    assert experiment.repetitions.of(7) == 9
    assert experiment.modes == (Mode.IPVS,)
    assert load_experiment(path).scale.services == (10, 100)


def test_overrides_replace_a_size_that_was_written_as_a_number(write: Write) -> None:
    text = SMALL + "repetitions: {default: 3, 10: 2}\n"
    assert load_experiment(write(text), ["repetitions.10=5"]).repetitions.of(10) == 5


def test_what_is_wrong_with_overrides_is_told_with_what_is_wrong_in_the_file(write: Write) -> None:
    path = write(SMALL + "repetitions: many\n")
    overrides = ["x", "=1", "a..b=1", "scale.services=[1", "name.first=a", "scale.servces=[10]", "limits.x.y=1"]
    assert problems(path, *overrides) == [
        "--set =1:1:1: is no setting; write a.b=value",
        "--set a..b=1:1:1: is no setting; write a.b=value",
        '--set limits.x.y:1:1: unknown key "x"; known here: cell, cells, run',
        "--set name.first:1:1: name.first cannot be set: what it belongs to is no mapping",
        '--set scale.servces:1:1: unknown key "servces"; did you mean "services"?',
        (
            "--set scale.services:1:3: not valid YAML: expected ',' or ']', but got '<stream end>'"
            " while parsing a flow sequence"
        ),
        "--set x:1:1: is no setting; write a.b=value",
        'e.yaml:6:14: repetitions: "many" is not a mapping; write repetitions: 3',
    ]


def test_a_switch_takes_no_other_word(write: Write) -> None:
    assert problems(write(SMALL + "warmup: 3\n")) == ["e.yaml:6:9: warmup: 3 is neither true nor false"]


def test_an_override_does_not_change_what_an_alias_shares(write: Write) -> None:
    text = SMALL.replace("{sync: true}", "{sync: &s {timeout: 9s}, cpu: {idle: 3s}}")
    experiment = load_experiment(write(text), ["measure.sync.timeout=8s"])
    assert experiment.measure.sync is not None
    assert experiment.measure.sync.timeout == 8.0


_YAML = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["1s", "ipvs"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*Experiment.model_fields, "lab"]), inner)
    ),
    max_leaves=12,
)


@settings(deadline=None)  # the first load imports, and the machine may be busy
@given(data=st.dictionaries(st.sampled_from(list(Experiment.model_fields)), _YAML))
def test_any_mapping_ends_in_an_experiment_or_in_problems_with_places(
    data: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_text(json.dumps(data), encoding="utf-8")
    found: tuple[Problem, ...] = ()
    try:
        load_experiment(path)
    except ExperimentError as error:
        found = error.problems or (Problem("", 0, 0, "no problem told"),)
    for problem in found:
        assert problem.line >= 1
        assert problem.column >= 1
        assert "\n" not in problem.message
        assert "Input should be" not in problem.message


@given(st.text(max_size=60))
def test_any_text_is_data_or_problems(text: str) -> None:
    document = parse(text, "any")
    assert document.data is None or not any("not valid YAML" in problem.message for problem in document.problems)
