"""Whether the scores of a run fit its summary, its manifest, its prompt record and its answers.

A digest says that a file is the one that evalkit wrote; this says that the files belong together, also in runs of
earlier versions, which have no digests.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit.core.errors import StoreError
from evalkit.core.signature import Signature
from evalkit.core.types import MetricKey, MetricValue, digest_json_items
from evalkit.judge.results import JudgedNumbers
from evalkit.runs.columns import AnswerColumns
from evalkit.runs.schema import Manifest, PromptFile, PromptHeader, RunHeader, Summary
from evalkit.runs.verify import StoredRun
from evalkit.scoring.aggregate import ROUNDING
from evalkit.stats import ClusterCodes, cluster_codes, exact_sum

if TYPE_CHECKING:
    import numpy as np

    from evalkit.analysis.run_scores import ScoreColumn

# Fields of a prompt record that earlier versions did not write.
_LATER = frozenset({"data_sha256", "prompt"})


def check_fit(
    run: StoredRun,
    answers: AnswerColumns,
    columns: Mapping[MetricKey, ScoreColumn],
    prompts: PromptFile | None,
) -> None:
    """Refuse a run whose files do not belong together.

    Raises:
        StoreError: names the first contradiction.
    """
    summary = run.summary
    try:
        _check_counts(summary, answers)
        if run.manifest is not None:
            _check_same(summary, run.manifest, "manifest.json")
            _check_fingerprints(run.manifest, answers)
        if prompts is not None:
            _check_same(summary, prompts.header, "prompts.json")
            _check_prompts(answers, prompts)
        overall = {m.key: m for m in summary.metrics if m.slice == "all"}
        for m in overall.values():
            _check_signature(m, summary, run.manifest)
        images = cluster_codes(answers.image_ids, answers.image_ids)
        for key, column in columns.items():
            _check_value(column, overall[key], images)
            _check_reasons(summary, key, column.n - len(column.scored()))
    except ValueError as problem:
        raise StoreError(
            f"{run.folder.path} contradicts itself: {problem}. One of its files was changed or comes from another run; "
            "give the run's command again, which scores the answers anew."
        ) from None


def check_judged_fit(path: Path, columns: Mapping[MetricKey, ScoreColumn], numbers: Sequence[JudgedNumbers]) -> None:
    """Refuse judged numbers that are not those of the judgments.

    Raises:
        StoreError: names the metric.
    """
    for m in (m for judge in numbers if not judge.problem for m in judge.metrics if m.slice == "all"):
        column = columns.get(m.key)
        if column is not None and not _equal(m.value, _mean(column.scored())):
            name = f"judged-{m.protocol.partition(':')[2]}.json"
            raise StoreError(
                f"{path} contradicts itself: {m.key} is {m.value} in {name} and another value in judgments.jsonl. Give "
                "the `judge` command again; nothing is paid twice."
            )


def check_signature(key: MetricKey, signature: Signature, header: RunHeader | Summary, n: int) -> None:
    """Refuse a signature that names another metric, task, data or number of samples.

    Raises:
        ValueError: names the part.
    """
    protocol = signature["protocol"]
    name = protocol if key.protocol.startswith("judge:") else protocol.rpartition(".")[0]
    expected = {"protocol": key.protocol, "metric": key.metric, "task": f"{header.task}.{header.split}", "n": str(n)}
    found = {"protocol": name, "metric": signature.metric, "task": signature["task"], "n": signature.get("n") or str(n)}
    if "data" in dict(signature.parts):
        found["data_sha256"], expected["data_sha256"] = signature["data"], header.data_sha256[:8]
    for part, value in expected.items():
        if found[part] != value:
            raise ValueError(f"the signature of {key} has the {part} {found[part]!r}, expected {value!r}")


def _check_counts(summary: Summary, answers: AnswerColumns) -> None:
    clusters = "n_images" if summary.n_clusters is None else "n_clusters"
    counts = {"n": len(answers.ids), clusters: len(set(answers.image_ids)), "n_failed": answers.n_failed}
    for name, n in counts.items():
        if getattr(summary, name) != n:
            raise ValueError(f"summary.json has {name}={getattr(summary, name)}, predictions.jsonl {n}")


def _check_same(summary: Summary, other: Manifest | PromptHeader, name: str) -> None:
    """Everything that two files of a run state about it."""
    for key in ("run_id", "model", "task", "split", "form", "n", "data_sha256", "prompt", "image", "limit"):
        one, two = getattr(summary, key), getattr(other, key, None)
        if hasattr(other, key) and two != one and not (key in _LATER and two is None):
            raise ValueError(f"summary.json has {key}={one}, {name} {two}")


def _check_fingerprints(manifest: Manifest, answers: AnswerColumns) -> None:
    """The answers are those to the requests of the manifest, whose fingerprints name the model too."""
    if manifest.prompts_sha256 is None:  # answers that came from a file
        return
    if digest_json_items(sorted(answers.fingerprints)) != manifest.prompts_sha256:
        raise ValueError("the answers in predictions.jsonl are not to the requests of manifest.json (prompts_sha256)")


def _check_prompts(answers: AnswerColumns, prompts: PromptFile) -> None:
    listed, found = ((list(r.ids), list(r.image_ids)) for r in (prompts, answers))
    # Usually in the same order, which is found out much faster.
    if listed != found and dict(zip(*listed, strict=False)) != dict(zip(*found, strict=True)):
        raise ValueError("the samples and images of predictions.jsonl are not those of prompts.json")


def _check_signature(m: MetricValue, summary: Summary, manifest: Manifest | None) -> None:
    """Every part of a signature that the summary or the manifest states too."""
    signature = m.signature
    assert signature is not None, "a summary's metrics have signatures"
    check_signature(m.key, signature, summary, m.n)
    limit = None if summary.limit is None else str(summary.limit)
    stated = {
        "slice": m.slice, "prompt": summary.prompt, "image": summary.image, "gen": summary.generation,
        "v": summary.evalkit, "limit": limit,
    }  # fmt: skip
    for part, value in stated.items():
        if signature.get(part) is not None and signature[part] != value:
            raise ValueError(f"the signature of {m.key} has {part}:{signature[part]}, summary.json {value}")
    known = {p.name: p.version for p in manifest.protocols} if manifest is not None else {}
    protocol = signature["protocol"]
    if known and protocol != f"{m.protocol}.{known.get(m.protocol)}":
        listed = ", ".join(f"{name}.{version}" for name, version in known.items())
        raise ValueError(f"{m.key} is signed by protocol {protocol}, manifest.json lists {listed}")


def _check_value(column: ScoreColumn, m: MetricValue, images: ClusterCodes) -> None:
    """The value, worst case and counts of a metric against its scores."""
    import numpy as np

    scored = column.scored()
    if (m.n, m.n_unscored) != (column.n, column.n - len(scored)):
        raise ValueError(
            f"{m.key} has n={m.n} and {m.n_unscored} unscored in summary.json, scores.jsonl {column.n} and "
            f"{column.n - len(scored)}"
        )
    covered = np.count_nonzero(np.bincount(images.code[column.rows]))
    if m.n_clusters > covered:
        raise ValueError(f"{m.key} has {m.n_clusters} clusters in summary.json, its samples are on {covered} images")
    if column.signature.get("aggregate") not in (None, "unbounded_mean"):
        return  # no mean of the scores
    worst = _mean(column.worst_case())
    of_scored = worst if len(scored) == column.n else _mean(scored)
    # Protocols of earlier plug-ins do not state which of the two their value is.
    allowed = {"wrong": [worst], "exclude": [of_scored]}.get(str(column.signature.get("unscored")), [of_scored, worst])
    if not any(_equal(m.value, value) for value in allowed):
        raise ValueError(f"{m.key} is {m.value} in summary.json, the mean of its scores is {allowed[0]}")
    if not _equal(m.value_worst_case, worst):
        raise ValueError(f"{m.key} has the worst case {m.value_worst_case} in summary.json, its scores {worst}")


def _check_reasons(summary: Summary, key: MetricKey, n_unscored: int) -> None:
    if not summary.unscored:
        return  # of a leaderboard, or of the first versions
    counted = sum(u.count for u in summary.unscored if (u.protocol, u.metric) == key)
    if counted != n_unscored:
        raise ValueError(f"{key} has {n_unscored} unscored samples, summary.json gives reasons for {counted}")


def _mean(values: np.ndarray[Any, Any]) -> float | None:
    return exact_sum(values) / len(values) if len(values) else None


def _equal(one: float | None, two: float | None) -> bool:
    if one is None or two is None:
        return one is two
    return math.isclose(one, two, rel_tol=ROUNDING, abs_tol=ROUNDING)
