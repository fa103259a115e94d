"""Reader of plain records: JSON lines, JSON arrays, CSV, TSV, xlsx or parquet with id or question, and prediction."""

from __future__ import annotations

from collections.abc import Iterable

from evalkit.core.errors import DataError
from evalkit.importers.base import Answers, Columns, Format
from evalkit.importers.columns import override, read_columns
from evalkit.importers.identify import ID_NAMES
from evalkit.records.base import RawFile
from evalkit.records.text import unwrap

_QUESTION = ("question", "question_text", "query", "prompt", "input")
_REFERENCE = (
    "reference", "references", "ground_truth", "groundtruth", "gt", "gold", "gold_answer", "gt_answer", "true_answer",
    "correct_answer", "target", "label",
)  # fmt: skip
# Names with the same meaning are in one tier; a file with two names of a tier is ambiguous and is refused.
_PREDICTION = (
    ("prediction", "pred", "predicted", "predicted_answer", "model_prediction", "model_answer", "pred_answer",
     "answer_pred", "hypothesis"),
    ("response", "model_response", "output", "model_output", "generated", "generated_text", "generated_answer",
     "generation", "completion"),
    ("text",),
)  # fmt: skip


def read(raw: RawFile, columns: Columns) -> Answers:
    """Read answers from the named columns, or from columns with the usual names."""
    raw = unwrap(raw) if raw.kind == "whole" else raw
    if raw.kind != "records":
        raise DataError(
            f"{raw.path}: no list of answers was found. Expected records with an id or a question and a prediction; "
            "set format=NAME if the format cannot be recognised."
        )
    if not raw.records:
        raise DataError(f"{raw.path}: contains no answers.")
    guess = _guess(raw, columns)
    answers, notes, id_column = read_columns(raw, guess)
    read_as = ", ".join(
        f"{role}={name}" for role in ("id", "prediction", "question", "reference") if (name := getattr(guess, role))
    )
    return Answers(answers, [*raw.notes, f"columns read as {read_as}", *notes], id_column)


def _guess(raw: RawFile, named: Columns) -> Columns:
    names = list(raw.records.names)
    prediction = named.prediction or _prediction(raw, names, named)
    free = [n for n in names if n != prediction]
    reference = _first(free, _REFERENCE) or _first(free, ("answer", "answers"))
    return override(
        Columns(
            id=_first(free, ID_NAMES), prediction=prediction, question=_first(free, _QUESTION), reference=reference
        ),
        named,
    )


def _prediction(raw: RawFile, names: list[str], named: Columns) -> str:
    for tier in _PREDICTION:
        found = [n for n in names if _column_key(n) in tier]
        if len(found) > 1:
            raise DataError(
                f"{raw.path}: {' and '.join(found)} could each be the prediction. Choose one with prediction=NAME."
            )
        if found:
            return found[0]
    answer = _first(names, ("answer",))
    if answer is None:
        raise DataError(
            f"{raw.path}: no column that looks like a prediction among {', '.join(names)}. Name it with "
            "prediction=NAME."
        )
    # A file with only `answer` may be the dataset itself, and scoring its gold answers would give 100 %.
    others = [n for n in names if n not in (answer, named.id)]
    if named.reference or _first(others, _REFERENCE) or not [n for n in others if _column_key(n) not in ID_NAMES]:
        return answer
    raise DataError(
        f"{raw.path}: the column {answer!r} may contain the gold answers or the model's, and none of the columns "
        f"{', '.join(names)} is clearly a prediction. If they are the model's, set prediction={answer}."
    )


def _first(names: Iterable[str], known: tuple[str, ...]) -> str | None:
    by_plain: dict[str, str] = {}
    for name in names:
        by_plain.setdefault(_column_key(name), name)
    return next((by_plain[k] for k in known if k in by_plain), None)


def _column_key(name: str) -> str:
    return name.strip().lower().replace(" ", "_").replace("-", "_")


FORMAT = Format(
    about="records with an id or a question, and a prediction (JSON, JSON lines, CSV, TSV, xlsx, parquet)",
    recognises=lambda raw: raw.kind in ("records", "whole"),
    read=read,
)
