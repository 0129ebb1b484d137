from __future__ import annotations

import re
from itertools import combinations

import numpy as np
import pytest

from proxybench.model import Mode, Subject
from proxybench.report.colours import DARK, LIGHT, mode_classes, style
from proxybench.report.layout import draw
from proxybench.report.panels import line_panels
from proxybench.report.png import png
from proxybench.report.svg import svg
from proxybench.report.tables import pivot
from proxybench.report.words import MODE_STYLES, look
from tests.unit.report.conftest import make_record

# Machado, Oliveira and Fernandes 2009: what who lacks one kind of cone sees of a linear colour.
LACKS = {
    "nothing": np.eye(3),
    "red": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "green": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "blue": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}
TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.119192, 0.9503041]]
)
LEAST = 10.0  # of CIE 1976's distance; 2.3 is just noticeable beside each other


def linear(colour: str) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    parts = np.array([int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)])
    return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)


def seen(colour: str, lacks: str) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return a colour as CIE L*a*b*, as it is seen."""
    x, y, z = TO_XYZ @ np.clip(LACKS[lacks] @ linear(colour), 0, 1) / np.array([0.95047, 1.0, 1.08883])
    x, y, z = (part ** (1 / 3) if part > 0.008856 else 7.787 * part + 16 / 116 for part in (x, y, z))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("lacks", LACKS)
@pytest.mark.parametrize("ground", ["light", "dark"])
def test_the_colour_blind_can_tell_the_modes(ground: str, lacks: str) -> None:
    colours = {mode: seen(getattr(style, ground), lacks) for mode, style in MODE_STYLES.items()}
    apart = {(a, b): float(np.linalg.norm(colours[a] - colours[b])) for a, b in combinations(colours, 2)}
    assert {pair: distance for pair, distance in apart.items() if distance < LEAST} == {}


def contrast(one: str, other: str) -> float:
    """Return WCAG 2's contrast of two colours."""
    darker, lighter = sorted(float(np.array([0.2126, 0.7152, 0.0722]) @ linear(colour)) for colour in (one, other))
    return (lighter + 0.05) / (darker + 0.05)


def test_lines_stand_out_from_their_ground() -> None:
    lines = {mode: style for mode, style in MODE_STYLES.items() if mode != "odd"}  # which fills areas
    assert {mode for mode, style in lines.items() if contrast(style.light, LIGHT["ground"]) < 3} == set()
    assert {mode for mode, style in lines.items() if contrast(style.dark, DARK["ground"]) < 3} == set()


def test_the_backends_of_iptables_look_different() -> None:
    legacy, nft, ipvs = (
        Subject("kube-proxy", "v1.37.2", mode, (("iptables", backend),))
        for mode, backend in ((Mode.IPTABLES, "legacy"), (Mode.IPTABLES, "nft"), (Mode.IPVS, "nft"))
    )
    assert [look(each) for each in (legacy, nft, ipvs)] == ["iptables", "iptables-nft", "ipvs"]
    assert look(Subject("kube-proxy", "v1.37.2", Mode.IPTABLES)) == "iptables"
    records = [
        make_record(mode="iptables", settings=f"iptables={backend}", services=size)
        for backend in ("legacy", "nft")
        for size in (10, 100)
    ]
    (panel,) = line_panels(records, "sync latency")
    assert [(line.mode, line.style, line.label) for line in panel.lines] == [
        ("iptables", 0, "iptables (legacy)"),
        ("iptables-nft", 0, "iptables (nft)"),
    ]
    heads = pivot(records, "caption").heads
    assert [head.mode for head in heads if head.mode] == ["iptables", "iptables-nft"]
    drawing = svg(draw(panel, [panel]))
    assert "var(--mode-iptables-nft)" in drawing
    assert drawing.count('d="M-1.2-3.4') == 2  # its own marker, at both sizes
    assert png(draw(panel, [panel])).startswith(b"\x89PNG")


def test_modes_differ_by_their_markers_too() -> None:
    markers = [style.marker for mode, style in MODE_STYLES.items() if mode != "odd"]  # which is no line
    assert len(set(markers)) == len(markers)


def test_every_colour_has_a_dark_one() -> None:
    light, dark = re.findall(r":root\{([^}]*)\}", style())
    assert re.findall(r"(--[a-z-]+):#", light) == re.findall(r"(--[a-z-]+):#", dark)
    assert ".mode-nftables{--mode:var(--mode-nftables)}" in mode_classes()
