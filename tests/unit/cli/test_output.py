"""What is to be written where: a target that cannot be is a wrong argument, and folders that are lacking are made."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner

from proxybench.cli.main import cli
from proxybench.cli.output import unwritable

GOLDEN = str(Path(__file__).parents[2] / "golden/run-v1")
WRITING = {
    "compare --markdown": ["compare", GOLDEN, GOLDEN, "--markdown"],
    "compare --junit": ["compare", GOLDEN, GOLDEN, "--junit"],
    "gate --benchmark-action": ["gate", GOLDEN, "--baseline", GOLDEN, "--benchmark-action"],
    "gate --bencher": ["gate", GOLDEN, "--baseline", GOLDEN, "--bencher"],
    "baseline save --out": ["baseline", "save", GOLDEN, "--out"],
    "trend --csv": ["trend", str(Path(GOLDEN).parent), "--csv"],
    "trend --plots": ["trend", str(Path(GOLDEN).parent), "--plots"],
}
MEASURING = {
    "run --out": ["run", "quickstart", "--out"],
    "ab --out": ["ab", "v1.36.3", "v1.37.2", "--out"],
    "ab --markdown": ["ab", "v1.36.3", "v1.37.2", "--markdown"],
    "profile --out": ["profile", "--out"],
}


def call(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(cli, arguments)
    return result.exit_code, result.stderr


@pytest.mark.parametrize("name", [name for name in WRITING if name != "trend --plots"])  # which draws for long
def test_folders_that_are_lacking_are_made(name: str, tmp_path: Path) -> None:
    target = tmp_path / "there" / "is none" / "out"
    code, stderr = call(*WRITING[name], str(target))
    assert (code in {0, 4}, "error" in stderr) == (True, False), stderr  # 4: a run of one repetition decides nothing
    assert target.exists()


@pytest.mark.parametrize("name", [*WRITING, *MEASURING])
def test_what_cannot_be_a_target_is_told_before_any_work_is_done(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for wrong, why in (
        (tmp_path / "file" / "below" / "out", f"cannot be written: {tmp_path}/file is not a folder"),
        (Path("/proc/none/out"), "cannot be written: nothing can be made in /proc ("),
        (tmp_path / ("x" * 300) / "out", f"cannot be written: {os.strerror(errno.ENAMETOOLONG)}"),
    ):
        code, stderr = call(*{**WRITING, **MEASURING}[name], str(wrong))
        first = stderr.splitlines()[0]
        assert (code, why in first) == (2, True), stderr
        assert first.startswith("error: ")


@pytest.mark.parametrize("name", WRITING)
def test_a_folder_where_a_file_is_to_be_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    wrong = tmp_path / "file" if name == "trend --plots" else tmp_path
    assert call(*WRITING[name], str(wrong))[0] == 2


def test_a_pipe_stays_one(tmp_path: Path) -> None:
    """As of --junit /dev/stdout, or >(…) of a shell: as root, a rename would put a file in the place of the device."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    assert call(*WRITING["compare --junit"], str(pipe))[1] == ""
    assert os.read(reader, 11) == b"<testsuites"
    os.close(reader)
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real/file").write_text("old")
    (tmp_path / "link").symlink_to("real/file")
    call(*WRITING["compare --junit"], str(tmp_path / "link"))
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real/file").read_bytes().startswith(b"<testsuites")


def test_a_folder_of_somebody_elses_is_named(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir(mode=0o500)
    if os.access(tmp_path / "theirs", os.W_OK):
        pytest.skip("root may write everywhere")
    assert unwritable(tmp_path / "theirs/new/one") == f"nothing can be made in {tmp_path}/theirs (Permission denied)"
