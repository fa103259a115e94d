"""Two runs over the same samples: what may be compared, and the paired difference with its interval.

`compare` and `gate` both stand on this page.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from evalkit.errors import DataError, StoreError
from evalkit.stats import Interval, mean_interval
from evalkit.store import RunFolder, read_json, read_lines

# What two runs must share for a difference between them to mean something.
HEADER = ("task", "split", "data_sha256", "closed_rule", "prompt", "image", "limit", "n")
# Parts of a signature that may differ: they belong to the model or to the program, and are said, not refused.
MAY_DIFFER = frozenset({"gen", "v"})
BASELINE = "evalkit gate baseline"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """A run as columns: `scores[metric][k]` is the score of sample `ids[k]`, None where it was not scored.

    Metric keys are "PROTOCOL METRIC".  `rows[metric]` are the positions that the metric is over.
    `texts` are the answers, empty for a stored baseline without them.
    """

    origin: str
    header: Mapping[str, Any]
    ids: tuple[str, ...]
    image_ids: tuple[str, ...]
    scores: Mapping[str, tuple[float | None, ...]]
    rows: Mapping[str, tuple[int, ...]]
    signatures: Mapping[str, str]
    questions: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()


def read_scored(path: Path) -> Scored:
    """A run's folder, or a baseline file that `gate save=FILE` wrote.

    Raises:
        StoreError: anything in it is missing, malformed, doubled or does not fit the rest.
    """
    try:
        return _from_file(path) if path.is_file() else _from_folder(path)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as problem:
        raise StoreError(
            f"{path} is neither a run of evalkit nor a baseline that it wrote ({type(problem).__name__}: {problem}). "
            "Make it anew with `python -m evalkit gate candidate=RUN save=FILE`."
        ) from problem


def _from_folder(path: Path) -> Scored:
    folder = RunFolder(path)
    summary = read_json(folder.summary, "summary")
    answers = read_lines(folder.predictions)
    ids = tuple(str(a["sample_id"]) for a in answers)
    columns: dict[str, dict[str, float | None]] = {}
    for line in read_lines(folder.scores):
        column = columns.setdefault(f"{line['protocol']} {line['metric']}", {})
        if line["sample_id"] in column:
            raise ValueError(f"two scores of {line['metric']} for sample {line['sample_id']}")
        column[line["sample_id"]] = line["value"]
    known = set(ids)
    if any(set(c) - known for c in columns.values()):
        raise ValueError("scores of samples without an answer")
    return _checked(
        Scored(
            origin=str(path),
            header={k: summary[k] for k in (*HEADER, "model", "run_id", "evalkit", "generation")},
            ids=ids,
            image_ids=tuple(str(a["image_id"]) for a in answers),
            scores={m: tuple(c.get(i) for i in ids) for m, c in columns.items()},
            rows={m: tuple(k for k, i in enumerate(ids) if i in c) for m, c in columns.items()},
            signatures={
                f"{m['protocol']} {m['metric']}": m["signature"] for m in summary["metrics"] if m["slice"] == "all"
            },
            questions=tuple(str(a["question"]) for a in answers),
            texts=tuple(f"(failed: {a['error']})" if a["text"] is None else str(a["text"]) for a in answers),
        )
    )


def _from_file(path: Path) -> Scored:
    content = read_json(path, "baseline")
    if content["kind"] != BASELINE:
        raise ValueError(f"kind is {content['kind']!r}")
    return _checked(
        Scored(
            origin=str(path),
            header=content["header"],
            ids=tuple(content["ids"]),
            image_ids=tuple(content["image_ids"]),
            scores={m: tuple(c) for m, c in content["scores"].items()},
            rows={m: tuple(c) for m, c in content["rows"].items()},
            signatures=dict(content["signatures"]),
            questions=tuple(content["questions"]),
            texts=tuple(content["texts"]),
        )
    )


def _checked(run: Scored) -> Scored:
    """Everything that a comparison relies on, or a ValueError: a gate must fail closed."""
    n = len(run.ids)
    if not n or n != run.header["n"] or len(set(run.ids)) != n or not all(isinstance(i, str) and i for i in run.ids):
        raise ValueError(f"{n} samples where the header says {run.header['n']}, or ids that repeat")
    if missing := [k for k in HEADER if k not in run.header]:
        raise KeyError(missing[0])
    if not all(len(c) == n for c in (run.image_ids, *run.scores.values())):
        raise ValueError("columns of different lengths")
    if run.texts and (len(run.texts) != n or len(run.questions) != n):
        raise ValueError("columns of different lengths")
    if not run.scores or set(run.scores) != set(run.rows) or set(run.scores) - set(run.signatures):
        raise ValueError("no metrics, or metrics without rows or signature")
    if not all(isinstance(text, str) for text in (*run.image_ids, *run.questions, *run.texts)):
        raise ValueError("image ids, questions or answers that are no text")
    for metric, values in run.scores.items():
        signature_parts(run.signatures[metric])
        rows = run.rows[metric]
        if len(set(rows)) != len(rows) or any(not isinstance(k, int) or not 0 <= k < n for k in rows):
            raise ValueError(f"the rows of {metric} are wrong")
        for value in values:
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if value is not None and (not number or not -1e9 < value < 1e9):
                raise ValueError(f"{metric} holds {value!r}")
    return run


def baseline_content(run: Scored, metrics: Sequence[str], with_texts: bool) -> str:
    """A baseline file: the columns of the metrics that are gated, tens of kilobytes."""
    content = {
        "kind": BASELINE,
        "schema": 1,
        "header": dict(run.header),
        "signatures": {m: run.signatures[m] for m in metrics},
        "rows": {m: list(run.rows[m]) for m in metrics},
        "scores": {m: [None if v is None else round(v, 6) for v in run.scores[m]] for m in metrics},
        "ids": list(run.ids),
        "image_ids": list(run.image_ids),
        "questions": list(run.questions) if with_texts else [],
        "texts": list(run.texts) if with_texts else [],
    }
    lines = [f"{json.dumps(k)}: {json.dumps(v, ensure_ascii=False)}" for k, v in content.items()]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def differences(a: Scored, b: Scored, metrics: Sequence[str], allowed: frozenset[str] = frozenset()) -> list[str]:
    """Why two runs may not be compared, in words; empty when they may.

    allowed: parts of header and signature that may differ: what was asked (prompt, image) may be what is compared.
    """
    found = [
        f"{k}: {a.header[k]} against {b.header[k]}" for k in HEADER if k not in allowed and a.header[k] != b.header[k]
    ]
    if set(a.ids) != set(b.ids):
        only_a, only_b = sorted(set(a.ids) - set(b.ids)), sorted(set(b.ids) - set(a.ids))
        found.append(
            f"samples: {len(only_a)} only in the first {only_a[:3]}, {len(only_b)} only in the second {only_b[:3]}"
        )
    for metric in metrics:
        for run in (a, b):
            if metric not in run.scores:
                found.append(f"{metric}: not scored in {run.origin}; it has {', '.join(sorted(run.scores))}")
        if metric in a.scores and metric in b.scores:
            found += _signature_differences(metric, a.signatures[metric], b.signatures[metric], allowed)
    return found


def signature_parts(signature: str) -> dict[str, str]:
    """The named parts of a signature; ValueError when it has none."""
    parts = dict(part.split(":", 1) for part in signature.split("|")[1:])
    if "task" not in parts or "protocol" not in parts:
        raise ValueError(f"{signature!r} is not a signature")
    return parts


def _signature_differences(metric: str, first: str, second: str, allowed: frozenset[str]) -> list[str]:
    one, two = signature_parts(first), signature_parts(second)
    keys = [k for k in dict.fromkeys((*one, *two)) if k not in MAY_DIFFER | allowed]
    return [f"{metric}, {k}: {one.get(k, '–')} against {two.get(k, '–')}" for k in keys if one.get(k) != two.get(k)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Paired:
    """The difference second - first of one metric over the same rows.

    An unscored row counts as 0 on its side, so that failing can never help.  n_worse and n_better are the discordant
    rows, `flipped` their positions in the first run.
    """

    metric: str
    n: int
    n_clusters: int
    first: float
    second: float
    difference: float
    interval: Interval
    standard_error: float
    n_worse: int
    n_better: int
    n_unscored: tuple[int, int]
    flipped: tuple[int, ...]


def only(run: Scored, ids: frozenset[str]) -> Scored:
    """The run over some of its samples; metrics that have no row left are dropped."""
    kept = [k for k, i in enumerate(run.ids) if i in ids]
    place = {old: new for new, old in enumerate(kept)}
    rows = {m: tuple(place[k] for k in r if k in place) for m, r in run.rows.items()}
    live = [m for m, r in rows.items() if r]
    return replace(
        run,
        ids=tuple(run.ids[k] for k in kept),
        image_ids=tuple(run.image_ids[k] for k in kept),
        scores={m: tuple(run.scores[m][k] for k in kept) for m in live},
        rows={m: rows[m] for m in live},
        questions=tuple(run.questions[k] for k in kept) if run.questions else (),
        texts=tuple(run.texts[k] for k in kept) if run.texts else (),
    )


def aligned(a: Scored, b: Scored, metric: str) -> tuple[list[float], list[float], list[str]]:
    """The scores of both runs over the metric's rows, in the first run's order, unscored as 0, and the clusters.

    Raises:
        DataError: the metric has no rows, or not the same ones on both sides.
    """
    rows = a.rows[metric]
    if not rows:
        raise DataError(f"{metric} has no rows in {a.origin}, so there is nothing to compare.")
    if {a.ids[k] for k in rows} != {b.ids[k] for k in b.rows[metric]}:
        raise DataError(f"{metric} is over other rows in {a.origin} than in {b.origin}.")
    place = {i: k for k, i in enumerate(b.ids)}
    one = [a.scores[metric][k] or 0.0 for k in rows]
    two = [b.scores[metric][place[a.ids[k]]] or 0.0 for k in rows]
    return one, two, [a.image_ids[k] for k in rows]


def pair(a: Scored, b: Scored, metric: str, level: float) -> Paired:
    """The paired difference of a metric with its image-clustered interval at `level` (two-sided).

    Raises:
        DataError: the metric has no rows, or not the same ones on both sides.
    """
    one, two, clusters = aligned(a, b, metric)
    rows = a.rows[metric]
    deltas = [y - x for x, y in zip(one, two, strict=True)]
    interval = mean_interval(deltas, clusters, level, bounded=False)
    assert interval is not None
    n = len(rows)
    return Paired(
        metric=metric,
        n=n,
        n_clusters=len(set(clusters)),
        first=sum(one) / n,
        second=sum(two) / n,
        difference=sum(deltas) / n,
        interval=interval,
        standard_error=_standard_error(deltas, clusters),
        n_worse=sum(d < 0 for d in deltas),
        n_better=sum(d > 0 for d in deltas),
        n_unscored=(
            sum(a.scores[metric][k] is None for k in rows),
            sum(b.scores[metric][k] is None for k in b.rows[metric]),
        ),
        flipped=tuple(k for k, d in zip(rows, deltas, strict=True) if d),
    )


def _unscored(run: Scored, metric: str) -> int:
    return sum(run.scores[metric][k] is None for k in run.rows[metric])


def _standard_error(deltas: Sequence[float], clusters: Sequence[str]) -> float:
    from evalkit.stats import cluster_standard_error

    return cluster_standard_error(deltas, clusters) if len(set(clusters)) > 1 else float("nan")
