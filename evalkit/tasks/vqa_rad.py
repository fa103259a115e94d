"""VQA-RAD (Lau et al. 2018, Scientific Data 5:180251) in its four released forms."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from evalkit.core.errors import DataError
from evalkit.core.files import expand_home
from evalkit.core.types import CLOSED, OPEN
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

FORMS = "OSF JSON, MEVF trainset/testset JSON, Hugging Face parquet, LLaVA-Med JSON"
# Typos of the release, mapped to the spelling of its other rows.
_TYPES = {"ATRIB": "ATTRIB", "ATTRIBUTE": "ATTRIB", "PRSE": "PRES", "OTHERS": "OTHER", "MODALITY": "MODALITY"}
_FRAME = "frame"
TEST_ROWS = 451


class VqaRad(VqaTask):
    """Radiology questions by clinicians: 451 test rows on 203 images.

    osf_path: a copy of the OSF release, from which rows in the Hugging Face form get their ids and labels.
    """

    label_remedy: ClassVar[str] = ", or join the rows to the release with task.osf_path=DIR"

    def __init__(self, *, osf_path: str | None = None, **settings: Any) -> None:
        super().__init__(**settings)
        self.osf_path = expand_home(osf_path) if osf_path else None

    def read(self, root: Path, split: str, images: bool) -> SplitRows:
        """See `VqaTask.read`."""
        return only_form(self._forms(root, split, images), self.name, root, split, FORMS).read()

    def _forms(self, root: Path, split: str, images: bool) -> Iterator[Form]:
        finder = ImageFinder(root, split) if images else None
        for path, records in json_files(root, split) if root.suffix != ".parquet" else ():
            first = records[0]
            named = root.is_file() or names_split(path, split)
            if "phrase_type" in first and ("qid_linked_id" in first or "question_relation" in first):
                yield Form("osf-json", (path,), partial(osf_rows, records, finder, path, split))
            elif named and {"qid", "image_name", "phrase_type"} <= set(first):
                yield Form("mevf-json", (path,), partial(_mevf_rows, records, finder, path, split))
            elif named and is_conversation(first):
                yield Form("llava-med-json", (path,), partial(_conversations, records, finder, path, split))
        for files in parquet_forms(root, split):
            yield Form("hf-parquet", files, partial(self._parquet, files, split))

    def _parquet(self, files: Sequence[Path], split: str) -> SplitRows:
        rows = tuple(
            RawRow(
                id=f"hf-{split}-{number}",
                question=field_of(record, "question", f"{files[0]}: row {number}"),
                verbatim=str(record["question"]),
                answer=field_of(record, "answer", f"{files[0]}: row {number}"),
                image_id=image_id,
                image=ref,
            )
            for number, record, ref, image_id in parquet_rows(files)
        )
        if self.osf_path is None or split != "test":
            return SplitRows(form="hf-parquet", rows=rows, order={"hf": tuple(r.id for r in rows)})
        release = self._release(self.osf_path, split)
        return SplitRows(form="hf-parquet+osf", rows=_joined(rows, release, self.osf_path), order=release.order)

    def _release(self, osf_path: Path, split: str) -> SplitRows:
        """The rows at task.osf_path, which has ids, labels and the order of the hub's rows."""
        forms = [f for f in self._forms(osf_path, split, images=False) if f.name in ("osf-json", "llava-med-json")]
        released = [f for f in forms if f.name == "osf-json"] or forms
        if not released:
            raise DataError(
                f"task.osf_path={osf_path}: there is no OSF release (VQA_RAD Dataset Public.json) of VQA-RAD. Set it "
                "to the folder or file of the release."
            )
        return only_form(released, self.name, osf_path, split, FORMS).read()

    def expected(self, form: str, split: str) -> tuple[Mapping[str, int], ...]:
        """See `VqaTask.expected`."""
        test = {"label": (179, 272), "yesno": (200, 251)}[self.closed_rule]
        if split == "test":
            return ({"n": 451, OPEN: test[0], CLOSED: test[1]},)
        if self.closed_rule == "label":
            small, framed = ({"n": 1797, OPEN: 770, CLOSED: 1027}, {"n": 3064, OPEN: 1241, CLOSED: 1823})
        else:
            small, framed = {"n": 1797}, {"n": 3064}
        by_form: dict[str, tuple[Mapping[str, int], ...]] = {
            "osf-json": (small,),
            "mevf-json": (framed,),
            "llava-med-json": (small, framed),
            "hf-parquet": ({"n": 1793},),
        }
        return by_form.get(form, ())


