"""Task of any table of questions and images: no code, its columns guessed or named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from evalkit.core.errors import ConfigError, DataError, did_you_mean
from evalkit.core.files import safe_name
from evalkit.core.image_view import Window, parse_window
from evalkit.core.types import CHOICE, CLOSED, OPEN, Message, Sample
from evalkit.tasks.base import LoadedTask
from evalkit.tasks.formats import SPLIT_NAMES
from evalkit.tasks.hub import dataset_snapshot
from evalkit.tasks.image_check import ON_MISSING
from evalkit.tasks.table.clusters import (
    IMAGE,
    ClusterColumn,
    by_image_where_not_nested,
    check_nested,
    cluster_column,
    cluster_note,
)
from evalkit.tasks.table.columns import TableColumns, choose
from evalkit.tasks.table.images import ImageReader
from evalkit.tasks.table.messages import Wording
from evalkit.tasks.table.rows import RULE, RowReader, Rows, read_rows
from evalkit.tasks.table.source import Source, open_files, open_source
from evalkit.tasks.table.splits import RecordsOfSplit
from evalkit.tasks.table.survey import check_numbers, names_in_options, single_letters, words_note

ON_BAD_ROW = ("error", "skip")
ANY_TABLE = (
    "a CSV, TSV, JSON, JSONL, Parquet or XLSX file, a folder with one, or the id of a dataset on the hub (OWNER/NAME)"
)


class TableTask:
    """A table of questions, answers and images.

    Args:
        name: name in results; None: the name of the file, or of the hub's dataset.
        path: a file (CSV, TSV, JSON, JSONL, Parquet, XLSX), a folder with one, or OWNER/NAME on the hub.
        repo: OWNER/NAME on the hub, which is read where there is no path.
        revision, subset: commit and configuration of a dataset on the hub.
        files: patterns of the files with the rows, inside the folder or the hub's repository; all are of `split`.
        archives: patterns of further files that the hub's repository has and rows refer to (zip archives of images).
        split: the rows of this split, where a column, the file's name or the hub says which; any table without splits
            is taken whole.
        train: another file with train rows, for baselines and the audit of leaks.
        keep: column -> values; rows with other values are no part of the set (one subject of a larger table).
        counts: split -> published number of rows, those that cannot be read included.
        allow_counts: accept a copy with another number of rows.
        columns: field (id, question, answer, image, choices, type, split, language) -> column; others are guessed.
            The column of the question as that of the choices: questions list their options at their end.
        cluster: the column that names clusters of the intervals (a patient), several from the lowest level to the
            highest ([study, patient]), or `image`; None: the highest level that a column is known by name for.
        tags: columns whose values make slices.  context: the column with text for a judge.
        first_option: 0 or 1, where answers are numbers of options.
        cut: a text in the question from which on it is not the question ("Answer Choices:").
        prompt, choice_prompt: variants of `evalkit.tasks.prompts`, the second for multiple-choice questions.
        template: a text with {question} and {options} (lettered, one a line; {options:(A)} writes the letters so), in
            place of both.
        system: text of a system message.
        window: CENTER/WIDTH for DICOM and NIfTI; None: the file's own.  slices: number of evenly spaced images that a
            volume, or a file of several frames or pages, becomes.
        on_bad_row, on_missing_image: error or skip.
    """

    def __init__(
        self,
        *,
        path: str | None = None,
        name: str | None = None,
        repo: str | None = None,
        revision: str | None = None,
        subset: str | None = None,
        files: Sequence[str] = (),
        archives: Sequence[str] = (),
        split: str = "test",
        train: str | None = None,
        keep: Mapping[str, object] | None = None,
        counts: Mapping[str, int] | None = None,
        allow_counts: bool = False,
        columns: Mapping[str, object] | None = None,
        cluster: str | Sequence[str] | None = None,
        tags: Sequence[str] = (),
        context: str | None = None,
        first_option: int | None = None,
        cut: str = "",
        prompt: str = "short",
        choice_prompt: str = "letters",
        template: str | None = None,
        system: str | None = None,
        window: str | None = None,
        slices: int | None = None,
        on_bad_row: str = "error",
        on_missing_image: str = "error",
    ) -> None:
        _check_choices(on_bad_row=on_bad_row, on_missing_image=on_missing_image, first_option=first_option)
        if isinstance(tags, str) or "answer_type" in tags:
            raise ConfigError("task.tags must be a list of columns, such as [modality,site], without answer_type.")
        if slices is not None and slices < 1:
            raise ConfigError(f"task.slices={slices} is invalid; expected a number of images, at least 1.")
        self.path = path or repo or ""
        self.name = name or safe_name(Path(self.path.rstrip("/")).stem or "table")
        self.repo, self.revision, self.subset = None if path else repo, revision, subset
        self.files, self.archives = tuple(files), tuple(archives)
        self.keep = {column: _texts(values) for column, values in (keep or {}).items()}
        self.counts = {_split_name(known): n for known, n in (counts or {}).items()}
        self.allow_counts, self.split, self.train = allow_counts, _split_name(split), train
        self.columns = dict(columns or {})
        self.cluster, self.tags, self.context = cluster, tuple(tags), context
        self.first_option, self.cut = first_option, cut
        self.found_first_option = first_option
        # A shell passes "\\n" in quotes as two characters.
        text = None if template is None else template.replace("\\n", "\n")
        self.wording = Wording(prompt=prompt, choice_prompt=choice_prompt, template=text, system=system)
        self.on_bad_row = on_bad_row
        self.window, self.slices = _window(window), slices

    def load(self, *, images: bool = True) -> LoadedTask:
        """See `evalkit.tasks.base.Task`."""
        loaded = self._load(self._open(self.split), self.split, images)
        return replace(loaded, notes=(*loaded.notes, *self._check_counts(len(loaded.samples) + len(loaded.skipped))))

    def load_train(self) -> LoadedTask:
        """See `evalkit.tasks.base.Task`."""
        if self.train is not None:
            source = open_source(self.train, split="train", revision=self.revision, subset=self.subset)
            return self._load(source, "train", images=False)
        none = DataError(f"{self.name} has no train rows. Give them with task.train=FILE.")
        if self.files:
            raise none
        source = self._open("train")
        columns = choose(source.names, self.columns, source.where)
        if columns.split is None and (source.split != "train" or self.split == "train"):
            raise none
        return self._load(source, "train", images=False)

    def messages(self, sample: Sample) -> tuple[Message, ...]:
        """The images and the question under the task's wording."""
        return self.wording.messages(sample)

    def chosen_columns(self) -> dict[str, str | list[str] | None]:
        """The columns as they are read, as the setting `columns` that would name them all."""
        source = self._open(self.split)
        found = choose(source.names, self.columns, source.where)
        named: dict[str, str | list[str] | None] = {
            "id": found.id, "question": found.question, "answer": found.answer, "type": found.type,
            "split": found.split, "language": found.language,
        }  # fmt: skip
        for key, columns in (("image", found.images), ("choices", found.choices)):
            named[key] = columns[0] if len(columns) == 1 else list(columns) or None
        return {key: value for key, value in named.items() if value is not None or key in self.columns}

    def hub_patterns(self) -> tuple[str, ...]:
        """Patterns of the files that `fetch` downloads from the hub."""
        return (*self.files, *self.archives) or ("*",)

    def _open(self, split: str) -> Source:
        """The table of a split, from a path or from the hub.  Raises DataError where there is none."""
        if not self.path:
            where = f"the folder of a local copy, with {self.files[0]} in it" if self.files else ANY_TABLE
            raise DataError(f"task={self.name} needs task.path: {where}.")
        if not self.files:
            return open_source(self.path, split=split, revision=self.revision, subset=self.subset)
        if self.repo is None:
            return open_files(self.path, self.files, split=split)
        folder = dataset_snapshot(self.repo, self.revision, self.hub_patterns(), self.name)
        found = open_files(str(folder), self.files, split=split)
        # The folder of a snapshot in the cache is named after its commit.
        return replace(found, notes=(*found.notes, f"{self.repo} at commit {folder.name}"))

    def _check_counts(self, n: int) -> list[str]:
        """Compare the number of rows with the published one; returns a note if they differ and that is allowed.

        Raises:
            DataError: they differ and allow_counts is false, or the set has no such split.
        """
        if not self.counts or self.counts.get(self.split) == n:
            return []
        if self.split not in self.counts:
            raise DataError(f"{self.name} has no split {self.split}; it has {', '.join(self.counts)}.")
        text = f"{self.name} ({self.split}): this copy has {n} rows, the published set {self.counts[self.split]}"
        if not self.allow_counts:
            raise DataError(
                f"{text}. Results over other rows are not comparable with published ones. Use a complete copy, or set "
                "task.allow_counts=true for a deliberate subset."
            )
        return [f"{text}: results are not comparable with published ones"]

    def _load(self, source: Source, split: str, images: bool) -> LoadedTask:
        """The samples of a split.  Raises DataError for a row, ConfigError for a column that is not there."""
        columns = choose(source.names, self.columns, source.where)
        cluster = cluster_column(self.cluster, source.names)
        self._check_named(source, cluster)
        reader = RowReader(
            where=source.where,
            columns=columns,
            images=ImageReader(source.folder, keep=images, window=self.window, slices=self.slices),
            tags=self.tags,
            cluster=cluster.column,
            cluster_may_lack=cluster.by_name,
            context=self.context,
            first_option=self.first_option,
            cut=self.cut,
            is_text=source.is_text,
        )
        records = RecordsOfSplit(source, columns, split, self.keep)
        reader = replace(reader, names=names_in_options(reader, records))
        if self.first_option is None and (base := check_numbers(reader, records)) is not None:
            reader = replace(reader, first_option=base)
            self.found_first_option = base
        if not columns.choices and "choices" not in self.columns and (words := single_letters(reader, records)):
            reader = replace(reader, words=words)
        check_nested(cluster, (record.fields for record in records) if cluster.levels else (), source.where)
        rows = read_rows(reader, records, skip_bad=self.on_bad_row == "skip")
        if not rows.samples:
            raise DataError(f"{source.where}: no row of the split {split} can be read. {records.known()}")
        samples, cluster = by_image_where_not_nested(cluster, rows.samples)
        return LoadedTask(
            name=self.name,
            split=split,
            form="table",
            samples=tuple(samples),
            closed_rule="label",
            prompt=self.wording.id(has_choices=any(s.answer_type == CHOICE for s in rows.samples)),
            skipped=tuple(rows.skipped),
            notes=(
                *self._notes(source, columns, rows, cluster),
                *(words_note(reader, records) if any(s.answer_type == CLOSED for s in rows.samples) else ()),
                *_other_split(source, columns, split),
                *records.notes(len(rows.samples) + len(rows.skipped)),
            ),
            cluster=cluster.column or IMAGE,
        )

    def _check_named(self, source: Source, cluster: ClusterColumn) -> None:
        """Refuse settings that name a column which the table lacks.  Raises ConfigError."""
        named = [("cluster", column) for column in cluster.all_columns] + [("context", self.context)]
        named += [(f"tags: {tag}", tag) for tag in self.tags] + [(f"keep: {column}", column) for column in self.keep]
        for key, column in named:
            if column is not None and column not in source.names:
                raise ConfigError(
                    f"task.{key}={column}: {source.where} has no such column. {did_you_mean(column, source.names)}"
                )

    def _notes(self, source: Source, columns: TableColumns, rows: Rows, cluster: ClusterColumn) -> tuple[str, ...]:
        """Notes of a run on how columns, rows and answers are read."""
        others = {t: "tag" for t in self.tags}
        others |= dict.fromkeys(cluster.all_columns, "cluster")
        others |= {self.context: "context for a judge"} if self.context else {}
        kinds = Counter(s.answer_type for s in rows.samples)
        counts = ", ".join(f"{kinds[k]} {k.lower()}" for k in (CHOICE, CLOSED, OPEN) if kinds[k])
        rule = f"answer types ({counts}): {f'column {columns.type}, else ' if columns.type else ''}{RULE}"
        base = self.found_first_option
        numbers = [f"answers that are numbers of options count from {base}"] if base is not None else []
        repeated = sum("#" in s.id for s in rows.samples)
        ids = [f"{repeated} rows have an id with #, given to repeated ones"] if columns.id and repeated else []
        described = columns.described(source.names, others)
        return (
            described,
            rule,
            *numbers,
            *ids,
            *cluster_note(cluster),
            *source.notes,
            *self.wording.notes(rows.samples),
        )


