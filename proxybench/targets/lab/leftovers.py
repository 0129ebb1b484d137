"""What a lab leaves when its owner is killed: folders and cgroups, removed by whoever comes next."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

from proxybench import scratch
from proxybench.targets.lab.apiserver.serve_process import FOLDER_PREFIX

if TYPE_CHECKING:
    from pathlib import Path

STATE_PREFIX = "proxybench-lab."
SSH_PREFIX = "proxybench-ssh."
KVM_PREFIX = "proxybench-kvm."
_CLEAN_LIMIT = 20.0


def sweep() -> tuple[Path, ...]:
    """Remove what the labs of killed owners left; return their folders. Processes are gone already, by the kernel."""
    labs = scratch.sweep(STATE_PREFIX, _remove_cgroups_of)
    return (*labs, *(path for prefix in (FOLDER_PREFIX, SSH_PREFIX, KVM_PREFIX) for path in scratch.sweep(prefix)))


def cgroup_name(state: Path) -> str:
    """Return the name of the cgroup of the lab with that folder: one per lab, so that two can run side by side."""
    return f"proxybench-{state.name.removeprefix(STATE_PREFIX)}"


def remove_cgroups(name: str) -> None:
    """Remove a lab's cgroup and those below it, wherever the host mounts them (in a mount of our own).

    What does so has a session of its own: a terminal's Ctrl-C, which we heed when this is done, would end it.
    """
    script = (
        'mount -t cgroup2 cgroup /sys/fs/cgroup && cd /sys/fs/cgroup && [ -d "$0" ] && '
        'for i in 1 2 3 4 5 6 7 8 9 10; do find "$0" -depth -type d -exec rmdir {} + 2>/dev/null && break; '
        "sleep 0.2; done"
    )
    subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, name],
        check=False,
        timeout=_CLEAN_LIMIT,
        capture_output=True,
        start_new_session=True,
    )


def _remove_cgroups_of(state: Path) -> None:
    if os.geteuid() == 0:  # nobody else makes a lab that has any out here
        remove_cgroups(cgroup_name(state))
