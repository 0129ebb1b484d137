"""Installs the system packages that the lab runs on: ``python -m proxybench.targets.lab.install``.

Called by ``make setup``. Only what is missing is installed, with apt; what the lab merely unpacks (kernel, sshd,
busybox) is fetched into the cache instead, see artifacts.py.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

from proxybench.errors import LabError, ProxybenchError
from proxybench.targets.lab import artifacts
from proxybench.targets.lab.artifacts import DEFAULT_KERNEL

# What must be on PATH, and the Debian package that brings it.
PROGRAMS = {
    "qemu-system-x86_64": "qemu-system-x86",
    "xtables-legacy-multi": "iptables",
    "ipset": "ipset",
    "nft": "nftables",
    "ip": "iproute2",
    "depmod": "kmod",
    "setpriv": "util-linux",
    "nsenter": "util-linux",
    "conntrack": "conntrack",
    "ipvsadm": "ipvsadm",
}
_LIMIT = 900.0


def missing() -> list[str]:
    """Return the packages to install, sorted."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    return sorted({package for program, package in PROGRAMS.items() if not shutil.which(program, path=path)})


def main() -> int:
    """Install what is missing and fill the cache; return the exit code."""
    try:
        packages = missing()
        if packages:
            _say(f"installing {', '.join(packages)}")
            _apt(["update", "-q"])
            _apt(["install", "-q", "-y", "--no-install-recommends", *packages])
        if not artifacts.present(DEFAULT_KERNEL):
            if not packages:
                _apt(["update", "-q"])  # without a fresh list apt may know no kernel
            artifacts.ensure(DEFAULT_KERNEL, _say)
        artifacts.ensure(None, _say)
    except ProxybenchError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201 - a program's own message
        return int(error.exit_code)
    return 0


def _apt(arguments: list[str]) -> None:
    rights = [] if os.geteuid() == 0 else ["sudo"]
    argv = [*rights, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", *arguments]
    try:
        done = subprocess.run(argv, timeout=_LIMIT, check=False, capture_output=True, text=True)
    except (FileNotFoundError, subprocess.TimeoutExpired) as error:
        raise LabError(f"apt-get {arguments[0]} could not be run: {error}") from error
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip() or "no output").splitlines()[-1]
        raise LabError(f"apt-get {arguments[0]} failed: {last}")


def _say(text: str) -> None:
    print(f"setup: {text}", file=sys.stderr)  # noqa: T201 - a program's own message


if __name__ == "__main__":
    sys.exit(main())
