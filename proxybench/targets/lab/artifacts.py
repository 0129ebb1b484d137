"""What the lab is made of, unpacked into a cache: Debian's kernel, busybox and sshd.

Nothing is installed: the packages' files are fetched with ``apt-get download`` (which checks them against the signed
index), unpacked with ``dpkg -x`` and kept in the user's cache folder. The user's boot loader never hears of a kernel,
and no sshd starts on port 22.
"""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from proxybench.cache import cache_folder, locked
from proxybench.errors import LabError
from proxybench.targets.lab.initramfs import BOOT_MODULES, initramfs

if TYPE_CHECKING:
    from collections.abc import Callable

KERNEL_META = "linux-image-amd64"
# sshd, and those of its libraries that a small system may lack; a present one is the same version, so no harm.
SSHD_PACKAGES = (
    "openssh-server",
    "libwrap0",
    "libgssapi-krb5-2",
    "libkrb5-3",
    "libk5crypto3",
    "libkrb5support0",
    "libkeyutils1",
    "libcom-err2",
    "libaudit1",
    "libcap-ng0",
    "libpam0g",
)
_LIMIT = 600.0
_UPDATE = "apt-get update"


@dataclass(frozen=True)
class System:
    """The unpacked files. ``root`` holds usr/sbin/sshd; with a kernel also lib/modules and bin/busybox."""

    root: Path

    @property
    def release(self) -> str:
        """The kernel's release, such as 6.1.0-56-amd64."""
        return next(path.name for path in (self.root / "lib/modules").iterdir())

    @property
    def kernel(self) -> Path:
        """The kernel image."""
        return self.root / "boot" / f"vmlinuz-{self.release}"

    def initramfs(self, script: Path | str) -> bytes:
        """Return a first root that hands over to ``script`` (see initramfs.initramfs)."""
        folder = self.root / "lib/modules" / self.release
        modules = {name: next(folder.rglob(f"{name}.ko")).read_bytes() for name in BOOT_MODULES}
        return initramfs((self.root / "bin/busybox").read_bytes(), modules, str(script))


def present(*, kernel: bool) -> System | None:
    """Return the unpacked files if they are already in the cache."""
    root = cache_folder() / ("vm" if kernel else "sshd")
    return System(root) if (root / ".complete").exists() else None


def ensure(*, kernel: bool, say: Callable[[str], None] = lambda _: None) -> System:
    """Return the unpacked files, fetching them if need be; with ``kernel``, also what the VM boots.

    Raises LabError with the program's own last line when apt or dpkg fails.
    """
    found = present(kernel=kernel)
    if found:
        return found
    cache = cache_folder()
    cache.mkdir(parents=True, exist_ok=True)
    name = "vm" if kernel else "sshd"
    with locked(cache / f"{name}.lock"):
        found = present(kernel=kernel)  # another process may have made it while this one waited
        if found:
            return found
        packages = [*SSHD_PACKAGES, *([_kernel_package(), "busybox-static"] if kernel else [])]
        say(f"fetching {len(packages)} Debian packages into {cache}")
        with tempfile.TemporaryDirectory(dir=cache, prefix=f"{name}.") as scratch:
            root = Path(scratch) / "root"
            _fetch(packages, Path(scratch), root)
            if kernel:
                _run(["depmod", "-b", str(root), System(root).release], Path(scratch))
            (root / ".complete").write_text("\n".join(packages) + "\n")
            shutil.rmtree(cache / name, ignore_errors=True)
            root.rename(cache / name)
    return System(cache / name)


def kernel_trouble() -> tuple[str, str] | None:
    """Return why apt has no kernel for the guest, and what would mend it; None when it has one. Raises LabError."""
    if _known_kernel():
        return None
    try:
        system = platform.freedesktop_os_release()
    except OSError:
        system = {}
    if system.get("ID") == "debian":
        return f"apt knows no kernel for {KERNEL_META}", _UPDATE
    name = system.get("PRETTY_NAME") or "this system"
    reason = f"the guest boots the kernel of Debian's package {KERNEL_META}, and apt on {name} knows none"
    return reason, "use Debian 12, such as a container of debian:12 (docs/ci.md)"


def _fetch(packages: list[str], scratch: Path, root: Path) -> None:
    root.mkdir()
    _run(["apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", *packages], scratch)
    for file in sorted(scratch.glob("*.deb")):
        _run(["dpkg", "-x", str(file), str(root)], scratch)


def _kernel_package() -> str:
    found = _known_kernel()
    if not found:
        reason, mend = kernel_trouble() or ("", "")
        raise LabError(f"{reason}; run `{mend}` and try again" if mend == _UPDATE else f"{reason}; {mend}")
    return found


def _known_kernel() -> str | None:
    listed = _run(["apt-cache", "depends", KERNEL_META], Path("/"), check=False)
    match = re.search(r"Depends: (linux-image-\S+)", listed)
    return match[1] if match else None


def _run(argv: list[str], folder: Path, *, check: bool = True) -> str:
    try:
        done = subprocess.run(
            argv,
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=_LIMIT,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except FileNotFoundError:
        raise LabError(f"{argv[0]} is not installed, and the lab needs it to fetch Debian packages") from None
    except subprocess.TimeoutExpired:
        raise LabError(f"{argv[0]} did not end within {_LIMIT:.0f} s") from None
    if check and done.returncode:
        last = (done.stderr.strip() or done.stdout.strip() or "no output").splitlines()[-1]
        raise LabError(f"{' '.join(argv[:2])} failed: {last}")
    return done.stdout
