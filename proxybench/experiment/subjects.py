"""The words of ``subjects``: what is under test, one model per kind.

These models check single values; what several of them must agree on is in ``subject_checks``, and what a driver is
given is in ``requests``.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BeforeValidator, Field

from proxybench.experiment.overlay import plain
from proxybench.experiment.words import LEFT_OUT, Duration, Words, distinct, many, one_of, schema_of, show, within
from proxybench.model import Mode

Kind = Literal["kube-proxy", "reference", "command", "cluster"]
KINDS: tuple[str, ...] = get_args(Kind)
"""Every kind of subject; the registry of drivers has exactly these."""

_RELEASE = re.compile(r"v?(0|[1-9]\d{0,2})\.(0|[1-9]\d{0,2})\.(0|[1-9]\d{0,2})")
_TAG = re.compile(_RELEASE.pattern + r"(?:[-_.+]\S{0,100})?")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+ -]{0,39}")


class Backend(StrEnum):
    """Which kernel interface the program ``iptables`` writes to."""

    LEGACY = "legacy"
    NFT = "nft"


def release(version: str) -> str:
    """Return an exact release as Kubernetes writes it, "v1.37.2"; raise ValueError saying what would be right."""
    match = _RELEASE.fullmatch(version)
    if match is None:
        raise ValueError(f"{show(version)} is no exact release; write all three numbers, such as v1.37.2")
    return "v" + ".".join(match.groups())


def tagged(image: str) -> str:
    """Return the release that an image's tag begins with ("v1.37.2"); raise ValueError saying what would be right."""
    _, _, tag = image.partition("@")[0].rpartition("/")[2].partition(":")
    match = _TAG.fullmatch(tag)
    if match is None:
        right = "write one such as registry.k8s.io/kube-proxy:v1.37.2, or tag your own so: v1.37.2-mine"
        raise ValueError(f"{show(image)} has no tag that begins with an exact release; {right}")
    return "v" + ".".join(match.groups())


def _image(image: str) -> str:
    tagged(image)
    return image


def _label(name: str) -> str:
    if not _NAME.fullmatch(name):
        right = "write at most 40 letters, digits, dots, dashes and blanks, such as mine"
        raise ValueError(f"{show(name)} is no label; {right}")
    return name


def _place(path: str) -> str:
    if path.startswith("~"):
        raise ValueError(f"{show(path)}: ~ means nothing here; write the whole path")
    return _text(path)


def _text(word: str) -> str:
    if "\0" in word:
        raise ValueError("a text here cannot hold the character NUL; remove it")
    return word


def _program(argv: tuple[str, ...]) -> tuple[str, ...]:
    if not argv[0].strip():
        raise ValueError("the program's name is empty; write it first, such as [/usr/bin/proxy, --now]")
    return argv


_ModeWord = Annotated[Mode, one_of("a mode", *Mode), schema_of(*Mode)]
_BackendWord = Annotated[Backend, one_of("a backend of iptables", *Backend), schema_of(*Backend)]
_Place = Annotated[str, Field(strict=True, min_length=1, max_length=4096), AfterValidator(_place)]
_Argv = Annotated[
    tuple[Annotated[str, Field(strict=True), AfterValidator(_text)], ...],
    Field(min_length=1, max_length=1000),
    AfterValidator(_program),
]
_Label = Annotated[Annotated[str, AfterValidator(_label)] | None, LEFT_OUT, Field(strict=True, examples=["mine"])]
_Optional = Annotated[_Argv | None, LEFT_OUT]


class SubjectSettings(Words):
    """What sets a subject apart from the others; what is left out is as in ``proxier``."""

    min_sync_period: Annotated[
        Annotated[Duration, AfterValidator(within("0s", "1m"))] | None, LEFT_OUT, Field(examples=["1s"])
    ] = None
    """The least time between two syncs."""
    sync_period: Annotated[
        Annotated[Duration, AfterValidator(within("1s", "1h"))] | None, LEFT_OUT, Field(examples=["10m"])
    ] = None
    """The time after which everything is synced again."""


