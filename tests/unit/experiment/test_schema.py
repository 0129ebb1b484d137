from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from proxybench.experiment.load import json_schema, json_schema_text, load_experiment
from proxybench.experiment.matrix import estimate

HOME = Path(__file__).parents[3] / "experiments"
FILES = sorted(HOME.glob("*.yaml"))


def test_the_committed_schema_is_fresh() -> None:
    committed = (HOME / "experiment.schema.json").read_text(encoding="utf-8")
    assert committed == json_schema_text(), "run: proxybench schema > experiments/experiment.schema.json"


def test_defaults_stand_as_they_would_be_written() -> None:
    schema = json_schema()
    assert schema["$defs"]["ProxierSpec"]["properties"]["min_sync_period"]["default"] == "1s"
    assert schema["$defs"]["SyncSpec"]["properties"]["batch"]["default"] == "10%"
    assert schema["$defs"]["MeasureSpec"]["properties"]["cpu"]["default"] is False
    assert schema["properties"]["repetitions"]["default"] == {"default": 3}


def test_every_word_is_explained_and_no_other_is_allowed() -> None:
    schema = json_schema()
    assert schema["required"] == ["version", "name", "scale", "measure"]
    assert schema["oneOf"] == [{"required": ["subjects"]}, {"required": ["modes"]}]
    for part in (schema, *schema["$defs"].values()):
        assert part["description"]
        for word, of in part["properties"].items():
            # What says the same as the section that it refers to is left out by pydantic.
            assert of.get("description") or of["$ref"], word
    open_parts = [name for name, part in schema["$defs"].items() if part["additionalProperties"] is not False]
    assert open_parts == ["Repetitions"]
    repetitions: dict[str, Any] = schema["$defs"]["Repetitions"]
    assert repetitions["additionalProperties"] == {"minimum": 1, "maximum": 1000, "type": "integer"}


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_experiment_files_are_right_and_name_the_schema(path: Path) -> None:
    assert load_experiment(path).name == path.stem
    first = path.read_text(encoding="utf-8").splitlines()[0]
    assert first == "# yaml-language-server: $schema=experiment.schema.json"


@pytest.mark.parametrize(
    ("name", "steps"),
    [
        ("scale", 16),
        ("native", 40),
        ("quickstart", 12),
        ("endpoints", 40),
        ("nodeport", 24),
        ("kube-proxy", 108),
        ("calibrate", 36),
    ],
)
def test_the_size_of_what_newcomers_run(name: str, steps: int) -> None:
    assert estimate(load_experiment(HOME / f"{name}.yaml")).steps == steps
