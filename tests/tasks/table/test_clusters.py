"""Clusters above the image: named levels, the highest one that a table knows, and levels that are not nested."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from evalkit.core.errors import ConfigError, DataError
from evalkit.tasks.base import LoadedTask
from evalkit.tasks.table.task import TableTask

# Images a and b are of study S1, c of S2, all of patient P1; d is of S3 and P2.
ROWS = [("a", "S1", "P1"), ("a", "S1", "P1"), ("b", "S1", "P1"), ("c", "S2", "P1"), ("d", "S3", "P2")]


def load(
    folder: Path, names: tuple[str, str] = ("study_id", "patient_id"), rows: Any = ROWS, **settings: Any
) -> LoadedTask:
    path = folder / "set.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["image", *names, "question", "answer"])
        writer.writerows(
            [f"{a}.png", study, patient, f"Is it {k}?", "yes"] for k, (a, study, patient) in enumerate(rows)
        )
    return TableTask(path=str(path), **settings).load(images=False)


def clusters(loaded: LoadedTask) -> list[str]:
    return [s.image_id for s in loaded.samples]


@pytest.mark.parametrize(
    ("names", "column", "expected"),
    [
        (("study_id", "patient_id"), "patient_id", ["P1", "P1", "P1", "P1", "P2"]),
        (("study_id", "Patient"), "Patient", ["P1", "P1", "P1", "P1", "P2"]),
        (("study_uid", "ward"), "study_uid", ["S1", "S1", "S1", "S2", "S3"]),
        (("patient", "video"), "video", ["P1", "P1", "P1", "P1", "P2"]),
    ],
)
def test_the_default_is_the_highest_level_that_the_table_knows(
    tmp_path: Path, names: Any, column: str, expected: Any
) -> None:
    loaded = load(tmp_path, names)
    assert (loaded.cluster, clusters(loaded)) == (column, expected)
    assert any(f"clustered by the column {column}, known by its name" in note for note in loaded.notes)


def test_no_known_level_and_image_are_the_image(tmp_path: Path) -> None:
    for names, settings in ((("ward", "site"), {}), (("study", "patient"), {"cluster": "image"})):
        loaded = load(tmp_path, names, **settings)
        assert loaded.cluster == "image"
        assert len(set(clusters(loaded))) == 4
        assert not any("known by its name" in note for note in loaded.notes)


def test_of_several_levels_the_highest_one_clusters(tmp_path: Path) -> None:
    for levels in (["study_id", "patient_id"], ["image", "study_id", "patient_id"], ["patient_id"], "patient_id"):
        loaded = load(tmp_path, cluster=levels)
        assert (loaded.cluster, len(set(clusters(loaded)))) == ("patient_id", 2)
    assert len(set(clusters(load(tmp_path, cluster=["image", "study_id"])))) == 3


def test_levels_that_are_not_nested_are_refused(tmp_path: Path) -> None:
    rows = [*ROWS, ("e", "S1", "P2")]
    with pytest.raises(DataError, match="study_id S1 is of patient_id P1 in one row and of patient_id P2 in another"):
        load(tmp_path, rows=rows, cluster=["study_id", "patient_id"])


def test_a_level_found_by_name_that_splits_an_image_or_lacks_values_is_not_taken(tmp_path: Path) -> None:
    loaded = load(tmp_path, rows=[*ROWS, ("a", "S1", "P2")])
    assert (loaded.cluster, len(set(clusters(loaded)))) == ("image", 4)
    rows = [*ROWS, ("e", "S4", "")]
    loaded = load(tmp_path, rows=rows)
    assert (loaded.cluster, len(set(clusters(loaded)))) == ("patient_id", 3)
    with pytest.raises(DataError, match="patient_id"):
        load(tmp_path, rows=rows, cluster="patient_id")


@pytest.mark.parametrize("setting", [[], ["study_id", "study_id"], [3], ""])
def test_a_setting_that_names_no_levels_is_refused(tmp_path: Path, setting: Any) -> None:
    with pytest.raises(ConfigError, match=r"task\.cluster="):
        load(tmp_path, cluster=setting)


def test_a_level_that_is_no_column_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"task\.cluster=patient: .* no such column.*patient_id"):
        load(tmp_path, cluster=["study_id", "patient"])
