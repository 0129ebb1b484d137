from __future__ import annotations

from pathlib import Path

import pytest

from proxybench.errors import UsageError
from proxybench.experiment.packaged import experiment_file, packaged

EXPERIMENTS = Path(__file__).parents[3] / "experiments"


def test_the_experiments_of_a_checkout_are_known_by_name() -> None:
    assert packaged() == {path.stem: path for path in sorted(EXPERIMENTS.glob("*.yaml"))}


def test_a_bare_name_means_the_one_that_comes_with_proxybench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gate").mkdir()  # a folder is no experiment
    assert experiment_file("gate") == EXPERIMENTS / "gate.yaml"


def test_a_file_goes_before_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gate").write_text("version: 1\n")
    assert experiment_file("gate") == Path("gate")


@pytest.mark.parametrize("path", ["gate.yaml", "./gate", "a/gate", "/dev/stdin"])
def test_a_path_is_a_path_whether_or_not_it_leads_anywhere(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert experiment_file(path) == Path(path)


@pytest.mark.parametrize(("word", "hint"), [("gat", "; did you mean gate?"), ("zzz", "")])
def test_what_is_neither_is_refused_with_the_names(word: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        experiment_file(word)
    names = ", ".join(packaged())
    assert (
        str(caught.value) == f"{word}: no file, and none of the experiments that come with proxybench ({names}){hint}"
    )
