"""What a step brought."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from proxybench.errors import ConnectionLostError, ProxierLostError

if TYPE_CHECKING:
    from proxybench.model import Sample


@dataclass(frozen=True)
class Checked:
    """One conformance check of the step's subject."""

    check: str
    passed: bool
    detail: str = ""


@dataclass
class StepResult:
    """What a step brought: its samples, its checks, what went wrong (one line each), and logs by name.

    ``notes`` are lines for whoever reads the numbers, such as a metric that cannot be had here; they fail no step.
    ``lost``: a connection broke meanwhile, so the testbed is of no more use; ``fallen``: a control loop ended or stood
    still meanwhile. ``sure``: how many samples were taken when all of them were last known to be well. ``late``: the
    subject was not ready within its limit, which its censored cold start says; nothing after it was measured.
    ``skipped``: nothing was tried, for this reason. Neither is a problem. ``config`` is the name in ``logs`` of the
    file that shaped the measured proxy; "" for one that has none. ``cgroup``, ``no_cpu`` and ``periods`` as in
    ``RunningProxy``.
    """

    samples: list[Sample] = field(default_factory=list)
    checks: list[Checked] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    logs: dict[str, str] = field(default_factory=dict)
    lost: bool = False
    fallen: bool = False
    sure: int = 0
    late: str = ""
    skipped: str = ""
    config: str = ""
    cgroup: str | None = None
    no_cpu: str = ""
    periods: tuple[float, float] | None = None

    def record_error(self, part: str, error: Exception) -> None:
        """Add one line on what went wrong in a part of the step.

        What may have been measured of a control loop that had ended, or stood still, is dropped.
        """
        self.lost |= isinstance(error, ConnectionLostError)
        if isinstance(error, ProxierLostError):
            self.fallen = True
            del self.samples[self.sure :]
        self.problems.append(f"{part}: {' '.join(str(error).split())}")
