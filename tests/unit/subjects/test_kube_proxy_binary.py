from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from proxybench.errors import UsageError
from proxybench.releases.component import Component
from proxybench.releases.store import Binary
from proxybench.subjects.kube_proxy_binary import find_binary, inspect_file, install_binary
from proxybench.testing.hosts import Put, Run, done
from tests.unit.subjects.rig import FakeBinaries, handle, make_binary, make_spec

AMD64 = b"\x7fELF\x02\x01\x01" + bytes(11) + (62).to_bytes(2, "little") + bytes(44)
SUM = make_binary().sha512
THEIRS = f"/run/pb/bin/kube-proxy-{SUM[:16]}"


def elf(tmp_path: Path, content: bytes = AMD64) -> Path:
    path = tmp_path / "kube-proxy"
    path.write_bytes(content)
    return path


def says(version: str | None) -> object:
    return lambda path, component: version


def test_a_release_and_a_checkout_are_asked_for() -> None:
    binaries = FakeBinaries(make_binary())
    assert find_binary(make_spec(version="v1.37.2"), binaries) == make_binary()
    assert find_binary(make_spec(version="", source=Path("/kubernetes")), binaries) == make_binary()
    assert binaries.asked == ["v1.37.2", "/kubernetes"]


def test_a_file_tells_its_version(tmp_path: Path) -> None:
    path = elf(tmp_path)
    assert inspect_file(path, says("v1.37.2"), "amd64") == Binary(  # type: ignore[arg-type] # a fake of the question
        path, Component.KUBE_PROXY, "v1.37.2", "amd64", f"file {path}", hashlib.sha512(AMD64).hexdigest()
    )


@pytest.mark.parametrize(
    ("content", "version", "host", "problem"),
    [
        (b"#!/bin/sh\n", "v1.37.2", "amd64", "is no Linux program; give the kube-proxy itself"),
        (
            AMD64,
            "v1.37.2",
            "arm64",
            "is built for amd64 and cannot be asked for its version here, on arm64",
        ),
        (AMD64, None, "amd64", "does not say that it is a kube-proxy when it is asked for its --version"),
    ],
)
def test_a_file_that_is_no_kube_proxy(
    tmp_path: Path, content: bytes, version: str | None, host: str, problem: str
) -> None:
    path = elf(tmp_path, content)
    with pytest.raises(UsageError) as caught:
        inspect_file(path, says(version), host)  # type: ignore[arg-type] # a fake of the question
    assert str(caught.value) == f"{path}: {problem}"


def test_another_program_is_asked_for_real() -> None:
    with pytest.raises(UsageError, match=r": does not say that it is a kube-proxy"):
        inspect_file(Path(sys.executable).resolve())


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        find_binary(make_spec(version="", path=tmp_path / "none"), FakeBinaries(make_binary()))
    assert str(caught.value) == f"{tmp_path}/none: cannot be read: No such file or directory"


def test_a_node_that_sees_our_files_is_sent_nothing() -> None:
    node, executor, _ = handle([Run(["sha512sum", "/cache/kube-proxy"], done(f"{SUM}  /cache/kube-proxy\n"))])
    assert install_binary(make_binary(), node) == "/cache/kube-proxy"
    executor.assert_done()


def test_a_sum_of_a_name_with_a_backslash_has_one_before_it(tmp_path: Path) -> None:
    place = "/it's \\ odd/kube-proxy"
    node, executor, _ = handle([Run(["sha512sum", place], done(f"\\{SUM}  /it's \\\\ odd/kube-proxy\n"))])
    assert install_binary(make_binary(path=Path(place)), node) == place
    executor.assert_done()
    (tmp_path / "a\\b").touch()  # as the real one writes it
    assert done_here(["sha512sum", str(tmp_path / "a\\b")]).startswith("\\cf83e1357eef")


def done_here(argv: list[str]) -> str:
    return subprocess.run(argv, capture_output=True, text=True, timeout=20, check=True).stdout


def test_a_node_keeps_what_it_was_sent() -> None:
    node, executor, _ = handle(
        [
            Run(["sha512sum", "/cache/kube-proxy"], done("0123  /cache/kube-proxy\n")),
            Run(["sha512sum", THEIRS], done(f"{SUM}  {THEIRS}\n")),
        ]
    )
    assert install_binary(make_binary(), node) == THEIRS
    executor.assert_done()


def test_any_other_node_is_sent_it(tmp_path: Path) -> None:
    path = elf(tmp_path)
    node, executor, _ = handle(
        [
            Run(["sha512sum", str(path)], done(code=1)),
            Run(["sha512sum", THEIRS], done(code=1)),
            Run(["mkdir", "-p", "/run/pb/bin"]),
            Put(THEIRS, AMD64, 0o755),
        ]
    )
    assert install_binary(make_binary(path=path), node) == THEIRS
    executor.assert_done()
