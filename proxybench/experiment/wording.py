"""Turns what pydantic found into one line each: what is wrong, and what would be right."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, get_args

from pydantic import BaseModel

from proxybench.experiment.subjects import KINDS
from proxybench.experiment.words import show, suggest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic.fields import FieldInfo
    from pydantic_core import ErrorDetails

    from proxybench.experiment.source import Loc

_KINDS = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "string_type": "text",
    "tuple_type": "a list",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "dict_type": "a mapping",
}

_TEMPLATES = {
    "value_error": "{error}",
    "greater_than_equal": "{value} is too small; write at least {ge}",
    "less_than_equal": "{value} is too large; write at most {le}",
    "too_short": "the list is empty; write at least one, such as {example}",
    "literal_error": "{value} is not known here; write {expected}",
    "string_too_long": "the text is too long; write at most {max_length} characters",
}


class Wording(NamedTuple):
    """A message and where it belongs; ``key``: at the key rather than the value."""

    loc: Loc
    text: str
    key: bool = False


def word(error: ErrorDetails, model: type[BaseModel]) -> Wording | None:
    """Return the message for an error of this model, None for what only follows from another error."""
    loc, kind, value = error["loc"], error["type"], error["input"]
    place = written_place(model, loc)
    if kind == "extra_forbidden":
        return Wording(place, _unknown(loc, model), key=True)
    if kind == "missing":
        return Wording(place, f'"{loc[-1]}" is missing; write {loc[-1]}: {_example(model, loc)}')
    if kind.startswith("union_tag_"):
        return _kind_of_subject(place, kind, value)
    if kind == "too_short" and value:
        return None  # pydantic dropped the wrong items, each with an error of its own, before it counted
    if kind in _KINDS:
        text = f"{show(value)} is not {_KINDS[kind]}; write {_right(model, loc, kind)}"
    elif kind in _TEMPLATES:
        known = {"value": show(value), "example": _example(model, loc), **error.get("ctx", {})}
        text = _TEMPLATES[kind].format_map(known)
    else:
        text = error["msg"]
    return Wording(place, f"{_place(place)}: {text}")


def written_place(model: type[BaseModel], loc: Loc) -> Loc:
    """Return an error's place as a reader knows it: without the kinds that pydantic puts after a subject."""
    return tuple(
        step
        for index, step in enumerate(loc)
        if not (index and len(_models_at(model, loc[:index])) > 1 and isinstance(step, str))
    )


def _kind_of_subject(place: Loc, kind: str, value: Any) -> Wording:  # noqa: ANN401 - whatever stood in the file
    if kind == "union_tag_not_found":
        return Wording(place, f'"kind" is missing; write one of: kind: {", ".join(KINDS)}')
    written = value["kind"]
    if written == "daemonset":
        right = "a cluster's own kube-proxy is kind: cluster, with target.cluster"
    else:
        right = suggest(str(written) if isinstance(written, str | int | float) else "", KINDS, "one of")
    return Wording((*place, "kind"), f"kind: {show(written)} is not a kind of subject; {right}")


def _place(loc: Loc) -> str:
    """Name a value by the last key on its way, with its place in a list counted from 1."""
    if len(loc) > 1 and isinstance(loc[-1], int):
        return f"{loc[-2]}, number {loc[-1] + 1}"
    return str(loc[-1]) if loc else "this"


def _unknown(loc: Loc, model: type[BaseModel]) -> str:
    name = str(loc[-1])
    around = _model_at(model, loc[:-1])
    known = list(around.model_fields) if around else []
    here = ".".join(step for step in written_place(model, loc)[:-1] if isinstance(step, str))
    homes = [home for home in dict.fromkeys(_homes(model, name)) if home not in {"", here}]
    advice = suggest(name, known, "known here")
    if homes and "did you mean" not in advice:
        advice = f"it belongs in {' or '.join(homes)}"
    return f'unknown key "{name}"; {advice}'


def _homes(model: type[BaseModel], name: str, path: tuple[str, ...] = ()) -> Iterator[str]:
    """Yield the paths of the mappings that know such a key."""
    for key, field in model.model_fields.items():
        if key == name:
            yield ".".join(path)
        for inner in _models_in(field.annotation):
            if not getattr(inner, "own_file", False):
                yield from _homes(inner, name, (*path, key))


def _model_at(model: type[BaseModel], loc: Loc) -> type[BaseModel] | None:
    models = _models_at(model, loc)
    return models[0] if len(models) == 1 else None


def _models_at(model: type[BaseModel], loc: Loc) -> tuple[type[BaseModel], ...]:
    """Return the models that a value at this place may be of: several where a kind has not been told yet."""
    here: tuple[type[BaseModel], ...] = (model,)
    for step in loc:
        if isinstance(step, int):
            continue  # an item of a list is of the models that the list is of
        if len(here) > 1:
            here = tuple(each for each in here if step in get_args(each.model_fields["kind"].annotation))
            continue
        field = here[0].model_fields.get(step) if here else None
        here = () if field is None else tuple(_models_in(field.annotation))
    return here


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:  # noqa: ANN401 - an annotation is anything
    """Yield the models in an annotation, such as tuple[A | B, ...]."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)


def _field(model: type[BaseModel], loc: Loc) -> FieldInfo | None:
    around = _model_at(model, loc[:-1])
    return None if around is None else around.model_fields.get(str(loc[-1]))


def _examples(model: type[BaseModel], loc: Loc) -> list[Any]:
    field = _field(model, loc) if loc else None
    return list(field.examples or []) if field else []


def _example(model: type[BaseModel], loc: Loc) -> str:
    return str(next(iter(_examples(model, loc)), "…"))


def _right(model: type[BaseModel], loc: Loc, kind: str) -> str:
    """Say how the value may look: an example, the default, or the keys of the mapping."""
    examples = _examples(model, loc)
    if examples:
        return f"{loc[-1]}: {examples[0]}"
    inner = _model_at(model, loc)
    if kind.startswith("model"):
        return f"its keys below it: {', '.join(inner.model_fields) if inner else 'kind, mode, …'}"
    field = _field(model, loc) if loc else None
    if field is not None and field.default is not None and not field.is_required():
        return f"{loc[-1]}: {show(field.default)}" if kind != "string_type" else "it in quotes"
    return "it in quotes" if kind == "string_type" else f"one, such as {10 if 'int' in kind else '…'}"
