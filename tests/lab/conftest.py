"""Which lab tests may run beside each other, where pytest-xdist has two workers (`make lab-tests`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]  # it has no types

if TYPE_CHECKING:
    import pytest

GUESTS: Final = ("test_gate.py", "test_kernel_state_vm.py", "test_vm_lab.py")
"""They only emulate, and count instructions: no matter what runs beside them, and they look at nothing of this machine.

All others compare what is on this machine before and after: two at a time would see each other, so one worker has all.
"""


class Halves(LoadScopeScheduling):  # type: ignore[misc]  # as above
    """Gives one worker the guests' tests, another one all others.

    xdist's own groups (loadgroup) part nothing with pytest 9.2: xdist 3.8.0 sets a name that it does not read any more.
    """

    def _split_scope(self, nodeid: str) -> str:
        return "guests" if nodeid.partition("::")[0].endswith(GUESTS) else "this machine"


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> Halves:
    return Halves(config, log)
