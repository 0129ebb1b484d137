from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from proxybench.subjects.bundle import Bundle, put_folder, unpack_argv
from proxybench.testing.hosts import FakeExecutor, Run

if TYPE_CHECKING:
    from pathlib import Path

BUNDLE = Bundle({"token": " to\\ken $HOME µ\n", "config": "a: 1\n"}, {"bin/iptables": "/x/legacy"})


def test_it_is_one_command() -> None:
    executor = FakeExecutor("node-a", [Run(unpack_argv("/run/pb/proxy"), stdin=BUNDLE.tar().decode())])
    put_folder(executor, "/run/pb/proxy", BUNDLE)
    executor.assert_done()


def test_a_real_shell_makes_files_that_only_the_owner_reads(tmp_path: Path) -> None:
    folder = tmp_path / "it's" / "new"
    folder.mkdir(parents=True)
    (folder / "token").write_text("an old and longer one")
    (folder / "token").chmod(0o644)
    (folder / "log").write_text("of the last start")
    for _ in range(2):
        subprocess.run(unpack_argv(str(folder)), input=BUNDLE.tar(), check=True, timeout=10)
        assert {name: (folder / name).read_bytes() for name in BUNDLE.files} == {
            "token": b" to\\ken $HOME \xc2\xb5\n",
            "config": b"a: 1\n",
        }
        assert {(folder / name).stat().st_mode & 0o777 for name in BUNDLE.files} == {0o600}
        assert folder.stat().st_mode & 0o777 == 0o700
        assert (folder / "bin" / "iptables").readlink().as_posix() == "/x/legacy"
        assert sorted(path.name for path in folder.iterdir()) == ["bin", "config", "token"]


def test_the_same_content_is_the_same_bytes() -> None:
    assert BUNDLE.tar() == Bundle(dict(BUNDLE.files), dict(BUNDLE.links)).tar()
