"""The command line that runs locust on the client node, and the files that it needs there."""

from __future__ import annotations

import math
from importlib import resources
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from proxybench.load.plan import LoadPlan

PLAN_VARIABLE: Final = "PROXYBENCH_LOAD_PLAN"

_MS_PER_S: Final = 1000
_MARGIN_SECONDS: Final = 5  # for spawning and for the last answers
_START_SECONDS: Final = 240.0  # importing locust takes 5 s on an idle guest, over a minute on an overloaded one


def locustfile() -> bytes:
    """Return the locustfile to put on the node.

    It is data here and never imported: importing it would patch this process's sockets.
    """
    return resources.files(__package__).joinpath("locustfile.py").read_bytes()


def build_command(plan: LoadPlan, *, python: str, locustfile_path: str, plan_path: str) -> list[str]:
    """Return the command to run on the node, where ``locustfile()`` and ``plan.to_json()`` lie at those paths.

    The load ends by itself when all connections are done; ``--run-time`` is the limit if it should not. Failures are
    data, not a reason for another exit code.
    """
    stop = math.ceil(plan.timeout_ms / _MS_PER_S)
    return [
        "env",
        f"{PLAN_VARIABLE}={plan_path}",
        python,
        *("-m", "locust", "--locustfile", locustfile_path),
        *("--headless", "--only-summary", "--loglevel", "WARNING"),
        *("--users", str(plan.users), "--spawn-rate", str(plan.users)),
        *("--run-time", f"{math.ceil(plan.duration_s) + stop + _MARGIN_SECONDS}s"),
        *("--stop-timeout", str(stop), "--exit-code-on-error", "0"),
    ]


def time_limit(plan: LoadPlan) -> float:
    """Return the seconds after which the whole command has certainly failed, start-up included."""
    return plan.duration_s + 2 * plan.timeout_ms / _MS_PER_S + _MARGIN_SECONDS + _START_SECONDS
