"""A run as columns of scores, read from its folder or from the baseline file that the gate keeps of it.

`compare` and `gate` stand on it.  Everything that they rely on is checked here: what does not hold together is refused.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evalkit.core.errors import StoreError
from evalkit.core.files import key_a_line, read_json, read_lines
from evalkit.core.types import digest_json
from evalkit.judge.columns import Column, judged_columns
from evalkit.runs.store import RunFolder

# What two runs must share for a difference between them to mean something.
HEADER = ("task", "split", "data_sha256", "closed_rule", "prompt", "image", "limit", "n")
# Digests over all messages and all images, where they are known: scored answers of others have none.
ASKED = ("messages_sha256", "images_sha256")
BASELINE = "evalkit gate baseline"
SCHEMA = 2
# What `run` and `score` leave in a manifest when they have come to their end.
FINISHED = ("done", "scored")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """A run as columns: `scores[metric][k]` is the score of sample `ids[k]`, None where it was not scored.

    Metric keys are "PROTOCOL METRIC".  `rows[metric]` are the positions that the metric is over.  `answers` are short
    digests of the answers, None where generation failed; `texts` the answers, empty for a baseline without them.
    `refused` says of metrics that are there in part why they cannot be used.
    """

    origin: str
    header: Mapping[str, Any]
    ids: tuple[str, ...]
    image_ids: tuple[str, ...]
    scores: Mapping[str, tuple[float | None, ...]]
    rows: Mapping[str, tuple[int, ...]]
    signatures: Mapping[str, str]
    answers: tuple[str | None, ...]
    questions: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    refused: Mapping[str, str] = field(default_factory=dict)


def answer_digest(text: str) -> str:
    """What tells answers apart where their text is not kept: 16 hex of sha256."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:16]


def read_scored(path: Path) -> Scored:
    """A run's folder, or a baseline file that `gate save=FILE` wrote.

    Raises:
        StoreError: anything in it is missing, malformed, doubled or does not fit the rest.
    """
    try:
        return _checked(_from_file(path) if path.is_file() else _from_folder(path))
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OSError, RecursionError) as problem:
        raise StoreError(
            f"{path} is neither a run of evalkit nor a baseline that it wrote ({type(problem).__name__}: {problem}). "
            "Make it anew with `python -m evalkit gate candidate=RUN save=FILE`."
        ) from problem


def _from_folder(path: Path) -> Scored:
    folder = RunFolder(path)
    summary = read_json(folder.summary, "summary")
    answers = read_lines(folder.predictions)
    ids = tuple(str(a["sample_id"]) for a in answers)
    columns = _score_columns(read_lines(folder.scores), ids)
    overall = {f"{m['protocol']} {m['metric']}": m for m in summary["metrics"] if m["slice"] == "all"}
    for name, column in columns.items():
        if len(column) != overall[name]["n"]:
            raise ValueError(f"scores.jsonl holds {len(column)} of the {overall[name]['n']} scores of {name}")
    if lost := {m["protocol"] for m in overall.values() if m["n"]} - {name.split(" ")[0] for name in columns}:
        raise ValueError(f"scores.jsonl holds no score of protocol {sorted(lost)[0]}")
    judged = judged_columns(path, {str(a["sample_id"]): a["text"] for a in answers})
    columns |= {name: dict(c.values) for name, c in judged.items() if not c.refused}
    return Scored(
        origin=str(path),
        header={k: summary[k] for k in (*HEADER, "model", "run_id", "evalkit", "generation")}
        | {"status": _status(folder)}
        | _asked(path),
        ids=ids,
        image_ids=tuple(str(a["image_id"]) for a in answers),
        scores={m: tuple(c.get(i) for i in ids) for m, c in columns.items()},
        rows={m: tuple(k for k, i in enumerate(ids) if i in c) for m, c in columns.items()},
        signatures={m: str(o["signature"]) for m, o in overall.items()}
        | {m: _judged_signature(m, c, summary) for m, c in judged.items()},
        answers=tuple(None if a["text"] is None else answer_digest(a["text"]) for a in answers),
        questions=tuple(str(a["question"]) for a in answers),
        texts=tuple(f"(failed: {a['error']})" if a["text"] is None else str(a["text"]) for a in answers),
        refused={m: c.refused for m, c in judged.items() if c.refused},
    )


def _score_columns(lines: Sequence[Mapping[str, Any]], ids: Sequence[str]) -> dict[str, dict[str, float | None]]:
    """Metric -> sample id -> score."""
    columns: dict[str, dict[str, float | None]] = {}
    for line in lines:
        column = columns.setdefault(f"{line['protocol']} {line['metric']}", {})
        if line["sample_id"] in column:
            raise ValueError(f"two scores of {line['metric']} for sample {line['sample_id']}")
        column[line["sample_id"]] = line["value"]
    known = set(ids)
    if any(set(c) - known for c in columns.values()):
        raise ValueError("scores of samples without an answer")
    return columns


def _status(folder: RunFolder) -> str:
    if not folder.manifest.is_file():
        return "unknown: it has no manifest.json"
    return str(read_json(folder.manifest, "manifest")["status"])


def _asked(path: Path) -> dict[str, str]:
    """The digests of what was asked, of a run that recorded it."""
    file = path / "prompts.json"
    if not file.is_file():
        return {}
    header = read_json(file, "record of what was asked")["header"]
    return {k: header[k] for k in ASKED if header[k] is not None}


