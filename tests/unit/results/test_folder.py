from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson
import pandas as pd
import pytest

from proxybench.errors import ResultsError, RunError
from proxybench.model import Mode, Sample
from proxybench.results.atomic import write_bytes
from proxybench.results.folder import RunFolder, held, open_run
from proxybench.results.frame import samples_to_frame

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from proxybench.units import Clock


@dataclass(frozen=True)
class Record:
    mode: Mode
    services: int
    median: float


@pytest.fixture
def folder(tmp_path: Path, clock: Clock, manifest: Callable[..., dict[str, Any]]) -> RunFolder:
    made = RunFolder.create(tmp_path, "quickstart", clock)
    made.write_manifest(manifest())
    return made


def files(folder: RunFolder) -> list[str]:
    return sorted(str(path.relative_to(folder.path)) for path in folder.path.rglob("*"))


def test_a_run_is_called_after_its_start(folder: RunFolder, tmp_path: Path) -> None:
    assert folder.path.parent == tmp_path / "quickstart"
    assert folder.run.startswith("20261123T083000Z-")
    assert len(folder.run) == len("20261123T083000Z-abc123")


def test_two_runs_of_one_second_do_not_meet(tmp_path: Path, clock: Clock) -> None:
    assert RunFolder.create(tmp_path, "x", clock).path != RunFolder.create(tmp_path, "x", clock).path


@pytest.mark.parametrize("name", ["", "..", "a/b", "latest", ".hidden", "a b", "x" * 101])
def test_a_name_that_leads_elsewhere_is_refused(tmp_path: Path, clock: Clock, name: str) -> None:
    with pytest.raises(ResultsError) as caught:
        RunFolder.create(tmp_path, name, clock)
    assert str(caught.value) == (
        f"{name!r}: not usable as a folder's name (letters, digits, '.', '_' and '-', not 'latest')"
    )
    assert list(tmp_path.iterdir()) == []


def test_samples_are_readable_at_once(folder: RunFolder, samples: Callable[..., list[Sample]]) -> None:
    assert folder.add(samples(3)) == 3
    assert folder.add(iter(samples(2, start=3))) == 2
    assert folder.add([]) == 0
    pd.testing.assert_frame_equal(open_run(folder.path).samples(), samples_to_frame(samples(5)))


def test_finish_merges_and_links(folder: RunFolder, samples: Callable[..., list[Sample]], tmp_path: Path) -> None:
    folder.add(samples(3), 0)
    folder.checkpoint(0)
    folder.add(samples(2, start=3, mode=Mode.IPVS), 1)
    folder.checkpoint(1)
    folder.finish([Record(Mode.IPVS, 10, 1.5)])
    assert files(folder) == [
        "figures",
        "logs",
        "manifest.json",
        "samples.parquet",
        "summary.csv",
        "summary.json",
    ]
    expected = samples_to_frame([*samples(3), *samples(2, start=3, mode=Mode.IPVS)])
    pd.testing.assert_frame_equal(folder.samples(), expected)
    assert str((tmp_path / "quickstart" / "latest").readlink()) == folder.run
    assert orjson.loads((folder.path / "summary.json").read_bytes()) == [
        {"mode": "ipvs", "services": 10, "median": 1.5}
    ]
    assert (folder.path / "summary.csv").read_text() == "mode,services,median\nipvs,10,1.5\n"
    assert folder.summary() == [{"mode": "ipvs", "services": 10, "median": 1.5}]


def test_the_link_moves_to_the_newer_run(
    tmp_path: Path,
    clock: Clock,
    manifest: Callable[..., dict[str, Any]],
    folder: RunFolder,
) -> None:
    folder.finish([])
    newer = RunFolder.create(tmp_path, "quickstart", clock)
    newer.write_manifest(manifest())
    assert open_run(tmp_path / "quickstart").path == folder.path
    newer.finish([])
    assert open_run(tmp_path / "quickstart").path == newer.path
    assert open_run(tmp_path / "quickstart" / "latest").path == newer.path


def test_something_else_called_latest_is_left_alone(folder: RunFolder, tmp_path: Path) -> None:
    (tmp_path / "quickstart" / "latest").mkdir()
    with pytest.raises(ResultsError, match="is not a link; move it away"):
        folder.finish([])
    assert (tmp_path / "quickstart" / "latest").is_dir()


def test_nothing_is_added_to_a_run_that_has_ended(folder: RunFolder, samples: Callable[..., list[Sample]]) -> None:
    folder.finish([])
    with pytest.raises(ResultsError) as caught:
        folder.add(samples(1))
    assert str(caught.value) == f"{folder.path}: this run has ended; make a new one, or resume it"


def test_a_killed_run_resumes_without_counting_twice(folder: RunFolder, samples: Callable[..., list[Sample]]) -> None:
    folder.add(samples(3), 0)
    folder.checkpoint(0)
    folder.add(samples(2, start=90), 1)  # then the process is killed in the middle of step 1
    again = open_run(folder.path)
    assert again.completed_steps() == (0,)
    assert len(again.samples()) == 5
    assert again.resume() == (0,)
    assert len(again.samples()) == 3
    again.add(samples(4, start=3), 1)
    again.checkpoint(1)
    assert again.completed_steps() == (0, 1)
    again.finish([])
    pd.testing.assert_frame_equal(again.samples(), samples_to_frame(samples(7)))


