"""The colours of page and pictures, as CSS variables: light, and dark for who asks for it."""

from __future__ import annotations

from proxybench.report.words import MODE_STYLES, OTHER, style_of

LIGHT = {"ink": "#1b1f24", "muted": "#59636e", "grid": "#dde2e8", "ground": "#ffffff"}
DARK = {"ink": "#e6edf3", "muted": "#9aa5b1", "grid": "#2c343d", "ground": "#161b22"}
_DARK_ONLY = "@media screen and (prefers-color-scheme:dark)"  # on paper everything is light


def style() -> str:
    """Return the variables of all colours that a drawing may use."""
    styles = {mode: style_of(mode) for mode in (*MODE_STYLES, OTHER)}
    light = {**LIGHT, **{f"mode-{mode}": style.light for mode, style in styles.items()}}
    dark = {**DARK, **{f"mode-{mode}": style.dark for mode, style in styles.items()}}
    return f":root{{{_variables(light)}}}{_DARK_ONLY}{{:root{{{_variables(dark)}}}}}"


def mode_classes() -> str:
    """Return a class per mode, by which a table takes its colour."""
    return "".join(f".mode-{mode}{{--mode:var(--mode-{mode})}}" for mode in (*MODE_STYLES, OTHER))


def _variables(colours: dict[str, str]) -> str:
    return "".join(f"--{name}:{colour};" for name, colour in colours.items())
