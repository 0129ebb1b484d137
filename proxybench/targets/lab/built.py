"""What both kinds of lab hold while they are up, and how it goes: a process, an API server, a guard and a folder."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from proxybench import scratch
from proxybench.interrupts import undisturbed
from proxybench.nodes.cluster import ApiAccess
from proxybench.targets.lab import common, process
from proxybench.targets.lab.guard import Guard

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Collection
    from pathlib import Path

    from proxybench.nodes.cluster import Cluster
    from proxybench.targets.lab.apiserver.serve_process import ApiServerProcess
    from proxybench.targets.lab.artifacts import System
    from proxybench.targets.lab.common import Prepared, Settings
    from proxybench.targets.lab.networks import Networks


class BuiltLab:
    """The common part of a lab. ``_holder`` is the process with which everything in it dies."""

    def __init__(self, settings: Settings, report: Callable[[str], None] = lambda _: None) -> None:
        self._settings = settings
        self._report = report
        self._holder: subprocess.Popen[bytes] | None = None
        self._api: ApiServerProcess | None = None
        self._guard: Guard | None = None
        self.state: Path | None = None

    @property
    def pid(self) -> int:
        """The process that holds the lab."""
        return self._holder.pid if self._holder else 0

    def down(self) -> None:
        """Kill everything in the lab, and remove its folder; may be called twice, and after a failure."""
        with undisturbed():
            self._remove()

    def _remove(self) -> None:
        if self._guard:
            self._guard.close()
            self._guard = None
        if self._holder:
            process.wait_dead(self._holder)
            self._holder = None
        if self._api:
            self._api.stop()
            self._api = None
        if self.state:
            self._clean(self.state)
            scratch.remove(self.state)
            self.state = None

    def _clean(self, state: Path) -> None:
        """Remove what the lab with that folder has elsewhere; a folder that is left tells of it."""

    def _begin(
        self, system: System, own: Collection[str], address: str, port: int | None = None
    ) -> tuple[Prepared, ApiAccess, int]:
        """Fill a new folder, and start an API server that nodes reach at an address and port (None: its own).

        ``own`` as in ``common.make_state_folder``. The last that is returned is the port of the server itself. Raises
        LabError.
        """
        layout = self._settings.topology
        self.state = common.make_state_folder(system, own)
        self._api = server = common.start_api(self._settings, address)
        api = ApiAccess(server.url, f"https://{address}:{port or server.port}", server.ca_pem, server.token)
        common.register(api, layout)
        return common.prepare(self.state, system, layout), api, server.port

    def _guarded(
        self, cluster: Cluster, holder: str, ended: Path | None = None, networks: Networks | None = None
    ) -> Cluster:
        """Return a cluster that tells what has befallen the lab; ``holder`` is what holds it, the rest as of Guard."""
        if self._holder and self._api:
            self._guard = Guard({holder: self._holder, "API server": self._api.process}, ended, networks)
            return replace(cluster, trouble=self._guard.trouble)
        return cluster
