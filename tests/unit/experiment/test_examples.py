"""Every example of an experiment file in the documents is right, and their tables name every word."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from proxybench.experiment.load import load_experiment
from proxybench.experiment.places import LabSpec
from proxybench.experiment.spec import Experiment, ProxierSpec
from proxybench.experiment.subjects import CommandSubject, KubeProxySubject

HOME = Path(__file__).parents[3]
DOCUMENTS = (HOME / "README.md", *sorted((HOME / "docs").glob("*.md")))
_BLOCK = re.compile(r"^```yaml\n(.*?)^```", re.DOTALL | re.MULTILINE)
EXAMPLES = [
    (f"{document.stem}-{number}", block)
    for document in DOCUMENTS
    for number, block in enumerate(_BLOCK.findall(document.read_text(encoding="utf-8")), start=1)
    if block.startswith(("version: 1", "subjects:", "#"))
]
HEAD = "version: 1\nname: example\nscale: {services: [10]}\nmeasure: {sync: true}\n"


@pytest.mark.parametrize("text", [text for _, text in EXAMPLES], ids=[name for name, _ in EXAMPLES])
def test_an_example_is_right(text: str, tmp_path: Path) -> None:
    path = tmp_path / "example.yaml"
    path.write_text(HEAD + text if text.startswith("subjects:") else text, encoding="utf-8")
    assert load_experiment(path).version == 1


def test_the_examples_were_found() -> None:
    assert sum(name.startswith("experiment-file-") for name, _ in EXAMPLES) == 8


@pytest.mark.parametrize("model", [Experiment, LabSpec, ProxierSpec, KubeProxySubject, CommandSubject])
def test_every_word_has_its_place_in_a_table(model: type[Experiment]) -> None:
    text = (HOME / "docs/experiment-file.md").read_text(encoding="utf-8")
    first_cells = " ".join(line.split("|")[1] for line in text.splitlines() if line.startswith("| `"))
    assert [name for name in model.model_fields if f"`{name}`" not in first_cells] == []
