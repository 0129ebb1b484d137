from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from proxybench.errors import ExperimentError
from proxybench.experiment.limits import EXPERIMENT, MAX_DEPTH
from proxybench.experiment.load import load_experiment
from proxybench.experiment.source import parse
from tests.unit.experiment.mutants import EXAMPLES, KEYS, LARGEST, PROFILES, REPLAY, WRITTEN, bomb, mutant

if TYPE_CHECKING:
    from pathlib import Path
    from random import Random

VALUES = "more than 5,000 values, with what aliases repeat; an experiment holds some dozens"
SECONDS = 2.0  # of CPU: the machine may be busy


def refused(text: str) -> str:
    """Return the one line with which a text is refused, within the time that any file may take."""
    started = time.process_time()
    document = parse(text, "e.yaml")
    assert time.process_time() - started < SECONDS
    assert document.data is None
    (problem,) = document.problems
    return str(problem)


def problems(path: Path) -> list[str]:
    """Return what is wrong with a file; nothing for a right one."""
    try:
        load_experiment(path)
    except ExperimentError as error:
        return [str(problem) for problem in error.problems]
    return []


@pytest.mark.parametrize("merge", [False, True])
def test_a_few_aliases_that_stand_for_much(merge: bool) -> None:
    text = bomb(9, 9, merge=merge, under="modes")
    assert len(text) < 600
    where = refused(text).partition(": ")
    assert where[2] == VALUES or where[2] == "a list or mapping of 820 entries; at most 600 are read"


@pytest.mark.parametrize("merge", [False, True])
def test_a_bomb_below_any_key_is_refused_by_the_whole_program(tmp_path: Path, merge: bool) -> None:
    path = tmp_path / "e.yaml"
    for under in ("modes", "subjects", "scale", "measure", "x"):
        path.write_text(EXAMPLES[0] + bomb(12, 9, merge=merge, under=under))
        with pytest.raises(ExperimentError) as caught:
            load_experiment(path)
        assert len(caught.value.problems) == 1


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("%YAML 1.1\n---\na: on\n", "1:1: %YAML 1.1 is not supported; remove the line, experiments are YAML 1.2"),
        ("# a\n\n%YAML 1.1\n---\n", "3:1: %YAML 1.1 is not supported; remove the line, experiments are YAML 1.2"),
        ("%TAG ! x\n%YAML 2.0\n---\n", "2:1: %YAML 2.0 is not supported; remove the line, experiments are YAML 1.2"),
        ("a: &b [1, *b]\n", "1:11: *b stands within what it repeats"),
        ("a: &b {<<: *b}\n", "1:12: *b stands within what it repeats"),
        ("a: !!int ''\n", "1:4: the tag tag:yaml.org,2002:int means nothing here; remove it"),
        ("[a, b]: 1\n", "1:1: a list or mapping cannot be a key here; write a word"),
        ("? {a: 1}\n: 1\n", "1:3: a list or mapping cannot be a key here; write a word"),
        (f"a: {'[' * 9999}\n", f"1:23: lists and mappings are more than {MAX_DEPTH} deep in each other"),
        (f"{'- ' * 9999}\n", f"1:41: lists and mappings are more than {MAX_DEPTH} deep in each other"),
        (f"a: [{'1,' * 601}]\n", f"1:4: a list or mapping of 601 entries; at most {EXPERIMENT.max_entries} are read"),
        ("k: 1\n" * 601, f"1:1: a list or mapping of 601 entries; at most {EXPERIMENT.max_entries} are read"),
        (f"a: {'9' * 41}\n", "1:4: a number of 41 characters is none that can be meant"),
        (f"a: 0x{'f' * 5000}\n", "1:4: a number of 5002 characters is none that can be meant"),
        (f"? {'k' * 201}\n: 1\n", "1:3: a key of 201 characters is none of an experiment"),
        (f"a: {'long ' * 50_001}\n", f"1:4: {VALUES}"),
        (f"a: &b {'t' * 5000}\nc: [{'*b,' * 50}]\n", f"2:146: {VALUES}"),
        ("a: [" + f"[{'1,' * 500}]," * 10 + "]\n", f"1:10007: {VALUES}"),
    ],
)  # fmt: skip
def test_what_is_refused(text: str, line: str) -> None:
    assert refused(text) == f"e.yaml:{line}"


