"""How locust is run on a client node: the files that it needs there, and the request for one load."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from proxybench.load.plan import LoadPlan

LOOPBACK: Final = "127.0.0.1"
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


@dataclass(frozen=True)
class Part:
    """What one locust process is: alone, or a worker of the master at ``port`` of its loopback, or that master.

    ``name`` tells its files from those of the others in ``folder``.
    """

    folder: str
    name: str = ""
    port: int = 0
    workers: int = 0

    @property
    def plan(self) -> str:
        """Where its plan lies."""
        return f"{self.folder}/{self.name}plan.json"

    @property
    def records(self) -> str:
        """Where it puts its records."""
        return f"{self.folder}/records"

    def role(self) -> list[str]:
        """Return the options that make it so."""
        if self.workers:
            bind = ["--master-bind-host", LOOPBACK, "--master-bind-port", str(self.port)]
            return ["--master", *bind, "--expect-workers", str(self.workers)]
        return ["--worker", "--master-host", LOOPBACK, "--master-port", str(self.port)] if self.port else []


def build_request(plan: LoadPlan, part: Part) -> str:
    """Return the line that asks ``warm()``'s program for one load, or for its part in one.

    ``locustfile()`` lies in the part's folder on the node, and ``plan.to_json()`` at its ``plan``. The load ends by
    itself when all connections are done; ``--run-time`` is the limit if it should not. Failures are data, not a reason
    for another exit code.
    """
    stop = math.ceil(plan.timeout_ms / _MS_PER_S)
    argv = [
        *("locust", "--locustfile", f"{part.folder}/locustfile.py"),
        *("--headless", "--only-summary", "--loglevel", "WARNING"),
        *("--users", str(plan.users), "--spawn-rate", str(plan.users)),
        *("--run-time", f"{math.ceil(plan.duration_s) + stop + _MARGIN_SECONDS}s"),
        *("--stop-timeout", str(stop), "--exit-code-on-error", "0"),
        *part.role(),
    ]
    log = f"{part.folder}/{part.name}log"
    return json.dumps({"argv": argv, "plan": part.plan, "log": log, "limit_s": time_limit(plan)})


def time_limit(plan: LoadPlan) -> float:
    """Return the seconds after which the load has certainly failed, its start included."""
    return plan.duration_s + 2 * plan.timeout_ms / _MS_PER_S + _MARGIN_SECONDS + _START_SECONDS
