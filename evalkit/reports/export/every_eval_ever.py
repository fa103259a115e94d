"""Every Eval Ever 0.3.0: one JSON of the run's numbers, one JSONL with a line for each sample and number.

The format has no place for a score that is missing: numbers without a value stand by name in
`eval_library.additional_details`, unscored samples in `unscored.jsonl` beside the data tree, and both are counted.
"""

from __future__ import annotations

import hashlib
import json
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from evalkit.core.errors import ConfigError, did_you_mean
from evalkit.core.files import json_line, write_json, write_whole
from evalkit.pipeline.rescore import safe
from evalkit.reports.export.run import CONFIDENCE, INTERVAL, FinishedRun, Number

VERSION = "0.3.0"
RELATIONSHIPS = ("first_party", "third_party", "collaborative", "other")
Record = dict[str, Any]


def write_every_eval_ever(
    run: FinishedRun, out: Path, *, organization: str = "unknown", relationship: str = "other"
) -> list[Path]:
    """Write `data/TASK/DEVELOPER/MODEL/UUID.json`, `UUID_samples.jsonl` and, for what is unscored, `unscored.jsonl`.

    Args:
        organization: who publishes the numbers.
        relationship: of the evaluator to the model: first_party, third_party, collaborative or other.

    Raises:
        DataError: the run has no number.
        ConfigError: another relationship.
    """
    if relationship not in RELATIONSHIPS:
        raise ConfigError(f"relationship={relationship} is not possible. {did_you_mean(relationship, RELATIONSHIPS)}")
    numbers = run.valued
    made = str(int(time.time()))
    evaluation_id = f"{run.summary['task']}/{run.model_id}/{made}"
    folder = f"data/{safe(run.summary['task'])}/{run.model_id}"
    name = str(_uuid(run))
    rows, unscored = _rows(run, evaluation_id)
    for old in (out / folder / f"{name}_samples.jsonl", out / "unscored.jsonl"):
        old.unlink(missing_ok=True)
    aggregate = {
        "schema_version": VERSION,
        "evaluation_id": evaluation_id,
        "retrieved_timestamp": made,
        "source_metadata": {
            "source_name": "evalkit",
            "source_type": "evaluation_run",
            "source_organization_name": organization,
            "evaluator_relationship": relationship,
        },
        "eval_library": {"name": "evalkit", "version": str(run.summary["evalkit"]), "additional_details": _about(run)},
        "model_info": _model(run),
        "evaluation_results": [_result(run, n, evaluation_id) for n in numbers],
    }
    written = []
    if rows:
        text = "".join(map(json_line, rows))
        samples = f"{folder}/{name}_samples.jsonl"
        write_whole(out / samples, text)
        written.append(out / samples)
        aggregate["detailed_evaluation_results"] = {
            "format": "jsonl",
            "file_path": samples,
            "hash_algorithm": "sha256",
            "checksum": hashlib.sha256(text.encode("utf-8")).hexdigest(),
            "total_rows": len(rows),
            "additional_details": {"n_unscored_left_out": str(len(unscored))},
        }
    if unscored:
        write_whole(out / "unscored.jsonl", "".join(map(json_line, unscored)))
        written.append(out / "unscored.jsonl")
    write_json(out / folder / f"{name}.json", aggregate)
    return [out / folder / f"{name}.json", *written]


def _uuid(run: FinishedRun) -> uuid.UUID:
    """The same for the same answers, so that exporting again replaces the files."""
    digest = hashlib.sha256(run.folder.predictions.read_bytes() + str(run.summary["run_id"]).encode("utf-8"))
    return uuid.UUID(bytes=digest.digest()[:16], version=4)


def _texts(content: Mapping[str, Any]) -> dict[str, str]:
    return {k: v if isinstance(v, str) else json.dumps(v, ensure_ascii=False) for k, v in content.items()}


def _about(run: FinishedRun) -> dict[str, str]:
    manifest = {k: run.manifest[k] for k in ("images_sha256", "prompts_sha256") if run.manifest.get(k)}
    missing = [{"name": n.name, "n": n.n, "n_unscored": n.n_unscored, "why": n.problem} for n in run.missing]
    reasons = {"why_unscored": u} if (u := run.summary.get("unscored")) else {}
    without = {"numbers_without_a_value": missing} if missing else {}
    return _texts({**run.conditions(), **run.counts(), **manifest, **reasons, **without})


def _model(run: FinishedRun) -> Record:
    facts, config = run.manifest.get("facts") or {}, run.config
    model, engine = config.get("model") or {}, str((config.get("choices") or {}).get("engine") or "")
    source = str(model.get("source") or "")
    # Whoever runs a server decides how it runs; a path tells nothing of who may have the weights.
    here = model.get("kind") == "checkpoint" and engine != "server"
    details = {
        "deployment_type": "self_deployed" if here else "unknown",
        "model_availability": "open_weights" if here and source == run.model_id else "unknown",
        **{k: model[k] for k in ("revision", "licence", "kind") if model.get(k)},
        **{k: facts[k] for k in ("weights_sha256", "dtype", "device", "image_processor") if facts.get(k)},
    }
    known = {"name": facts.get("engine"), "version": facts.get(str(facts.get("engine"))) or facts.get("transformers")}
    platform = {"inference_engine": {k: str(v) for k, v in known.items() if v}} if known["name"] else {}
    developer, _, _ = run.model_id.partition("/")
    return {
        "name": str(run.summary["model"]),
        "id": run.model_id,
        "developer": developer,
        **platform,
        "additional_details": _texts(details),
    }


