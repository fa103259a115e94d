"""Every Eval Ever 0.3.0: one JSON of the run's numbers, and one JSONL with a line for each sample and number.

The format has no place for a missing score: numbers without a value are named in `eval_library.additional_details`,
unscored samples are in `unscored.jsonl` next to the data tree, and both are counted.
"""

from __future__ import annotations

import hashlib
import json
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from evalkit.core.errors import ConfigError, did_you_mean
from evalkit.core.files import json_line, safe_name, write_json, write_whole
from evalkit.core.format import shown_metric
from evalkit.core.types import MetricKey, MetricValue, Score
from evalkit.judge.metric_definitions import UNIT_INTERVAL
from evalkit.reports.export.run import (
    CONFIDENCE,
    INTERVAL,
    FinishedRun,
    details_of,
    lower_is_better,
    name_of,
)
from evalkit.reports.numbers import bounds_of
from evalkit.runs.codec import encode
from evalkit.runs.schema import PredictionLine

VERSION = "0.3.0"
RELATIONSHIPS = ("first_party", "third_party", "collaborative", "other")
Record = dict[str, Any]


def write_every_eval_ever(
    run: FinishedRun, out: Path, *, organization: str = "unknown", relationship: str = "other"
) -> list[Path]:
    """Write `data/TASK/DEVELOPER/MODEL/UUID.json`, `UUID_samples.jsonl` and, for unscored samples, `unscored.jsonl`.

    Args:
        organization: the publisher of the numbers.
        relationship: of the evaluator to the model: first_party, third_party, collaborative or other.

    Raises:
        DataError: the run has no number.
        ConfigError: another relationship.
    """
    if relationship not in RELATIONSHIPS:
        raise ConfigError(f"relationship={relationship} is not possible. {did_you_mean(relationship, RELATIONSHIPS)}")
    created = str(int(time.time()))
    evaluation_id = f"{run.summary.task}/{run.model_id}/{created}"
    folder = f"data/{safe_name(run.summary.task)}/{run.model_id}"
    name = str(_uuid(run))
    aggregate = _aggregate(run, evaluation_id, created, organization, relationship)
    lines = _sample_lines(run, evaluation_id)
    for old in (out / folder / f"{name}_samples.jsonl", out / "unscored.jsonl"):
        old.unlink(missing_ok=True)
    written = []
    if lines.scored:
        text = "".join(map(json_line, lines.scored))
        samples = f"{folder}/{name}_samples.jsonl"
        write_whole(out / samples, text)
        written.append(out / samples)
        aggregate["detailed_evaluation_results"] = {
            "format": "jsonl",
            "file_path": samples,
            "hash_algorithm": "sha256",
            "checksum": hashlib.sha256(text.encode("utf-8")).hexdigest(),
            "total_rows": len(lines.scored),
            "additional_details": {"n_unscored_left_out": str(len(lines.unscored))},
        }
    if lines.unscored:
        write_whole(out / "unscored.jsonl", "".join(map(json_line, lines.unscored)))
        written.append(out / "unscored.jsonl")
    write_json(out / folder / f"{name}.json", aggregate)
    return [out / folder / f"{name}.json", *written]


def _uuid(run: FinishedRun) -> uuid.UUID:
    """The same UUID for the same answers, so that exporting again replaces the files."""
    digest = hashlib.sha256(run.folder.predictions.read_bytes() + run.summary.run_id.encode("utf-8"))
    return uuid.UUID(bytes=digest.digest()[:16], version=4)


def _aggregate(run: FinishedRun, evaluation_id: str, created: str, organization: str, relationship: str) -> Record:
    """The JSON of the run's numbers, without the reference to the file of samples."""
    return {
        "schema_version": VERSION,
        "evaluation_id": evaluation_id,
        "retrieved_timestamp": created,
        "source_metadata": {
            "source_name": "evalkit",
            "source_type": "evaluation_run",
            "source_organization_name": organization,
            "evaluator_relationship": relationship,
        },
        "eval_library": {"name": "evalkit", "version": run.summary.evalkit, "additional_details": _about(run)},
        "model_info": _model(run),
        "evaluation_results": [_result(run, n, evaluation_id) for n in run.valued],
    }


def _texts(content: Mapping[str, Any]) -> dict[str, str]:
    return {k: v if isinstance(v, str) else json.dumps(v, ensure_ascii=False) for k, v in content.items()}


def _about(run: FinishedRun) -> dict[str, str]:
    manifest = run.manifest
    digests = {
        "images_sha256": manifest.images_sha256 if manifest else None,
        "prompts_sha256": manifest.prompts_sha256 if manifest else None,
    }
    missing = [{"name": name_of(n), "n": n.n, "n_unscored": n.n_unscored, "why": run.problem(n)} for n in run.missing]
    reasons = {"why_unscored": encode(run.summary.unscored)} if run.summary.unscored else {}
    without = {"numbers_without_a_value": missing} if missing else {}
    known = {k: v for k, v in digests.items() if v}
    return _texts({**run.conditions(), **run.counts(), **known, **reasons, **without})


def _model(run: FinishedRun) -> Record:
    metadata = run.manifest.facts if run.manifest is not None else {}
    config = run.config
    model, engine = config.get("model") or {}, str((config.get("choices") or {}).get("engine") or "")
    source = str(model.get("source") or "")
    # The operator of a server decides how it runs; a path says nothing about who may have the weights.
    local = model.get("kind") == "checkpoint" and engine != "server"
    details = {
        "deployment_type": "self_deployed" if local else "unknown",
        "model_availability": "open_weights" if local and source == run.model_id else "unknown",
        **{k: model[k] for k in ("revision", "licence", "kind") if model.get(k)},
        **{k: metadata[k] for k in ("weights_sha256", "dtype", "device", "image_processor") if metadata.get(k)},
    }
    name = metadata.get("engine")
    known = {"name": name, "version": metadata.get(str(name)) or metadata.get("transformers")}
    platform = {"inference_engine": {k: str(v) for k, v in known.items() if v}} if name else {}
    developer, _, _ = run.model_id.partition("/")
    return {
        "name": run.summary.model,
        "id": run.model_id,
        "developer": developer,
        **platform,
        "additional_details": _texts(details),
    }


