"""Rules of CONTRIBUTING that no other tool checks: files' lengths, circles, what may be imported on a node."""

from __future__ import annotations

import ast
import sys
from graphlib import TopologicalSorter
from pathlib import Path
from statistics import median

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("proxybench", "refproxy")
LONGEST, LONGEST_TEST, MEDIAN = 400, 600, 130
ON_NODES = {"refproxy": {"refproxy", "orjson"}, "proxybench/agent": {"proxybench.agent"}}


def modules(*folders: str) -> dict[str, Path]:
    """Return the modules below the folders by their dotted names."""
    files = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    return {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in files}


def lines(path: Path) -> int:
    return len(path.read_text("utf-8").splitlines())


def imports(path: Path, *, late: bool) -> set[str]:
    """Return the modules that a file names, at run time; ``late``: within functions too."""
    found: set[str] = set()
    waiting: list[ast.AST] = [ast.parse(path.read_text("utf-8"))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            found |= {f"{node.module}.{name.name}" for name in node.names} | {str(node.module)}
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            waiting += node.orelse
        elif late or not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            waiting += ast.iter_child_nodes(node)
    return found


def test_no_file_is_long_and_most_are_short() -> None:
    lengths = {name: lines(path) for name, path in modules(*PACKAGES).items()}
    assert {name: length for name, length in lengths.items() if length > LONGEST} == {}
    assert median(lengths.values()) <= MEDIAN
    tests = {name: lines(path) for name, path in modules("tests").items()}
    assert {name: length for name, length in tests.items() if length > LONGEST_TEST} == {}


def test_imports_have_no_circle() -> None:
    known = modules(*PACKAGES)
    graph = {name: (imports(path, late=False) & known.keys()) - {name} for name, path in known.items()}
    assert len(list(TopologicalSorter(graph).static_order())) == len(known)  # else CycleError names the circle


@pytest.mark.parametrize("folder", ON_NODES)
def test_what_runs_on_a_node_imports_the_standard_library_and_itself(folder: str) -> None:
    own = ON_NODES[folder]
    strange = {
        f"{name}: {imported}"
        for name, path in modules(folder).items()
        for imported in imports(path, late=True)
        if imported.partition(".")[0] not in sys.stdlib_module_names
        and not any(f"{imported}.".startswith(f"{allowed}.") for allowed in own)
    }
    assert strange == set()
