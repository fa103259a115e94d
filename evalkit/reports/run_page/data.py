"""The content of the page as columns, so that 45,000 samples are small enough to parse at once.

A column of the samples is `{"of": [distinct values], "at": [position in `of`, one a sample]}`: most columns have few
distinct values, and a filter tests each of them once.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evalkit.analysis.draw_texts import draw_texts
from evalkit.analysis.paired import Paired
from evalkit.analysis.sanity_checks.answers import wordiness
from evalkit.analysis.thoughts import thought_length_text
from evalkit.core.boxes import read_box
from evalkit.core.errors import ConfigError
from evalkit.core.files import read_json
from evalkit.core.format import shown_metric
from evalkit.core.types import MetricKey, MetricValue, Sample, Score
from evalkit.judge.results import JudgedNumbers, judged_numbers, judged_scores
from evalkit.reports.run_page.differences import Differences
from evalkit.runs.codec import encode
from evalkit.runs.columns import ScoreGroups, groups_of_scores
from evalkit.runs.schema import PredictionLine, Summary
from evalkit.runs.verify import StoredRun, open_run
from evalkit.scoring.aggregate import slice_tags

MAX_RUNS = 2
# In the viewer, which puts pages of one run each together.
MAX_SIDE_BY_SIDE = 6
# Metrics on a judge's scale; every other one is shown in percent.
POINTS = frozenset({"reference_score", "candidate_score", "order_effect"})

Column = dict[str, list[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """The pictures of a sample.

    addresses: `data:` or relative, one a picture.  size: width and height of the first one in pixels before it was
    scaled down; boxes are in these pixels.  None where they are not known, and then no box is drawn.
    """

    addresses: tuple[str, ...]
    size: tuple[int, int] | None


def picture_key(sample: Sample) -> str:
    """The identity of a sample's pictures.  Not its image id, which names the cluster and may be a video."""
    return " ".join(map(str, sample.images))


def page_data(
    runs: Sequence[Path],
    samples: Mapping[str, Sample],
    images: Mapping[str, Picture],
    *,
    differences: Differences | None = None,
) -> dict[str, Any]:
    """Everything that the page needs, JSON-ready, without any path of this machine.

    Args:
        runs: the folder of one run, or of two over the same samples, which are shown side by side.
        samples: id -> sample, for the tags; may be empty.
        images: `picture_key` of a sample -> its pictures; may be empty.
        differences: of two runs.

    Raises:
        ConfigError: more than two runs, or two without a common sample or with different data.
        StoreError: a run is not finished, or its files are not those that its summary was made from.
    """
    if not 1 <= len(runs) <= MAX_RUNS:
        raise ConfigError(f"A page shows one run or two side by side, not {len(runs)}.")
    found = differences or Differences()
    stored = [open_run(r) for r in runs]
    summaries = [s.summary for s in stored]
    answers = [{a.sample_id: a for a in s.predictions()} for s in stored]
    ids = _shared_ids(runs, answers)
    judges = [judged_numbers(r, s) for r, s in zip(runs, summaries, strict=True)]
    known = [samples.get(i) for i in ids]
    in_order = [[a[i] for i in ids] for a in answers]
    texts: dict[str, int] = {}
    return {
        "runs": [_run(s, j) for s, j in zip(summaries, judges, strict=True)],
        "remarks": [],
        "wordy": [_wordy(s, lines) for s, lines in zip(summaries, in_order, strict=True)],
        "differences": [difference_record(found)] if len(runs) > 1 else [],
        "left_out": [len(a) - len(ids) for a in answers],
        "lens": _protocol_comparison(stored[0]),
        "ids": ids,
        **_sample_columns(known, in_order[0], images),
        "boxes": _boxes(in_order),
        "answers": [_answers(lines) for lines in in_order],
        "scores": [_scores(_all_scores(s, j, ids), len(ids), texts) for s, j in zip(stored, judges, strict=True)],
        "texts": list(texts),
    }


def page_head(run: Path) -> dict[str, Any]:
    """The part of `page_data` that needs no answers, for a page that shows the numbers while it loads the samples.

    Raises:
        StoreError: the run is not finished, or its comparison of protocols is not the summary's.
    """
    stored = open_run(run)
    return {
        "runs": [_run(stored.summary, judged_numbers(run, stored.summary))],
        "lens": _protocol_comparison(stored),
    }


