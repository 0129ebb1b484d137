"""Series with given values, one per repetition."""

from __future__ import annotations

from typing import Any

import numpy as np

from proxybench.columns import build
from proxybench.model import Key, Mode, Subject
from proxybench.stats.series import Series

SUBJECT = Subject("kube-proxy", "v1.37.2", Mode.NFTABLES)


def series(
    metric: str, scenario: str, *values: float, subject: Subject = SUBJECT, uncertainty: float = 0.0, **changes: Any
) -> Series:
    row = {
        "kind": subject.kind,
        "version": subject.version,
        "mode": subject.mode,
        "settings": "",
        "services": 100,
        "endpoints_per_service": 2,
        "scenario": scenario,
        "path": "none",
        "family": "ipv4",
        "position": "none",
        "metric": metric,
        "unit": "ns",
        "clock": "wall",
        **changes,
    }
    bounded = np.zeros(len(values), np.bool_)
    labels = tuple(("run", number) for number in range(len(values)))
    return Series(build(Key, row), labels, np.array(values), bounded, len(values), 0, 0.0, 0.0, uncertainty)
