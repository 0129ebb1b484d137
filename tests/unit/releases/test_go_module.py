from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from proxybench.errors import BuildError, UnavailableError
from proxybench.releases.component import Component
from proxybench.releases.go_module import Go, ModFile, module_text
from tests.unit.releases.fake_go import FakeGo

if TYPE_CHECKING:
    from pathlib import Path

PROXY = Component.KUBE_PROXY
FLAGS = "-s -w -X k8s.io/component-base/version.gitVersion=v1.37.2"
MODULE = """\
module proxybench.invalid/build
go 1.26.0
godebug default=go1.26
tool k8s.io/kubernetes/cmd/kube-proxy
require k8s.io/kubernetes v1.37.2
replace k8s.io/api => k8s.io/api v0.37.2
"""


def test_the_module_of_a_build() -> None:
    upstream: ModFile = {
        "Go": "1.26.0",
        "GoDebug": [{"Key": "default", "Value": "go1.26"}],
        "Replace": [{"Old": {"Path": "k8s.io/api"}, "New": {"Path": "./staging/src/k8s.io/api"}}],
    }
    assert module_text(PROXY, "v1.37.2", upstream) == MODULE


def test_an_old_release_needs_a_newer_go_to_be_a_tool() -> None:
    assert module_text(PROXY, "v1.30.0-rc.1", {"Go": "1.22.0", "GoDebug": None, "Replace": None}) == (
        "module proxybench.invalid/build\ngo 1.22.0\ntoolchain go1.24.0\n"
        "tool k8s.io/kubernetes/cmd/kube-proxy\nrequire k8s.io/kubernetes v1.30.0-rc.1\n"
    )


def test_other_replacements_are_kept() -> None:
    upstream: ModFile = {
        "Go": "1.26.0",
        "Replace": [
            {"Old": {"Path": "a.b/c"}, "New": {"Path": "d.e/f", "Version": "v1.2.3"}},
            {"Old": {"Path": "k8s.io/metrics"}, "New": {"Path": "./staging/src/k8s.io/metrics"}},
        ],
    }
    assert module_text(PROXY, "v1.37.0-alpha.1", upstream).splitlines()[-2:] == [
        "replace a.b/c => d.e/f v1.2.3",
        "replace k8s.io/metrics => k8s.io/metrics v0.37.0-alpha.1",
    ]


def test_etcd_says_its_modules_versions_itself() -> None:
    upstream: ModFile = {
        "Go": "1.24.0",
        "Replace": [{"Old": {"Path": "go.etcd.io/etcd/api/v3"}, "New": {"Path": "../api"}}],
    }
    assert module_text(Component.ETCD, "v3.6.16", upstream) == (
        "module proxybench.invalid/build\ngo 1.24.0\ntool go.etcd.io/etcd/server/v3\n"
        "require go.etcd.io/etcd/server/v3 v3.6.16\n"
    )


def build(go: FakeGo, folder: Path, **environ: str) -> tuple[Path, str]:
    folder.mkdir()
    lines: list[str] = []
    return Go(lines.append, {"PATH": str(go.home), **environ}).build_module(PROXY, "v1.37.2", "arm64", folder)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "go").mkdir()
    return tmp_path / "go"


def test_the_commands_of_a_build(home: Path, tmp_path: Path) -> None:
    go, folder = FakeGo(home), tmp_path / "build"
    built, release = build(
        go, folder, GOFLAGS="-mod=vendor", GOOS="plan9", GOEXPERIMENT="x", GOAMD64="v4", GOPRIVATE="y"
    )
    assert (built, built.read_bytes(), release) == (folder / "built-kube-proxy", go.program, "go1.26.8")
    assert go.argv == [
        "mod download -json k8s.io/kubernetes@v1.37.2",
        f"mod edit -json {home}/module.mod",
        "mod tidy",
        "env GOVERSION",
        f"build -trimpath -ldflags {FLAGS} -o {folder}/built-kube-proxy k8s.io/kubernetes/cmd/kube-proxy",
    ]
    assert go.environ == [
        "CGO_ENABLED=0",
        "GO111MODULE=on",
        "GOAMD64=v1",
        "GOARCH=arm64",
        "GOARM64=v8.0",
        "GOEXPERIMENT=,",
        "GOFIPS140=off",
        "GOFLAGS=-buildvcs=false",
        "GOOS=linux",
        "GOPRIVATE=y",
        "GOTOOLCHAIN=auto",
        "GOWORK=off",
    ]
    assert (home / "go.mod").read_text() == MODULE


def test_a_chosen_toolchain_stays(home: Path, tmp_path: Path) -> None:
    go = FakeGo(home)
    build(go, tmp_path / "build", GOTOOLCHAIN="go1.27.3")
    assert "GOTOOLCHAIN=go1.27.3" in go.environ


def test_without_go(home: Path, tmp_path: Path) -> None:
    with pytest.raises(UnavailableError) as error:
        Go(pytest.fail, {"PATH": str(home)}).build_module(PROXY, "v1.37.2", "amd64", tmp_path)
    assert (str(error.value), error.value.missing) == ("Go is not installed here (no go on PATH)", False)


# As Go 1.26 answers: through a proxy that refuses, without a network, and for a tag that is not there.
ANSWERS = [
    (
        "k8s.io/kubernetes@v1.37.2: reading https://goproxy.test/v1.37.2.info: 403 Forbidden\n\tserver response: No.",
        "reading https://goproxy.test/v1.37.2.info: 403 Forbidden server response: No.",
        False,
    ),
    (
        'k8s.io/kubernetes@v1.37.2: Get "https://goproxy.test/": dial tcp: lookup goproxy.test: no such host',
        'Get "https://goproxy.test/": dial tcp: lookup goproxy.test: no such host',
        False,
    ),
    (
        "k8s.io/kubernetes@v1.37.2: invalid version: unknown revision v1.37.2",
        "invalid version: unknown revision v1.37.2",
        True,
    ),
]


@pytest.mark.parametrize(("answer", "reason", "missing"), ANSWERS)
def test_a_module_that_cannot_be_fetched(answer: str, reason: str, missing: bool, home: Path, tmp_path: Path) -> None:
    go = FakeGo(home, error=answer)
    with pytest.raises(UnavailableError) as error:
        build(go, tmp_path / "build")
    assert str(error.value) == f"Go cannot fetch k8s.io/kubernetes@v1.37.2: {reason}"
    assert error.value.missing is missing


def test_a_go_that_writes_no_json(home: Path, tmp_path: Path) -> None:
    go = FakeGo(home)
    (home / "answer").write_text("flag provided but not defined: -json\n")
    with pytest.raises(BuildError) as error:
        build(go, tmp_path / "build")
    assert str(error.value) == (
        "go mod download -json k8s.io/kubernetes@v1.37.2 wrote no JSON: flag provided but not defined: -json"
    )


def test_a_build_that_fails_shows_its_last_lines(home: Path, tmp_path: Path) -> None:
    go = FakeGo(home, build='for i in $(seq 30); do echo "line $i" >&2; done; exit 1')
    with pytest.raises(BuildError) as error:
        build(go, tmp_path / "build")
    lines = str(error.value).splitlines()
    assert lines[0] == "go build failed; its last lines:"
    assert lines[1:] == [f"line {number}" for number in range(16, 31)]
