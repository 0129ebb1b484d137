"""From the words of an experiment to one request per subject: all that a driver is given. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import refproxy
from proxybench.experiment.overlay import leaves, written
from proxybench.experiment.subjects import (
    Backend,
    ClusterSubject,
    CommandSubject,
    KubeProxySubject,
    ReferenceSubject,
    tagged,
)
from proxybench.experiment.words import format_duration
from proxybench.model import Mode, Subject

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from proxybench.experiment.source import Loc
    from proxybench.experiment.spec import Experiment

Words = KubeProxySubject | ReferenceSubject | CommandSubject | ClusterSubject
Place = tuple["Loc", Words]

PLACEHOLDERS = ("kubeconfig", "node", "address", "mode", "workdir", "cluster_cidr", "min_sync_period", "sync_period")
"""What ``fill`` knows; periods are written as Go reads them ("1s")."""
_VERSIONS = {"reference": refproxy.__version__}
_OF_THE_REFERENCE = ("iptables", "min_sync_period", "sync_period")
_PLACEHOLDER = re.compile(r"\{(" + "|".join(PLACEHOLDERS) + r")\}")


@dataclass(frozen=True)
class Commands:
    """The argument lists of a subject of kind "command"; an empty one was not given."""

    start: tuple[str, ...]
    ready: tuple[str, ...]
    stop: tuple[str, ...] = ()
    cleanup: tuple[str, ...] = ()
    version: tuple[str, ...] = ()
    synced: tuple[str, ...] = ()
    clean: tuple[str, ...] = ()


@dataclass(frozen=True)
class SubjectSpec:
    """One subject as it was asked for; periods in seconds.

    ``subject.version`` is "" until a driver has told it, but for an official release ("v1.37.2"), an image's tag and
    the reference proxier, which is part of this program. At most one of ``path`` (a kube-proxy) and ``source`` (a
    checkout of kubernetes) is set. ``iptables`` is the backend whose program must come first on the proxy's PATH, None
    in nftables mode. ``config`` is laid over the KubeProxyConfiguration. Where the subject cannot be had, ``otherwise``
    is measured under its own name, or the run goes on without it if it is ``optional``; else the run fails. ``image``
    is what a cluster starts its own from, "" for what it does already.
    """

    subject: Subject
    min_sync_period: float
    sync_period: float
    iptables: Backend | None = None
    path: Path | None = None
    source: Path | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    commands: Commands | None = None
    otherwise: SubjectSpec | None = None
    optional: bool = False
    image: str = ""

    @property
    def mode(self) -> Mode:
        """The subject's mode."""
        return self.subject.mode


def requests(experiment: Experiment, folder: Path | None = None) -> tuple[SubjectSpec, ...]:
    """Return what is to be measured, in the order of the file; ``folder`` is that of the experiment file.

    Two of them never have the same subject. Its settings hold the backend of iptables, its name (or else its path or
    source, as written), and each setting and each value of ``config`` that it changes.
    """
    return tuple(request for _, request in placed(experiment, folder or Path()))


def placed(experiment: Experiment, folder: Path) -> Iterator[tuple[Loc, SubjectSpec]]:
    """Yield every request with the place of what asked for it."""
    for loc, words in entries(experiment):
        for mode in words.modes or ((words.mode,) if words.mode else ()):
            for backend in backends(words, mode):
                yield loc, _request(experiment, words, mode, backend, folder)


def backends(words: Words, mode: Mode) -> Sequence[Backend | None]:
    """Return the backends of iptables in which a subject runs in a mode.

    (None,) for nftables, which runs none, and for a cluster's own kube-proxy, which has found its own.
    """
    return (
        (None,) if mode is Mode.NFTABLES or isinstance(words, ClusterSubject) else (words.iptables or (Backend.LEGACY,))
    )


def fill(argv: Sequence[str], values: Mapping[str, str]) -> tuple[str, ...]:
    """Return a command with its {placeholders} filled in; other braces stay as they are.

    Raises KeyError for a placeholder that ``values`` lacks.
    """
    return tuple(_PLACEHOLDER.sub(lambda match: values[match[1]], word) for word in argv)


def entries(experiment: Experiment) -> Iterator[Place]:
    """Yield the words of each subject with their place; each mode of the short form is one."""
    for index, words in enumerate(experiment.subjects):
        yield ("subjects", index), words
    proxier = experiment.proxier
    for index, mode in enumerate(experiment.modes):
        if proxier.kind == "kube-proxy":
            yield ("modes", index), KubeProxySubject(kind="kube-proxy", version=proxier.version, mode=mode)
        else:
            yield ("modes", index), ReferenceSubject(kind="reference", mode=mode)


def _request(experiment: Experiment, words: Words, mode: Mode, backend: Backend | None, folder: Path) -> SubjectSpec:
    usual = experiment.proxier
    own = words.settings
    told = dict(_told(words, backend))
    periods = {"min_sync_period": own.min_sync_period, "sync_period": own.sync_period}
    for name, seconds in periods.items():
        if seconds is not None and seconds != getattr(usual, name):
            told[name] = format_duration(seconds)
    spec = SubjectSpec(
        subject=Subject(words.kind, _VERSIONS.get(words.kind, ""), mode, tuple(sorted(told.items()))),
        min_sync_period=usual.min_sync_period if own.min_sync_period is None else own.min_sync_period,
        sync_period=usual.sync_period if own.sync_period is None else own.sync_period,
        iptables=backend,
    )
    if isinstance(words, CommandSubject):
        return replace(spec, commands=_commands(words))
    if isinstance(words, ClusterSubject):
        version = tagged(words.image) if words.image else ""
        subject = replace(spec.subject, version=version)
        return replace(spec, subject=subject, optional=True, image=words.image or "")
    return _of_kube_proxy(spec, words, folder) if isinstance(words, KubeProxySubject) else spec


def _told(words: Words, backend: Backend | None) -> Iterator[tuple[str, str]]:
    if backend is not None:
        yield "iptables", str(backend)
    if words.name is not None:
        yield "name", words.name
    if isinstance(words, ClusterSubject) and words.image:
        yield "image", words.image
    if not isinstance(words, KubeProxySubject):
        return
    if words.name is None and words.path is not None:
        yield "path", words.path
    if words.name is None and words.source is not None:
        yield "source", words.source
    for keys, value in leaves(words.config):
        yield ".".join(("config", *keys)), written(value)


def _of_kube_proxy(spec: SubjectSpec, words: KubeProxySubject, folder: Path) -> SubjectSpec:
    other = None
    if words.otherwise == "reference":
        kept = tuple((name, value) for name, value in spec.subject.settings if name in _OF_THE_REFERENCE)
        other = replace(spec, subject=Subject(words.otherwise, _VERSIONS[words.otherwise], spec.mode, kept))
    return replace(
        spec,
        subject=replace(spec.subject, version=words.version or ""),
        path=None if words.path is None else folder / words.path,
        source=None if words.source is None else folder / words.source,
        config=words.config,
        otherwise=other,
        optional=words.otherwise == "skip",
    )


def _commands(words: CommandSubject) -> Commands:
    return Commands(
        start=words.start,
        ready=words.ready,
        stop=words.stop or (),
        cleanup=words.cleanup or (),
        version=words.version or (),
        synced=words.synced or (),
        clean=words.clean or (),
    )
