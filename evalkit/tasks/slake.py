"""SLAKE (Liu et al. 2021, arXiv:2102.09542) in its released forms."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from evalkit.core.errors import ConfigError, DataError, did_you_mean
from evalkit.core.types import CLOSED, OPEN
from evalkit.tasks.base import LoadedTask
from evalkit.tasks.formats import (
    Form,
    RawRow,
    Record,
    SplitRows,
    conversation_rows,
    field_of,
    is_conversation,
    json_files,
    label_of,
    names_split,
    only_form,
    optional,
    parquet_forms,
    parquet_rows,
)
from evalkit.tasks.image_finder import ImageFinder
from evalkit.tasks.vqa import VqaTask

FORMS = "the original JSON with imgs/ or imgs.zip, Hugging Face parquet (English), LLaVA-Med JSON (English)"
LANGUAGES = ("en", "zh", "all")

# Number of rows by split and language; for English the labels (open, closed) and the yes/no counts of the test split.
_N = {
    "train": {"en": 4919, "zh": 4916, "all": 9835},
    "validation": {"en": 1053, "zh": 1046, "all": 2099},
    "test": {"en": 1061, "zh": 1033, "all": 2094},
}
_LABELS = {"train": (2976, 1943), "validation": (631, 422), "test": (645, 416)}
_YES_NO_TEST = (706, 355)


class Slake(VqaTask):
    """Bilingual radiology questions: 1,061 English test rows on 96 images.

    language: en, zh or all.  The languages are not pooled by default, because their closed answers differ in kind.
    """

    hub_files: ClassVar[tuple[str, ...]] = ("{split}.json", "imgs.zip", "*{split}*.parquet")

    def __init__(self, *, language: str = "en", **settings: Any) -> None:
        super().__init__(**settings)
        if language not in LANGUAGES:
            raise ConfigError(f"Unknown language task.language={language}. {did_you_mean(str(language), LANGUAGES)}")
        if self.closed_rule == "yesno" and language != "en":
            raise ConfigError(
                "task.closed_rule=yesno looks for the English words yes and no, which Chinese answers do not use. Set "
                "task.closed_rule=label with task.language=zh or all."
            )
        self.language = language

    def read(self, root: Path, split: str, images: bool) -> SplitRows:
        """See `VqaTask.read`."""
        return only_form(self._forms(root, split, images), self.name, root, split, FORMS).read()

    def _forms(self, root: Path, split: str, images: bool) -> Iterator[Form]:
        finder = ImageFinder(root, split) if images else None
        for path, records in json_files(root, split) if root.suffix != ".parquet" else ():
            if not (root.is_file() or names_split(path, split)):
                continue
            if {"img_name", "q_lang", "question"} <= set(records[0]):
                yield Form("slake-json", (path,), partial(self._original, records, finder, path, split, root))
            elif is_conversation(records[0]):
                yield Form("llava-med-json", (path,), partial(self._conversations, records, finder, path))
        for files in parquet_forms(root, split):
            yield Form("hf-parquet", files, partial(self._parquet, files, split))

    def _original(
        self, records: Sequence[Record], finder: ImageFinder | None, path: Path, split: str, root: Path
    ) -> SplitRows:
        kept = [r for r in records if self.language in ("all", r.get("q_lang"))]
        rows = tuple(_row(r, finder, path) for r in kept)
        if split == "test" and self.language == "en":
            rows = tuple(_tag_leaks(rows, _chinese_train_images(root)))
        return SplitRows(form="slake-json", rows=rows)

    def _conversations(self, records: Sequence[Record], finder: ImageFinder | None, path: Path) -> SplitRows:
        self._english_only("LLaVA-Med JSON")
        return SplitRows(form="llava-med-json", rows=tuple(conversation_rows(records, finder, path)))

    def _parquet(self, files: Sequence[Path], split: str) -> SplitRows:
        self._english_only("Hugging Face parquet")
        rows = tuple(
            RawRow(
                id=f"hf-{split}-{number}",
                question=field_of(record, "question", f"{files[0]}: row {number}"),
                verbatim=str(record["question"]),
                answer=field_of(record, "answer", f"{files[0]}: row {number}"),
                image_id=image_id,
                image=ref,
                label=label_of(record.get("answer_type"), f"{files[0]}: row {number}"),
                tags={"language": "en"},
            )
            for number, record, ref, image_id in parquet_rows(files)
        )
        return SplitRows(form="hf-parquet", rows=rows)

    def other_train(self) -> Mapping[str, LoadedTask]:
        """Train rows of the other language: splits share no images within a language, but across languages they do."""
        others = {"en": ("zh",), "zh": ("en",), "all": ()}[self.language]
        settings: dict[str, Any] = {"name": self.name, "path": str(self.path) if self.path else None}
        settings |= {"repo": self.repo, "revision": self.revision, "allow_counts": self.allow_counts}
        try:
            return {f"train, {lang}": Slake(language=lang, **settings).load_train() for lang in others}
        except (ConfigError, DataError):  # a form with one language only, or a copy without a train split
            return {}

    def _english_only(self, form: str) -> None:
        if self.language != "en":
            raise ConfigError(
                f"The {form} form of SLAKE contains English only; task.language={self.language} needs the original."
            )

    def expected(self, form: str, split: str) -> tuple[Mapping[str, int], ...]:
        """See `VqaTask.expected`.  All forms contain the same rows."""
        del form
        counts = {"n": _N[split][self.language]}
        if self.language == "en" and self.closed_rule == "label":
            counts |= dict(zip((OPEN, CLOSED), _LABELS[split], strict=True))
        if self.closed_rule == "yesno" and split == "test":
            counts |= dict(zip((OPEN, CLOSED), _YES_NO_TEST, strict=True))
        return (counts,)


def _chinese_train_images(root: Path) -> frozenset[str] | None:
    """Image names of the Chinese train rows in the same copy; None if the copy has no train file."""
    for path, records in json_files(root if root.is_dir() else root.parent, "train"):
        if names_split(path, "train") and {"img_name", "q_lang"} <= set(records[0]):
            return frozenset(str(r["img_name"]) for r in records if r.get("q_lang") == "zh")
    return None


def _tag_leaks(rows: Sequence[RawRow], seen: frozenset[str] | None) -> Iterator[RawRow]:
    """Tag English test rows by whether their image is in the Chinese train split (splits are per language)."""
    for row in rows:
        kind = {} if seen is None else {"leak": "zh-train" if row.image_id in seen else "none"}
        yield replace(row, tags={**row.tags, **kind})


def _row(record: Record, finder: ImageFinder | None, path: Path) -> RawRow:
    where = f"{path}: qid {record.get('qid')!r}"
    image = field_of(record, "img_name", where)
    tags = {
        "modality": optional(record.get("modality")),
        "organ": optional(record.get("location")),
        "content_type": optional(record.get("content_type")),
        "base_type": optional(record.get("base_type")),
        "language": optional(record.get("q_lang")),
    }
    return RawRow(
        id=field_of(record, "qid", where),
        question=field_of(record, "question", where),
        verbatim=str(record["question"]),
        answer=field_of(record, "answer", where),
        image_id=image,
        image=finder.find(image) if finder else None,
        label=label_of(record.get("answer_type"), where),
        tags={k: v for k, v in tags.items() if v},
    )
