"""Builds kube-proxy from a checkout of Kubernetes, for those who develop it; cached by commit."""

from __future__ import annotations

import os
import re
import subprocess
from typing import TYPE_CHECKING

from proxybench.errors import UsageError
from proxybench.here import run_here
from proxybench.releases.component import Component, architecture
from proxybench.releases.ensure import Surroundings
from proxybench.releases.go_module import Go
from proxybench.releases.store import Binary, Store, sha512

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_COMPONENT = Component.KUBE_PROXY
_MODULE = re.compile(rf"^module {re.escape(_COMPONENT.module)}\s*$", re.MULTILINE)
_DESCRIBED = re.compile(r"(v\d+\.\d+\.\d+)(-[a-z]+\.\d+)?(?:-(\d+)-g([0-9a-f]+))?")
_MINOR = re.compile(r'\bDefaultKubeBinaryVersion += "(\d+\.\d+)"')
_CHANGELOG = re.compile(r"CHANGELOG-1\.(\d+)\.md")
_GIT_LIMIT_S = 60.0
_NEW_FILES_TOO = "--untracked-files=normal"  # status.showUntrackedFiles may say otherwise


def build_from_source(
    folder: Path, report: Callable[[str], None], *, arch: str | None = None, surroundings: Surroundings | None = None
) -> Binary:
    """Build ./cmd/kube-proxy of a checkout, or return what was built of the same commit.

    With changes that are not committed it is always built anew, and kept under the program's own sum, so that two
    states of one commit can be compared. The version is what Kubernetes' own build would write: "v1.37.2-14+0a1b2c3".

    Raises UsageError when the folder is no checkout, or of no known release, UnavailableError without Go, BuildError
    when the build fails.
    """
    around = surroundings or Surroundings()
    _check(folder)
    chosen = architecture(arch)
    commit, version, changed = _state(folder)
    store = Store(around.root)
    place = _place(store, commit, chosen)
    known = bool(commit) and not changed
    if known and (found := store.find(place)):
        return found
    with store.lock(place, lambda: report(f"waiting for another process that builds {folder}")):
        if known and (found := store.find(place)):
            return found
        with store.workshop(place) as scratch:
            built = scratch / _COMPONENT
            name = f"{_COMPONENT} {version} from {folder}"
            go = Go(report, around.environ).build("./cmd/kube-proxy", name, version, chosen, folder.resolve(), built)
            built.chmod(0o755)
            around.check(built, _COMPONENT, version, chosen)
            total = sha512(built)
            if not known:
                place = store.place(_COMPONENT, f"{place.parent.parent.name}-{total[:14]}", chosen)
            source = f"checkout {folder.resolve()}" + (f" at {commit}" if commit else "")
            return store.keep(built, Binary(place, _COMPONENT, version, chosen, source, total, go))


def checkout_version(folder: Path) -> str:
    """Return the version that a build of the checkout will have. Raises UsageError as ``build_from_source`` does."""
    _check(folder)
    return _state(folder)[1]


def built_before(folder: Path, surroundings: Surroundings | None = None) -> bool:
    """Return whether the cache holds a build of exactly this state of the checkout. Raises UsageError."""
    _check(folder)
    commit, _, changed = _state(folder)
    store = Store((surroundings or Surroundings()).root)
    return bool(commit) and not changed and store.find(_place(store, commit, architecture(None))) is not None


def version_of(described: str, commit: str, minor: str, *, changed: bool) -> str:
    """Return the version of a checkout from ``git describe``, in the way of Kubernetes' hack/lib/version.sh.

    "v1.37.2-14-g0a1b2c3" is "v1.37.2-14+0a1b2c3", "v1.37.0-rc.1-2-g0a1b2c3" is "v1.37.0-rc.1.2+0a1b2c3". Where no tag
    is known it is that of the ``minor`` release ("1.37") which the files are of: "v1.37.0-master+0a1b2c3".
    """
    dirty = "-dirty" if changed else ""
    found = _DESCRIBED.fullmatch(described)
    if not found:
        return f"v{minor}.0-master+{commit[:14] or 'unknown'}{dirty}"
    release, stage, ahead, abbreviated = found.groups()
    if not ahead:
        return f"{release}{stage or ''}{dirty}"
    count = f"{stage}.{ahead}" if stage else f"-{ahead}"
    return f"{release}{count}+{abbreviated}{dirty}"


def _state(folder: Path) -> tuple[str, str, bool]:
    """Return the commit ("" for a folder that git does not know), the version and whether anything was changed.

    Raises UsageError when neither a tag nor the files tell the version, by which it is configured.
    """
    answer = _git(folder, "rev-parse", "HEAD", "--show-prefix").split()
    known = len(answer) == 1  # with a prefix it is a folder of another repository
    commit = answer[0] if known else ""
    changed = known and bool(_git(folder, "status", "--porcelain", _NEW_FILES_TOO))
    described = _git(folder, "describe", "--tags", "--match=v*", "--abbrev=14") if known else ""
    minor = "" if described else _minor_release(folder)
    if not (described or minor):
        raise UsageError(
            f"{folder}: neither a tag nor its files tell which release it is; fetch its tags (git fetch --tags)"
        )
    return commit, version_of(described, commit, minor, changed=changed), changed


def _minor_release(folder: Path) -> str:
    """Return the minor release that the files of a checkout are of, "1.37"; "" where they do not tell."""
    told = folder / "staging/src/k8s.io/component-base/version/base.go"
    if told.is_file() and (found := _MINOR.search(told.read_text(encoding="utf-8", errors="replace"))):  # from 1.31 on
        return found[1]
    logs = [_CHANGELOG.fullmatch(file.name) for file in (folder / "CHANGELOG").glob("CHANGELOG-*.md")]
    minors = [int(log[1]) for log in logs if log]
    return f"1.{max(minors)}" if minors else ""


def _place(store: Store, commit: str, arch: str) -> Path:
    return store.place(_COMPONENT, f"commit-{commit[:14]}" if commit else "commit-unknown", arch)


def _check(folder: Path) -> None:
    go_mod = folder / "go.mod"
    try:
        ours = bool(_MODULE.search(go_mod.read_text(encoding="utf-8", errors="replace")))
    except OSError:
        ours = False
    if not ours or not (folder / "cmd/kube-proxy").is_dir():
        raise UsageError(
            f"{folder}: is no checkout of Kubernetes, which has a go.mod of {_COMPONENT.module} and cmd/kube-proxy"
        )


def _git(folder: Path, *words: str) -> str:
    """Return what git answers; "" where it is not installed, or the folder is no repository."""
    # A hook of git's runs with variables that name its own repository, whatever folder is asked for.
    environ = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = run_here(["git", "-C", str(folder), *words], _GIT_LIMIT_S, env=environ)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
