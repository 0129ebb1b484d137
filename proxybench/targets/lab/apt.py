"""Debian packages, fetched and unpacked but never installed; apt checks them against the archive's signed index.

``backports`` is a private apt: a sources list and state folders of its own, so that this machine's configuration and
lists stay as they are.
"""

from __future__ import annotations

import os
import re
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from proxybench.errors import LabError
from proxybench.here import last_line, run_here

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

KERNEL_META = "linux-image-amd64"
"""Depends on the newest kernel of its suite."""

_LIMIT = 600.0
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_RELEASE = "bookworm"
_TARGETS = ["apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)", "Created-By: Packages"]


@dataclass(frozen=True)
class Apt:
    """apt with these options: none for this machine's own configuration."""

    options: tuple[str, ...] = ()

    def newest_kernel(self) -> str | None:
        """Return the package of the newest kernel, such as linux-image-6.1.0-56-amd64; None where there is none."""
        listed = run(["apt-cache", *self.options, "depends", KERNEL_META], Path("/"), check=False)
        match = re.search(r"Depends: (linux-image-\S+)", listed)
        return match[1] if match else None

    def unpack(self, packages: Sequence[str], scratch: Path, root: Path) -> None:
        """Download packages into ``scratch`` and unpack them into ``root``. Raises LabError."""
        run(["apt-get", "-q", *self.options, "-o", "APT::Sandbox::User=root", "download", *packages], scratch)
        for file in sorted(scratch.glob("*.deb")):
            run(["dpkg", "-x", str(file), str(root)], scratch)
            file.unlink()


def debian_mirror() -> str | None:
    """Return from where this machine's apt takes Debian 12, None where it does not."""
    return parse_mirror(run(_TARGETS, Path("/"), check=False))


def parse_mirror(targets: str) -> str | None:
    """Read lines of "URI RELEASE COMPONENT" and return the first URI of Debian 12's main archive."""
    words = (line.split() for line in targets.splitlines())
    return next((found[0] for found in words if found[1:] == [_RELEASE, "main"]), None)


@contextmanager
def backports(scratch: Path) -> Iterator[Apt]:
    """Give an apt that knows Debian 12's backports and nothing else, its lists just fetched. Raises LabError."""
    mirror = debian_mirror()
    if mirror is None:
        raise LabError("apt here names no mirror of Debian 12, from whose backports the kernel is taken")
    home = scratch / "apt"
    for folder in ("state/lists/partial", "cache/archives/partial"):
        (home / folder).mkdir(parents=True)
    signed = f"[signed-by={_KEYRING}] " if _KEYRING.exists() else ""
    (home / "sources.list").write_text(f"deb {signed}{mirror} {_RELEASE}-backports main\n")
    chosen = {
        "Dir::Etc::sourcelist": home / "sources.list",
        "Dir::Etc::sourceparts": "-",
        "Dir::State": home / "state",
        "Dir::Cache": home / "cache",
    }
    private = Apt(tuple(word for name, value in chosen.items() for word in ("-o", f"{name}={value}")))
    update = ["apt-get", "-q", *private.options, "-o", "APT::Sandbox::User=root", "-o", "Acquire::Languages=none"]
    run([*update, "update"], scratch)
    yield private


def run(argv: Sequence[str], folder: Path, *, check: bool = True, limit_s: float = _LIMIT) -> str:
    """Run a program in a folder and return what it printed.

    Raises LabError, with its last line, when it fails (with ``check``), is missing, or takes too long.
    """
    try:
        # What apt prints is read here: "Depends:", not "Hängt ab von:".
        done = run_here(argv, limit_s, folder=folder, env={**os.environ, "LC_ALL": "C.UTF-8"})
    except FileNotFoundError:
        raise LabError(f"{argv[0]} is not installed, and the lab needs it to fetch Debian packages") from None
    except subprocess.TimeoutExpired:
        raise LabError(f"{argv[0]} did not end within {limit_s:.0f} s") from None
    if check and done.returncode:
        raise LabError(f"{' '.join(argv[:2])} failed: {last_line(done)}")
    return done.stdout
