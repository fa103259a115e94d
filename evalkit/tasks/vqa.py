"""The common path of the VQA tasks: find the copy, read its form, check its counts, make samples and messages."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from evalkit.core.errors import ConfigError, DataError, did_you_mean
from evalkit.core.types import CLOSED, OPEN, ImagePlace, Message, Sample
from evalkit.tasks.base import LoadedTask
from evalkit.tasks.formats import SPLIT_NAMES, Raw, Rows, samples_of, says_yes_or_no
from evalkit.tasks.image_check import ON_MISSING
from evalkit.tasks.prompts import check_prompt, options_in, prompt_id, render

RULES = ("label", "yesno")


class VqaTask(ABC):
    """A dataset of questions about images with short answers.

    Args:
        name: what results call it.
        path: a local copy, a folder or a file, in any released form; None: from the hub, `repo` at `revision`.
        split: train, validation or test.
        prompt: a variant of `evalkit.tasks.prompts`.
        closed_rule: label (the dataset's own field) or yesno (the gold answer is yes or no).
        allow_counts: accept a copy whose counts differ from the published ones.
        on_missing_image: error or skip; see `evalkit.tasks.image_check`.
    """

    # What the hub's snapshot must hold for one split; {split} is filled in.
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
    ) -> None:
        aliases = {alias: split_name for split_name, names in SPLIT_NAMES.items() for alias in names}
        for value, allowed, key in (
            (split, aliases, "split"),
            (closed_rule, RULES, "closed_rule"),
            (on_missing_image, ON_MISSING, "on_missing_image"),
        ):
            if value not in allowed:
                raise ConfigError(f"task.{key}={value} is not possible. {did_you_mean(str(value), allowed)}")
        check_prompt(prompt)
        self.name = name
        self.path = Path(path).expanduser() if path else None
        self.repo = repo
        self.revision = revision
        self.split = aliases[split]
        self.prompt = prompt
        self.closed_rule = closed_rule
        self.allow_counts = allow_counts

    @abstractmethod
    def read(self, root: Path, split: str, images: bool) -> Rows:
        """The rows of a split from a local copy, in whatever form it is.

        Raises:
            DataError: no known form is there, or not this split of it.
        """

    @abstractmethod
    def expected(self, form: str, split: str) -> tuple[Mapping[str, int], ...]:
        """The published counts that a copy of that form may have: n, and where known OPEN and CLOSED by rule."""

    def load(self, *, images: bool = True) -> LoadedTask:
        """See `evalkit.tasks.base.Task`."""
        return self._load(self.split, images, root=self.path)

    def load_train(self) -> LoadedTask:
        """See `evalkit.tasks.base.Task`."""
        # A test file that a user named must never pass for the train split: that lies beside it, where it is at all.
        path = self.path
        beside = path is not None and path.is_file() and self.split != "train"
        return self._load("train", images=False, root=path.parent if path and beside else path)

    def other_train(self) -> Mapping[str, LoadedTask]:
        """Train rows of the same copy beside `load_train` that models are trained on too, for the audit; by name."""
        return {}

    def messages(self, sample: Sample) -> tuple[Message, ...]:
        """The image, then the question under the prompt variant; only the question decides which options are listed."""
        text = render(self.prompt, sample.question, options_in(sample.question))
        return (Message(role="user", content=(ImagePlace(0), text)),)

    def _load(self, split: str, images: bool, root: Path | None) -> LoadedTask:
        root = root or self._from_hub(split)
        found = self.read(root, split, images)
        self._check_labels(found.form, found.rows)
        notes = [*found.notes, *self._check_counts(found.form, found.rows, split)]
        if self.path is None:
            notes.append(f"{self.repo} at commit {root.name}")  # the cache names a snapshot's folder after its commit
        samples, skipped = samples_of(found.rows, self.closed_rule, f"{self.name} ({root})")
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

    def _check_labels(self, form: str, rows: tuple[Raw, ...]) -> None:
        without = sum(r.label is None for r in rows)
        if self.closed_rule == "label" and without:
            raise DataError(
                f"{self.name}: {without} of {len(rows)} rows of this form ({form}) do not say whether they are open or "
                f"closed, and closed_rule=label does not guess. Say task.closed_rule=yesno (closed = the answer is yes "
                f"or no; another rule with other numbers){self.label_remedy}."
            )

    label_remedy: ClassVar[str] = ""

    def _check_counts(self, form: str, rows: tuple[Raw, ...], split: str) -> list[str]:
        """A note when the copy differs from the published counts and that is allowed.

        Raises:
            DataError: it differs and is not allowed.
        """
        counts = {"n": len(rows)}
        kinds = [
            r.label if self.closed_rule == "label" else (CLOSED if says_yes_or_no(r.answer) else OPEN) for r in rows
        ]
        counts |= {OPEN: kinds.count(OPEN), CLOSED: kinds.count(CLOSED)}
        wanted = self.expected(form, split)
        if not wanted or any(all(counts[k] == v for k, v in w.items()) for w in wanted):
            return []
        shown = " or ".join(_counts_text(w) for w in wanted)
        text = f"{self.name} ({split}, {form}): this copy has {_counts_text(counts)}, the published set {shown}"
        if not self.allow_counts:
            raise DataError(
                f"{text}. Numbers on another set of rows cannot be compared with anyone's. Use a complete copy, or say "
                "task.allow_counts=true when a subset is meant."
            )
        return [f"{text}: these numbers compare with no one else's"]

    def hub_patterns(self) -> tuple[str, ...]:
        """The files of the hub's repository that `fetch` brings: the configured split and train."""
        return tuple(dict.fromkeys((*self._patterns(self.split), *self._patterns("train"))))

    def _patterns(self, split: str) -> list[str]:
        return [p.format(split=s) for p in self.hub_files for s in SPLIT_NAMES[split]]

    def _from_hub(self, split: str) -> Path:
        """The dataset's snapshot in the hub's own cache, brought there if it is not."""
        if not self.repo:
            raise DataError(f"{self.name} is on no hub; give a local copy with task.path=DIR.")
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError

        # The base of the hub's own error is that of its HTTP library, whichever that is: time-outs, proxies.
        transport = [base for base in HfHubHTTPError.__bases__ if issubclass(base, Exception)]
        failures: tuple[type[Exception], ...] = (*transport, OSError, ValueError)
        patterns = self._patterns(split)
        try:
            folder = snapshot_download(
                self.repo, repo_type="dataset", revision=self.revision, allow_patterns=[*patterns, "*.md"]
            )
        except failures as problem:
            raise DataError(
                f"{self.name} ({self.repo}) is not on this machine and the dataset hub did not give it "
                f"({type(problem).__name__}). Give a local copy with task.path=DIR, or run "
                f"`python -m evalkit fetch task={self.name}` where there is a network."
            ) from problem
        return Path(folder)


def _counts_text(counts: Mapping[str, int]) -> str:
    kinds = [f"{counts[k]} {k.lower()}" for k in (OPEN, CLOSED) if k in counts]
    return f"{counts['n']} rows" + (f" ({', '.join(kinds)})" if kinds else "")


def unknown_form(name: str, root: Path, split: str, forms: str) -> DataError:
    """The error for a copy in which no form was recognised."""
    inside = sorted(p.name for p in root.iterdir())[:8] if root.is_dir() else [root.name]
    return DataError(
        f"{name}: no {split} split in a known form at {root} (there: {', '.join(inside) or 'nothing'}). "
        f"Known forms: {forms}."
    )
