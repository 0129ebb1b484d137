"""Experiment files gone wrong: mutations of real ones, and small files that stand for much."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

EXAMPLES = tuple(path.read_text() for path in sorted((Path(__file__).parents[3] / "experiments").glob("*.yaml")))
LARGEST = 1024 * 1024  # bytes
WORDS = (
    *("&a", "*a", "&a [*a]", "<<: *a", "<<: [*a, *a]", "!!int ''", "!!python/object:os.system x", "!b", "!!set {a, b}"),
    *("%YAML 1.1\n---\n", "%TAG ! x\n---\n", "---\n", "...\n", "\t",
       "\0", "\x1b[31m", "\ufeff", "\u2028", "\U0001f600"),
    *("9" * 5000, "0x" + "f" * 5000, "1e999", ".inf", "-.nan", "~", "null", "true", "2024-13-45"),
    *("0o777", "1_0", "=", "<<", "", "a" * 9000, "a: " * 9),
    *("? ", "? [a, b]\n: c", "|\n", ">-\n", "'", '"', "#", ": ", "- ", "{", "}", "[", "]", ",", "@", "`", "'\\x41'"),
    *("iptables", "ipvs", "10", "1s", "subjects", "kind: kube-proxy", "scale", "config: {a: 1}", "version: 1"),
)  # fmt: skip


def mutant(random: Random) -> bytes:
    """Return a file of at most 1 MiB: a real experiment with one to eight changes, now and then a made-up bomb."""
    text = random.choice(EXAMPLES)
    for _ in range(random.choice((1, 1, 1, 1, 2, 2, 3, 5, 8))):
        text = random.choice(_CHANGES)(random, text)
    data = text.encode("utf-8", errors="surrogatepass")
    if random.random() < 0.05:
        at = random.randrange(len(data) + 1)
        data = data[:at] + random.randbytes(random.randint(1, 4)) + data[at:]
    return data[:LARGEST]


def _insert(random: Random, text: str, what: str) -> str:
    at = random.randrange(len(text) + 1)
    return text[:at] + what + text[at:]


def _word(random: Random, text: str) -> str:
    return _insert(random, text, random.choice(WORDS))


def _replaced(random: Random, text: str) -> str:
    parts = text.split(" ")
    parts[random.randrange(len(parts))] = random.choice(WORDS)
    return " ".join(parts)


def _cut(random: Random, text: str) -> str:
    at = random.randrange(len(text) + 1)
    return text[:at] + text[at + random.randint(1, 40) :]


def _lines(random: Random, text: str) -> str:
    lines = text.splitlines(keepends=True) or [""]
    here, there = random.randrange(len(lines)), random.randrange(len(lines))
    lines[here], lines[there] = lines[there], lines[here]
    return "".join(lines[: there + 1] + lines[here:])


def _indented(random: Random, text: str) -> str:
    lines = text.splitlines(keepends=True) or [""]
    here = random.randrange(len(lines))
    lines[here] = " " * random.randint(0, 6) + lines[here].lstrip(" ")
    return "".join(lines)


def _many(random: Random, text: str) -> str:
    """Insert one thing thousands of times."""
    thing = random.choice(
        (
            "[",
            "{",
            "- ",
            "? ",
            "a: ",
            "&a ",
            "!a ",
            "a, ",
            "1, ",
            "\n- 1",
            "\n\n",
            "'",
            "# \n",
            "x",
            "\\",
            "%",
            "|",
            "é",
        )
    )
    return _insert(random, text, thing * random.choice((30, 1000, 40_000, LARGEST // len(thing))))[:LARGEST]


def _keys(random: Random, text: str) -> str:
    count = random.choice((100, 3000, 100_000))
    return text + "".join(f"{random.choice('abc')}{number}: {number}\n" for number in range(count))


def bomb(depth: int, width: int, *, merge: bool, under: str) -> str:
    """Return lines below a key in which each anchor names the one before it several times."""
    names = [f"x{number}" for number in range(depth)]
    lines = [f"{under}:", f"  - &x0 {'{a: 1}' if merge else '[lol, lol]'}"]
    for before, name in pairwise(names):
        aliases = ", ".join([f"*{before}"] * width)
        inside = f"{{<<: [{aliases}], {name}: 1}}" if merge else f"[{aliases}]"
        lines.append(f"  - &{name} {inside}")
    return "\n".join([*lines, ""])


def _bombed(random: Random, text: str) -> str:
    under = random.choice(("x", "modes", "subjects", "description", "measure", "scale"))
    return text + bomb(random.randint(2, 40), random.randint(2, 9), merge=random.random() < 0.5, under=under)


_CHANGES: tuple[Callable[[Random, str], str], ...] = (
    *(_word, _word, _replaced, _replaced, _cut, _cut, _lines, _indented, _many, _keys, _bombed),
)
