"""A lab by hand: one per user stays up between commands, held by a daemon process (see daemon.py)."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from proxybench import scratch
from proxybench.cache import cache_folder, locked
from proxybench.deadline import wait_until
from proxybench.errors import LabError
from proxybench.interrupts import undisturbed
from proxybench.targets.lab import artifacts, leftovers, process
from proxybench.targets.lab.artifacts import DEFAULT_KERNEL
from proxybench.targets.lab.cluster_file import from_json, identities, known_hosts, ssh_config

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from proxybench.nodes.cluster import Cluster

_UP_LIMIT = 900.0  # the first time, a kernel is fetched
_DOWN_LIMIT = 30.0
_DAEMON = "proxybench.targets.lab.daemon"


@dataclass(frozen=True)
class _Holder:
    """The daemon of a lab, told from later processes of its pid by when it was started."""

    daemon: int
    started: str

    def lives(self) -> bool:
        return process.started(self.daemon) == self.started


@dataclass(frozen=True)
class _Lab(_Holder):
    """A lab that is up."""

    cluster: Cluster


class _DamagedError(LabError):
    """The lab's file is not what its daemon wrote."""


def up(kind: str, clock: str, kernel: str = DEFAULT_KERNEL, limit_s: float = _UP_LIMIT) -> Cluster:
    """Build a lab that stays; raise LabError when one is up already or it cannot be built in time."""
    artifacts.make_cache()
    with locked(_file("lock"), _busy):
        if _read() is not None:
            raise LabError("a lab is up already; `proxybench lab down` removes it")
        log = _file("log")
        log.write_text("")
        argv = process.python(_DAEMON, kind, clock, kernel, str(_state()))
        with ExitStack() as failed:
            # A signal between its start and what will end it would leave it running.
            with undisturbed(), log.open("ab") as output:
                daemon = subprocess.Popen(
                    argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
                )
                # Not by its command line, which is empty for a moment when the program has just begun.
                failed.callback(_end, daemon.pid, lambda: daemon.poll() is None, _DOWN_LIMIT)
            cluster = _await(daemon, log, limit_s)
            failed.pop_all()
            return cluster


def status() -> Cluster | None:
    """Return the lab that is up, None for none."""
    found = _read()
    return found.cluster if found else None


def shell(node: str) -> int:
    """Open a shell on a node and return its exit code; raise LabError for an unknown node or no lab."""
    cluster = status()
    if cluster is None:
        raise LabError("no lab is up; `proxybench lab up` builds one")
    names = [member.name for member in cluster.nodes]
    if node not in names:
        raise LabError(f"no node is called {node}; there are {', '.join(names)}")
    if not shutil.which("ssh"):
        raise LabError("ssh is not installed; `apt-get install openssh-client` brings it")
    with scratch.folder(leftovers.SSH_PREFIX) as folder:
        (folder / "known_hosts").write_text(known_hosts(cluster))
        (folder / "config").write_text(ssh_config(cluster))
        for name, key in identities(cluster).items():
            (folder / name).symlink_to(key)
        return subprocess.run(["ssh", "-F", "config", node], check=False, cwd=folder).returncode


def down(limit_s: float = _DOWN_LIMIT) -> bool:
    """Remove the lab, and what killed ones left; return False when there was none.

    Its daemon has so many seconds to do it; then it is killed. Where its file is damaged, it is found without that.
    """
    artifacts.make_cache()
    with locked(_file("lock"), _busy):
        held = list(_holders())
        for lab in held:
            _end(lab.daemon, lab.lives, limit_s)
        _state().unlink(missing_ok=True)
        leftovers.sweep()
        return bool(held)


def _file(kind: str) -> Path:
    """Return a file of this user's lab: others may have the same cache."""
    return cache_folder() / f"lab-{os.geteuid()}.{kind}"


def _state() -> Path:
    return _file("json")


def _read() -> _Lab | None:
    """Return the lab that is up; None, and the file removed, when its daemon is gone."""
    try:
        content = json.loads(_state().read_text())
        lab = _Lab(int(content["daemon"]), str(content["started"]), from_json(content["cluster"]))
    except FileNotFoundError:
        return None
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError):
        raise _DamagedError(f"{_state()}: damaged; `proxybench lab down` removes it, and the lab with it") from None
    if not lab.lives():
        _state().unlink(missing_ok=True)
        return None
    return lab


def _holders() -> Iterator[_Holder]:
    """Yield the daemon that the lab's file names; where that is damaged, each that was given this file."""
    try:
        if found := _read():
            yield found
    except _DamagedError:
        words = {_DAEMON.encode(), os.fsencode(_state())}
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if words <= {*(folder / "cmdline").read_bytes().split(b"\0")}:
                    yield _Holder(int(folder.name), process.started(int(folder.name)))


def _await(daemon: subprocess.Popen[bytes], log: Path, limit_s: float) -> Cluster:
    def look() -> _Lab | None:
        found = _read()
        if not found and daemon.poll() is not None:
            raise LabError(process.tail(log, 1).removeprefix("error: "))
        return found

    if found := wait_until(look, limit_s, 0.1):
        return found.cluster
    raise LabError(f"the lab was not up within {limit_s:.0f} s: {process.tail(log)}")


def _end(pid: int, alive: Callable[[], bool], limit_s: float) -> None:
    """Let the daemon take its lab down; by force when it does not."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if alive():
            os.kill(pid, number)
            wait_until(lambda: not alive(), limit_s, 0.05)


def _busy() -> NoReturn:
    raise LabError("another command is building or removing the lab; try again when it is done")
