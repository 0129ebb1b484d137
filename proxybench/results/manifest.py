"""The manifest of a run: what was asked for, on what, in which order, and what became of it.

The classes mirror ``manifest.json`` key by key. Keys that they do not know are ignored on reading, so that
a later program of the same schema version may add some.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from proxybench.errors import ResultsError
from proxybench.model import Cell, ClockKind, LabKind, Mode, Subject  # noqa: TC001 - pydantic reads the annotations
from proxybench.results.schema import SCHEMA_VERSION, migrate_manifest

RunState = Literal["running", "complete", "incomplete", "interrupted"]
StepState = Literal["pending", "done", "failed", "skipped"]


@dataclass(frozen=True)
class Step:
    """One place in the order in which the matrix was walked; ``seconds`` by the orchestrator's clock.

    ``index`` and ``repetition`` count from 1. ``notes`` are lines for whoever reads its numbers: they are no fault.
    """

    index: int
    repetition: int
    cell: Cell
    state: StepState = "pending"
    seconds: float | None = None
    problem: str | None = None
    notes: tuple[str, ...] = ()
    clock: ClockKind | None = None  # by which it was measured, where a run has several


@dataclass(frozen=True)
class LabFacts:
    """What the nodes were made of and whose clock ruled, with the reason for that choice.

    ``exclusive``: nobody else used it; ``starts_proxies``: proxies were started by us, each in a cgroup made for it,
    and not watched as they ran. None where an older program did not say.
    """

    kind: LabKind
    clock: ClockKind
    accelerator: str | None = None
    why: str = ""
    kernel: str | None = None  # of a guest, by the name that it was chosen by; None: the machine's own
    exclusive: bool | None = None
    starts_proxies: bool | None = None


@dataclass(frozen=True)
class SubjectFacts:
    """One thing that was measured; periods in seconds.

    ``source`` says where its program came from (a release's address, a file, "part of proxybench 2.0.0"), ``config``
    which file of the run's folder shaped it, ``cgroup`` which one on the measured node held its control loop and
    nothing else, so that its CPU time is told from others': those of the first step in which it ran. ``no_cpu``: why
    there was no such cgroup in a step; its CPU time and memory are left out then.
    """

    subject: Subject
    min_sync_period: float
    sync_period: float
    source: str = ""
    config: str | None = None
    cgroup: str | None = None
    no_cpu: str = ""


@dataclass(frozen=True)
class NodeFacts:
    """What can change a number measured on a node.

    ``iptables_version`` and ``iptables_backend`` are of the backend legacy where there is one; ``iptables`` has the
    version of each. It and ``nft_version`` are empty where a run did not look, as those of older programs; ``speed``
    (governor, SMT, load, steal) is so by the instruction clock, too. ``real_time``: whether probes had real-time
    priority there, None where an older program did not ask.
    """

    kernel: str = "unknown"
    cpu: str = "unknown"
    cpus: int = 0
    memory: int = 0  # bytes
    iptables_version: str = "unknown"
    iptables_backend: str = "unknown"
    python: str = "unknown"
    sysctls: dict[str, str] = field(default_factory=dict)
    iptables: dict[str, str] = field(default_factory=dict)
    nft_version: str = ""
    speed: dict[str, str] = field(default_factory=dict)
    real_time: bool | None = None


@dataclass(frozen=True)
class Fingerprint:
    """The orchestrator (free keys) and each node by its name."""

    orchestrator: dict[str, Any] = field(default_factory=dict)
    nodes: dict[str, NodeFacts] = field(default_factory=dict)


@dataclass(frozen=True)
class NotMeasured:
    """A mode (None: every mode) at a number of Services (None: every size) that has no numbers, and why."""

    mode: Mode | None
    services: int | None
    reason: str


@dataclass(frozen=True)
class Conformance:
    """One check that a mode does what a Service proxy must do, before anything was measured."""

    mode: Mode
    services: int
    check: str
    passed: bool
    detail: str = ""


@dataclass(frozen=True)
class Manifest:
    """All of ``manifest.json``; ``created`` and ``finished`` are UTC, ISO 8601.

    ``proxy_nodes`` are the nodes on which the subjects ran. ``methods`` are the versions of how each metric was
    measured; one that is not in it, by its first.
    """

    run: str
    name: str
    created: str
    lab: LabFacts
    subjects: tuple[SubjectFacts, ...]
    schema: int = SCHEMA_VERSION
    finished: str | None = None
    state: RunState = "running"
    command: tuple[str, ...] | str = ""
    proxybench: str = ""
    experiment: dict[str, Any] = field(default_factory=dict)
    matrix: tuple[Step, ...] = ()
    proxy_nodes: tuple[str, ...] = ()
    methods: dict[str, int] = field(default_factory=dict)
    fingerprint: Fingerprint = field(default_factory=Fingerprint)
    not_measured: tuple[NotMeasured, ...] = ()
    conformance: tuple[Conformance, ...] = ()
    other_labs: tuple[LabFacts, ...] = ()  # where the steps by further clocks were taken

    @property
    def labs(self) -> tuple[LabFacts, ...]:
        """Where was measured: one lab for each clock."""
        return (self.lab, *self.other_labs)

    def kernels(self, clock: str = "") -> tuple[str, ...]:
        """Return the kernels of the nodes: of a run by several clocks, of those that have one of them."""
        own = f" ({clock})" if self.other_labs and clock else ""  # nodes are named so (run/journal.py)
        return tuple(sorted({facts.kernel for name, facts in self.fingerprint.nodes.items() if name.endswith(own)}))


_ADAPTER = TypeAdapter(Manifest)


def manifest_to_dict(manifest: Manifest) -> dict[str, Any]:
    """Return plain JSON types, keys in the order of the classes."""
    dumped: dict[str, Any] = _ADAPTER.dump_python(manifest, mode="json")
    return {"schema": dumped.pop("schema"), **dumped}


def manifest_from_dict(data: object, where: str) -> Manifest:
    """Read parsed JSON of this or an older schema version; ``where`` is the file's name for the error.

    Raises ResultsError that names the first key that is wrong.
    """
    if not isinstance(data, dict):
        raise ResultsError(f"{where}: not a manifest (its top level is no JSON object)")
    current = migrate_manifest(data, where)
    try:
        return _ADAPTER.validate_python(current)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "manifest"
        raise ResultsError(f"{where}: {place}: {first['msg']}") from None
