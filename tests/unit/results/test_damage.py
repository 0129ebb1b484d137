"""A run's folder that a crash, a disk or a person has damaged: one line, what was lost, and the rest is kept."""

from __future__ import annotations

import random
import shutil
from typing import TYPE_CHECKING, Any

import orjson
import pandas as pd
import pytest
from click.testing import CliRunner

from proxybench.cli.main import cli
from proxybench.errors import ResultsError
from proxybench.results.folder import RunFolder, open_run
from proxybench.results.frame import samples_to_frame

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from proxybench.model import Sample
    from proxybench.units import Clock

FIRST, SECOND, THIRD = (f"part-{number:06d}.parquet" for number in (1, 2, 3))


@pytest.fixture
def run(
    tmp_path: Path,
    clock: Clock,
    manifest: Callable[..., dict[str, Any]],
    samples: Callable[..., list[Sample]],
) -> RunFolder:
    """Return a run that was cut off: step 1 in one part, step 2 in two of them, step 3 under way in a fourth."""
    folder = RunFolder.create(tmp_path, "quickstart", clock)
    folder.write_manifest(manifest(state="interrupted"))
    for step, start in ((1, 0), (2, 10), (2, 20), (3, 90)):
        folder.add(samples(5, start=start), step)
        if step < 3:
            folder.checkpoint(step)
    return open_run(folder.path)


def _cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-20])


def _empty(file: Path) -> None:
    file.write_bytes(b"")


def _garbage(file: Path) -> None:
    file.write_bytes(random.Random(1).randbytes(file.stat().st_size))  # noqa: S311 - no secret


def _holed(file: Path) -> None:
    """As a disk after a power cut has it: the right length, and zeros."""
    file.write_bytes(b"\0" * file.stat().st_size)


def _folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


DAMAGE = {"cut short": _cut, "empty": _empty, "garbage": _garbage, "zeros": _holed, "a folder": _folder}


@pytest.mark.parametrize("damage", DAMAGE)
def test_the_step_of_a_damaged_part_is_taken_again_and_the_others_are_kept(
    run: RunFolder, samples: Callable[..., list[Sample]], manifest: Callable[..., dict[str, Any]], damage: str
) -> None:
    DAMAGE[damage](run.path / "parts" / SECOND)
    assert run.resume() == (1,)
    (line,) = run.lost
    assert line.startswith(f"{run.path}/parts/{SECOND}: cannot be read as samples (")
    assert line.endswith("); the file is damaged or was cut short; its step is measured again")
    pd.testing.assert_frame_equal(run.samples(), samples_to_frame(samples(5)))
    again = open_run(run.path)  # another time, nothing is lost any more
    assert (again.resume(), again.lost) == ((1,), ())
    for step in (2, 3):
        again.add(samples(5, start=step * 10), step)
        again.checkpoint(step)
    again.write_manifest(manifest())
    again.finish([])
    assert len(again.samples()) == 15
    assert not (run.path / "parts").exists()


def test_a_part_that_is_gone_is_missed(run: RunFolder) -> None:
    (run.path / "parts" / FIRST).unlink()
    assert run.resume() == (2,)
    assert run.lost == (f"{run.path}/parts/{FIRST}: missing; its step is measured again",)


def test_a_part_that_does_not_count_may_be_anything(run: RunFolder) -> None:
    _garbage(run.path / "parts/part-000004.parquet")
    assert (run.resume(), run.lost, run.aside) == ((1, 2), (), 1)


def test_samples_that_are_gone_or_were_not_copied_are_missed_by_each_verb(
    run: RunFolder, manifest: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    run.write_manifest(manifest(state="complete"))
    run.finish([])
    (run.path / "samples.parquet").unlink()
    words = f"error: {run.path}/samples.parquet: missing, and so are the parts that it is made of; copy it, too\n"
    out = str(tmp_path / "b.json")
    for argv in (("report", str(run.path)), ("baseline", "save", str(run.path), "--out", out)):
        result = CliRunner().invoke(cli, argv)
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr == words
    assert not (run.path / "report.html").exists()


def test_a_copy_beside_the_parts_is_none(run: RunFolder) -> None:
    shutil.copy(run.path / "parts" / FIRST, run.path / "parts/part-000001 (1).parquet")
    assert len(open_run(run.path).samples()) == 20
    assert run.resume() == (1, 2)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "not valid JSON ("),
        (b'{"completed": [1', "not valid JSON ("),
        (b"\xff\xfe", "not valid JSON (no UTF-8 text: line 1 column 1); "),
        (b"[]", "not a checkpoint; remove it to measure every step again"),
        (b'{"completed": [1]}', "not a checkpoint; "),
        (b'{"completed": "12", "parts": {}}', "not a checkpoint; "),
        (b'{"completed": [1], "parts": 5}', "not a checkpoint; "),
        (b'{"completed": [1], "parts": {"part-000001.parquet": "x"}}', "not a checkpoint; "),
    ],
)
def test_a_damaged_checkpoint_is_named(run: RunFolder, content: bytes, why: str) -> None:
    path = run.path / "parts/checkpoint.json"
    path.write_bytes(content)
    with pytest.raises(ResultsError) as caught:
        run.resume()
    assert str(caught.value).startswith(f"{path}: {why}")
    assert len(run.samples()) == 20
    path.unlink()
    assert (run.resume(), run.aside) == ((), 4)


def test_an_older_checkpoint_counts_as_long_as_nothing_is_lost(run: RunFolder) -> None:
    path = run.path / "parts/checkpoint.json"
    path.write_bytes(orjson.dumps({"completed": [1, 2], "parts": [FIRST, SECOND, THIRD]}))
    assert run.resume() == (1, 2)
    _cut(run.path / "parts" / SECOND)
    with pytest.raises(ResultsError) as caught:
        run.resume()
    assert str(caught.value) == (
        f"{path}: does not say which step is lost with {SECOND}, which cannot be read; remove it to measure every "
        "step again"
    )


def test_a_run_whose_parts_are_gone_is_not_called_complete(run: RunFolder) -> None:
    shutil.rmtree(run.path / "parts")
    with pytest.raises(ResultsError) as caught:
        run.resume()
    assert str(caught.value) == f"{run.path}: this run has lost its parts; there is nothing to resume"


@pytest.mark.parametrize("name", [FIRST, "samples.parquet"])
def test_whatever_bytes_are_changed_the_file_is_read_or_named(run: RunFolder, name: str) -> None:
    """Formats have sums for some of their bytes only: what they do not notice is read, as other samples."""
    if name == "samples.parquet":
        run.finish([])
    path = run.path / (name if name == "samples.parquet" else f"parts/{name}")
    whole, chance = path.read_bytes(), random.Random(5)  # noqa: S311 - no secret
    named: list[str] = []
    for _ in range(400):
        data = bytearray(whole)
        for _ in range(chance.choice((1, 1, 2, 8))):
            data[chance.randrange(len(data))] = chance.randrange(256)
        path.write_bytes(data[: chance.choice((len(data), chance.randrange(len(data))))])
        try:
            run.samples()
        except ResultsError as error:
            named.append(str(error))
    assert len(named) > 200
    assert [line for line in named if not line.startswith(str(run.path)) or not line.isprintable()] == []
