"""Base class of the VQA tasks: locate the copy, read its form, check its counts, build samples and messages."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from evalkit.core.errors import ConfigError, DataError, did_you_mean
from evalkit.core.files import expand_home
from evalkit.core.types import CLOSED, OPEN, ImagePlace, Message, Sample
from evalkit.tasks.base import LoadedTask
from evalkit.tasks.formats import SPLIT_NAMES, RawRow, SplitRows, is_yes_or_no, samples_of
from evalkit.tasks.hub import dataset_snapshot
from evalkit.tasks.image_check import ON_MISSING
from evalkit.tasks.options_file import with_options
from evalkit.tasks.prompts import check_prompt, options_in, options_note, prompt_id, render

RULES = ("label", "yesno")


class VqaTask(ABC):
    """A dataset of questions about images with short answers.

    Args:
        name: name of the task in results.
        path: a local copy (folder or file) in any released form; None: downloaded from the hub, `repo` at `revision`.
        split: train, validation or test.
        prompt: a variant of `evalkit.tasks.prompts`.
        closed_rule: definition of a closed row: label (the dataset's own field) or yesno (the gold is yes or no).
        allow_counts: accept a copy whose row counts differ from the published ones.
        on_missing_image: error or skip; see `evalkit.tasks.image_check`.
        options_file: options of the split's closed questions; see `evalkit.tasks.options_file`.  None: those that a
            question itself offers.
    """

    # File patterns of one split in the hub's repository; {split} is replaced by the names of the split.
    hub_files: ClassVar[tuple[str, ...]] = ("*{split}*.parquet",)

    def __init__(
        self,
        *,
        name: str,
        path: str | None = None,
        repo: str | None = None,
        revision: str | None = None,
        split: str = "test",
        prompt: str = "short",
        closed_rule: str = "label",
        allow_counts: bool = False,
        on_missing_image: str = "error",
        options_file: str | None = None,
    ) -> None:
        aliases = {alias: split_name for split_name, names in SPLIT_NAMES.items() for alias in names}
        for value, allowed, key in (
            (split, aliases, "split"),
            (closed_rule, RULES, "closed_rule"),
            (on_missing_image, ON_MISSING, "on_missing_image"),
        ):
            if value not in allowed:
                raise ConfigError(f"Invalid setting task.{key}={value}. {did_you_mean(str(value), allowed)}")
        check_prompt(prompt)
        self.name = name
        self.path = expand_home(path) if path else None
        self.repo = repo
        self.revision = revision
        self.split = aliases[split]
        self.prompt = prompt
        self.closed_rule = closed_rule
        self.allow_counts = allow_counts
        self.options_file = expand_home(options_file) if options_file else None

    @abstractmethod
    def read(self, root: Path, split: str, images: bool) -> SplitRows:
        """Read the rows of a split from a local copy in any known form.

        Raises:
            DataError: there is no known form, or the split is missing.
        """

    @abstractmethod
    def expected(self, form: str, split: str) -> tuple[Mapping[str, int], ...]:
        """Published counts that a copy of this form may have: n and, if known, OPEN and CLOSED."""

    def load(self, *, images: bool = True) -> LoadedTask:
        """See `evalkit.tasks.base.Task`."""
        return self._load(self.split, images, root=self.path)

    def load_train(self) -> LoadedTask:
        """See `evalkit.tasks.base.Task`."""
        # A file that the user gave as another split must not be read as the train split: look in its folder instead.
        path = self.path
        is_other_split = path is not None and path.is_file() and self.split != "train"
        return self._load("train", images=False, root=path.parent if path and is_other_split else path)

    def other_train(self) -> Mapping[str, LoadedTask]:
        """Further train rows of the same copy that models are also trained on, by name, for the audit."""
        return {}

    def messages(self, sample: Sample) -> tuple[Message, ...]:
        """The image, then the question under the prompt variant; options are the file's, else the question's own."""
        text = render(self.prompt, sample.prompt_question, self._options(sample))
        return (Message(role="user", content=(ImagePlace(0), text)),)

    def _options(self, sample: Sample) -> tuple[str, ...]:
        """The options that a prompt may list: never made from the gold answer, unless the options file was."""
        is_given = self.options_file is not None and sample.answer_type == CLOSED
        return sample.choices if is_given else options_in(sample.question)

    def _load(self, split: str, images: bool, root: Path | None) -> LoadedTask:
        root = root or self._from_hub(split)
        found = self.read(root, split, images)
        self._check_labels(found.form, found.rows)
        notes = [*found.notes, *self._check_counts(found.form, found.rows, split)]
        if self.path is None:
            # The folder of a snapshot in the cache is named after its commit.
            notes.append(f"{self.repo} at commit {root.name}")
        samples, skipped = samples_of(found.rows, self.closed_rule, f"{self.name} ({root})")
        if self.options_file is not None and split == self.split:
            samples, joined = with_options(samples, self.options_file, f"{self.name} ({split})")
            notes += joined
        notes += options_note(self.prompt, [self._options(sample) for sample in samples])
        return LoadedTask(
            name=self.name,
            split=split,
            form=found.form,
            samples=tuple(samples),
            closed_rule=self.closed_rule,
            prompt=prompt_id(self.prompt),
            skipped=tuple(skipped),
            notes=tuple(notes),
            order=found.order,
        )

    def _check_labels(self, form: str, rows: tuple[RawRow, ...]) -> None:
        without = sum(r.label is None for r in rows)
        if self.closed_rule == "label" and without:
            raise DataError(
                f"{self.name}: {without} of {len(rows)} rows of this form ({form}) have no open/closed label, which "
                f"closed_rule=label needs. Set task.closed_rule=yesno (closed = the answer is yes or no; a different "
                f"rule with different numbers){self.label_remedy}."
            )

    label_remedy: ClassVar[str] = ""

    def _check_counts(self, form: str, rows: tuple[RawRow, ...], split: str) -> list[str]:
        """Compare the counts with the published ones; returns a note if they differ and that is allowed.

        Raises:
            DataError: they differ and allow_counts is false.
        """
        counts = {"n": len(rows)}
        kinds = [r.label if self.closed_rule == "label" else (CLOSED if is_yes_or_no(r.answer) else OPEN) for r in rows]
        counts |= {OPEN: kinds.count(OPEN), CLOSED: kinds.count(CLOSED)}
        published = self.expected(form, split)
        if not published or any(all(counts[k] == v for k, v in p.items()) for p in published):
            return []
        shown = " or ".join(_counts_text(p) for p in published)
        text = f"{self.name} ({split}, {form}): this copy has {_counts_text(counts)}, the published set {shown}"
        if not self.allow_counts:
            raise DataError(
                f"{text}. Results over other rows are not comparable with published ones. Use a complete copy, or set "
                "task.allow_counts=true for a deliberate subset."
            )
        return [f"{text}: results are not comparable with published ones"]

    def hub_patterns(self) -> tuple[str, ...]:
        """Patterns of the files that `fetch` downloads from the hub: the configured split and the train split."""
        return tuple(dict.fromkeys((*self._patterns(self.split), *self._patterns("train"))))

    def _patterns(self, split: str) -> list[str]:
        return [p.format(split=s) for p in self.hub_files for s in SPLIT_NAMES[split]]

    def _from_hub(self, split: str) -> Path:
        """Path of the dataset's snapshot in the hub's cache, downloaded if necessary."""
        if not self.repo:
            raise DataError(f"{self.name} is not on the Hugging Face hub. Set task.path=DIR to a local copy.")
        return dataset_snapshot(self.repo, self.revision, self._patterns(split), self.name)


def _counts_text(counts: Mapping[str, int]) -> str:
    kinds = [f"{counts[k]} {k.lower()}" for k in (OPEN, CLOSED) if k in counts]
    return f"{counts['n']} rows" + (f" ({', '.join(kinds)})" if kinds else "")