def _sample_columns(
    known: Sequence[Sample | None], first: Sequence[PredictionLine], images: Mapping[str, Picture]
) -> dict[str, Any]:
    """Questions, references, tags and pictures of the samples."""
    numbers = {key: number for number, key in enumerate(images)}
    return {
        "image_ids": pooled(a.image_id for a in first),
        "questions": pooled(a.question for a in first),
        "references": pooled(a.references for a in first),
        "tags": _tags(known, first),
        "pictures": [{"addresses": list(v.addresses), "size": v.size and list(v.size)} for v in images.values()],
        "picture": [-1 if s is None else numbers.get(picture_key(s), -1) for s in known],
    }


def pooled(values: Iterable[Hashable]) -> Column:
    """The column of some values.

    >>> pooled(["b", "a", "b"])
    {'of': ['b', 'a'], 'at': [0, 1, 0]}
    """
    position: dict[Hashable, int] = {}
    at = [position.setdefault(v, len(position)) for v in values]
    return {"of": list(position), "at": at}


def _shared_ids(runs: Sequence[Path], answers: Sequence[Mapping[str, PredictionLine]]) -> list[str]:
    """The samples that all runs have, in the first run's order."""
    ids = [i for i in answers[0] if all(i in other for other in answers[1:])]
    if not ids:
        raise ConfigError(
            f"{runs[0]} and {runs[-1]} have no sample in common, so there is nothing to show side by side."
        )
    for i in ids:
        if len({(a[i].question, a[i].references) for a in answers}) > 1:
            raise ConfigError(
                f"{runs[0]} and {runs[-1]} are over different data: sample {i} has another question or reference in "
                "each, so their answers cannot be shown side by side."
            )
    return ids


def _tags(known: Sequence[Sample | None], first: Sequence[PredictionLine]) -> dict[str, Column]:
    names = sorted(slice_tags([s for s in known if s is not None]))
    found = {t: pooled("" if s is None else s.tags.get(t, "") for s in known) for t in names}
    # Answers record whether a sample is open or closed, also where the data cannot be read.
    if "answer_type" not in found and any(a.answer_type for a in first):
        found["answer_type"] = pooled(a.answer_type or "" for a in first)
    return found


def _protocol_comparison(run: StoredRun) -> Any:
    """The comparison of the run's protocols; None for a run with too few of them."""
    path = run.folder.path / "lens.json"
    run.check(path.name)
    return read_json(path, "comparison of protocols") if path.is_file() else None


def _run(summary: Summary, judges: Sequence[JudgedNumbers]) -> dict[str, Any]:
    s = summary
    metrics = [*s.metrics, *(m for j in judges for m in j.metrics)]
    notes = [*(f"warning: {text}" for text in s.warnings), *s.notes]
    notes += [f"judge {j.judge}: {j.problem}" for j in judges if j.problem]
    if thoughts := s.sanity_checks.get("thoughts"):
        notes.append(f"{thoughts['n']} of {s.n} answers came with a thought: {thought_length_text(thoughts)}")
    notes += [text for lines in draw_texts(s.sanity_checks.get("draws"), s.metrics, ()) for text in lines.splitlines()]
    return {
        "run_id": s.run_id, "model": s.model, "task": s.task, "split": s.split, "n": s.n, "n_images": s.n_images,
        "prompt": s.prompt, "image": s.image, "generation": s.generation, "closed_rule": s.closed_rule,
        "n_failed": s.n_failed, "n_empty": s.n_empty, "n_truncated": s.n_truncated, "n_skipped": s.n_skipped,
        "limit": s.limit, "data_sha256": s.data_sha256, "evalkit": s.evalkit, "unscored": encode(s.unscored),
        "timing": encode(s.timing), "metrics": [_metric(m) for m in metrics], "notes": notes,
        "baselines": _baselines(s),
        "confidence": s.sanity_checks.get("confidence"),
    }  # fmt: skip


def _metric(m: MetricValue) -> dict[str, Any]:
    shown = {
        "protocol": m.protocol, "metric": m.metric, "slice": m.slice, "value": m.value, "low": m.low, "high": m.high,
        "n": m.n, "n_unscored": m.n_unscored, "value_worst_case": m.value_worst_case,
        "low_worst_case": m.low_worst_case, "high_worst_case": m.high_worst_case, "n_effective": m.n_effective,
        "higher_is_better": m.higher_is_better,
    }  # fmt: skip
    signed = {"signature": str(m.signature)} if m.slice == "all" else {}
    label = shown_metric(m.metric)
    named = {"label": label} if label != m.metric else {}
    return shown | signed | named | ({"points": True} if m.metric in POINTS else {})


