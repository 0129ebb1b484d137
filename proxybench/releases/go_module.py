"""Builds a program as a Go module: a small module of our own, made for the build, that names it as its tool."""

from __future__ import annotations

import json
import os
import re
import shutil
from typing import TYPE_CHECKING, NotRequired, TypedDict

from proxybench.errors import BuildError, UnavailableError
from proxybench.releases.process import run

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from proxybench.releases.component import Component
    from proxybench.releases.process import Ended

LIMIT_S = 1800.0
_FETCH_LIMIT_S = 600.0
_ASK_LIMIT_S = 60.0
_TOOL_SINCE = 24
"""Go 1.24 is the first that knows ``tool`` lines."""

_SHAPING = {"GOOS", "GOARCH", "GODEBUG", "GOWORK"}
# Not empty, any of them: an empty one lets the user's `go env -w` through. A comma chooses no experiment, against none.
_PLAIN = {
    "CGO_ENABLED": "0",
    "GO111MODULE": "on",
    "GOFLAGS": "-buildvcs=false",
    "GOEXPERIMENT": ",",
    "GOAMD64": "v1",
    "GOARM64": "v8.0",
    "GOFIPS140": "off",
}
_UNKNOWN = re.compile(r"unknown revision|404 Not Found|no matching versions")


class _Named(TypedDict):
    Path: str
    Version: NotRequired[str]


class _Replace(TypedDict):
    Old: _Named
    New: _Named


class _Setting(TypedDict):
    Key: str
    Value: str


class ModFile(TypedDict, total=False):
    """What is used of ``go mod edit -json``."""

    Go: str
    GoDebug: list[_Setting] | None
    Replace: list[_Replace] | None


def module_text(component: Component, version: str, upstream: ModFile) -> str:
    """Return the go.mod of a module that builds the component as upstream would.

    Replacements hold in the main module only, so upstream's are repeated here: those that point into its own tree
    (./staging/…) become the modules that are published with each release, v1.37.2 as v0.37.2. Its Go release and
    GODEBUG settings shape how the program behaves, and are kept too.
    """
    go = upstream.get("Go", "1.24.0")
    lines = ["module proxybench.invalid/build", f"go {go}"]
    if int(go.split(".")[1]) < _TOOL_SINCE:
        lines.append(f"toolchain go1.{_TOOL_SINCE}.0")
    lines += [f"godebug {setting['Key']}={setting['Value']}" for setting in upstream.get("GoDebug") or ()]
    lines += [f"tool {component.package}", f"require {component.module} {version}"]
    if component.of_kubernetes:
        lines += [_replacement(replace, version) for replace in upstream.get("Replace") or ()]
    return "\n".join(lines) + "\n"


def ldflags(version: str) -> str:
    """Return the linker's flags: no debug information, and the version that the program is to say it is."""
    return f"-s -w -X k8s.io/component-base/version.gitVersion={version}"