@pytest.mark.parametrize(
    "text",
    [
        "%YAML 1.2\n---\na: on\n",
        "a: &b {c: 1}\nd: {<<: *b, e: *b}\nf: [*b, *b]\n",
        "a: &b 1\nc: &b 2\nd: *b\n",
        f"a: {'9' * 40}\n",
        f"{'k' * 120}: 1\n",
        f"a: {'[' * 18}{']' * 18}\n",
        f"a: [{'1,' * 600}]\n",
        "# a comment\n" * 20_000,
    ],
    ids=["version 1.2", "aliases", "an anchor twice", "number", "key", "depth", "list", "comments"],
)
def test_what_is_read(text: str) -> None:
    assert parse(text, "e.yaml").problems == []


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("1: 2\ntrue: 3\n", {"1": 2, "true": 3}),
        ("1: 2\n1.0: 3\n0x1: 4\n'': 5\n", {"1": 2, "1.0": 3, "0x1": 4, "": 5}),
        ("a: &b 10\n*b : 3\n", {"a": 10, "10": 3}),
        ("&b 10: 3\na: *b\n", {"10": 3, "a": 10}),
        ("a: &b {1: 2}\nc: {<<: *b, true: 3}\n", {"a": {"1": 2}, "c": {"1": 2, "true": 3}}),
    ],
)
def test_keys_are_words_as_they_are_written(text: str, data: object) -> None:
    document = parse(text, "e.yaml")
    assert (document.problems, document.data) == ([], data)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("1: 2\n'1': 3\n", '2:1: "1" is written twice (first in line 1); keep one'),
        ("a: 1\nb: {true: 2, true: 3}\n", '2:14: "true" is written twice (first in line 2); keep one'),
    ],
)
def test_a_key_that_is_written_twice_is_told_once(text: str, line: str) -> None:
    assert [str(problem) for problem in parse(text, "e.yaml").problems] == [f"e.yaml:{line}"]


def test_a_path_of_an_override_has_an_end(tmp_path: Path) -> None:
    path = tmp_path / "e.yaml"
    path.write_text(EXAMPLES[0])
    name = ".".join(["a"] * 21)
    with pytest.raises(ExperimentError) as caught:
        load_experiment(path, [f"{name}=1"])
    assert str(caught.value) == f"--set {name}=1:1:1: is no setting; write a.b=value"


def test_a_message_is_one_line_whatever_a_key_holds(tmp_path: Path) -> None:
    path = tmp_path / "e.yaml"
    path.write_text('version: 1\n"a\\nb\\e[31m": 1\n"a\\nb\\e[31m": 2\n')
    with pytest.raises(ExperimentError) as caught:
        load_experiment(path)
    lines = str(caught.value).splitlines()
    assert f'{path}:3:1: "a\\nb\\x1b[31m" is written twice (first in line 2); keep one' in lines
    assert all(line.startswith(f"{path}:") for line in lines)


# Without tracing, which is for explaining failures and makes everything ten times slower.
@settings(max_examples=300, deadline=None, phases=[Phase.generate, Phase.shrink])
@given(random=st.randoms(use_true_random=True))
def test_any_file_is_read_or_refused_in_time(random: Random, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "mutant.yaml"
    data = mutant(random)
    assert len(data) <= LARGEST
    path.write_bytes(data)
    started = time.process_time()
    lines = problems(path)
    assert time.process_time() - started < SECONDS
    assert all(line.startswith(f"{path}:") and line.isprintable() for line in lines)
    if len(data) > EXPERIMENT.max_bytes:
        assert lines == [f"{path}:1:1: is larger than 256 KiB; name the file of an experiment"]


@settings(max_examples=100, deadline=None, phases=[Phase.generate, Phase.shrink])
@given(random=st.randoms(use_true_random=True))
def test_any_profile_is_read_or_refused_in_time(random: Random, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.getbasetemp()
    (folder / "replay.yaml").write_text(REPLAY.format("replay.profile.yaml"))
    (folder / "replay.profile.yaml").write_bytes(mutant(random, PROFILES))
    started = time.process_time()
    lines = problems(folder / "replay.yaml")
    assert time.process_time() - started < SECONDS
    assert all(line.startswith(f"{folder}/replay.") and line.isprintable() for line in lines)


def test_what_mutants_are_made_of_comes_from_the_schema() -> None:
    """What an experiment or a profile can hold, however new, is in it."""
    assert {"profile", "cells", "clients", "backend_port", "churn", "shapes", "pace", "families"} <= set(KEYS)
    assert {"command", "cluster", "nftables", "ClientIP", "full-sync", "node_port_local@pod"} <= set(WRITTEN)
