from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from proxybench.errors import ProxierError
from proxybench.nodes.kernel import legacy
from proxybench.nodes.kernel.state import Thing

GOLDEN = Path(__file__).parents[3] / "golden" / "kube-proxy-1.20.2"
FAILED = "sh: 1: xtables-legacy-multi: not found\nfailed 127\n"


def shell(program: Path | str, names: str = "/dev/null") -> str:
    """Run the reading by a real shell and awk, with another program and file of the kernel's tables."""
    command = list(legacy.command("iptables", {"legacy": str(program)}))
    command[command.index("/proc/net/ip_tables_names")] = names
    return subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout


def test_names_leave_the_node_and_rules_do_not(tmp_path: Path) -> None:
    program = tmp_path / "xtables"
    program.write_text(f"#!/bin/sh\n[ $1 = iptables-save ] && cat {GOLDEN}/iptables.iptables-save.*\n")
    program.chmod(0o755)
    output = shell(program)
    sizes = [len(text) for text in map(Path.read_text, GOLDEN.glob("iptables.iptables-save.*"))]
    assert len(output) < sum(sizes) / 3
    found = legacy.read("iptables", output)
    assert found.rules == (("iptables-legacy filter", 5), ("iptables-legacy nat", 95))
    assert len([thing for thing in found.things if thing.kind == "chain"]) == 40
    assert [thing for thing in found.things if thing.kind == "jump" and thing.place.endswith(" nat")] == [
        Thing("iptables-legacy nat", "jump", f'-A {chain} -m comment --comment "kubernetes {words}')
        for chain, words in (
            ("PREROUTING", 'service portals" -j KUBE-SERVICES'),
            ("OUTPUT", 'service portals" -j KUBE-SERVICES'),
            ("POSTROUTING", 'postrouting rules" -j KUBE-POSTROUTING'),
        )
    ]


def test_a_missing_program_with_tables_in_the_kernel_is_an_error(tmp_path: Path) -> None:
    names = tmp_path / "names"
    names.write_text("nat\nfilter\n")
    output = shell("proxybench-no-such-program", str(names))
    with pytest.raises(ProxierError) as caught:
        legacy.read("ip6tables", output)
    message = "ip6tables-legacy is missing, and the kernel holds its tables nat, filter: install it"
    assert str(caught.value) == message


@pytest.mark.parametrize("names", ["/dev/null", "/proxybench/no/such/file"])
def test_a_missing_program_without_tables_in_the_kernel_is_nothing_there(names: str) -> None:
    assert legacy.read("iptables", shell("proxybench-no-such-program", names)) == legacy.Saved(())


def test_a_program_that_fails_is_an_error_even_where_it_says_nothing(tmp_path: Path) -> None:
    with pytest.raises(ProxierError) as caught:
        legacy.read("iptables", shell("false"))
    assert str(caught.value) == "iptables-legacy failed: exit code 1"
    text = "iptables-save: Permission denied (you must be root)\nfailed 4\nloaded nat\n"
    with pytest.raises(ProxierError) as caught:
        legacy.read("iptables", text)
    assert str(caught.value) == "iptables-legacy failed: iptables-save: Permission denied (you must be root)"
