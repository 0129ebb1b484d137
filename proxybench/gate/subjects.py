"""Which subjects of two sides are the same, and under which names their numbers meet. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from proxybench.columns import flat
from proxybench.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from proxybench.model import Key, Mode, Subject

_T = TypeVar("_T")

FIELDS = ("kind", "version", "settings")
"""What ``across`` may name of a subject; the mode is what numbers are sorted by."""


def subject_differences(
    base: Iterable[Subject], new: Iterable[Subject], across: Collection[str] = ()
) -> tuple[str, ...]:
    """Name what makes two sides incomparable, as ``version: v1.33.2 -> v1.37.2 (kube-proxy iptables)``.

    Subjects of one kind and mode are compared: where the sides share none of them, they measured something else.
    """
    old, young = _grouped(base, across), _grouped(new, across)
    found: list[str] = []
    for place in sorted(old.keys() & young.keys()):
        if not old[place] & young[place]:
            where = " ".join(filter(None, (place[0], str(place[1]))))
            found += [f"{line} ({where})" for line in _unlike(old[place], young[place])]
    return tuple(found)


def without(series: Mapping[Key, _T], across: Collection[str], side: str) -> dict[Key, _T]:
    """Return numbers by keys that lack the fields of ``across``, so that those of two sides meet.

    Raises UsageError where two subjects of the ``side`` (its name) are then the same.
    """
    if not set(across) & set(FIELDS):
        return dict(series)
    kept = {subject: stripped(subject, across) for subject in {key.subject for key in series}}
    for subject, count in Counter(kept.values()).items():
        if count > 1:
            names = ", ".join(sorted(each.label for each, left in kept.items() if left == subject))
            words = ", ".join(name for name in FIELDS if name in across)
            raise UsageError(f"{side} holds {names}: across {words} they are one; name a run that holds one of them")
    return {replace(key, subject=kept[key.subject]): value for key, value in series.items()}


def stripped(subject: Subject, across: Collection[str]) -> Subject:
    """Return the subject without the fields of ``across``."""
    return replace(
        subject,
        kind="" if "kind" in across else subject.kind,
        version="" if "version" in across else subject.version,
        settings=() if "settings" in across else subject.settings,
    )


def _grouped(subjects: Iterable[Subject], across: Collection[str]) -> dict[tuple[str, Mode], set[Subject]]:
    found: dict[tuple[str, Mode], set[Subject]] = defaultdict(set)
    for subject in subjects:
        left = stripped(subject, across)
        found[left.kind, left.mode].add(left)
    return dict(found)


def _unlike(old: set[Subject], young: set[Subject]) -> Iterable[str]:
    for name in ("version", "settings"):
        before, after = (", ".join(sorted({flat(each)[name] or "none" for each in side})) for side in (old, young))
        if before != after:
            yield f"{name}: {before} -> {after}"
