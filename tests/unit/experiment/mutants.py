"""Experiment files gone wrong: mutations of real ones, and small files that stand for much."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proxybench.experiment.load import json_schema
from proxybench.experiment.profile import Profile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from random import Random

_FOLDER = Path(__file__).parents[3] / "experiments"
EXAMPLES = tuple(path.read_text() for path in sorted(_FOLDER.glob("*.yaml")))
PROFILES = tuple(path.read_text() for path in sorted((_FOLDER / "profiles").glob("*.yaml")))
REPLAY = "version: 1\nname: replay\nmodes: [iptables]\nscale: {{profile: {}}}\nmeasure: {{sync: true}}\n"
LARGEST = 1024 * 1024  # bytes
WORDS = (
    *("&a", "*a", "&a [*a]", "<<: *a", "<<: [*a, *a]", "!!int ''", "!!python/object:os.system x", "!b", "!!set {a, b}"),
    *("%YAML 1.1\n---\n", "%TAG ! x\n---\n", "---\n", "...\n", "\t",
       "\0", "\x1b[31m", "\ufeff", "\u2028", "\U0001f600"),
    *("9" * 5000, "0x" + "f" * 5000, "1e999", ".inf", "-.nan", "~", "null", "true", "2024-13-45"),
    *("0o777", "1_0", "=", "<<", "", "a" * 9000, "a: " * 9),
    *("? ", "? [a, b]\n: c", "|\n", ">-\n", "'", '"', "#", ": ", "- ", "{", "}", "[", "]", ",", "@", "`", "'\\x41'"),
)  # fmt: skip


def _said(schema: Any) -> Iterator[tuple[str, bool]]:
    """Yield what a JSON schema lets be written, and whether that is a key: all words, and examples of the rest."""
    if isinstance(schema, list):
        for part in schema:
            yield from _said(part)
    elif isinstance(schema, dict):
        values = [*schema.get("enum", ()), *schema.get("examples", ()), schema.get("const"), schema.get("default")]
        yield from ((one if isinstance(one, str) else json.dumps(one), False) for one in values if one is not None)
        yield from ((name, True) for name in schema.get("properties", {}))
        below = [*schema.get("properties", {}).values(), *schema.get("$defs", {}).values()]
        words = ("items", "prefixItems", "anyOf", "oneOf", "additionalProperties")
        yield from _said([*below, *(schema.get(word) for word in words)])


_SAID = sorted({*_said(json_schema()), *_said(Profile.model_json_schema())})
KEYS = tuple(word for word, is_key in _SAID if is_key)
WRITTEN = tuple(word for word, is_key in _SAID if not is_key)


def mutant(random: Random, examples: tuple[str, ...] = EXAMPLES) -> bytes:
    """Return a file of at most 1 MiB: a real one with one to eight changes, now and then a made-up bomb."""
    text = random.choice(examples)
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


def _entry(random: Random, text: str) -> str:
    """Write a key of the schema as another line has its own, with a value that may be meant for another."""
    lines = text.splitlines(keepends=True) or [""]
    here = random.randrange(len(lines))
    indent = " " * (len(lines[here]) - len(lines[here].lstrip(" ")))
    lines.insert(here, f"{indent}{random.choice(KEYS)}: {_value(random)}\n")
    return "".join(lines)


def _value(random: Random) -> str:
    value = random.choice(random.choice((WRITTEN, WRITTEN, WORDS)))
    return random.choice((value, value, f"[{value}]", f"{{{random.choice(KEYS)}: {value}}}"))


def _other_value(random: Random, text: str) -> str:
    """Give a key another's value."""
    lines = text.splitlines(keepends=True) or [""]
    here = random.randrange(len(lines))
    key, colon, _ = lines[here].partition(": ")
    lines[here] = f"{key}: {_value(random)}\n" if colon else lines[here]
    return "".join(lines)


def _replaced(random: Random, text: str) -> str:
    parts = text.split(" ")
    parts[random.randrange(len(parts))] = random.choice(random.choice((WORDS, KEYS, WRITTEN)))
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
    *(_word, _word, _entry, _entry, _other_value, _other_value, _replaced, _replaced, _cut, _cut),
    *(_lines, _indented, _many, _keys, _bombed),
)
