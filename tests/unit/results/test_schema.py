from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from proxybench.errors import ResultsError
from proxybench.results.schema import (
    MIGRATIONS,
    SCHEMA_VERSION,
    Migration,
    Upgrade,
    migrate_manifest,
    version_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping


def renamed(old: str, new: str) -> Migration:
    def manifest(data: dict[str, Any]) -> dict[str, Any]:
        data[new] = [*data.pop(old), new]
        return data

    def samples(table: Any, manifest: Mapping[str, Any]) -> Any:
        return table.rename_columns({old: f"{new}{manifest['mark']}"[:1]})

    def record(data: dict[str, Any], manifest: Mapping[str, Any]) -> dict[str, Any]:
        return {new: data[old] + manifest["mark"]}

    return Migration(manifest, samples, record)


MADE_UP = {1: renamed("a", "b"), 2: renamed("b", "c"), 3: renamed("c", "d")}


def test_every_older_version_has_its_migration() -> None:
    assert sorted(MIGRATIONS) == list(range(1, SCHEMA_VERSION))


def test_a_made_up_chain_is_applied_in_order() -> None:
    assert migrate_manifest({"schema": 1, "a": []}, "m", MADE_UP, 4) == {"schema": 4, "d": ["b", "c", "d"]}


def test_a_chain_starts_at_the_version_that_was_written() -> None:
    assert migrate_manifest({"schema": 3, "c": []}, "m", MADE_UP, 4) == {"schema": 4, "d": ["d"]}
    assert migrate_manifest({"schema": 4, "d": []}, "m", MADE_UP, 4) == {"schema": 4, "d": []}


def test_samples_take_the_same_way() -> None:
    table, upgrade = pa.table({"a": [1]}), Upgrade({"mark": "!"}, "m", MADE_UP, 4)
    assert upgrade.samples(table, 1).column_names == ["d"]
    assert upgrade.samples(table, 4).column_names == ["a"]


def test_records_of_a_summary_take_it_too_and_are_given_the_manifest() -> None:
    upgrade = Upgrade({"mark": "!"}, "m", MADE_UP, 4)
    assert upgrade.record({"b": "x"}, 2) == {"d": "x!!"}
    assert upgrade.record({"b": "x"}, 4) == {"b": "x"}


def test_the_parsed_manifest_is_not_changed() -> None:
    data = {"schema": 3, "c": []}
    migrate_manifest(data, "m", MADE_UP, 4)
    assert data == {"schema": 3, "c": []}


def test_a_newer_version_says_what_to_do() -> None:
    with pytest.raises(ResultsError) as caught:
        version_of({"schema": 7}, "run/manifest.json", 1)
    assert str(caught.value) == (
        "run/manifest.json: written by a newer proxybench (results schema 7, this one reads up to 1): update proxybench"
    )


@pytest.mark.parametrize("version", [None, "1", 0, -1, True, 1.0])
def test_no_version_is_an_error(version: object) -> None:
    with pytest.raises(ResultsError) as caught:
        version_of({"schema": version}, "m")
    assert str(caught.value) == "m: no results schema version in it (key 'schema')"


def test_a_gap_in_the_chain_is_an_error() -> None:
    with pytest.raises(ResultsError) as caught:
        migrate_manifest({"schema": 1}, "m", {2: MADE_UP[2]}, 3)
    assert str(caught.value) == "m: results schema 1 is no longer read by this proxybench"
