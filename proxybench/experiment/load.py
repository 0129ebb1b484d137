"""From an experiment file to an Experiment, or to all that is wrong with it at once."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import PydanticUndefined

from proxybench.errors import ExperimentError
from proxybench.experiment import places, source, spec, subjects
from proxybench.experiment.checks import findings
from proxybench.experiment.profile import read_profile
from proxybench.experiment.spec import Experiment
from proxybench.experiment.wording import word

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxybench.errors import Problem


def load_experiment(path: Path, overrides: Sequence[str] = ()) -> Experiment:
    """Read and check an experiment file, with overrides ("a.b=value", the value as YAML) laid on top.

    Raises ExperimentError with every problem of the file and of the overrides, or else of the profile that it names.
    """
    document = source.read(path, overrides)
    _read_profile(document, path.parent)
    return checked(document)


def checked(document: source.Document) -> Experiment:
    """Check a document that was read, or made; a made one has no lines. Raises ExperimentError with every problem."""
    if not isinstance(document.data, dict):
        raise ExperimentError(document.problems)
    problems = list(document.problems)
    experiment, wrong = _validate(document)
    problems.extend(wrong)
    if problems or experiment is None:
        raise ExperimentError(problems)
    return _paced(experiment)


def _paced(experiment: Experiment) -> Experiment:
    """Have a soak that names no pace change as many EndpointSlices as the cluster did whose profile is replayed."""
    soak, profile = experiment.measure.soak, experiment.scale.profile
    rate = profile.churn.slices_per_minute if profile and profile.churn else 0
    if soak is None or "pace" in soak.model_fields_set or not rate:
        return experiment
    measure = experiment.measure.model_copy(update={"soak": soak.at_rate(rate)})
    return experiment.model_copy(update={"measure": measure})


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of an experiment file, for editors."""
    schema = Experiment.model_json_schema()
    models = {name: value for name, value in (vars(spec) | vars(subjects) | vars(places)).items() if _is_model(value)}
    for name, part in (("Experiment", schema), *schema["$defs"].items()):
        defaults = _written_defaults(models[name])
        for key, words in part["properties"].items():
            words.pop("title", None)
            if "default" in words and key in defaults:
                words["default"] = defaults[key]
            else:
                words.pop("default", None)  # None: it has no meaning of its own, and would not be written
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def json_schema_text() -> str:
    """Return the JSON Schema as it is committed."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def _read_profile(document: source.Document, folder: Path) -> None:
    """Put the profile that is to be replayed in the place of its file's name. Raises ExperimentError."""
    scale = document.data.get("scale") if isinstance(document.data, dict) else None
    name = scale.get("profile") if isinstance(scale, dict) else None
    if scale and isinstance(name, str):
        path = (Path() if document.overrides(("scale", "profile")) else folder) / name
        if os.path.isfile(path):  # noqa: PTH113 - Path.is_file raises for a name that is too long
            scale["profile"] = read_profile(path)


def _validate(document: source.Document) -> tuple[Experiment | None, list[Problem]]:
    problems: list[Problem] = []
    try:
        experiment = Experiment.model_validate(document.data)
        right = set(Experiment.model_fields)
    except ValidationError as error:
        for detail in error.errors():
            worded = word(detail, Experiment)
            if worded is not None:
                problems.append(document.problem(worded.loc, worded.text, key=worded.key))
        experiment, right = _right_sections(document.data)
    problems.extend(document.problem(loc, message) for loc, message in findings(experiment, right))
    return experiment, problems


def _right_sections(data: dict[str, Any]) -> tuple[Experiment, set[str]]:
    """Return an experiment of those sections that are right in themselves, and their names.

    So that a misspelt mode does not hide a contradiction elsewhere, which would then be found one try later.
    """
    sections = {}
    for name, field in Experiment.model_fields.items():
        value = data.get(name, field.default)
        if value is PydanticUndefined:
            continue
        if name not in data:
            sections[name] = value
            continue
        try:
            annotated: Any = Annotated[(field.annotation, *field.metadata, field)]
            sections[name] = TypeAdapter(annotated).validate_python(value)
        except ValidationError:
            continue
    return Experiment.model_construct(**sections), set(sections)


def _is_model(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, BaseModel)


def _written_defaults(model: type[BaseModel]) -> dict[str, Any]:
    """Return the defaults as they would be written in a file ("1s", not 1.0)."""
    defaults: dict[str, Any] = model.model_construct().model_dump(mode="json", warnings=False)
    return defaults
