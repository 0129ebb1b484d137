"""A drawing as an ``<svg>`` element that takes its colours and its letters from the page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from markupsafe import Markup, escape

from proxybench.report.drawing import Label, Marker, Polyline, Rect
from proxybench.report.words import MODE_STYLES, OTHER

if TYPE_CHECKING:
    from proxybench.report.drawing import Drawing, Item

_POINT = 4 / 3  # pixels
_LETTERS = "system-ui, -apple-system, 'Segoe UI', Roboto, Arial, 'DejaVu Sans', sans-serif"
_PAGE = {"ink", "muted", "grid", "ground"}


def svg(drawing: Drawing) -> Markup:
    """Write a drawing. It has neither ids nor colours of its own, so that a page can hold many and turn dark."""
    body = "".join(_element(item) for item in drawing.items)
    box = f"0 0 {_number(drawing.width)} {_number(drawing.height)}"
    return Markup(f'<svg aria-hidden="true" focusable="false" viewBox="{box}">{body}</svg>')  # noqa: S704 - words are escaped below


def svg_file(drawing: Drawing, title: str, style: str) -> str:
    """Write a drawing as a file of its own, light or dark as its reader likes; ``style`` sets the colours."""
    box = f"0 0 {_number(drawing.width)} {_number(drawing.height)}"
    body = "".join(_element(item) for item in drawing.items)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{box}" width="{_number(drawing.width * _POINT)}" '
        f'height="{_number(drawing.height * _POINT)}" role="img" font-family="{_LETTERS}">'
        f"<title>{escape(title)}</title><style>{style}</style>"
        f'<rect width="100%" height="100%" style="fill:var(--ground)"/>{body}</svg>\n'
    )


def colour_variable(colour: str) -> str:
    """Return the page's variable for a colour; modes unknown to us share one."""
    return f"--{colour}" if colour in _PAGE else f"--mode-{colour if colour in MODE_STYLES else OTHER}"


def _element(item: Item) -> str:
    if isinstance(item, Polyline):
        return _polyline(item)
    if isinstance(item, Label):
        return _label(item)
    if isinstance(item, Rect):
        opacity = "" if item.opacity == 1 else f' opacity="{_number(item.opacity)}"'
        return (
            f'<rect x="{_number(item.x)}" y="{_number(item.y)}" width="{_number(item.width)}" '
            f'height="{_number(item.height)}"{opacity} style="fill:{_colour(item.colour)}"/>'
        )
    return _marker(item)


def _polyline(item: Polyline) -> str:
    points = " ".join(f"{_number(x)},{_number(y)}" for x, y in item.points)
    dash = f' stroke-dasharray="{" ".join(map(_number, item.dash))}"' if item.dash else ""
    return (
        f'<polyline points="{points}" fill="none" stroke-width="{_number(item.width)}"{dash} '
        f'style="stroke:{_colour(item.colour)}"/>'
    )


def _label(item: Label) -> str:
    anchor = "" if item.anchor == "start" else f' text-anchor="{item.anchor}"'
    weight = ' font-weight="650"' if item.bold else ""
    return (
        f'<text x="{_number(item.x)}" y="{_number(item.y)}" font-size="{_number(item.size)}"{anchor}{weight} '
        f'style="fill:{_colour(item.colour)}">{escape(item.text)}</text>'
    )


_SHAPES = {
    "o": '<circle r="2.8"',
    "s": '<rect x="-2.6" y="-2.6" width="5.2" height="5.2"',
    "^": '<path d="M0-3.3 3.2 2.6H-3.2Z"',
    "v": '<path d="M0 3.3 3.2-2.6H-3.2Z"',
    "P": '<path d="M-1.2-3.4H1.2V-1.2H3.4V1.2H1.2V3.4H-1.2V1.2H-3.4V-1.2H-1.2Z"',
    "D": '<path d="M0-3.5 3.5 0 0 3.5-3.5 0Z"',
}


def _marker(item: Marker) -> str:
    place, colour = f'transform="translate({_number(item.x)} {_number(item.y)})"', _colour(item.colour)
    if item.shape not in _SHAPES:
        return f'<path d="M-2.5-2.5 2.5 2.5M2.5-2.5-2.5 2.5" {place} style="stroke:{colour}"/>'
    return f'{_SHAPES[item.shape]} {place} stroke-width=".7" style="fill:{colour};stroke:var(--ground)"/>'


def _colour(name: str) -> str:
    return f"var({colour_variable(name)})"


def _number(value: float) -> str:
    return f"{value:.1f}".rstrip("0").rstrip(".")
