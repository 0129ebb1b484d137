"""Text in Markdown as GitHub reads it."""

from __future__ import annotations

import re


def text(words: str) -> str:
    """Return text that GitHub shows as it is: no markup, no link, nobody called by name."""
    words = re.sub(r"\s+", " ", words).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    words = re.sub(r"[\\`*\[\]|~]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", r"\\\g<0>", words)
    # What GitHub makes into links by itself cannot be escaped, but interrupted by a sign without width.
    return re.sub(r"@(?=\w)|#(?=\d)|:(?=//)|\bwww(?=\.)", r"\g<0>&#8203;", words)


def code(words: str) -> str:
    """Return a code span, fenced by more backticks than the text has in a row."""
    words = re.sub(r"\s+", " ", words)
    fence = "`" * (1 + max(map(len, re.findall("`+", words)), default=0))
    pad = " " if words.startswith("`") or words.endswith("`") else ""
    return f"{fence}{pad}{words}{pad}{fence}"
