"""A part of a task's rows: by tags, by a file of ids, or drawn image by image."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from evalkit.core import json_text
from evalkit.core.errors import ConfigError, DataError, did_you_mean
from evalkit.core.files import expand_home
from evalkit.core.types import Sample
from evalkit.tasks.base import LoadedTask, Task

# Key of `task.where` for a file of ids; a tag of this name cannot be selected by.
IDS = "ids"


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which rows of a split are used.

    where: tag -> the values that are kept.  ids: the samples that are kept; None: all.  draw: how many rows are drawn,
    whole images first, by `seed`; None: all.
    """

    where: Mapping[str, tuple[str, ...]]
    ids: frozenset[str] | None = None
    draw: int | None = None
    seed: int = 0

    @classmethod
    def from_settings(cls, where: Any, draw: int | None, seed: int) -> Selection | None:
        """The selection of `task.where`, `sample` and `sample_seed`; None where they select nothing.

        Raises:
            ConfigError: a value is not a text or a list of texts.
            DataError: the file of ids cannot be read.
        """
        if not isinstance(where, Mapping | None):
            raise ConfigError(f"task.where={where!r} is invalid; expected task.where.TAG=VALUE for a tag of the rows.")
        kept = {str(tag): _values(tag, value) for tag, value in (where or {}).items() if value is not None}
        files = kept.pop(IDS, ())
        ids = frozenset(i for file in files for i in read_ids(Path(expand_home(file)))) if files else None
        if draw is not None and draw < 1:
            raise ConfigError(f"sample={draw} is invalid; expected a number of rows, at least 1.")
        return cls(where=kept, ids=ids, draw=draw, seed=seed) if kept or ids is not None or draw else None

    @property
    def name(self) -> str:
        """The selection as text, for names and signatures.

        >>> Selection(where={"modality": ("CT", "MRI")}, draw=100).name
        'modality=CT+MRI,sample=100'
        """
        parts = [f"{tag}={'+'.join(values)}" for tag, values in self.where.items()]
        if self.ids is not None:
            parts.append(f"ids={hashlib.sha256(json.dumps(sorted(self.ids)).encode()).hexdigest()[:8]}")
        if self.draw is not None:
            parts.append(f"sample={self.draw}" + (f".{self.seed}" if self.seed else ""))
        return ",".join(parts)

    def apply(self, loaded: LoadedTask) -> LoadedTask:
        """The selected rows of a split, in its order, under a name of their own.

        Raises:
            ConfigError: a tag or a value is not there, an id is unknown, or no row is left.
        """
        samples = loaded.samples
        self._check_tags(loaded)
        if self.ids is not None:
            unknown = sorted(self.ids - {s.id for s in samples})
            if unknown:
                raise ConfigError(
                    f"task.where.ids: {len(unknown)} of {len(self.ids)} ids are not in {loaded.name} ({loaded.split}), "
                    f"first {unknown[0]!r}."
                )
        kept = [s for s in samples if self._keeps(s)]
        if not kept:
            raise ConfigError(f"task.where ({self.name}) leaves no row of the {len(samples)} of {loaded.name}.")
        if self.draw is not None:
            kept = _drawn(kept, self.draw, self.seed)
        note = f"{len(kept)} of {len(samples)} rows: {self.name}"
        return replace(
            loaded, name=part_name(loaded.name, self.name), samples=tuple(kept), notes=(*loaded.notes, note), order={}
        )

    def _check_tags(self, loaded: LoadedTask) -> None:
        for tag, values in self.where.items():
            counts = Counter(s.tags[tag] for s in loaded.samples if tag in s.tags)
            if not counts:
                known = sorted({t for s in loaded.samples for t in s.tags})
                raise ConfigError(
                    f"task.where.{tag}: no row of {loaded.name} has the tag {tag}. {did_you_mean(tag, known)} "
                    f"If {tag} is a column of a table of your own, task.tags=[{tag}] makes it a tag."
                )
            for value in values:
                if value not in counts:
                    close = did_you_mean(value, [v for v, _ in counts.most_common(20)])
                    raise ConfigError(f"task.where.{tag}={value}: no row of {loaded.name} has this value. {close}")

    def _keeps(self, sample: Sample) -> bool:
        by_tags = all(sample.tags.get(tag) in values for tag, values in self.where.items())
        return by_tags and (self.ids is None or sample.id in self.ids)


def part_name(task: str, part: str) -> str:
    """The name of a task of which a part is used, or whose rows are asked in another way.

    >>> part_name("slake", "modality=CT"), part_name("slake[modality=CT]", "orders=3")
    ('slake[modality=CT]', 'slake[modality=CT,orders=3]')
    """
    return f"{task[:-1]},{part}]" if task.endswith("]") else f"{task}[{part}]"


class SelectedTask:
    """A task of which only a part of the rows is used; the train split stays whole."""

    def __init__(self, task: Task, selection: Selection) -> None:
        self._task = task
        self._selection = selection

    def load(self, *, images: bool = True) -> LoadedTask:
        """The selected rows; see `evalkit.tasks.base.Task`."""
        return self._selection.apply(self._task.load(images=images))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._task, name)


def read_ids(path: Path) -> list[str]:
    """The ids in a file: a JSON list, or one a line.

    Raises:
        DataError: there is no such file, or no id in it.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as problem:
        raise DataError(f"task.where.ids={path}: {problem}. Expected a file with one id a line.") from None
    ids = [line.strip() for line in text.splitlines() if line.strip()]
    if text.lstrip().startswith("["):
        try:
            ids = [str(i) for i in json_text.loads(text)]
        except (ValueError, TypeError) as problem:
            raise DataError(f"task.where.ids={path}: not a JSON list of ids ({problem}).") from None
    if not ids:
        raise DataError(f"task.where.ids={path}: the file has no ids.")
    return ids


def _drawn(samples: Sequence[Sample], n: int, seed: int) -> list[Sample]:
    """n rows of images in the order of a digest of seed and image; the last image may be there in part."""
    if n >= len(samples):
        return list(samples)
    images = sorted({s.image_id for s in samples}, key=lambda i: hashlib.sha256(f"{seed}:{i}".encode()).digest())
    place = {image: k for k, image in enumerate(images)}
    order = sorted(range(len(samples)), key=lambda k: (place[samples[k].image_id], k))
    return [samples[k] for k in sorted(order[:n])]


def _values(tag: object, value: Any) -> tuple[str, ...]:
    items = list(value) if isinstance(value, list | tuple) else [value]
    if not items or any(isinstance(i, Mapping | list | tuple) or i is None for i in items):
        raise ConfigError(f"task.where.{tag}={value!r} is invalid; expected a value, or a list such as [CT,MRI].")
    return tuple(("true" if i else "false") if isinstance(i, bool) else str(i) for i in items)
