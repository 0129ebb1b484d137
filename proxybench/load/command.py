"""How locust is run on the client node: the files that it needs there, and the request for one load."""

from __future__ import annotations

import json
import math
from importlib import resources
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from proxybench.load.plan import LoadPlan

_MS_PER_S: Final = 1000
_MARGIN_SECONDS: Final = 5  # for spawning and for the last answers
_START_SECONDS: Final = 60.0  # locust is imported already; the rest takes under a second on an idle guest


def folder(workdir: str) -> str:
    """Return where the load's files lie below the client's work folder."""
    return f"{workdir}/load"


def locustfile() -> bytes:
    """Return the locustfile to put on the node.

    It is data here and never imported: importing it would patch this process's sockets.
    """
    return resources.files(__package__).joinpath("locustfile.py").read_bytes()


def warm() -> bytes:
    """Return the program that keeps locust imported on the node; data here, never imported, as above."""
    return resources.files(__package__).joinpath("warm.py").read_bytes()


def build_request(plan: LoadPlan, *, locustfile_path: str, plan_path: str, log_path: str) -> str:
    """Return the line that asks ``warm()``'s program for one load.

    ``locustfile()`` and ``plan.to_json()`` lie at those paths on the node. The load ends by itself when all
    connections are done; ``--run-time`` is the limit if it should not. Failures are data, not a reason for another
    exit code.
    """
    stop = math.ceil(plan.timeout_ms / _MS_PER_S)
    argv = [
        *("locust", "--locustfile", locustfile_path),
        *("--headless", "--only-summary", "--loglevel", "WARNING"),
        *("--users", str(plan.users), "--spawn-rate", str(plan.users)),
        *("--run-time", f"{math.ceil(plan.duration_s) + stop + _MARGIN_SECONDS}s"),
        *("--stop-timeout", str(stop), "--exit-code-on-error", "0"),
    ]
    return json.dumps({"argv": argv, "plan": plan_path, "log": log_path, "limit_s": time_limit(plan)})


def time_limit(plan: LoadPlan) -> float:
    """Return the seconds after which the load has certainly failed, its start included."""
    return plan.duration_s + 2 * plan.timeout_ms / _MS_PER_S + _MARGIN_SECONDS + _START_SECONDS