def difference_record(found: Differences, run: int = 1) -> dict[str, Any]:
    """The differences of a run from the first, JSON-ready.  run: its position among the runs of the page."""
    return {"run": run, "pairs": [_difference(p) for p in found.pairs], "incomparable": found.incomparable}


def _difference(p: Paired) -> list[Any]:
    bounds = [p.interval.low, p.interval.high]
    counts = [p.n, p.n_worse, p.n_better]
    return [str(p.key), p.first, p.second, p.difference, *bounds, *counts, p.higher_is_better, *p.table_values]


def _baselines(summary: Summary) -> list[Mapping[str, Any]]:
    """The image-blind baselines of a run, each with the run's lift over it."""
    return list((summary.sanity_checks.get("baselines") or {}).get("metrics", ()))


def _wordy(summary: Summary, lines: Sequence[PredictionLine]) -> str:
    """The reason why exact match is low for a model that answers in sentences; empty for any other run."""
    if not any("exact" in m.metric for m in summary.metrics):
        return ""
    words = wordiness((a.text for a in lines), (a.references for a in lines))
    if words is None:
        return ""
    return (
        f"answers have {words.said:g} words in the median, references {words.asked:g}: an exact match is the reference "
        "and nothing else, so it is low for a model that answers in sentences, right or wrong. Recall, closed accuracy "
        "and judged scores read sentences."
    )


def _answers(lines: Sequence[PredictionLine]) -> dict[str, Any]:
    columns = {
        "text": pooled(a.text for a in lines),
        "error": pooled(a.error for a in lines),
        "finish_reason": pooled(a.finish_reason for a in lines),
        "seconds": pooled(a.seconds for a in lines),
    }
    if any(a.prediction.is_cut for a in lines):
        columns["cut"] = pooled(a.prediction.is_cut for a in lines)
    if any(a.reasoning for a in lines):
        columns["reasoning"] = pooled(a.reasoning for a in lines)
    return columns


def _boxes(answers: Sequence[Sequence[PredictionLine]]) -> list[Column] | None:
    """The box of each reference, then of each run's answers, as the scorer reads them; None without any reference box.

    answers: of each run, in the same order.
    """
    gold = [read_box(a.references[0]) for a in answers[0]]
    if not any(gold):
        return None
    return [pooled(gold), *(pooled(read_box(a.text or "") for a in lines) for lines in answers)]


def _all_scores(run: StoredRun, judges: Sequence[JudgedNumbers], ids: Sequence[str]) -> list[ScoreGroups]:
    judged = [s for j in judges for s in judged_scores(run.folder.path, j.judge)]
    return [*run.score_groups(ids), groups_of_scores(judged, ids)]


def _scores(found: Iterable[ScoreGroups], n: int, texts: dict[str, int]) -> dict[str, Column]:
    """`PROTOCOL METRIC` -> a column: a number, [reason] for an unscored sample, null for one without such a score.

    A score with an extracted part or a note is [value, extracted, note], both as positions in `texts`: many metrics
    extract the same part of an answer, and it may be long.

    Args:
        found: the scores of n samples.
    """
    columns: dict[MetricKey, tuple[dict[Any, int], list[int]]] = {}
    for group in found:
        targets: list[tuple[list[int], int]] = []
        for score in group.distinct:
            key = MetricKey(score.protocol, score.metric)
            if (column := columns.get(key)) is None:
                column = columns[key] = ({None: 0}, [0] * n)
            of, at = column
            targets.append((at, of.setdefault(_entry(score, texts), len(of))))
        for place, which in zip(group.places.tolist(), group.of.tolist(), strict=True):
            at, entry = targets[which]
            at[place] = entry
    return {str(key): {"of": list(of), "at": at} for key, (of, at) in columns.items()}


def _entry(score: Score, texts: dict[str, int]) -> Any:
    if score.value is None:
        return (score.reason,)
    if not score.extracted and not score.note:
        return score.value
    return score.value, texts.setdefault(score.extracted, len(texts)), texts.setdefault(score.note, len(texts))