class Go:
    """The ``go`` command of this machine."""

    def __init__(self, report: Callable[[str], None], environ: Mapping[str, str] | None = None) -> None:
        self._report = report
        self._environ = os.environ if environ is None else environ

    @property
    def installed(self) -> bool:
        """Whether there is one."""
        return shutil.which("go", path=self._environ.get("PATH")) is not None

    def find_module(self, component: Component, version: str, folder: Path) -> None:
        """Ask whether the module of a version can be had, without fetching it; ``folder`` is an empty one.

        Raises UnavailableError when it cannot, or there is no Go here, BuildError when Go does not answer in time.
        """
        self._need()
        wanted = f"{component.module}@{version}"
        ended = self._run(["list", "-m", wanted], folder, None, _ASK_LIMIT_S)
        if ended.code:
            raise _refusal(wanted, ended.stderr.removeprefix("go: "))

    def build_module(self, component: Component, version: str, arch: str, folder: Path) -> tuple[Path, str]:
        """Build a component in an empty folder; return the program and the Go release that built it.

        Raises UnavailableError when there is no Go here or no such version, BuildError with the output's tail.
        """
        self._need()
        self._report(f"fetching the Go module {component.module}@{version}")
        upstream = self._go_mod(component, version, folder)
        (folder / "go.mod").write_text(module_text(component, version, upstream))
        self._checked(["mod", "tidy"], folder, arch, _FETCH_LIMIT_S)
        output = folder / f"built-{component}"
        return output, self.build(component.package, f"{component} {version}", version, arch, folder, output)

    def build(self, package: str, name: str, version: str, arch: str, folder: Path, output: Path) -> str:
        """Build a package in the folder of its module; return the Go release that built it.

        ``name`` is what the report calls it, ``version`` what it is to say itself. Raises as ``build_module``.
        """
        self._need()
        go = self._checked(["env", "GOVERSION"], folder, arch, _FETCH_LIMIT_S).stdout.strip()
        what = f"building {name} with {go}"
        self._report(f"{what}: takes some minutes the first time")

        def still(seconds: float) -> None:
            self._report(f"{what}: {seconds:.0f} s so far")

        words = ["build", "-trimpath", "-ldflags", ldflags(version), "-o", str(output), package]
        self._checked(words, folder, arch, LIMIT_S, still)
        return go

    def _need(self) -> None:
        if not self.installed:
            raise UnavailableError("Go is not installed here (no go on PATH)")

    def _go_mod(self, component: Component, version: str, folder: Path) -> ModFile:
        wanted = f"{component.module}@{version}"
        ended = self._run(["mod", "download", "-json", wanted], folder, None, _FETCH_LIMIT_S)
        try:
            answer = json.loads(ended.stdout or "{}")
        except ValueError:
            raise BuildError(f"go mod download -json {wanted} wrote no JSON: {ended.tail}") from None
        if error := str(answer.get("Error", "")) or ("" if ended.code == 0 else ended.tail):
            raise _refusal(wanted, error)
        found = self._checked(["mod", "edit", "-json", answer["GoMod"]], folder, None, _FETCH_LIMIT_S)
        parsed: ModFile = json.loads(found.stdout)
        return parsed

    def _checked(
        self,
        words: Sequence[str],
        folder: Path,
        arch: str | None,
        limit_s: float,
        still: Callable[[float], None] = lambda _: None,
    ) -> Ended:
        ended = self._run(words, folder, arch, limit_s, still)
        if ended.code:
            command = " ".join(words[:2] if words[0] == "mod" else words[:1])
            raise BuildError(f"go {command} failed; its last lines:\n{ended.tail}")
        return ended

    def _run(
        self,
        words: Sequence[str],
        folder: Path,
        arch: str | None,
        limit_s: float,
        still: Callable[[float], None] = lambda _: None,
    ) -> Ended:
        return run(["go", *words], folder=folder, env=self._env(folder, arch), limit_s=limit_s, still=still)

    def _env(self, folder: Path, arch: str | None) -> dict[str, str]:
        """Return the user's environment without what would shape the program: it is to be the same everywhere."""
        env = {key: value for key, value in self._environ.items() if key not in _SHAPING}
        env |= _PLAIN
        env.setdefault("GOTOOLCHAIN", "auto")
        if not (folder / "go.work").exists():
            env["GOWORK"] = "off"
        return env | ({"GOOS": "linux", "GOARCH": arch} if arch else {})


def _refusal(wanted: str, error: str) -> UnavailableError:
    reason = " ".join(error.split()).removeprefix(f"{wanted}: ")
    return UnavailableError(f"Go cannot fetch {wanted}: {reason}", missing=bool(_UNKNOWN.search(reason)))


def _replacement(replace: _Replace, version: str) -> str:
    old, new = replace["Old"]["Path"], replace["New"]
    if new["Path"].startswith("."):
        return f"replace {old} => {old} v0.{version.partition('.')[2]}"
    return f"replace {old} => {new['Path']} {new.get('Version', '')}".rstrip()
