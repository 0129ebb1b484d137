"""What the lab is made of, unpacked into a cache: Debian's kernels, busybox and sshd.

Nothing is installed: the user's boot loader never hears of a kernel, and no sshd starts on port 22. Each kernel is an
entry of its own.
"""

from __future__ import annotations

import hashlib
import platform
import shutil
import tempfile
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from proxybench.cache import cache_folder, locked, usable
from proxybench.errors import LabError
from proxybench.targets.lab.apt import KERNEL_META, Apt, backports, debian_mirror, run
from proxybench.targets.lab.initramfs import BOOT_MODULES, initramfs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KERNELS = ("6.1", "6.12")
"""The kernels that a guest may boot, by name: Debian 12's own, and that of its backports."""
DEFAULT_KERNEL = KERNELS[0]
_BACKPORTED = "6.12"
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
_UPDATE = "apt-get update"
_COMPLETE = ".complete"
_SHAPE = "files-"


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
        return initramfs((self.root / "bin/busybox").read_bytes(), dict(self._modules()), str(script))

    def _modules(self) -> Iterator[tuple[str, bytes]]:
        """Yield what has to be inserted at boot, plain: newer kernels compress modules and have some built in."""
        folder = self.root / "lib/modules" / self.release
        for name in BOOT_MODULES:
            for path in (*folder.rglob(f"{name}.ko"), *folder.rglob(f"{name}.ko.xz")):
                yield name, _plain(path)


def present(kernel: str | None) -> System | None:
    """Return the unpacked files if they are in the cache, and whole: with that kernel, or (None) sshd alone."""
    root = cache_folder() / _entry(kernel)
    try:
        noted = (root / _COMPLETE).read_text().split()
        # An older program did not note it.
        whole = not noted or not noted[-1].startswith(_SHAPE) or noted[-1] == _shape(root)
    except OSError:  # another user's, too, who keeps it to herself
        return None
    return System(root) if whole else None


def make_cache() -> Path:
    """Return the cache's folder, made if need be. Raises UsageError when it cannot be written."""
    cache = cache_folder()
    with usable(cache, "written"):
        cache.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=cache).close()
    return cache


def ensure(kernel: str | None, report: Callable[[str], None] = lambda _: None) -> System:
    """Return the unpacked files, fetching them if need be: sshd, and with a kernel's name also what the VM boots.

    Raises LabError with the program's own last line when apt or dpkg fails, UsageError where another user's cache, or
    entry of it, would have to be written.
    """
    found = present(kernel)
    if found:
        return found
    cache = make_cache()
    name = _entry(kernel)
    with ExitStack() as held:
        with usable(cache / name, "written"):
            held.enter_context(locked(cache / f"{name}.lock"))
        found = present(kernel)  # another process may have made it while this one waited
        if found:
            return found
        for left in cache.glob(f"{name}.*/"):  # of one that was killed, since nobody else has the lock
            shutil.rmtree(left, ignore_errors=True)
        if (cache / name / _COMPLETE).exists():
            report(f"{cache / name}: a file is gone or was cut short; it is made anew")
        with tempfile.TemporaryDirectory(dir=cache, prefix=f"{name}.") as scratch:
            root = Path(scratch) / "root"
            root.mkdir()
            packages = [*SSHD_PACKAGES, *(["busybox-static"] if kernel else [])]
            report(f"fetching {len(packages)} Debian packages{f' and Linux {kernel}' if kernel else ''} into {cache}")
            if kernel:
                packages.append(_unpack_kernel(kernel, Path(scratch), root))
            Apt().unpack([one for one in packages if not one.startswith("linux-")], Path(scratch), root)
            (root / _COMPLETE).write_text("\n".join([*packages, _shape(root)]) + "\n")
            shutil.rmtree(cache / name, ignore_errors=True)
            root.rename(cache / name)
    return System(cache / name)


def kernel_problem(kernel: str) -> tuple[str, str] | None:
    """Return why apt has no such kernel for the guest, and what would fix it; None when it has one. Raises LabError."""
    if _matches(known := Apt().newest_kernel(), kernel):
        return None
    if kernel == _BACKPORTED and debian_mirror() is not None:
        return None
    if known:
        return f"{KERNEL_META} is {known} here, and no Linux {kernel}", f"write kernel: {_named(known)}"
    try:
        system = platform.freedesktop_os_release()
    except OSError:
        system = {}
    if system.get("ID") == "debian":
        return f"apt knows no kernel for {KERNEL_META}", _UPDATE
    name = system.get("PRETTY_NAME") or "this system"
    reason = f"the guest boots the kernel of Debian's package {KERNEL_META}, and apt on {name} knows none"
    return reason, "use Debian 12, such as a container of debian:12 (docs/ci.md)"


def _unpack_kernel(kernel: str, scratch: Path, root: Path) -> str:
    """Unpack a kernel with its index of modules; return its package."""
    if problem := kernel_problem(kernel):
        reason, fix = problem
        raise LabError(f"{reason}; run `{fix}` and try again" if fix == _UPDATE else f"{reason}; {fix}")
    own = Apt()
    with nullcontext(own) if _matches(own.newest_kernel(), kernel) else backports(scratch) as apt:
        package = apt.newest_kernel()
        if package is None or not _matches(package, kernel):
            raise LabError(f"Debian's backports hold {package or 'no kernel'}, and no Linux {kernel}")
        apt.unpack([package], scratch, root)
    run(["depmod", "-b", str(root), System(root).release], scratch)
    return package


def _plain(module: Path) -> bytes:
    """Return a module as it is loaded. Raises LabError where this Python cannot unpack it."""
    if module.suffix != ".xz":
        return module.read_bytes()
    try:
        import lzma  # noqa: PLC0415 - not every Python was built with it
    except ImportError:
        raise LabError(
            "this Python was built without lzma, and modules of a newer Linux are packed with it; "
            f'write kernel: "{DEFAULT_KERNEL}", or take another Python'
        ) from None
    return lzma.decompress(module.read_bytes())


def _shape(root: Path) -> str:
    """Return what tells a whole tree from one of which a file is gone or cut short: a digest of names and sizes."""
    files = (path for path in root.rglob("*") if path.is_file() and path.name != _COMPLETE)
    lines = sorted(f"{path.relative_to(root)} {path.stat().st_size}" for path in files)
    return _SHAPE + hashlib.sha256("\n".join(lines).encode(errors="surrogateescape")).hexdigest()


def _entry(kernel: str | None) -> str:
    return f"vm-{kernel}" if kernel else "sshd"


def _matches(package: str | None, kernel: str) -> bool:
    return package is not None and package.startswith(f"linux-image-{kernel}.")


def _named(package: str) -> str:
    """Return the name in KERNELS of a package's kernel, or its version."""
    version = package.removeprefix("linux-image-")
    return next((f'"{name}"' for name in KERNELS if version.startswith(f"{name}.")), version)
