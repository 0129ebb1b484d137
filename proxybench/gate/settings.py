"""The experiment's settings that change what a number means: two runs with unlike ones are not compared. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from proxybench.experiment.spec import MeasureSpec

if TYPE_CHECKING:
    from proxybench.results.manifest import Manifest

Settings = Mapping[str, str]

PREFIX = "experiment."
_ON, _OFF, _UNSET = "on", "off", "unset"
# How many repetitions, and at which sizes, says how well and where something is known, not what it is.
_PARTS = ("measure", "load", "warmup")
_LEFT_OUT = (f"{PREFIX}load.at",)


def settings_of(manifest: Manifest) -> Settings | None:
    """Return the settings in words, by their place in the experiment file; None for a manifest without them.

    A part that can be switched off is ``on`` or ``off`` itself, beside its own settings.
    """
    experiment = manifest.experiment
    if "measure" not in experiment:
        return None
    found: dict[str, str] = {}
    for part in _PARTS:
        _flatten(f"{PREFIX}{part}", experiment.get(part), found)
    proxier = experiment.get("proxier")
    if isinstance(proxier, Mapping):
        _flatten(f"{PREFIX}proxier.nodes", proxier.get("nodes"), found)
    if profiles := sorted({step.cell.profile for step in manifest.matrix if step.cell.profile}):
        found[f"{PREFIX}scale.profile"] = ", ".join(profiles)
    return {name: found[name] for name in sorted(found) if name not in _LEFT_OUT}


@lru_cache
def _left_out() -> Settings:
    """Return what each setting of ``measure`` is when it is left out: what an older program did that lacks the word."""
    everything = MeasureSpec.model_validate(dict.fromkeys(("sync", "cpu", "forwarding"), True))
    found: dict[str, str] = {}
    _flatten(f"{PREFIX}measure", everything.model_dump(mode="json"), found)
    return found


def _flatten(place: str, value: object, into: dict[str, str]) -> None:
    if not isinstance(value, Mapping):
        into[place] = _word(value)
        return
    into[place] = _ON
    for name, inner in value.items():
        _flatten(f"{place}.{name}", inner, into)


def _word(value: object) -> str:
    if value is None or isinstance(value, bool):
        return _ON if value else _OFF
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(_word(item) for item in value) + "]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def setting_differences(base: Settings | None, new: Settings | None, across: Sequence[str] = ()) -> tuple[str, ...]:
    """Name the settings that make two runs incomparable, as ``experiment.measure.cpu.idle: 1 -> 5``.

    ``across`` lists settings that may differ, or prefixes of them that end in '.'. Where one side does not know its
    settings (an old baseline), nothing can be said. What was switched off has no further settings to name. A setting
    that one side lacks, since its program was older, is what it is when it is left out.
    """
    if base is None or new is None:
        return ()
    found: list[str] = []
    switched: list[str] = []
    for name in sorted({*base, *new}):
        missing = _left_out().get(name, _UNSET)
        old, young = base.get(name, missing), new.get(name, missing)
        if old == young or any(name.startswith(part) for part in switched):
            continue
        switched.append(f"{name}.")
        if not any(name == word or (word.endswith(".") and name.startswith(word)) for word in across):
            found.append(f"{name}: {old} -> {young}")
    return tuple(found)