class _SubjectWords(Words):
    kind: str
    name: _Label = None
    """A label in tables and figures, which tells it apart from another of the same version and mode."""
    mode: Annotated[_ModeWord | None, LEFT_OUT, Field(examples=["iptables"])] = None
    """How it makes Services real on a node."""
    modes: Annotated[
        tuple[_ModeWord, ...], LEFT_OUT, Field(min_length=1, examples=["[iptables, ipvs]"]), AfterValidator(distinct)
    ] = ()
    """Instead of mode: several, which makes one subject of each."""
    iptables: Annotated[
        tuple[_BackendWord, ...],
        Field(min_length=1),
        AfterValidator(distinct),
        BeforeValidator(many, json_schema_input_type=_BackendWord | tuple[_BackendWord, ...]),
        Field(examples=["[legacy, nft]"]),
        LEFT_OUT,
    ] = ()
    """legacy or nft: the program iptables that it finds (in all modes but nftables); a list makes one subject of each.
    Left out, legacy."""
    settings: Annotated[SubjectSettings, LEFT_OUT] = SubjectSettings()
    """What sets it apart from the others."""


class KubeProxySubject(_SubjectWords):
    """kube-proxy: an official release, a file, or a checkout of kubernetes."""

    kind: Literal["kube-proxy"]
    """The real kube-proxy."""
    version: Annotated[
        Annotated[str, AfterValidator(release)] | None, LEFT_OUT, Field(strict=True, examples=["v1.37.2"])
    ] = None
    """An official release: downloaded and kept, or built with Go where it cannot be downloaded."""
    path: Annotated[_Place | None, LEFT_OUT, Field(examples=["./kube-proxy"])] = None
    """Instead of version: a file, seen from the folder of the experiment file."""
    source: Annotated[_Place | None, LEFT_OUT, Field(examples=["../kubernetes"])] = None
    """Instead of version: a checkout of kubernetes, built with Go; seen from the folder of the experiment file."""
    config: Annotated[
        dict[str, Any], LEFT_OUT, BeforeValidator(plain), Field(examples=["{ipvs: {scheduler: lc}}"])
    ] = {}  # noqa: RUF012 - pydantic copies it
    """Laid over the KubeProxyConfiguration that proxybench writes: {ipvs: {scheduler: lc}}."""
    otherwise: Annotated[Literal["reference", "skip"] | None, LEFT_OUT, Field(examples=["reference"])] = None
    """Where this kube-proxy cannot be had: reference measures the reference proxier, under its own name; skip goes on
    without it, which the report says. Left out, the run fails."""


class ReferenceSubject(_SubjectWords):
    """proxybench's own proxier: a self-test of the harness and a lower bound, not kube-proxy."""

    kind: Literal["reference"]
    """Our own control loop."""


class CommandSubject(_SubjectWords):
    """Any other Service proxy, by the commands that run it on a node.

    Each command is a list: the program and its arguments, no shell. {kubeconfig}, {node}, {address}, {mode}, {workdir},
    {cluster_cidr}, {min_sync_period} and {sync_period} in them are filled in. They are kept with the results, so no
    secrets.
    """

    kind: Literal["command"]
    """Commands."""
    name: Annotated[str, Field(strict=True, examples=["kube-router"]), AfterValidator(_label)]
    """What it is called in tables and figures."""
    start: Annotated[_Argv, Field(examples=["[/usr/bin/proxy, --kubeconfig, '{kubeconfig}']"])]
    """Runs the proxy in the foreground; what it starts ends with it."""
    ready: Annotated[_Argv, Field(examples=["[curl, -sf, 'http://127.0.0.1:10256/healthz']"])]
    """Exits with 0 once its first sync is done; asked again until then."""
    stop: _Optional = None
    """Ends the proxy; left out, it is sent SIGTERM."""
    cleanup: _Optional = None
    """Removes what it made, when it has ended."""
    version: _Optional = None
    """Prints its version in the first line."""
    synced: _Optional = None
    """Exits with 0 while no change waits to be made."""
    clean: _Optional = None
    """Exits with 0 when nothing of it is left on the node."""


class ClusterSubject(_SubjectWords):
    """The kube-proxy that target.cluster runs itself.

    A mode in which it does not run is left out of the run, and so is another image, unless it may be switched.
    """

    kind: Literal["cluster"]
    """The cluster's own."""
    image: Annotated[
        Annotated[str, AfterValidator(_image)] | None,
        LEFT_OUT,
        Field(strict=True, max_length=500, examples=["registry.k8s.io/kube-proxy:v1.37.2"]),
    ] = None
    """The image from which its DaemonSet is to start it; the tag begins with its release. Left out, its own."""


SubjectWords = Annotated[
    KubeProxySubject | ReferenceSubject | CommandSubject | ClusterSubject, Field(discriminator="kind")
]