def test_an_interrupted_run_is_finished_and_still_resumes(
    folder: RunFolder, samples: Callable[..., list[Sample]], manifest: Callable[..., dict[str, Any]]
) -> None:
    folder.add(samples(3), 0)
    folder.checkpoint(0)
    folder.add(samples(2, start=90), 1)
    folder.write_manifest(manifest(state="interrupted"))
    folder.finish([])
    assert len(folder.samples()) == 5
    assert open_run(folder.path).resume() == (0,)
    assert len(folder.samples()) == 3


def test_a_step_that_failed_is_not_kept_because_a_later_one_was_done(
    folder: RunFolder, samples: Callable[..., list[Sample]], manifest: Callable[..., dict[str, Any]]
) -> None:
    folder.add(samples(2, start=90), 0)  # fails, so that no checkpoint follows
    folder.add(samples(3), 1)
    folder.checkpoint(1)
    folder.write_manifest(manifest(state="incomplete"))
    folder.finish([])
    assert len(folder.samples()) == 5  # what its other parts brought stands in a run that stays as it is
    again = open_run(folder.path)
    assert again.resume() == (1,)
    assert again.aside == 1
    pd.testing.assert_frame_equal(again.samples(), samples_to_frame(samples(3)))
    (put_aside,) = (folder.path / "parts/abandoned").iterdir()
    assert put_aside.name.endswith("-part-000001.parquet")
    again.add(samples(2, start=3), 0)
    again.checkpoint(0)
    assert again.completed_steps() == (0, 1)
    again.write_manifest(manifest())
    again.finish([])
    pd.testing.assert_frame_equal(again.samples(), samples_to_frame(samples(5)))
    assert not (folder.path / "parts").exists()


def test_a_step_may_be_added_in_parts(folder: RunFolder, samples: Callable[..., list[Sample]]) -> None:
    folder.add(samples(3), 4)
    folder.add(samples(2, start=90), 5)
    folder.add(samples(2, start=3), 4)
    folder.checkpoint(4)
    again = open_run(folder.path)
    again.resume()
    pd.testing.assert_frame_equal(again.samples(), samples_to_frame(samples(5)))


def test_a_complete_run_has_nothing_to_resume(folder: RunFolder) -> None:
    folder.finish([])
    with pytest.raises(ResultsError) as caught:
        folder.resume()
    assert str(caught.value) == f"{folder.path}: this run is complete; there is nothing to resume"


