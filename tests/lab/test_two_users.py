"""Two users of one machine: what one has left or holds is told apart from the other's, and nobody touches it."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from proxybench import scratch
from proxybench.errors import ProxybenchError
from proxybench.report.page import write_report
from proxybench.results.folder import open_run
from proxybench.targets.claim import claimed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can be two users"),
]

ONE, OTHER = 54_321, 54_322  # of whom passwd knows nothing
PREFIX = "proxybench-two-users."
GOLDEN = Path(__file__).parents[1] / "golden/run-v1"


def as_user(uid: int, call: Callable[[], object]) -> str:
    """Return what a call returned in a process of that user's, or how it was refused; it holds nothing any more."""
    reader, writer = os.pipe()
    if (pid := os.fork()) == 0:
        try:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            said = str(call())
        except ProxybenchError as error:
            said = f"error: {error}"
        except BaseException as error:  # noqa: BLE001 - the test is told of anything
            said = f"unexpected {error!r}"
        os.write(writer, said.encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as told:
        said = told.read()
    os.waitpid(pid, 0)
    return said


@pytest.fixture(autouse=True)
def shared(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return a temporary folder that is everybody's, as /tmp is."""
    folder = Path(tempfile.mkdtemp(prefix="two-users."))
    folder.chmod(0o1777)
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    shutil.rmtree(folder)


def test_a_killed_ones_folder_is_removed_by_its_own_user_alone(shared: Path) -> None:
    left = as_user(ONE, lambda: scratch.make(PREFIX))
    assert Path(left).stat().st_uid == ONE
    assert as_user(OTHER, lambda: scratch.sweep(PREFIX)) == "()"
    assert Path(left, scratch.OWNER).exists()
    assert as_user(ONE, lambda: [str(one) for one in scratch.sweep(PREFIX)]) == f"['{left}']"
    assert list(shared.iterdir()) == []


def test_a_living_ones_folder_is_left_by_everybody() -> None:
    with scratch.folder(PREFIX) as mine:
        for uid in (0, ONE):
            assert as_user(uid, lambda: scratch.sweep(PREFIX)) == "()"
        assert (mine / scratch.OWNER).exists()


def test_a_cluster_that_is_measured_by_one_is_refused_to_the_other() -> None:
    def claim() -> bool:
        with claimed("two users") as free:
            return free

    with claimed("two users") as free:
        assert free
        assert as_user(ONE, claim) == "False"
    assert as_user(OTHER, claim) == "True"


def test_anothers_run_is_read_and_not_written(shared: Path) -> None:
    run = shared / "run"
    shutil.copytree(GOLDEN, run)
    refused = as_user(ONE, lambda: write_report(run))
    assert refused.startswith(f"error: {run}/figures: cannot be written (Permission denied): ")
    assert as_user(ONE, lambda: open_run(run).manifest.state) == "complete"
    run.chmod(0o700)
    assert as_user(ONE, lambda: open_run(run)) == f"error: {run}: cannot be read (Permission denied)"