def osf_rows(records: Sequence[Record], finder: ImageFinder | None, path: Path, split: str) -> SplitRows:
    """Rows of a split of the OSF release, whose single file contains both: test rows have phrase type test_*."""
    if split not in ("train", "test"):
        raise DataError(f"VQA-RAD has no {split} split; its splits are train and test.")
    rows = []
    for record in records:
        row = _row(record, finder, path, "")
        if str(record.get("phrase_type")).startswith("test_") != (split == "test"):
            continue
        # If a framed rewording of a test question exists, it is in the 3,064-row train split that most papers use.
        leak = {"leak": _FRAME if optional(record.get("question_frame")) else "none"} if split == "test" else {}
        rows.append(replace(row, tags={**row.tags, **leak}))
    return SplitRows(form="osf-json", rows=tuple(rows), order=hf_order([r.id for r in rows], split))


def _conversations(records: Sequence[Record], finder: ImageFinder | None, path: Path, split: str) -> SplitRows:
    rows = tuple(conversation_rows(records, finder, path))
    return SplitRows(form="llava-med-json", rows=rows, order=hf_order([r.id for r in rows], split))


def _mevf_rows(records: Sequence[Record], finder: ImageFinder | None, path: Path, split: str) -> SplitRows:
    return SplitRows(form="mevf-json", rows=tuple(_mevf_row(r, finder, path, split) for r in records))


def hf_order(ids: Sequence[str], split: str) -> dict[str, tuple[str, ...]]:
    """The Hugging Face numbering of the test rows.

    Inferred from the data: that release lists the rows by position in the OSF file, sorted as text (0, 1, 10, 100 ...).
    """
    # In a subset the positions differ, and rows would be joined to the answers of other questions.
    if split != "test" or len(ids) != TEST_ROWS or not all(i.isdecimal() for i in ids):
        return {}
    in_file_order = sorted(ids, key=int)
    return {"hf": tuple(in_file_order[k] for k in sorted(range(len(ids)), key=str))}


def _mevf_row(record: Record, finder: ImageFinder | None, path: Path, split: str) -> RawRow:
    """A row of the MEVF form; phrase types are named as in the OSF release, so that slices have the same names."""
    if split == "test" and (phrase := optional(record.get("phrase_type"))) and not phrase.startswith("test_"):
        record = {**record, "phrase_type": f"test_{phrase}"}
    return _row(record, finder, path, f"mevf-{split}-")


def _row(record: Record, finder: ImageFinder | None, path: Path, prefix: str) -> RawRow:
    """A row of the OSF or MEVF form.  In the release the first qid is a string and five answers are integers."""
    where = f"{path}: qid {record.get('qid')!r}"
    image = field_of(record, "image_name", where)
    qid = field_of(record, "qid", where)
    if not qid.isdecimal():
        raise DataError(f"{where}; expected a whole number.")
    tags = {
        "organ": optional(record.get("image_organ")),
        "question_type": _question_type(record.get("question_type")),
        "phrase_type": optional(record.get("phrase_type")),
        "pair": optional(record.get("qid_linked_id")),
    }
    return RawRow(
        id=f"{prefix}{int(qid)}",
        question=field_of(record, "question", where),
        verbatim=str(record["question"]),
        answer=field_of(record, "answer", where),
        image_id=image,
        image=finder.find(image) if finder else None,
        label=label_of(record.get("answer_type"), where),
        tags={k: v for k, v in tags.items() if v},
    )


def _question_type(value: Any) -> str | None:
    """Question type in a unified spelling; several types of a row are joined in alphabetical order."""
    text = optional(value)
    if text is None:
        return None
    parts = {_TYPES.get(p, p) for p in (q.strip().upper() for q in text.split(",")) if p}
    return "+".join(sorted(parts))


def _joined(rows: Sequence[RawRow], release: SplitRows, osf_path: Path) -> tuple[RawRow, ...]:
    """Hugging Face rows with the ids, labels and tags of the OSF release, after checking that the texts agree."""
    by_id = {r.id: r for r in release.rows}
    order = release.order.get("hf", ())
    if len(order) != len(rows):
        raise DataError(
            f"task.osf_path={osf_path} has {len(release.rows)} test rows, the parquet files {len(rows)}; rows can be "
            f"joined only if both have all {TEST_ROWS}."
        )
    joined = []
    for number, (row, sample_id) in enumerate(zip(rows, order, strict=True)):
        original = by_id[sample_id]
        # The hub's copy is in lower case, and one of its rows lacks a space before the question mark.
        hub_text, osf_text = (("".join(f"{r.question}|{r.answer}".lower().split())) for r in (row, original))
        if hub_text != osf_text:
            raise DataError(
                f"Row {number} of the parquet files has {(row.question, row.answer)}, but its counterpart in "
                f"{osf_path} (qid {sample_id}) has {(original.question, original.answer)}: these are not two forms of "
                "the same release."
            )
        joined.append(replace(row, id=sample_id, image_id=original.image_id, label=original.label, tags=original.tags))
    return tuple(joined)