def _judged_signature(metric: str, column: Column, summary: Mapping[str, Any]) -> str:
    """Like the signature of any metric; its parts are named so that none is taken for the prompt of the run itself."""
    parts = {
        "task": f"{summary['task']}.{summary['split']}",
        "n": str(len(column.values)),
        "data": str(summary["data_sha256"])[:8],
        "protocol": metric.split(" ")[0],
        **column.settings,
    }
    return "|".join([metric.split(" ")[1], *(f"{k}:{v}" for k, v in parts.items())])


def _from_file(path: Path) -> Scored:
    content = read_json(path, "baseline")
    if content["kind"] != BASELINE or content["schema"] != SCHEMA:
        raise ValueError(f"kind is {content['kind']!r}, schema {content['schema']!r}; expected {BASELINE!r}, {SCHEMA}")
    if content["digest"] != _digest(content):
        raise ValueError("its content is not what was written: the digest differs")
    return Scored(
        origin=str(path),
        header=content["header"],
        ids=tuple(content["ids"]),
        image_ids=tuple(content["image_ids"]),
        scores={m: tuple(c) for m, c in content["scores"].items()},
        rows={m: tuple(c) for m, c in content["rows"].items()},
        signatures=dict(content["signatures"]),
        answers=tuple(content["answers"]),
        questions=tuple(content["questions"]),
        texts=tuple(content["texts"]),
    )


def _checked(run: Scored) -> Scored:
    """Everything that a comparison relies on, or a ValueError: a gate must fail closed."""
    n = len(run.ids)
    if missing := [k for k in (*HEADER, "model", "status") if k not in run.header]:
        raise KeyError(missing[0])
    if not n or n != run.header["n"] or len(set(run.ids)) != n or not all(isinstance(i, str) and i for i in run.ids):
        raise ValueError(f"{n} samples where the header says {run.header['n']}, or ids that repeat")
    if not all(len(c) == n for c in (run.image_ids, run.answers, *run.scores.values())):
        raise ValueError("columns of different lengths")
    if run.texts and (len(run.texts) != n or len(run.questions) != n):
        raise ValueError("columns of different lengths")
    if not (run.scores or run.refused) or set(run.scores) != set(run.rows) or set(run.scores) - set(run.signatures):
        raise ValueError("no metrics, or metrics without rows or signature")
    if not all(isinstance(text, str) for text in (*run.image_ids, *run.questions, *run.texts)):
        raise ValueError("image ids, questions or answers that are no text")
    if not all(a is None or (isinstance(a, str) and len(a) == 16) for a in run.answers):
        raise ValueError("digests of answers that are none")
    for metric in run.scores:
        _check_metric(metric, run, n)
    return run


def _check_metric(metric: str, run: Scored, n: int) -> None:
    signature_parts(run.signatures[metric])
    rows = run.rows[metric]
    if len(set(rows)) != len(rows) or any(type(k) is not int or not 0 <= k < n for k in rows):
        raise ValueError(f"the rows of {metric} are wrong")
    for value in run.scores[metric]:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if value is not None and (not number or not -1e9 < value < 1e9):
            raise ValueError(f"{metric} holds {value!r}")


def signature_parts(signature: str) -> dict[str, str]:
    """The named parts of a signature; ValueError when it has none."""
    parts = dict(part.split(":", 1) for part in signature.split("|")[1:])
    if "task" not in parts or "protocol" not in parts:
        raise ValueError(f"{signature!r} is not a signature")
    return parts


def incomplete(run: Scored) -> list[str]:
    """Why a run is only part of one, in words: a gate must not go by it."""
    found = []
    if run.header["status"] not in FINISHED:
        found.append(f"{run.origin} did not come to its end (status {run.header['status']}); give its command again")
    if run.header["limit"] is not None:
        found.append(f"{run.origin} is over the first {run.header['limit']} samples only (limit={run.header['limit']})")
    if failed := [i for i, a in zip(run.ids, run.answers, strict=True) if a is None]:
        found.append(
            f"{run.origin} has no answer to {len(failed)} of {len(run.ids)} samples, first {failed[0]}; the same "
            "command asks the failed ones again"
        )
    return found


def _digest(content: Mapping[str, Any]) -> str:
    """What a baseline says of all else in it, so that a hand's or a merge's change is seen."""
    return digest_json({k: v for k, v in content.items() if k != "digest"})


def baseline_content(run: Scored, metrics: Sequence[str], with_texts: bool) -> str:
    """A baseline file: the columns of the metrics that are gated, tens of kilobytes.

    Raises:
        StoreError: a metric is not there, or cannot be used.
    """
    for metric in metrics:
        if metric in run.refused or metric not in run.scores:
            why = run.refused.get(metric) or f"it has {', '.join(sorted(run.scores))}"
            raise StoreError(f"{run.origin} cannot be a baseline for {metric}: {why}.")
    content = {
        "kind": BASELINE,
        "schema": SCHEMA,
        "header": dict(run.header),
        "signatures": {m: run.signatures[m] for m in metrics},
        "rows": {m: list(run.rows[m]) for m in metrics},
        "scores": {m: [None if v is None else round(v, 6) for v in run.scores[m]] for m in metrics},
        "ids": list(run.ids),
        "image_ids": list(run.image_ids),
        "answers": list(run.answers),
        "questions": list(run.questions) if with_texts else [],
        "texts": list(run.texts) if with_texts else [],
    }
    return as_file(content)


def as_file(content: Mapping[str, Any]) -> str:
    """A baseline's content as its file: one key a line, the digest of all the others last."""
    return key_a_line({**content, "digest": _digest(content)})
