"""A subject over IPv6 is shown as one of its own: beside itself over IPv4, and never mixed with it. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from proxybench.model import Family, Subject, parse_settings, settings_text

if TYPE_CHECKING:
    import pandas as pd

_IPV6 = ("family", str(Family.IPV6))


def shown(subject: Subject, family: str) -> Subject:
    """Return what a subject is shown as: over IPv6 that is one of its settings."""
    if family != Family.IPV6:
        return subject
    return replace(subject, settings=tuple(sorted((*subject.settings, _IPV6))))


def split_families(frame: pd.DataFrame) -> pd.DataFrame:
    """Return samples whose subjects are as ``shown``; the frame itself where all are of IPv4."""
    six = (frame["family"] == Family.IPV6).to_numpy()
    if not six.any():
        return frame
    settings = frame["settings"].astype(object)
    settings[six] = settings[six].map(lambda text: settings_text((*parse_settings(text), _IPV6)))
    return frame.assign(settings=settings.astype("category"))
