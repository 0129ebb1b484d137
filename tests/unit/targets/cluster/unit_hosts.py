"""Hosts that run kube-proxy as a unit, in folders of this machine: real shells and files, and a stand-in systemctl."""

from __future__ import annotations

import os
import subprocess
from contextlib import nullcontext
from typing import TYPE_CHECKING

from proxybench.errors import CommandFailedError, ConnectionLostError
from proxybench.hosts.base import Completed
from proxybench.hosts.fleet import Fleet
from proxybench.targets.cluster.switch.switcher import Switcher
from proxybench.targets.cluster.switch.unit import UnitWay
from proxybench.testing.hosts import FakeExecutor
from tests.unit.targets.cluster.kubeadm_api import HEADER, Killed

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

CONFIG_TEXT = 'apiVersion: v1alpha1\nipvs:\n  mode: x\nmode: ""\nmetricsBindAddress: ""  # ü\n'
_SYSTEMCTL = """\
#!/bin/sh
[ "$2" = kube-proxy ] || exit 3
case "$1" in
show)
    echo LoadState=loaded
    if [ -e "{folder}/stopped" ]; then echo ActiveState=inactive; else echo ActiveState=active; fi
    echo "ExecStart={{ path=/p ; argv[]=/p --config={link} --v=2 ; ignore_errors=no ; start_time=[n/a] }}" ;;
restart)
    if [ -e "{folder}/broken" ]; then echo "Job for kube-proxy.service failed." >&2; exit 1; fi
    sed -n 's/^mode: *//p' "{link}" | tr -d '"' >"{folder}/running"; echo restarted >>"{folder}/restarts" ;;
*) exit 4 ;;
esac
"""


class Host(FakeExecutor):
    """One host. ``calls`` counts down: at 0 whoever calls is killed, before it is done (``early``) or after.

    ``lost``: its connection has broken.
    """

    def __init__(self, name: str, folder: Path, shared: Shared) -> None:
        super().__init__(name)
        self.folder = folder / name
        self._shared = shared
        self.lost = False
        (self.folder / "bin").mkdir(parents=True)
        (self.folder / "real.yaml").write_text(CONFIG_TEXT)
        (self.folder / "real.yaml").chmod(0o640)
        self.link.symlink_to("real.yaml")
        self.running.write_text("iptables")
        systemctl = self.folder / "bin" / "systemctl"
        systemctl.write_text(_SYSTEMCTL.format(folder=self.folder, link=self.link))
        systemctl.chmod(0o755)

    @property
    def link(self) -> Path:
        """What the unit names."""
        return self.folder / "config.yaml"

    @property
    def running(self) -> Path:
        """The mode in which its kube-proxy runs."""
        return self.folder / "running"

    @property
    def path(self) -> str:
        """The file as changes name it."""
        return f"{self.name}:{self.folder / 'real.yaml'}"

    def state(self) -> tuple[object, ...]:
        """Return what a switch may not leave changed."""
        real = self.folder / "real.yaml"
        found = real.stat()
        names = sorted(one.name for one in self.folder.iterdir() if one.name not in {"restarts", "broken"})
        mode = self.running.read_text().strip() or "iptables"
        return real.read_bytes(), found.st_mode, found.st_uid, found.st_gid, str(self.link.readlink()), names, mode

    def restarts(self) -> int:
        """Return how often the unit was restarted."""
        file = self.folder / "restarts"
        return len(file.read_text().split()) if file.exists() else 0

    def run(
        self, argv: Sequence[str], *, stdin: str | None = None, timeout: float = 30.0, check: bool = True
    ) -> Completed:
        """Run it for real."""
        self._shared.count(early=True)
        if self.lost:
            raise ConnectionLostError(f"{self.name}: the connection broke")
        environment = {**os.environ, "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}"}
        ended = subprocess.run(
            argv, input=(stdin or "").encode(), env=environment, capture_output=True, timeout=timeout, check=False
        )
        self._shared.count(early=False)
        found = Completed(ended.stdout.decode(), ended.stderr.decode(), ended.returncode, 0.0)
        if check and found.code:
            raise CommandFailedError(f"{self.name}: `{' '.join(argv)}` ended with code {found.code}: {found.stderr}")
        return found

    def get(self, path: str) -> bytes:
        """Read a file."""
        return self.run(["cat", "--", path]).stdout.encode()


class Shared:
    """What hosts have in common: the moment at which whoever calls them is killed."""

    def __init__(self) -> None:
        self.calls, self.early = -1, False

    def count(self, *, early: bool) -> None:
        """Count a call."""
        if early is self.early:
            self.calls -= 1
            if self.calls == 0:
                raise Killed


class Hosts:
    """Two hosts with kube-proxy as a unit."""

    def __init__(self, folder: Path, names: Sequence[str] = ("n1", "n2")) -> None:
        self.shared = Shared()
        self.by_name = {name: Host(name, folder, self.shared) for name in names}

    def __getitem__(self, name: str) -> Host:
        return self.by_name[name]

    def modes(self) -> dict[str, str]:
        """Return the mode in which each host's kube-proxy runs."""
        return {name: one.running.read_text().strip() or "iptables" for name, one in self.by_name.items()}

    def way(self) -> UnitWay:
        """Connect to those that are not lost."""
        there = {name: one for name, one in self.by_name.items() if not one.lost}
        return UnitWay(Fleet(there), lambda: {name: mode for name, mode in self.modes().items() if name in there})

    def state(self) -> dict[str, tuple[object, ...]]:
        """Return what a switch may not leave changed."""
        return {name: one.state() for name, one in self.by_name.items()}

    def switcher(self, folder: Path) -> Switcher:
        """Return what switches them."""
        return Switcher(
            lambda: nullcontext(self.way()), HEADER, self.modes, lambda _: None, 0.2, 0, lambda _: None, folder
        )
