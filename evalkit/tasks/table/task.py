"""Task of any table of questions and images: no code, its columns guessed or named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from evalkit.core.errors import ConfigError, DataError, did_you_mean
from evalkit.core.files import safe_name
from evalkit.core.image_view import parse_window
from evalkit.core.types import CHOICE, CLOSED, OPEN, Message, Sample
from evalkit.records.base import Record
from evalkit.tasks.base import LoadedTask
from evalkit.tasks.formats import SPLIT_NAMES
from evalkit.tasks.image_check import ON_MISSING
from evalkit.tasks.table.columns import TableColumns, choose
from evalkit.tasks.table.images import ImageReader
from evalkit.tasks.table.messages import Wording
from evalkit.tasks.table.rows import RULE, RowReader, Rows, check_numbers, read_rows
from evalkit.tasks.table.source import Source, open_source
from evalkit.tasks.table.values import text_or_none

ON_BAD_ROW = ("error", "skip")


class TableTask:
    """A table of questions, answers and images.

    Args:
        name: name in results; None: the name of the file, or of the hub's dataset.
        path: a file (CSV, TSV, JSON, JSONL, Parquet, XLSX), a folder with one, or OWNER/NAME on the hub.
        revision, subset: commit and configuration of a dataset on the hub.
        split: the rows of this split, where a column, the file's name or the hub says which; any table without splits
            is taken whole.
        train: another file with train rows, for baselines and the audit of leaks.
        columns: field (id, question, answer, image, choices, type, split, language) -> column; others are guessed.
        cluster: the column that names clusters of the intervals (a patient); None: the image.
        tags: columns whose values make slices.  context: the column with text for a judge.
        first_option: 0 or 1, where answers are numbers of options.
        cut: a text in the question from which on it is not the question ("Answer Choices:").
        prompt, choice_prompt: variants of `evalkit.tasks.prompts`, the second for multiple-choice questions.
        template: a text with {question} and {options} (lettered, one a line), in place of both.
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
        revision: str | None = None,
        subset: str | None = None,
        split: str = "test",
        train: str | None = None,
        columns: Mapping[str, object] | None = None,
        cluster: str | None = None,
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
        if not path:
            raise DataError(
                "task=table needs task.path: a CSV, TSV, JSON, JSONL, Parquet or XLSX file, a folder with one, or the "
                "id of a dataset on the hub (OWNER/NAME)."
            )
        aliases = {alias: known for known, names in SPLIT_NAMES.items() for alias in names}
        for value, allowed, key in (
            (on_bad_row, ON_BAD_ROW, "on_bad_row"),
            (on_missing_image, ON_MISSING, "on_missing_image"),
            (first_option, (None, 0, 1), "first_option"),
        ):
            if value not in allowed:
                raise ConfigError(f"Invalid setting task.{key}={value}. {did_you_mean(str(value), map(str, allowed))}")
        if isinstance(tags, str) or "answer_type" in tags:
            raise ConfigError("task.tags must be a list of columns, such as [modality,site], without answer_type.")
        self.path = path
        self.name = name or safe_name(Path(path.rstrip("/")).stem)
        self.revision, self.subset = revision, subset
        self.split = aliases.get(split, split)
        self.train = train
        self.columns = dict(columns or {})
        self.cluster, self.tags, self.context = cluster, tuple(tags), context
        self.first_option, self.cut = first_option, cut
        self.wording = Wording(prompt=prompt, choice_prompt=choice_prompt, template=template, system=system)
        self.on_bad_row = on_bad_row
        if slices is not None and slices < 1:
            raise ConfigError(f"task.slices={slices} is invalid; expected a number of images, at least 1.")
        try:
            self.window = parse_window(window) if window else None
        except ValueError as problem:
            raise ConfigError(f"task.window={window}: {problem}. Expected CENTER/WIDTH, such as 40/400.") from None
        self.slices = slices

    def load(self, *, images: bool = True) -> LoadedTask:
        """See `evalkit.tasks.base.Task`."""
        return self._load(self._open(self.path, self.split), self.split, images)

    def load_train(self) -> LoadedTask:
        """See `evalkit.tasks.base.Task`."""
        if self.train is not None:
            return self._load(self._open(self.train, "train"), "train", images=False)
        source = self._open(self.path, "train")
        columns = choose(source.names, self.columns, source.where)
        if columns.split is None and (source.split != "train" or self.split == "train"):
            raise DataError(f"{self.name} has no train rows. Give them with task.train=FILE.")
        return self._load(source, "train", images=False)

    def messages(self, sample: Sample) -> tuple[Message, ...]:
        """The images and the question under the task's wording."""
        return self.wording.messages(sample)

    def chosen_columns(self) -> dict[str, str | list[str]]:
        """The columns as they are read, as the setting `columns` that would name them all."""
        source = self._open(self.path, self.split)
        found = choose(source.names, self.columns, source.where)
        named: dict[str, str | list[str] | None] = {
            "id": found.id, "question": found.question, "answer": found.answer, "type": found.type,
            "split": found.split, "language": found.language,
        }  # fmt: skip
        for key, columns in (("image", found.images), ("choices", found.choices)):
            named[key] = columns[0] if len(columns) == 1 else list(columns) or None
        return {key: value for key, value in named.items() if value is not None}

    def _open(self, path: str, split: str) -> Source:
        return open_source(path, split=split, revision=self.revision, subset=self.subset)

    def _load(self, source: Source, split: str, images: bool) -> LoadedTask:
        columns = choose(source.names, self.columns, source.where)
        self._check_named(source)
        reader = RowReader(
            where=source.where,
            columns=columns,
            images=ImageReader(source.folder, keep=images, window=self.window, slices=self.slices),
            tags=self.tags,
            cluster=self.cluster,
            context=self.context,
            first_option=self.first_option,
            cut=self.cut,
        )
        records = _OfSplit(source, columns, split)
        if self.first_option is None and (base := check_numbers(reader, records)) is not None:
            from dataclasses import replace

            reader = replace(reader, first_option=base)
        rows = read_rows(reader, records, skip_bad=self.on_bad_row == "skip")
        if not rows.samples:
            raise DataError(f"{source.where}: no row of the split {split} can be read. {records.known()}")
        return LoadedTask(
            name=self.name,
            split=split,
            form="table",
            samples=tuple(rows.samples),
            closed_rule="label",
            prompt=self.wording.id(has_choices=any(s.answer_type == CHOICE for s in rows.samples)),
            skipped=tuple(rows.skipped),
            notes=self._notes(source, columns, rows),
            cluster=self.cluster or "image",
        )

    def _check_named(self, source: Source) -> None:
        named = {"cluster": self.cluster, "context": self.context, **{f"tags: {t}": t for t in self.tags}}
        for key, column in named.items():
            if column is not None and column not in source.names:
                raise ConfigError(
                    f"task.{key}={column}: {source.where} has no such column. {did_you_mean(column, source.names)}"
                )

    def _notes(self, source: Source, columns: TableColumns, rows: Rows) -> tuple[str, ...]:
        others = {t: "tag" for t in self.tags}
        others |= {self.cluster: "cluster"} if self.cluster else {}
        others |= {self.context: "context for a judge"} if self.context else {}
        kinds = Counter(s.answer_type for s in rows.samples)
        counts = ", ".join(f"{kinds[k]} {k.lower()}" for k in (CHOICE, CLOSED, OPEN) if kinds[k])
        rule = f"answer types ({counts}): {f'column {columns.type}, else ' if columns.type else ''}{RULE}"
        return (columns.described(source.names, others), rule, *source.notes, *self.wording.notes(rows.samples))


class _OfSplit:
    """The records of a split; those of a table without a column for it are all of them."""

    def __init__(self, source: Source, columns: TableColumns, split: str) -> None:
        self.source, self.column, self.split = source, columns.split, split
        self.wanted = {name.lower() for name in SPLIT_NAMES.get(split, (split,))}

    def __iter__(self) -> Iterator[Record]:
        for record in self.source.records():
            if self.column is None or self._split_of(record) in self.wanted:
                yield record

    def known(self) -> str:
        """The splits that the table has, for a message."""
        if self.column is None:
            return "The table has no rows."
        found = Counter(self._split_of(r) or "(empty)" for r in self.source.records())
        return f"Its column {self.column} holds {', '.join(sorted(found))}; choose one with task.split=NAME."

    def _split_of(self, record: Record) -> str:
        text = text_or_none(record.fields.get(self.column or ""), f"{self.source.where}: row {record.row}")
        return (text or "").lower()
