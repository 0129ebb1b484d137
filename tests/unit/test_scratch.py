from __future__ import annotations

import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from proxybench import scratch

PREFIX = "proxybench-test."
HOLDER = """
import sys
from proxybench import scratch
print(scratch.make("proxybench-test."), flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def test_a_folder_is_its_owners_alone_and_goes_with_all_in_it(base: Path) -> None:
    with scratch.folder(PREFIX) as folder:
        assert folder.parent == base
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        (folder / "deep").mkdir()
        (folder / "deep/file").touch()
    assert list(base.iterdir()) == []


def test_a_held_folder_stays_and_a_dead_owners_goes(base: Path) -> None:
    mine = scratch.make(PREFIX)
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "TMPDIR": str(base)},
    ) as holder:
        assert holder.stdout
        theirs = Path(holder.stdout.readline().strip())
        assert theirs.parent == base
        assert scratch.sweep(PREFIX) == ()
        holder.kill()
        holder.wait(20)
        seen: list[Path] = []
        assert scratch.sweep(PREFIX, seen.append) == (theirs,)
    assert seen == [theirs]
    assert list(base.iterdir()) == [mine]
    scratch.remove(mine)
    assert scratch.sweep(PREFIX) == ()
    assert list(base.iterdir()) == []


def test_what_is_not_ours_stays(base: Path) -> None:
    elsewhere, foreign, unlocked = base / "elsewhere", base / "other-prefix.x", base / f"{PREFIX}unlocked"
    for folder in (elsewhere, foreign, unlocked):
        folder.mkdir()
        (folder / "file").touch()
    (elsewhere / scratch.OWNER).touch()
    (foreign / scratch.OWNER).touch()
    (base / f"{PREFIX}link").symlink_to(elsewhere)
    (base / f"{PREFIX}file").touch()
    (unlocked / scratch.OWNER).symlink_to(elsewhere / "file")
    before = sorted(base.rglob("*"))
    assert scratch.sweep(PREFIX) == ()
    assert sorted(base.rglob("*")) == before


def test_an_empty_folder_goes_when_its_maker_has_had_time_enough(base: Path) -> None:
    young, old = base / f"{PREFIX}young", base / f"{PREFIX}old"
    young.mkdir()
    old.mkdir()
    past = time.time() - scratch.YOUNG_S - 1
    os.utime(old, (past, past))
    assert scratch.sweep(PREFIX) == (old,)
    assert list(base.iterdir()) == [young]
