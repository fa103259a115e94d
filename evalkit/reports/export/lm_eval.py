"""Files in the form of the lm-evaluation-harness: `results_DATE.json` and `samples_TASK_DATE.jsonl`.

A protocol takes the place of a filter: the keys are `METRIC,PROTOCOL`.  The harness knows standard errors only; ours
are intervals, so its field says N/A and the bounds stand beside the value as `METRIC_low` and `METRIC_high`.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evalkit.core.files import json_line, write_json, write_whole
from evalkit.reports.export.run import FinishedRun, Number

Record = dict[str, Any]


def write_lm_eval(run: FinishedRun, out: Path) -> list[Path]:
    """Write both files.  Numbers without a value are null; failed samples are in no samples line, and are counted."""
    now = time.time()
    stamp = time.strftime("%Y-%m-%dT%H-%M-%S", time.gmtime(now)) + f".{int(now * 1e6) % 1_000_000:06d}"
    lines = _samples(run)
    results = out / f"results_{stamp}.json"
    samples = out / f"samples_{run.summary['task']}_{stamp}.jsonl"
    write_json(results, _results(run, now))
    write_whole(samples, "".join(map(json_line, lines)))
    return [results, samples]


def _results(run: FinishedRun, now: float) -> Record:
    s = run.summary
    names = list(dict.fromkeys(_task(run, n) for n in run.numbers))
    results: dict[str, Record] = {name: {"alias": name} for name in names}
    for number in run.numbers:
        results[_task(run, number)] |= _values(number)
    better = {name: {n.metric: not n.lower_is_better for n in run.numbers if _task(run, n) == name} for name in names}
    # How many answers there are of how many samples; what is unscored is another thing, and differs by metric.
    counts = {run.task: {"original": int(s["n"]), "effective": int(s["n"]) - int(s["n_failed"])}}
    return {
        "results": results,
        "configs": {name: {"task": name, "dataset_path": run.dataset_repo or "", **run.conditions()} for name in names},
        "versions": {name: str(s["evalkit"]) for name in names},
        "n-shot": {name: 0 for name in names},
        "higher_is_better": better,
        "n-samples": counts,
        "config": {"model": str(s["model"]), "model_args": run.model_id, "gen_kwargs": str(s["generation"])},
        "evalkit": {"version": str(s["evalkit"]), **run.counts(), "unscored": s.get("unscored") or []},
        "date": now,
        "task_hashes": {name: str(s["data_sha256"]) for name in names},
        "model_source": "evalkit",
        "model_name": run.model_id,
    }


def _task(run: FinishedRun, number: Number) -> str:
    return run.task if number.slice == "all" else f"{run.task}:{number.slice}"


def _values(number: Number) -> Record:
    def key(part: str) -> str:
        return f"{number.metric}{part},{number.protocol}"

    found: Record = {key(""): number.value, key("_stderr"): "N/A", key("_n"): number.n}
    found |= {key("_unscored"): number.n_unscored, key("_low"): number.low, key("_high"): number.high}
    if number.n_unscored:
        found[key("_unscored_wrong")] = number.value_unscored_wrong
    return found


def _samples(run: FinishedRun) -> list[Record]:
    """A line for each answered sample and protocol."""
    scored: dict[tuple[str, str], Record] = {}
    for score in run.scores():
        scored.setdefault((score["sample_id"], score["protocol"]), {})[score["metric"]] = score
    lines = []
    for number, answer in enumerate(run.answers):
        if answer["text"] is None:
            continue
        protocols = [p for (sample, p) in _keys(scored, answer["sample_id"], run)]
        lines += [_line(number, answer, p, scored[answer["sample_id"], p]) for p in protocols]
    return lines


def _keys(scored: Mapping[tuple[str, str], Any], sample_id: str, run: FinishedRun) -> list[tuple[str, str]]:
    names = dict.fromkeys(n.protocol for n in run.numbers)
    return [(sample_id, p) for p in names if (sample_id, p) in scored]


def _line(number: int, answer: Mapping[str, Any], protocol: str, scores: Mapping[str, Any]) -> Record:
    target = "\n".join(answer["references"])
    values = {m: s["value"] for m, s in scores.items()}
    return {
        "doc_id": number,
        "doc": {k: answer[k] for k in ("sample_id", "image_id", "question", "references", "answer_type")},
        "target": target,
        "arguments": {},
        "resps": [[answer["text"]]],
        "filtered_resps": [answer["text"]],
        "filter": protocol,
        "metrics": list(scores),
        "doc_hash": _digest(f"{answer['sample_id']}\n{answer['question']}\n{target}"),
        "prompt_hash": str(answer.get("fingerprint") or ""),
        "target_hash": _digest(target),
        **values,
        "unscored": {m: s["reason"] for m, s in scores.items() if s["value"] is None},
    }


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()