def _result(run: FinishedRun, number: MetricValue, evaluation_id: str) -> Record:
    uncertainty: Record = {"num_samples": number.n - number.n_unscored}
    if number.low is not None and number.high is not None:
        uncertainty["confidence_interval"] = {
            "lower": number.low,
            "upper": number.high,
            "confidence_level": CONFIDENCE,
            "method": INTERVAL,
        }
    return {
        "evaluation_result_id": f"{evaluation_id}#{name_of(number)}",
        "evaluation_name": f"{run.task}/{name_of(number)}",
        "source_data": _source(run),
        "metric_config": _metric(run, number),
        "score_details": {
            "score": number.value,
            "details": _texts({**run.counts(), **details_of(number)}),
            "uncertainty": uncertainty,
        },
        "generation_config": {"additional_details": run.conditions()},
    }


def _metric(run: FinishedRun, number: MetricValue) -> Record:
    assert number.value is not None
    low, high = bounds_of(number)
    # Some published protocols count a repeated word again and can pass 1.
    low = None if low is not None and number.value < low else low
    high = None if high is not None and number.value > high else high
    name = shown_metric(number.metric)
    metric: Record = {
        "evaluation_description": f"{name} under the protocol {number.protocol}, rows: {number.slice}",
        "metric_id": f"evalkit.{number.protocol}.{number.metric}",
        "metric_name": name,
        "metric_unit": "proportion" if (low, high) == UNIT_INTERVAL else "points",
        # The format demands a boolean, also for a quantity without a direction.
        "lower_is_better": lower_is_better(number),
        "score_type": "continuous",
        "min_score": "-Infinity" if low is None else low,
        "max_score": "Infinity" if high is None else high,
        "additional_details": {"protocol": number.protocol, "slice": number.slice},
    }
    judge = run.judges.get(number.protocol)
    if judge is not None:
        unknown = {"deployment_type": "unknown", "model_availability": "unknown"}
        name = judge.settings.get("judge", number.protocol)
        metric["llm_scoring"] = {
            "judges": [{"model_info": {"name": name, "id": f"judge/{name}", "additional_details": unknown}}],
            "input_prompt": judge.settings.get("prompt", "unknown"),
            "additional_details": dict(judge.settings),
        }
    return metric


def _source(run: FinishedRun) -> Record:
    s = run.summary
    common = {"dataset_name": s.task, "additional_details": _texts(run.conditions() | {"split": s.split})}
    if run.dataset_repo is None:
        return {**common, "source_type": "other"}
    repo = {"hf_repo": run.dataset_repo, "hf_split": s.split, "samples_number": s.n}
    return {**common, "source_type": "hf_dataset", **repo}


class _SampleLines(NamedTuple):
    """The lines of scored samples, and those of unscored ones, each with its reason."""

    scored: list[Record]
    unscored: list[Record]


def _sample_lines(run: FinishedRun, evaluation_id: str) -> _SampleLines:
    answers = {a.sample_id: a for a in run.answers}
    numbers = {n.key: n for n in run.valued if n.slice == "all"}
    lines = _SampleLines([], [])
    for score in run.scores():
        answer, number = answers.get(score.sample_id), numbers.get(MetricKey(score.protocol, score.metric))
        if answer is None:
            continue
        if score.value is None or number is None:
            reason = score.reason or "the metric has no value over all rows"
            key = {"sample_id": score.sample_id, "protocol": score.protocol, "metric": score.metric}
            lines.unscored.append({**key, "reason": reason})
        else:
            lines.scored.append(_line(run, evaluation_id, answer, score, score.value, number))
    return lines


def _line(
    run: FinishedRun, evaluation_id: str, answer: PredictionLine, score: Score, value: float, number: MetricValue
) -> Record:
    """The line of one score."""
    raw = json.dumps([answer.question, list(answer.references)], ensure_ascii=False)
    metadata = {
        "image_id": answer.image_id,
        "answer_type": answer.answer_type,
        "finish": answer.finish_reason,
        "note": score.note,
    }
    performance = {"performance": {"latency_ms": 1000 * answer.seconds}} if answer.seconds is not None else {}
    return {
        "schema_version": VERSION,
        "evaluation_id": evaluation_id,
        "model_id": run.model_id,
        "evaluation_name": f"{run.task}/{name_of(number)}",
        "evaluation_result_id": f"{evaluation_id}#{name_of(number)}",
        "sample_id": answer.sample_id,
        "sample_hash": hashlib.sha256(raw.encode("utf-8")).hexdigest(),
        "interaction_type": "single_turn",
        "input": {"raw": answer.question, "reference": list(answer.references)},
        "output": {"raw": [] if answer.text is None else [answer.text]},
        "answer_attribution": [
            {
                "turn_idx": 0,
                "source": "output.raw",
                "extracted_value": score.extracted or answer.text or "",
                "extraction_method": number.protocol,
                "is_terminal": True,
            }
        ],
        "evaluation": {"score": value, "is_correct": value <= 0 if lower_is_better(number) else value >= 1},
        **performance,
        **({"error": answer.error} if answer.error is not None else {}),
        "metadata": {k: v for k, v in metadata.items() if v},
    }
