"""Every kind of target, by the name that it has in an experiment's ``target:``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxybench.targets.lab.target import lab_targets

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxybench.experiment.spec import TargetSpec
    from proxybench.targets.base import Needs, Target

TARGETS = {"lab": lab_targets}
"""From a key of ``target:`` to what makes such targets of the words below it."""


def make_targets(spec: TargetSpec, needs: Needs, report: Callable[[str], None]) -> tuple[Target, ...]:
    """Return the target that the experiment names, fit for its needs; of several clocks one for each, in their order.

    Looks at the machine, and may fetch what the target is made of. Raises LabError with what would help.
    """
    kind = [name for name in TARGETS if getattr(spec, name) is not None][-1]  # without a word, a lab is meant
    return TARGETS[kind](getattr(spec, kind), needs, report)
