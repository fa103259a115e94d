"""What the page shows, as columns: 45,000 samples must stay small enough to parse at once.

A column of the samples is `{"of": [distinct values], "at": [place in `of`, one a sample]}`: most of them hold a few
values many times, and a filter looks at each distinct value once.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evalkit.core.boxes import read_box
from evalkit.core.errors import ConfigError
from evalkit.core.files import read_json, read_lines
from evalkit.core.types import Sample
from evalkit.judge.results import JudgedNumbers, judged_numbers, judged_scores
from evalkit.runs.store import RunFolder
from evalkit.scoring.aggregate import slice_tags

MOST_RUNS = 2
# Metrics on a judge's scale; every other one is shown in percent.
POINTS = frozenset({"reference_score", "candidate_score", "order_effect"})
_RUN = (
    "run_id", "model", "task", "split", "n", "n_images", "prompt", "image", "generation", "closed_rule", "n_failed",
    "n_empty", "n_truncated", "n_skipped", "limit", "notes", "data_sha256", "evalkit", "unscored", "timing",
)  # fmt: skip

Column = dict[str, list[Any]]
Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """What a sample shows: addresses (data: or relative) of its pictures, and the first one's size before it was
    made small, in pixels (width, height), which is what boxes are in."""

    addresses: tuple[str, ...]
    size: tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Second run minus first of one metric, over the same rows, with its 95 % interval."""

    metric: str
    n: int
    first: float
    second: float
    difference: float
    low: float | None
    high: float | None
    n_worse: int
    n_better: int


def picture_key(sample: Sample) -> str:
    """What tells a sample's pictures from others'.  Not its image id: that is the cluster, and may be a video."""
    return " ".join(map(str, sample.images))


def page_data(
    runs: Sequence[Path],
    samples: Mapping[str, Sample],
    images: Mapping[str, Picture],
    *,
    differences: Sequence[Difference] = (),
    incomparable: str = "",
) -> dict[str, Any]:
    """Everything that the page needs, JSON-ready; no path of this machine is in it.

    Args:
        runs: one run's folder, or two over the same samples to be shown side by side.
        samples: id -> sample, for the tags; may be empty.
        images: `picture_key` of a sample -> its pictures; may be empty.
        differences: of two runs.
        incomparable: why there are none.

    Raises:
        ConfigError: more than two runs, two that share no samples, or that ask something else under the same id.
    """
    if not 1 <= len(runs) <= MOST_RUNS:
        raise ConfigError(f"A page shows one run or two side by side, not {len(runs)}.")
    summaries = [read_json(RunFolder(r).summary, "summary") for r in runs]
    answers = [{str(a["sample_id"]): a for a in read_lines(RunFolder(r).predictions)} for r in runs]
    ids = _shared(runs, answers)
    judges = [judged_numbers(r, s) for r, s in zip(runs, summaries, strict=True)]
    known = [samples.get(i) for i in ids]
    first = [answers[0][i] for i in ids]
    found = {k: number for number, k in enumerate(images)}
    said: dict[str, int] = {}
    return {
        "runs": [_run(s, j) for s, j in zip(summaries, judges, strict=True)],
        "differences": [_paired(d) for d in differences],
        "incomparable": incomparable,
        "left_out": [len(a) - len(ids) for a in answers],
        "lens": _lens(runs[0]),
        "ids": ids,
        "image_ids": pooled(a["image_id"] for a in first),
        "questions": pooled(a["question"] for a in first),
        "references": pooled(tuple(a["references"]) for a in first),
        "tags": _tags([s for s in known if s is not None], known, first),
        "pictures": [{"addresses": list(v.addresses), "size": list(v.size)} for v in images.values()],
        "picture": [-1 if s is None else found.get(picture_key(s), -1) for s in known],
        "boxes": _boxes(first, [[a[i] for i in ids] for a in answers]),
        "answers": [_answers([a[i] for i in ids]) for a in answers],
        "scores": [_scores(_score_lines(r, j), ids, said) for r, j in zip(runs, judges, strict=True)],
        "said": list(said),
    }


def pooled(values: Iterable[Hashable]) -> Column:
    """The column of some values.

    >>> pooled(["b", "a", "b"])
    {'of': ['b', 'a'], 'at': [0, 1, 0]}
    """
    place: dict[Hashable, int] = {}
    at = [place.setdefault(v, len(place)) for v in values]
    return {"of": list(place), "at": at}


