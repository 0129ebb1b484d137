"""Whole dumps of iptables, read into tables and written again: what tests compare with."""

from __future__ import annotations

from dataclasses import dataclass, field

from refproxy.errors import ProxierError
from refproxy.iptables_save import Option, Rule, parse_rule


@dataclass
class Table:
    """One table: each chain's policy ("-" for a chain that was made by someone) and all rules in their order."""

    policies: dict[str, str] = field(default_factory=dict)
    rules: list[Rule] = field(default_factory=list)

    @property
    def own_chains(self) -> set[str]:
        """The chains that are not the kernel's."""
        return {name for name, policy in self.policies.items() if policy == "-"}


def parse(text: str) -> dict[str, Table]:
    """Read the output of ``iptables-save`` or the input of ``iptables-restore``.

    Applies ``-A``, ``-I`` (at the top), ``-N``, ``-F`` and ``-X`` in their order, so that an input can be compared
    with what it leaves behind. Raises ProxierError that names the line for anything else.
    """
    tables: dict[str, Table] = {}
    table: Table | None = None
    for number, line in enumerate(text.splitlines(), 1):
        try:
            if line.startswith("*"):
                table = tables.setdefault(line[1:].strip(), Table())
            elif line == "COMMIT":
                table = None
            elif line.strip() and not line.startswith("#"):
                _apply(table, line)
        except ProxierError as error:
            raise ProxierError(f"iptables-save line {number}: {error}: {line}") from error
    return tables


def write_rule(rule: Rule) -> str:
    """Write a canonical rule so that ``parse_rule`` reads the same one, and iptables-restore takes it."""
    words = ["-A", rule.chain]
    for option in rule.header:
        words += _spell(option)
    for match in rule.matches:
        words += ["-m", match.module]
        for option in match.options:
            words += _spell(option)
    if rule.target:
        words += ["-g" if rule.goto else "-j", rule.target]
    for option in rule.target_options:
        words += _spell(option)
    return " ".join(words)


def _apply(table: Table | None, line: str) -> None:
    """Do to the table what one line says."""
    if table is None:
        raise ProxierError("stands outside any table")
    if line.startswith(":"):
        name, policy = [*line[1:].split(), "", ""][:2]
        if not policy:
            raise ProxierError("a chain without a policy")
        table.policies[name] = policy
        _flush(table, name)
        return
    verb, _, rest = (line[line.index("]") + 2 :] if line.startswith("[") else line).partition(" ")
    if verb == "-A":
        table.rules.append(parse_rule(line))
    elif verb == "-I":
        table.rules.insert(0, parse_rule(line))
    elif verb == "-N":
        table.policies[rest] = "-"
    elif verb == "-F":
        _flush(table, rest)
    elif verb == "-X":
        table.policies.pop(rest, None)
    else:
        raise ProxierError("not understood")


def _flush(table: Table, chain: str) -> None:
    if any(rule.chain == chain for rule in table.rules):
        table.rules[:] = [rule for rule in table.rules if rule.chain != chain]


def _spell(option: Option) -> list[str]:
    start = ["!"] if option.negated else []
    return [*start, option.name, *[_quote(value) for value in option.values]]


def _quote(word: str) -> str:
    if word and not any(character in " \t\"\\'" for character in word) and word != "!" and word[0] != "-":
        return word
    escaped = word.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
