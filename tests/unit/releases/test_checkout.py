from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from proxybench.errors import UnavailableError, UsageError
from proxybench.releases.checkout import build_from_source, checkout_version, version_of
from proxybench.releases.ensure import Surroundings
from tests.unit.releases.fake_go import FakeGo

if TYPE_CHECKING:
    from pathlib import Path

    from proxybench.releases.store import Binary


@pytest.mark.parametrize(
    ("described", "changed", "version"),
    [
        ("v1.37.2", False, "v1.37.2"),
        ("v1.37.2", True, "v1.37.2-dirty"),
        ("v1.37.2-14-g0a1b2c3d4e5f60", False, "v1.37.2-14+0a1b2c3d4e5f60"),
        ("v1.37.2-14-g0a1b2c3d4e5f60", True, "v1.37.2-14+0a1b2c3d4e5f60-dirty"),
        ("v1.38.0-alpha.1", False, "v1.38.0-alpha.1"),
        ("v1.38.0-alpha.1-2-g0a1b2c3d4e5f60", False, "v1.38.0-alpha.1.2+0a1b2c3d4e5f60"),
        ("", False, "v1.38.0-master+ffffffffffffff"),
        ("", True, "v1.38.0-master+ffffffffffffff-dirty"),
    ],
)
def test_versions_are_those_of_kubernetes_own_build(described: str, changed: bool, version: str) -> None:
    assert version_of(described, "f" * 40, "1.38", changed=changed) == version


class Checkout:
    def __init__(self, home: Path) -> None:
        self.folder = home / "kubernetes"
        self.home = home
        (home / "go").mkdir()
        (self.folder / "cmd/kube-proxy").mkdir(parents=True)
        (self.folder / "go.mod").write_text("// generated\n\nmodule k8s.io/kubernetes\n\ngo 1.26.0\n")
        self.tell("1.37")
        self.go = FakeGo(home / "go")

    def tell(self, minor: str) -> None:
        """Say which minor release the files are of, as Kubernetes does from 1.31 on."""
        told = self.folder / "staging/src/k8s.io/component-base/version/base.go"
        told.parent.mkdir(parents=True, exist_ok=True)
        told.write_text(f'const (\n\t// It is the latest.\n\tDefaultKubeBinaryVersion = "{minor}"\n)\n')

    def git(self, *words: str) -> str:
        settings = [
            "-c",
            "user.name=a",
            "-c",
            "user.email=a@b",
            "-c",
            "commit.gpgsign=false",
            "-c",
            "tag.gpgsign=false",
        ]
        command = ["git", *settings, "-C", str(self.folder), *words]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout.strip()

    def commit(self) -> str:
        self.git("init", "-q")
        self.git("add", ".")
        self.git("commit", "-qm", "All")
        return self.git("rev-parse", "HEAD")

    def build(self, path: str | None = None) -> Binary:
        environ = {"PATH": str(self.home / "go") if path is None else path}
        around = Surroundings(self.home / "cache", environ, check=lambda *_: None)
        return build_from_source(self.folder, lambda _: None, arch="arm64", surroundings=around)


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def test_a_commit_is_built_once(checkout: Checkout) -> None:
    commit = checkout.commit()
    checkout.git("tag", "v1.37.2")
    built = checkout.build()
    assert built.path == checkout.home / f"cache/commit-{commit[:14]}/arm64/kube-proxy"
    assert (built.version, built.source) == ("v1.37.2", f"checkout {checkout.folder} at {commit}")
    assert built.path.read_bytes() == checkout.go.program
    assert checkout.go.argv[-1].endswith("/kube-proxy ./cmd/kube-proxy")
    assert "gitVersion=v1.37.2 " in checkout.go.argv[-1]
    calls = len(checkout.go.argv)
    assert checkout.build() == built
    assert len(checkout.go.argv) == calls


def test_changes_are_built_anew_and_kept_apart(checkout: Checkout) -> None:
    commit = checkout.commit()
    clean = checkout.build()
    (checkout.folder / "cmd/kube-proxy/proxy.go").write_text("package main\n")
    (checkout.go.home / "program").write_bytes(checkout.go.program + b"changed")
    changed = checkout.build()
    assert (clean.version, changed.version) == (f"v1.37.0-master+{commit[:14]}", f"v1.37.0-master+{commit[:14]}-dirty")
    assert changed.path.parent.parent.name == f"commit-{commit[:14]}-{changed.sha512[:14]}"
    assert clean.path.read_bytes() == checkout.go.program
    assert changed.path.read_bytes() == checkout.go.program + b"changed"


def test_new_files_are_changes_whatever_git_s_settings_show(checkout: Checkout) -> None:
    commit = checkout.commit()
    checkout.git("config", "status.showUntrackedFiles", "no")
    (checkout.folder / "cmd/kube-proxy/new.go").write_text("package main\n")
    assert checkout.build().version == f"v1.37.0-master+{commit[:14]}-dirty"


def test_variables_of_a_hook_of_git_do_not_lead_elsewhere(checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = checkout.commit()
    monkeypatch.setenv("GIT_DIR", str(checkout.home / "another/.git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(checkout.home / "another/index"))
    assert checkout.build().version == f"v1.37.0-master+{commit[:14]}"


def test_a_folder_that_git_does_not_know(checkout: Checkout) -> None:
    built = checkout.build()
    assert (built.version, built.source) == ("v1.37.0-master+unknown", f"checkout {checkout.folder}")
    assert built.path.parent.parent.name == f"commit-unknown-{built.sha512[:14]}"


def test_a_folder_within_another_repository_has_no_commit_of_its_own(checkout: Checkout) -> None:
    inner, checkout.folder = checkout.folder, checkout.home
    checkout.commit()
    checkout.folder = inner
    assert checkout.build().version == "v1.37.0-master+unknown"


def test_without_tags_the_files_tell_the_minor_release(checkout: Checkout) -> None:
    checkout.tell("1.38")
    assert checkout_version(checkout.folder) == "v1.38.0-master+unknown"
    checkout.tell("none")  # before 1.31
    (checkout.folder / "CHANGELOG").mkdir()
    for name in ("CHANGELOG-1.9.md", "CHANGELOG-1.20.md", "CHANGELOG-x.md", "README.md"):
        (checkout.folder / "CHANGELOG" / name).write_text("")
    assert checkout_version(checkout.folder) == "v1.20.0-master+unknown"


def test_a_checkout_of_no_known_release_is_refused(checkout: Checkout) -> None:
    checkout.tell("none")
    with pytest.raises(UsageError) as error:
        checkout.build()
    assert str(error.value) == (
        f"{checkout.folder}: neither a tag nor its files tell which release it is; fetch its tags (git fetch --tags)"
    )


def test_without_go(checkout: Checkout) -> None:
    with pytest.raises(UnavailableError) as error:
        checkout.build(path=str(checkout.home))
    assert str(error.value) == "Go is not installed here (no go on PATH)"


@pytest.mark.parametrize("what", ["nothing", "another module", "no kube-proxy"])
def test_what_is_no_checkout_is_refused(what: str, checkout: Checkout) -> None:
    if what == "nothing":
        checkout.folder = checkout.home / "nothing"
    elif what == "another module":
        (checkout.folder / "go.mod").write_text("module example.com/kubernetes\n")
    else:
        (checkout.folder / "cmd/kube-proxy").rmdir()
    with pytest.raises(UsageError) as error:
        checkout.build()
    assert str(error.value) == (
        f"{checkout.folder}: is no checkout of Kubernetes, which has a go.mod of k8s.io/kubernetes and cmd/kube-proxy"
    )