def _shared(runs: Sequence[Path], answers: Sequence[Mapping[str, Record]]) -> list[str]:
    """The samples that all runs have, in the first one's order."""
    ids = [i for i in answers[0] if all(i in other for other in answers[1:])]
    if not ids:
        raise ConfigError(
            f"{runs[0]} and {runs[-1]} have no sample in common, so there is nothing to show side by side."
        )
    for i in ids:
        asked = {(a[i]["question"], tuple(a[i]["references"])) for a in answers}
        if len(asked) > 1:
            raise ConfigError(
                f"{runs[0]} and {runs[-1]} are over different data: sample {i} has another question or reference in "
                "each, so their answers cannot stand side by side."
            )
    return ids


def _tags(samples: Sequence[Sample], known: Sequence[Sample | None], first: Sequence[Record]) -> dict[str, Column]:
    names = sorted(slice_tags(samples))
    found = {t: pooled("" if s is None else s.tags.get(t, "") for s in known) for t in names}
    # Without its data a run still knows what was open and what was closed.
    if "answer_type" not in found and any(a["answer_type"] for a in first):
        found["answer_type"] = pooled(a["answer_type"] or "" for a in first)
    return found


def _lens(run: Path) -> Any:
    """The run's protocol lens, when it was scored under enough protocols to have one."""
    path = run / "lens.json"
    return read_json(path, "lens") if path.is_file() else None


def _run(summary: Record, judges: Sequence[JudgedNumbers]) -> dict[str, Any]:
    metrics = [*summary["metrics"], *(m for j in judges for m in j.metrics)]
    notes = [*(summary.get("notes") or ()), *(f"judge {j.judge}: {j.problem}" for j in judges if j.problem)]
    return {k: summary.get(k) for k in _RUN} | {"metrics": [_metric(m) for m in metrics], "notes": notes}


def _metric(metric: Record) -> dict[str, Any]:
    shown = ("protocol", "metric", "slice", "value", "low", "high", "n", "n_unscored", "value_unscored_wrong")
    signed = {"signature": metric["signature"]} if metric["slice"] == "all" else {}
    return {k: metric.get(k) for k in shown} | signed | ({"points": True} if metric["metric"] in POINTS else {})


def _paired(d: Difference) -> list[Any]:
    return [d.metric, d.first, d.second, d.difference, d.low, d.high, d.n, d.n_worse, d.n_better]


def _answers(records: Sequence[Record]) -> dict[str, Any]:
    return {k: pooled(a[k] for a in records) for k in ("text", "error", "finish_reason", "seconds")}


def _boxes(first: Sequence[Record], answers: Sequence[Sequence[Record]]) -> list[Column] | None:
    """The box of each reference, then of each run's answers, as the scorer reads them; None where there are none."""
    gold = [read_box(a["references"][0]) for a in first]
    if not any(gold):
        return None
    return [pooled(gold), *(pooled(read_box(a["text"] or "") for a in mine) for mine in answers)]


def _score_lines(run: Path, judges: Sequence[JudgedNumbers]) -> list[dict[str, Any]]:
    judged = [s for j in judges for s in judged_scores(run, j.judge)]
    return read_lines(RunFolder(run).scores) + judged


def _scores(records: Sequence[Record], ids: Sequence[str], said: dict[str, int]) -> dict[str, Column]:
    """`protocol metric` -> a column: a number, [reason] where it is unscored, null where the metric has no such row.

    A score with something read out of the answer or a note is [value, extracted, note], both as places in `said`: many
    metrics read the same out of an answer, and it may be long.
    """
    place = {sample_id: k for k, sample_id in enumerate(ids)}
    columns: dict[tuple[str, str], tuple[dict[Any, int], list[int]]] = {}
    for record in records:
        k = place.get(record["sample_id"])
        if k is None:
            continue
        key = (record["protocol"], record["metric"])
        if (column := columns.get(key)) is None:
            column = columns[key] = ({None: 0}, [0] * len(ids))
        of, at = column
        at[k] = of.setdefault(_entry(record, said), len(of))
    return {f"{p} {m}": {"of": list(of), "at": at} for (p, m), (of, at) in columns.items()}


def _entry(record: Record, said: dict[str, int]) -> Any:
    if record["value"] is None:
        return (record["reason"],)
    extracted, note = record.get("extracted", ""), record.get("note", "")
    if not extracted and not note:
        return record["value"]
    return record["value"], said.setdefault(extracted, len(said)), said.setdefault(note, len(said))
