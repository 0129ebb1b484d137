"""Where a subject's program would come from, as far as that can be seen without getting it."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from proxybench.errors import UsageError
from proxybench.releases.component import host_architecture
from proxybench.releases.prospect import Prospect, Way, foresee_checkout, foresee_release
from proxybench.subjects.kube_proxy_binary import inspect_file

if TYPE_CHECKING:
    from proxybench.experiment.requests import SubjectSpec


def foresee(spec: SubjectSpec, *, online: bool) -> Prospect:
    """Return how the subject would be had on this machine; nothing is asked of the network unless ``online``."""
    subject = spec.subject
    if spec.commands is not None:
        return _command(spec.commands.start[0])
    if subject.kind != "kube-proxy":
        return Prospect(Way.INCLUDED, subject.version)
    try:
        if spec.path is not None:
            return Prospect(Way.FILE, inspect_file(spec.path).version)
        if spec.source is not None:
            return foresee_checkout(spec.source)
        return foresee_release(subject.version, online=online)
    except UsageError as error:
        return Prospect(Way.NONE, subject.version, str(error), _mend(spec))


def _mend(spec: SubjectSpec) -> str:
    if spec.path is not None:
        return f"give a kube-proxy for linux/{host_architecture()}"
    return "give the folder of a checkout of kubernetes" if spec.source is not None else "correct the address"


def _command(program: str) -> Prospect:
    if "{" in program or shutil.which(program):  # the nodes of a lab see this machine's files
        return Prospect(Way.COMMAND)
    return Prospect(Way.NONE, "", f"{program} is not on this machine", "install it, or write its full path")
