"""Whether a kube-proxy has a mode, as far as its version tells. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxybench.experiment.compat import KubeVersion, mode_in
from proxybench.subjects.driver import Capability

if TYPE_CHECKING:
    from proxybench.model import Mode


def check_mode(mode: Mode, version: str) -> Capability:
    """Say whether a kube-proxy that says it is ``version`` ("v1.37.2") has the mode.

    The reason of one that it has is what to know of it: "ipvs is deprecated from 1.35". Raises ValueError for what is
    no version.
    """
    verdict = mode_in(mode, KubeVersion.of_release(version))
    if verdict.able:
        return Capability(supported=True, reason=verdict.note)
    why, _, fix = verdict.note.partition("; ")
    return Capability(supported=False, reason=f"kube-proxy {version} has no {mode} mode: {why}", fix=fix)
