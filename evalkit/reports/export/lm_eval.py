"""Files in the format of the lm-evaluation-harness: `results_DATE.json` and `samples_TASK_DATE.jsonl`.

A protocol takes the place of a filter: the keys are `METRIC,PROTOCOL`.  The harness knows standard errors only; evalkit
has intervals, so the field of the standard error is N/A and the bounds are `METRIC_low` and `METRIC_high`.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evalkit.core.files import json_line, write_json, write_whole
from evalkit.core.types import MetricValue, Score
from evalkit.reports.export.run import FinishedRun
from evalkit.runs.codec import encode
from evalkit.runs.schema import PredictionLine

Record = dict[str, Any]


def write_lm_eval(run: FinishedRun, out: Path) -> list[Path]:
    """Write both files.  Numbers without a value are null; failed samples have no line and are counted."""
    now = time.time()
    stamp = time.strftime("%Y-%m-%dT%H-%M-%S", time.gmtime(now)) + f".{int(now * 1e6) % 1_000_000:06d}"
    lines = _samples(run)
    results = out / f"results_{stamp}.json"
    samples = out / f"samples_{run.summary.task}_{stamp}.jsonl"
    write_json(results, _results(run, now))
    write_whole(samples, "".join(map(json_line, lines)))
    return [results, samples]


def _results(run: FinishedRun, now: float) -> Record:
    s = run.summary
    names = list(dict.fromkeys(_task(run, n) for n in run.numbers))
    results: dict[str, Record] = {name: {"alias": name} for name in names}
    for number in run.numbers:
        results[_task(run, number)] |= _values(number)
    by_task = {name: [n for n in run.numbers if _task(run, n) == name] for name in names}
    # How many answers there are of how many samples; the number of unscored samples differs by metric.
    counts = {run.task: {"original": s.n, "effective": s.n - s.n_failed}}
    return {
        "results": results,
        "configs": {name: {"task": name, "dataset_path": run.dataset_repo or "", **run.conditions()} for name in names},
        "versions": {name: s.evalkit for name in names},
        "n-shot": {name: 0 for name in names},
        "higher_is_better": {name: _directions(numbers) for name, numbers in by_task.items()},
        "n-samples": counts,
        "config": {"model": s.model, "model_args": run.model_id, "gen_kwargs": s.generation},
        "evalkit": {"version": s.evalkit, **run.counts(), "unscored": encode(s.unscored)},
        "date": now,
        "task_hashes": {name: s.data_sha256 for name in names},
        "model_source": "evalkit",
        "model_name": run.model_id,
    }


def _directions(numbers: Sequence[MetricValue]) -> dict[str, bool]:
    """Metric -> whether higher is better.

    Left out: a quantity without a direction, and a name that two protocols use with opposite directions.
    """
    found: dict[str, set[bool | None]] = {}
    for number in numbers:
        found.setdefault(number.metric, set()).add(number.higher_is_better)
    return {metric: True in directions for metric, directions in found.items() if directions in ({True}, {False})}


def _task(run: FinishedRun, number: MetricValue) -> str:
    return run.task if number.slice == "all" else f"{run.task}:{number.slice}"


def _values(number: MetricValue) -> Record:
    def key(part: str) -> str:
        return f"{number.metric}{part},{number.protocol}"

    found: Record = {key(""): number.value, key("_stderr"): "N/A", key("_n"): number.n}
    found |= {key("_unscored"): number.n_unscored, key("_low"): number.low, key("_high"): number.high}
    if number.n_unscored:
        found[key("_worst_case")] = number.value_worst_case
        found[key("_worst_case_low")] = number.low_worst_case
        found[key("_worst_case_high")] = number.high_worst_case
    return found


def _samples(run: FinishedRun) -> list[Record]:
    """One line for each answered sample and protocol."""
    scored: dict[tuple[str, str], dict[str, Score]] = {}
    for score in run.scores():
        scored.setdefault((score.sample_id, score.protocol), {})[score.metric] = score
    protocols = list(dict.fromkeys(n.protocol for n in run.numbers))
    return [
        _line(number, answer, protocol, scored[answer.sample_id, protocol])
        for number, answer in enumerate(run.answers)
        if answer.text is not None
        for protocol in protocols
        if (answer.sample_id, protocol) in scored
    ]


def _line(number: int, answer: PredictionLine, protocol: str, scores: dict[str, Score]) -> Record:
    target = "\n".join(answer.references)
    return {
        "doc_id": number,
        "doc": {
            "sample_id": answer.sample_id,
            "image_id": answer.image_id,
            "question": answer.question,
            "references": list(answer.references),
            "answer_type": answer.answer_type,
        },
        "target": target,
        "arguments": {},
        "resps": [[answer.text]],
        "filtered_resps": [answer.text],
        "filter": protocol,
        "metrics": list(scores),
        "doc_hash": _digest(f"{answer.sample_id}\n{answer.question}\n{target}"),
        "prompt_hash": answer.fingerprint,
        "target_hash": _digest(target),
        **{metric: score.value for metric, score in scores.items()},
        "unscored": {metric: score.reason for metric, score in scores.items() if score.value is None},
    }


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()
