"""A rule as ``iptables-save`` prints it, read into a value that can be compared; pure.

A rule has several spellings: iptables-restore takes what a person would write, iptables-save prints what the kernel
holds (addresses with their prefix length, marks as value and mask, probabilities rounded to 31 bits). ``parse_rule``
brings all of them to one canonical form. It knows the options that Service proxies use and reads any other option
as a name with the words that follow it, so a foreign rule is never lost, only compared as it is spelled.
"""

from __future__ import annotations

from typing import NamedTuple

from refproxy.errors import ProxierError

PROTOCOL_NUMBERS = {"6": "tcp", "17": "udp", "132": "sctp", "1": "icmp"}
_LONG = {
    "-s": "--source",
    "-d": "--destination",
    "-p": "--protocol",
    "-i": "--in-interface",
    "-o": "--out-interface",
    "--src": "--source",
    "--dst": "--destination",
    "--proto": "--protocol",
    "--destination-port": "--dport",
    "--source-port": "--sport",
}
_HEADER = ("--source", "--destination", "--in-interface", "--out-interface", "--protocol")


class Option(NamedTuple):
    """One option with its words; ``negated`` when a ``!`` stands before it."""

    name: str
    values: tuple[str, ...] = ()
    negated: bool = False


class Match(NamedTuple):
    """One loaded match and its options; their order within the match has no meaning, so they are sorted."""

    module: str
    options: tuple[Option, ...]


class Rule(NamedTuple):
    """One rule in canonical form: the header's options, the matches in their order, and the target."""

    chain: str
    header: tuple[Option, ...]
    matches: tuple[Match, ...]
    target: str
    target_options: tuple[Option, ...]
    goto: bool = False

    @property
    def comment(self) -> str:
        """The rule's comment, empty without one."""
        for match in self.matches:
            if match.module == "comment":
                return match.options[0].values[0]
        return ""


def parse_rule(line: str) -> Rule:
    """Read one rule ("-A CHAIN …", with or without ``[packets:bytes]`` before it) into its canonical form.

    Raises ProxierError for a rule without a chain, an unclosed quote or a match option before any match.
    """
    words = split_words(line)
    if words and words[0].startswith("["):
        words = words[1:]
    if len(words) < 2 or words[0] not in {"-A", "-I", "-D"}:  # noqa: PLR2004 - a verb and a chain
        raise ProxierError("not a rule")
    return _Builder(words[1]).build(_options(words[2:]))


def split_words(line: str) -> list[str]:
    """Split as iptables does: blanks part words, double quotes keep them, a backslash keeps the next character.

    Raises ProxierError for a quote that is not closed.
    """
    words: list[str] = []
    current: list[str] = []
    quoted = started = False
    characters = iter(line)
    for character in characters:
        if character == "\\" and quoted:
            current.append(next(characters, "\\"))
        elif character == '"':
            quoted = not quoted
            started = True
        elif character in " \t" and not quoted:
            if current or started:
                words.append("".join(current))
            current, started = [], False
        else:
            current.append(character)
    if quoted:
        raise ProxierError("a quote is not closed")
    if current or started:
        words.append("".join(current))
    return words


def _options(words: list[str]) -> list[Option]:
    """Group words into options: each starts with a dash and takes the words up to the next one."""
    found: list[Option] = []
    negated = False
    for word in words:
        if found and found[-1].name == "--comment" and not found[-1].values:
            found[-1] = Option("--comment", (word,), found[-1].negated)  # whatever it looks like
        elif word == "!":
            negated = True
        elif word.startswith("-") and len(word) > 1 and not word[1].isdigit():
            found.append(Option(_LONG.get(word, word), (), negated))
            negated = False
        elif found:
            last = found[-1]
            # "--dport ! 80" is an old spelling of "! --dport 80".
            found[-1] = Option(last.name, (*last.values, word), last.negated or negated)
            negated = False
        else:
            raise ProxierError(f"expected an option, got {word}")
    return found


class _Builder:
    """Collects a rule's options where they belong."""

    def __init__(self, chain: str) -> None:
        self.chain = chain
        self.header: dict[str, Option] = {}
        self.matches: list[tuple[str, list[Option]]] = []
        self.target = ""
        self.target_options: list[Option] = []
        self.goto = False

    def build(self, options: list[Option]) -> Rule:
        for option in options:
            self._take(option)
        # A protocol's match without options tests only the protocol, which the header tests already.
        protocol = self.header["--protocol"].values[0] if "--protocol" in self.header else ""
        matches = [
            Match(module, tuple(sorted(_canonical(module, item) for item in items)))
            for module, items in self.matches
            if items or module != protocol
        ]
        header = tuple(self.header[name] for name in _HEADER if name in self.header)
        return Rule(self.chain, header, tuple(matches), self.target, self._target_options(), self.goto)

    def _take(self, option: Option) -> None:
        name = option.name
        if name in _HEADER:
            self.header[name] = _canonical("", option)
        elif name in {"-m", "--match"}:
            self.matches.append((option.values[0] if option.values else "", []))
        elif name in {"-j", "--jump", "-g", "--goto"}:
            self.target = option.values[0] if option.values else ""
            self.goto = name in {"-g", "--goto"}
        elif self.target:
            self.target_options.append(option)
        elif self.matches:
            self.matches[-1][1].append(option)
        else:
            raise ProxierError(f"{name} stands before any match")

    def _target_options(self) -> tuple[Option, ...]:
        if self.target == "REJECT" and not self.target_options:
            return (Option("--reject-with", ("icmp-port-unreachable",)),)
        if self.target == "MARK":
            return tuple(_mark_target(option) for option in self.target_options)
        return tuple(sorted(self.target_options))


def _canonical(module: str, option: Option) -> Option:
    """Bring the values of one option to the spelling that all writers share."""
    name, values, negated = option
    if name in {"--source", "--destination"} and values and "/" not in values[0]:
        values = (values[0] + "/32",)
    elif name == "--protocol" and values:
        values = (PROTOCOL_NUMBERS.get(values[0], values[0]),)
    elif name == "--probability" and values:
        values = (str(round(float(values[0]) * 2**31)),) if "." in values[0] else values
    elif module == "mark" and name == "--mark" and values:
        values = (_mark_value(values[0], "0xffffffff"),)
    elif name == "--ctstate" and values:
        values = (",".join(sorted(values[0].split(","))),)
    return Option(name, values, negated)


def _mark_value(text: str, default_mask: str) -> str:
    value, _, mask = text.partition("/")
    return f"{int(value, 0):#x}/{int(mask or default_mask, 0):#x}"


def _mark_target(option: Option) -> Option:
    """Write every way to change a mark as --set-xmark: the bits to clear (mask), then the bits to flip (value)."""
    if not option.values:
        return option
    bits = option.values[0]
    if option.name in {"--set-xmark", "--set-mark"}:
        return Option("--set-xmark", (_mark_value(bits, "0xffffffff"),))
    number = int(bits, 0)
    known = {
        "--or-mark": (number, number),
        "--xor-mark": (number, 0),
        "--and-mark": (0, ~number & 0xFFFFFFFF),
    }
    if option.name not in known:
        return option
    value, mask = known[option.name]
    return Option("--set-xmark", (f"{value:#x}/{mask:#x}",))