def _other_split(source: Source, columns: TableColumns, split: str) -> list[str]:
    """A note where the name of the file says another split than the one that its rows are read as."""
    if columns.split is not None or source.split in (None, split):
        return []
    return [f"{source.where} is named after the split {source.split}, and is read as {split} (task.split=NAME)"]


def _texts(values: object) -> frozenset[str]:
    """The values of a setting that may be one or a list."""
    return frozenset(map(str, values if isinstance(values, list | tuple) else [values]))


def _split_name(name: str) -> str:
    """evalkit's name of a split (`validation` for val, dev ...); any other name as it is."""
    return next((known for known, names in SPLIT_NAMES.items() if name in names), name)


def _check_choices(**settings: object) -> None:
    """Check the settings that have a few values.  Raises ConfigError with the name and the known values."""
    known = {"on_bad_row": ON_BAD_ROW, "on_missing_image": ON_MISSING, "first_option": (None, 0, 1)}
    for key, value in settings.items():
        if value not in known[key]:
            raise ConfigError(f"Invalid setting task.{key}={value}. {did_you_mean(str(value), map(str, known[key]))}")


def _window(text: str | None) -> Window | None:
    """The window CENTER/WIDTH; None for the file's own.  Raises ConfigError for another text."""
    try:
        return parse_window(text) if text else None
    except ValueError as problem:
        raise ConfigError(f"task.window={text}: {problem}. Expected CENTER/WIDTH, such as 40/400.") from None