def _result(run: FinishedRun, number: Number, evaluation_id: str) -> Record:
    uncertainty: Record = {"num_samples": number.n - number.n_unscored}
    if number.low is not None and number.high is not None:
        uncertainty["confidence_interval"] = {
            "lower": number.low,
            "upper": number.high,
            "confidence_level": CONFIDENCE,
            "method": INTERVAL,
        }
    return {
        "evaluation_result_id": f"{evaluation_id}#{number.name}",
        "evaluation_name": f"{run.task}/{number.name}",
        "source_data": _source(run),
        "metric_config": _metric(number),
        "score_details": {
            "score": number.value,
            "details": _texts({**run.counts(), **number.facts()}),
            "uncertainty": uncertainty,
        },
        "generation_config": {"additional_details": run.conditions()},
    }


def _metric(number: Number) -> Record:
    assert number.value is not None
    low, high = number.bounds
    # Some published readings count a repeated word again and can pass 1.
    low = None if low is not None and number.value < low else low
    high = None if high is not None and number.value > high else high
    metric: Record = {
        "evaluation_description": f"{number.metric} under the protocol {number.protocol}, rows: {number.slice}",
        "metric_id": f"evalkit.{number.protocol}.{number.metric}",
        "metric_name": number.metric,
        "metric_unit": "proportion" if (low, high) == (0.0, 1.0) else "points",
        "lower_is_better": number.lower_is_better,
        "score_type": "continuous",
        "min_score": "-Infinity" if low is None else low,
        "max_score": "Infinity" if high is None else high,
        "additional_details": {"protocol": number.protocol, "slice": number.slice},
    }
    if number.judge:
        name = number.judge.get("judge", number.protocol)
        unknown = {"deployment_type": "unknown", "model_availability": "unknown"}
        metric["llm_scoring"] = {
            "judges": [{"model_info": {"name": name, "id": f"judge/{name}", "additional_details": unknown}}],
            "input_prompt": number.judge.get("prompt", "unknown"),
            "additional_details": dict(number.judge),
        }
    return metric


def _source(run: FinishedRun) -> Record:
    s = run.summary
    common = {"dataset_name": str(s["task"]), "additional_details": _texts(run.conditions() | {"split": s["split"]})}
    if run.dataset_repo is None:
        return {**common, "source_type": "other"}
    repo = {"hf_repo": run.dataset_repo, "hf_split": str(s["split"]), "samples_number": int(s["n"])}
    return {**common, "source_type": "hf_dataset", **repo}


def _rows(run: FinishedRun, evaluation_id: str) -> tuple[list[Record], list[Record]]:
    """The lines of scored samples, and the scores that are missing, each with its reason."""
    of = {str(a["sample_id"]): a for a in run.answers}
    names = {(n.protocol, n.metric): n for n in run.valued if n.slice == "all"}
    rows, unscored = [], []
    for score in _known(run.scores(), of):
        answer, number = of[score["sample_id"]], names.get((score["protocol"], score["metric"]))
        if score["value"] is None or number is None:
            why = score.get("reason") or "the metric has no value over all rows"
            unscored.append({**{k: score[k] for k in ("sample_id", "protocol", "metric")}, "reason": why})
        else:
            rows.append(_row(run, evaluation_id, answer, score, number))
    return rows, unscored


def _known(scores: Iterator[Mapping[str, Any]], of: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    return (s for s in scores if s["sample_id"] in of)


def _row(
    run: FinishedRun, evaluation_id: str, answer: Record | Mapping[str, Any], score: Any, number: Number
) -> Record:
    text, references = answer["text"], list(answer["references"])
    best = score["value"] <= 0 if number.lower_is_better else score["value"] >= 1
    raw = json.dumps([answer["question"], references], ensure_ascii=False)
    more = {"image_id": answer["image_id"], "answer_type": answer["answer_type"], "finish": answer["finish_reason"]}
    seconds = answer["seconds"]
    return {
        "schema_version": VERSION,
        "evaluation_id": evaluation_id,
        "model_id": run.model_id,
        "evaluation_name": f"{run.task}/{number.name}",
        "evaluation_result_id": f"{evaluation_id}#{number.name}",
        "sample_id": str(answer["sample_id"]),
        "sample_hash": hashlib.sha256(raw.encode("utf-8")).hexdigest(),
        "interaction_type": "single_turn",
        "input": {"raw": answer["question"], "reference": references},
        "output": {"raw": [] if text is None else [text]},
        "answer_attribution": [
            {
                "turn_idx": 0,
                "source": "output.raw",
                "extracted_value": score.get("extracted") or text or "",
                "extraction_method": number.protocol,
                "is_terminal": True,
            }
        ],
        "evaluation": {"score": score["value"], "is_correct": best},
        **({"performance": {"latency_ms": 1000 * seconds}} if seconds is not None else {}),
        **({"error": answer["error"]} if answer["error"] is not None else {}),
        "metadata": {k: str(v) for k, v in (more | {"note": score.get("note")}).items() if v},
    }
