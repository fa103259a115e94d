"""What makes the rows of a table dependent: the image, or a level above it (study, patient, video, source)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from evalkit.core.errors import ConfigError, DataError
from evalkit.core.types import Sample

IMAGE = "image"
# Names of columns that are a level above the image, the highest first.
KNOWN_LEVELS = ("video", "video_id", "patient", "patient_id", "subject_id", "study", "study_id", "study_uid")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterColumn:
    """The column that rows are clustered by.

    column: None for the image.  levels: the levels named below it, from low to high.  by_name: found by its name, not
    named by the user; a row without a value then counts by its image.
    """

    column: str | None
    levels: tuple[str, ...] = ()
    by_name: bool = False

    @property
    def all_columns(self) -> tuple[str, ...]:
        """Every column that is read."""
        return (*self.levels, *([self.column] if self.column else ()))


def cluster_column(setting: str | Sequence[str] | None, names: Sequence[str]) -> ClusterColumn:
    """The column of a setting: a name, names of levels from low to high, `image`, or None for the highest known one.

    Raises:
        ConfigError: the setting is of another form.
    """
    if setting is None:
        known = {name.lower(): name for name in reversed(names)}
        found = next((known[level] for level in KNOWN_LEVELS if level in known), None)
        return ClusterColumn(column=found, by_name=True)
    levels = [setting] if isinstance(setting, str) else list(setting)
    if not levels or not all(isinstance(level, str) and level for level in levels) or len(set(levels)) < len(levels):
        raise ConfigError(
            f"task.cluster={setting} is invalid; expected a column, columns from the lowest level to the highest such "
            "as [study,patient], or image."
        )
    if levels[0] == IMAGE:
        levels = levels[1:]
    return ClusterColumn(column=levels[-1] if levels else None, levels=tuple(levels[:-1]))


def check_nested(cluster: ClusterColumn, rows: Iterable[Mapping[str, Any]], where: str) -> None:
    """Check that every value of a level belongs to one value of the next level.

    Raises:
        DataError: one belongs to two, so that rows of different clusters are dependent.
    """
    if not cluster.levels:
        return
    columns = cluster.all_columns
    above: dict[tuple[str, str], str] = {}
    for fields in rows:
        for low, high in pairwise(columns):
            one, two = str(fields.get(low)), str(fields.get(high))
            known = above.setdefault((low, one), two)
            if known != two:
                raise DataError(
                    f"{where}: {low} {one} is of {high} {known} in one row and of {high} {two} in another; expected "
                    "levels inside of each other. Correct the rows, or name one column that all dependent rows share: "
                    f"task.cluster={high}."
                )


def by_image_where_not_nested(cluster: ClusterColumn, samples: Sequence[Sample]) -> tuple[list[Sample], ClusterColumn]:
    """The samples clustered by image where a column that was found by its name splits an image."""
    if not cluster.by_name or cluster.column is None:
        return list(samples), cluster
    clusters: dict[str, str] = {}
    if all(clusters.setdefault(s.pictures, s.image_id) == s.image_id for s in samples):
        return list(samples), cluster
    back = [replace(s, image_id=s.pictures, image_name="") for s in samples]
    return back, ClusterColumn(column=None, by_name=True)


def cluster_note(cluster: ClusterColumn) -> list[str]:
    """A note on a column that was found by its name."""
    if not cluster.by_name or cluster.column is None:
        return []
    return [f"intervals are clustered by the column {cluster.column}, known by its name; task.cluster=image: by image"]
