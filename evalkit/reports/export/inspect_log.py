"""A log of Inspect (`.eval`, version 2), which inspect's reader and viewer open, and evalkit's own importer too.

The log is a zip archive: `header.json` (the evaluation and its numbers), `summaries.json` (an entry a sample, for the
viewer's table) and a file a sample.  A metric of a protocol takes the place of a scorer: `PROTOCOL/METRIC`.
"""

from __future__ import annotations

import json
import time
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evalkit.core.files import whole_archive
from evalkit.core.types import MetricValue, Score
from evalkit.reports.export.run import FinishedRun, details_of, name_of
from evalkit.runs.schema import PredictionLine
from evalkit.runs.store import run_name

Record = dict[str, Any]

_STOPS = {"stop": "stop", "length": "max_tokens"}
_LONGEST = 1000  # characters of a text in summaries.json, inspect's own limit


def write_inspect_log(run: FinishedRun, out: Path) -> list[Path]:
    """Write RUN.eval.

    A failed sample has an error; a score without a value is left out, and its reason is in the sample's metadata.
    """
    path = out / f"{run_name(run.summary.run_id)}.eval"
    scores: dict[str, list[Score]] = {}
    for score in run.scores():
        scores.setdefault(score.sample_id, []).append(score)
    summaries = []
    with whole_archive(path) as archive:
        for answer in run.answers:
            sample = _sample(run, answer, scores.get(answer.sample_id, ()))
            _add(archive, f"samples/{answer.sample_id}_epoch_1.json", sample)
            summaries.append(_summary(sample))
        _add(archive, "summaries.json", summaries)
        _add(archive, "header.json", _header(run))
    return [path]


def _add(archive: zipfile.ZipFile, name: str, content: Any) -> None:
    archive.writestr(
        zipfile.ZipInfo(name), json.dumps(content, ensure_ascii=False, allow_nan=False), zipfile.ZIP_DEFLATED
    )


def _header(run: FinishedRun) -> Record:
    s = run.summary
    # The run has no clock times; its answers were complete when they were last written.
    written = time.gmtime((run.folder.path / "predictions.jsonl").stat().st_mtime)
    created = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", written)
    seconds = s.timing.seconds if s.timing is not None else None
    data = {"name": s.task, "location": run.dataset_repo, "samples": s.n, "shuffled": False}
    evaluation = {
        "eval_id": s.run_id,
        "run_id": s.run_id,
        "created": created,
        "task": run.task,
        "task_id": s.task,
        "task_version": 0,
        "task_attribs": {},
        "task_args": run.conditions(),
        "dataset": data | {"sample_ids": [a.sample_id for a in run.answers]},
        "model": run.model_id,
        "model_generate_config": {},
        "model_args": {},
        "config": {"epochs": 1},
        "packages": {"evalkit": s.evalkit},
        "metadata": {**run.counts(), "seconds": seconds},
    }
    results = {
        "total_samples": s.n,
        "completed_samples": s.n - s.n_failed,
        "scores": [_score_of(run, n) for n in run.numbers],
    }
    return {
        "version": 2,
        "status": "success",
        "eval": evaluation,
        "plan": {"name": "evalkit", "steps": [], "config": {}},
        "results": results,
        "stats": {"started_at": created, "completed_at": created, "model_usage": {}},
    }


def _score_of(run: FinishedRun, number: MetricValue) -> Record:
    """A number as the score of a scorer: its value is the metric `mean`; without one there are no metrics."""
    values = {"mean": number.value, "low": number.low, "high": number.high, "worst_case": number.value_worst_case}
    metrics = {k: {"name": k, "value": v, "params": {}} for k, v in values.items() if v is not None}
    problem = {"problem": run.problem(number)} if number.value is None else {}
    return {
        "name": name_of(number),
        "scorer": name_of(number),
        "scored_samples": number.n - number.n_unscored,
        "unscored_samples": number.n_unscored,
        "params": {},
        "metrics": metrics if number.value is not None else {},
        "metadata": details_of(number) | problem,
    }


def _sample(run: FinishedRun, answer: PredictionLine, scores: Sequence[Score]) -> Record:
    target = answer.references[0] if len(answer.references) == 1 else list(answer.references)
    metadata: Record = {"image_id": answer.image_id, "answer_type": answer.answer_type}
    metadata |= {"fingerprint": answer.fingerprint}
    if unscored := {_name(s): s.reason for s in scores if s.value is None}:
        metadata["unscored"] = unscored
    asked = {"role": "user", "content": answer.question}
    said = {"role": "assistant", "content": _content(answer), "source": "generate", "model": run.model_id}
    sample: Record = {
        "id": answer.sample_id,
        "epoch": 1,
        "input": answer.question,
        "target": target,
        "messages": [asked, said] if answer.text is not None else [asked],
        "output": _output(run, answer, said),
        "scores": {_name(s): _score(s) for s in scores if s.value is not None},
        "metadata": metadata,
        "store": {},
        "events": [],
        "model_usage": {},
        "attachments": {},
    }
    if answer.error is not None:
        sample["error"] = {"message": answer.error, "traceback": "", "traceback_ansi": ""}
    return sample


def _content(answer: PredictionLine) -> str | list[Record]:
    """The answer as a message's content, with the thought as a part of its own."""
    if not answer.reasoning:
        return answer.text or ""
    return [{"type": "reasoning", "reasoning": answer.reasoning}, {"type": "text", "text": answer.text or ""}]


def _output(run: FinishedRun, answer: PredictionLine, message: Record) -> Record:
    if answer.text is None:
        return {"model": run.model_id, "choices": [], "completion": ""}
    stop = _STOPS.get(answer.finish_reason, "unknown")
    found: Record = {"model": run.model_id, "choices": [{"message": message, "stop_reason": stop}]}
    found["completion"] = answer.text
    if answer.n_tokens is not None:
        found["usage"] = {"input_tokens": 0, "output_tokens": answer.n_tokens, "total_tokens": answer.n_tokens}
    if answer.seconds is not None:
        found["time"] = answer.seconds
    return found


def _name(score: Score) -> str:
    return f"{score.protocol}/{score.metric}"


def _score(score: Score) -> Record:
    found: Record = {"value": score.value, "answer": score.extracted, "history": []}
    return found | ({"explanation": score.note} if score.note else {})


def _summary(sample: Mapping[str, Any]) -> Record:
    """A sample's entry in the viewer's table."""
    targets = sample["target"]
    shown = [t[:_LONGEST] for t in targets] if isinstance(targets, list) else targets[:_LONGEST]
    return {
        "id": sample["id"],
        "epoch": 1,
        "input": sample["input"][:_LONGEST],
        "target": shown,
        "metadata": {},
        "scores": {k: v | {"answer": v["answer"][:_LONGEST]} for k, v in sample["scores"].items()},
        "model_usage": {},
        "error": sample["error"]["message"][:_LONGEST] if "error" in sample else None,
        "completed": True,
        "message_count": len(sample["messages"]),
    }
