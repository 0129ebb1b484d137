"""Every kind of target, by the name that it has in an experiment's ``target:``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxybench.targets.lab.target import lab_target

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxybench.experiment.spec import TargetSpec
    from proxybench.targets.base import Needs, Target

TARGETS = {"lab": lab_target}
"""From a key of ``target:`` to what makes such a target of the words below it."""


def make_target(spec: TargetSpec, needs: Needs, report: Callable[[str], None]) -> Target:
    """Return the target that the experiment names, fit for its needs.

    Looks at the machine, and may fetch what the target is made of. Raises LabError with what would help.
    """
    kind = next(name for name in TARGETS if getattr(spec, name) is not None)
    return TARGETS[kind](getattr(spec, kind), needs, report)
