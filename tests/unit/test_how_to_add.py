"""What docs/architecture.md says of adding a mode, a scenario, a metric and a target, done on a copy of the package.

Each touches the files that the page names, four at the most; what is to be had then is asked of the copy.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HOME = Path(__file__).parents[2]
MOST_FILES = 4


class Copy:
    """The package in a folder of its own, and the files of it that were touched."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.touched: set[str] = set()
        shutil.copytree(HOME / "proxybench", folder / "proxybench", ignore=shutil.ignore_patterns("__pycache__"))

    def add(self, file: str, text: str, *, after: str = "") -> None:
        """Put text behind a line that is there once, or make the file."""
        path = self.folder / file
        self.touched.add(file)
        if not after:
            assert not path.exists()
            path.write_text(text)
            return
        old = path.read_text()
        assert old.count(after) == 1, f"{file}: {after}"
        path.write_text(old.replace(after, after + text))

    def ask(self, program: str) -> str:
        """Run a program that imports the copy, beside the tests' own helpers."""
        environment = {**os.environ, "PYTHONPATH": f"{self.folder}:{HOME}", "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            cwd=self.folder,
            env=environment,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def new_schema(self) -> None:
        """Make the schema of the experiment file as `proxybench schema` does: the one file that nobody writes."""
        assert '"fake"' in self.ask(
            "import sys; from proxybench.cli.main import entry; sys.argv[1:] = ['schema']; entry()"
        )


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    return Copy(tmp_path)


def test_a_mode(copy: Copy) -> None:
    copy.add("proxybench/model.py", '    FAKE = "fake"\n', after='    NFTABLES = "nftables"\n')
    copy.add(
        "proxybench/targets/lab/kernel_probe.py", '    Mode.FAKE: "true\\n",\n', after="    Mode.NFTABLES: _NFTABLES,\n"
    )
    copy.add(
        "proxybench/targets/lab/kernel_probe.py",
        "    Mode.FAKE: {},\n",
        after='    Mode.NFTABLES: {"nft": "nftables"},\n',
    )
    copy.add(
        "proxybench/subjects/node_checks.py",
        "    if mode is Mode.FAKE:\n        return ABLE\n",
        after='IPVS wants ipset and the module ip_vs. Raises HostError.\n    """\n',
    )
    copy.new_schema()
    found = copy.ask("""
from proxybench.experiment.matrix import expand
from proxybench.experiment.spec import Experiment
from proxybench.model import Mode
from proxybench.subjects.node_checks import check_node
from proxybench.targets.lab.kernel_probe import programs, script
words = {"version": 1, "name": "t", "modes": ["fake"], "scale": {"services": [10]}, "measure": {"cpu": True}}
print(*{step.cell.mode for step in expand(Experiment.model_validate(words))})
print(check_node(Mode.FAKE, "legacy", None).supported, script(Mode.FAKE).splitlines()[-1], *programs(Mode.FAKE))
""")
    assert found.split() == ["fake", "True", "true", "xtables-legacy-multi"]
    assert len(copy.touched) <= MOST_FILES


def test_a_scenario(copy: Copy) -> None:
    copy.add("proxybench/model.py", '    FAKE = "fake"\n', after='    DELETE_ONE = "delete-one"\n')
    idle = (copy.folder / "proxybench/scenarios/idle.py").read_text()
    fake = idle.replace("class Idle", "class Fake").replace("Scenario.IDLE", "Scenario.FAKE")
    copy.add("proxybench/scenarios/fake.py", fake)
    plan = "proxybench/scenarios/plan.py"
    copy.add(
        plan,
        "from proxybench.scenarios.fake import Fake\n",
        after="from proxybench.model import Scenario as Name\n",
    )
    line = "    lambda asked: Fake(1.0) if asked.changes(Name.FAKE) else None,\n"
    after = "    lambda asked: DeleteOne(asked.timeout_s) if asked.changes(Name.DELETE_ONE) else None,\n"
    copy.add(plan, line, after=after)
    copy.new_schema()
    found = copy.ask("""
from tests.unit.run.world import World
world = World({"sync": {"scenarios": ["fake"]}})
result = world.take()
print(result.problems, "cpu.control_loop" in world.metrics(result, "fake"))
""")
    assert found == "[] True"
    assert len(copy.touched) <= MOST_FILES


def test_a_metric(copy: Copy) -> None:
    entry = """
    FAKE = (
        "fake",
        About("A fake", "fake", "of nothing", "nothing", "nothing"),
    )
"""
    copy.add("proxybench/metrics.py", entry, after="        member.about = about\n        return member\n")
    line = "        step.recorder.add(Metric.FAKE, Scenario.IDLE, 7)\n"
    copy.add("proxybench/scenarios/idle.py", line, after="        usage.end(step, Scenario.IDLE, opened)\n")
    copy.add(
        "proxybench/scenarios/idle.py",
        "from proxybench.metrics import Metric\n",
        after="from typing import TYPE_CHECKING, ClassVar\n\n",
    )
    found = copy.ask("""
from tests.unit.run.world import World
world = World({"cpu": {"idle": "1s"}})
result = world.take()
print(result.problems, world.metrics(result, "idle")["fake"], result.samples[-1].unit)
""")
    assert found == "[] [7] ns"
    assert len(copy.touched) < MOST_FILES  # the row in docs/measurements.md is the third


def test_a_target(copy: Copy) -> None:
    copy.add(
        "proxybench/targets/fake.py",
        """
from contextlib import contextmanager
from proxybench.model import ClockKind
from proxybench.targets.base import TargetFacts


class FakeTarget:
    facts = TargetFacts("fake", ClockKind.WALL, "none", "as asked")

    def capacity(self):
        return 1

    @contextmanager
    def open(self, count, report):
        from tests.factories import make_cluster
        yield (make_cluster(kind="fake"),) * count


def fake_targets(spec, needs, report):
    return (FakeTarget(),)
""",
    )
    registry = "proxybench/targets/registry.py"
    copy.add(
        registry, "from proxybench.targets.fake import fake_targets\n", after="from typing import TYPE_CHECKING\n\n"
    )
    text = (copy.folder / registry).read_text()
    (copy.folder / registry).write_text(text.replace('"lab": lab_targets', '"lab": lab_targets, "fake": fake_targets'))
    words = '''class FakeSpec(Words):
    """Nothing real."""


'''
    spec = copy.folder / "proxybench/experiment/spec.py"
    spec.write_text(spec.read_text().replace("class TargetSpec(Words):", words + "class TargetSpec(Words):", 1))
    copy.add(
        "proxybench/experiment/spec.py",
        "    fake: FakeSpec | None = None\n",
        after='    """A small cluster made for this run, on this machine."""\n',
    )
    copy.new_schema()
    found = copy.ask("""
from proxybench.experiment.spec import TargetSpec
from proxybench.targets.base import Needs
from proxybench.targets.registry import make_targets
for words in ({"fake": {}}, {"lab": {"kind": "netns"}}):
    (target,) = make_targets(TargetSpec.model_validate(words), Needs(()), print)
    print(target.facts.kind)
""")
    assert found.split() == ["fake", "netns"]
    assert len(copy.touched) <= MOST_FILES