def test_a_full_disk_keeps_what_was_measured(
    folder: RunFolder, samples: Callable[..., list[Sample]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.add(samples(3))

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(RunError) as caught:
            folder.add(samples(3, start=3))
    assert str(caught.value) == (
        f"{folder.path}/parts/part-000002.parquet: cannot be written (No space left on device): free some"
        " space or choose another folder with --out; what was measured before is kept and readable"
    )
    assert [name for name in files(folder) if name.startswith("parts/")] == ["parts/part-000001.parquet"]
    assert len(folder.samples()) == 3
    assert folder.add(samples(3, start=3)) == 3


def test_a_refused_folder_is_no_full_disk(tmp_path: Path, clock: Clock) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError) as caught:
        RunFolder.create(tmp_path / "file", "x", clock)
    assert "cannot be written (Not a directory): check its folder's mode" in str(caught.value)


def test_a_log_of_a_node_with_the_longest_name_there_is_can_be_written(folder: RunFolder) -> None:
    names = [f"001-iptables-{'n' * 253}-{number}.log" for number in (1, 2)]
    first, second = (folder.write_log(name, name) for name in names)
    assert (first.read_text(), second.read_text()) == tuple(names)
    assert len(first.name) == 200
    assert (first.name[:15], first.name[-6:]) == ("001-iptables-nn", "-1.log")


def test_a_file_with_the_longest_name_there_is_can_be_written(tmp_path: Path) -> None:
    write_bytes(tmp_path / ("x" * 255), b"1")
    assert [path.name for path in tmp_path.iterdir()] == ["x" * 255]


def test_what_a_killed_run_had_begun_to_write_goes_when_it_is_resumed(folder: RunFolder) -> None:
    script = "import os, sys; from pathlib import Path; from proxybench.results.atomic import writing\n"
    script += "with writing(Path(sys.argv[1])) as file: file.write(b'half'); file.flush(); os.kill(os.getpid(), 9)"
    for place in ("manifest.json", "parts/part-000001.parquet", "logs/a.log"):
        done = subprocess.run([sys.executable, "-c", script, str(folder.path / place)], check=False, timeout=60)
        assert done.returncode == -9
    assert len([name for name in files(folder) if name.endswith(".tmp")]) == 3
    folder.resume()
    assert files(folder) == ["figures", "logs", "manifest.json", "parts"]


def test_a_run_whose_parts_could_not_all_be_removed_is_complete_nevertheless(
    folder: RunFolder,
    samples: Callable[..., list[Sample]],
    manifest: Callable[..., dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for step in (1, 2, 3):
        folder.add(samples(2, start=2 * step), step)
        folder.checkpoint(step)
    folder.write_manifest({**manifest(), "state": "complete"})
    real, calls = os.unlink, iter(range(99))

    def failing(path: Any, **options: Any) -> None:
        if os.path.basename(path).startswith("part-") and next(calls) == 1:  # noqa: PTH119 - also of a folder's descriptor
            raise OSError(errno.EIO, "Input/output error")
        real(path, **options)

    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", failing)
        with pytest.raises(RunError, match=re.escape(f"/parts: cannot be written ({os.strerror(errno.EIO)})")):
            folder.finish([])
    with pytest.raises(ResultsError, match="this run is complete; there is nothing to resume"):
        folder.resume()
    assert len(open_run(folder.path).samples()) == 6


def test_a_run_that_is_being_measured_is_no_others(folder: RunFolder) -> None:
    script = "import sys; from pathlib import Path; from proxybench.results.folder import held\n"
    script += "with held(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    argv = [sys.executable, "-c", script, str(folder.path)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(ResultsError) as caught, held(folder.path):
            pytest.fail("it is held")
        assert str(caught.value) == f"{folder.path}: another proxybench is measuring into it; wait until that has ended"
        other.kill()
    with held(folder.path):  # one that was killed keeps nobody out
        pass
    with held(folder.path):
        pass


def test_logs_keep_to_their_folder(folder: RunFolder) -> None:
    assert folder.write_log("../../etc/node-1.log", "text\n") == folder.path / "logs" / "_.._etc_node-1.log"
    assert folder.write_log("node-1.log", "text\n").read_text() == "text\n"


def test_a_manifest_that_could_not_be_read_is_not_written(
    folder: RunFolder, manifest: Callable[..., dict[str, Any]]
) -> None:
    with pytest.raises(ResultsError):
        folder.write_manifest(manifest(state="fine"))
    assert folder.manifest.state == "complete"


def test_keys_that_are_not_known_yet_are_kept(folder: RunFolder, manifest: Callable[..., dict[str, Any]]) -> None:
    folder.write_manifest(manifest(weather="rain"))
    assert orjson.loads((folder.path / "manifest.json").read_bytes())["weather"] == "rain"


def test_no_such_folder(tmp_path: Path) -> None:
    with pytest.raises(ResultsError) as caught:
        open_run(tmp_path / "x")
    assert str(caught.value) == f"{tmp_path}/x: no such run folder"
    (tmp_path / "latest").symlink_to("gone")
    with pytest.raises(ResultsError) as caught:
        open_run(tmp_path / "latest")
    assert str(caught.value) == f"{tmp_path}/latest: no such run folder (a link to a run that is gone)"


def test_a_folder_without_a_run(tmp_path: Path) -> None:
    with pytest.raises(ResultsError) as caught:
        open_run(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}: not a run folder (no manifest.json in it, and no link 'latest' to a run)"
    )
    (tmp_path / "x").write_text("")
    with pytest.raises(ResultsError) as caught:
        open_run(tmp_path / "x")
    assert str(caught.value) == f"{tmp_path}/x: not a run folder but a file; name the folder it lies in"


def test_an_experiment_whose_only_run_has_not_ended(folder: RunFolder) -> None:
    with pytest.raises(ResultsError) as caught:
        open_run(folder.path.parent)
    assert str(caught.value) == (
        f"{folder.path.parent}: no run in it has ended; name an unfinished one, such as {folder.path}"
    )


def test_a_newer_run(folder: RunFolder, manifest: Callable[..., dict[str, Any]]) -> None:
    (folder.path / "manifest.json").write_bytes(orjson.dumps(manifest(schema=7)))
    with pytest.raises(ResultsError, match=r"written by a newer proxybench \(results schema 7"):
        open_run(folder.path)


def test_a_damaged_manifest(folder: RunFolder) -> None:
    (folder.path / "manifest.json").write_bytes(b'{"schema": 1')
    with pytest.raises(ResultsError, match=r"manifest\.json: not valid JSON \(.*\); the file is damaged"):
        open_run(folder.path)


@pytest.mark.parametrize("keep", [0, 10, -20])
def test_a_truncated_sample_file_is_named(folder: RunFolder, samples: Callable[..., list[Sample]], keep: int) -> None:
    folder.add(samples(3))
    folder.finish([])
    path = folder.path / "samples.parquet"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ResultsError) as caught:
        folder.samples()
    assert str(caught.value).startswith(f"{path}: cannot be read as samples (")
    assert str(caught.value).endswith("); the file is damaged or was cut short")
    assert "\n" not in str(caught.value)


def test_a_run_without_a_summary(folder: RunFolder) -> None:
    with pytest.raises(ResultsError) as caught:
        folder.summary()
    assert str(caught.value) == f"{folder.path}/summary.json: missing"


def test_a_run_without_samples_has_an_empty_frame(folder: RunFolder) -> None:
    folder.finish([])
    assert len(folder.samples()) == 0
