"""Runs made of given scores, for tests of the code that compares runs."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import yaml

from evalkit.analysis.gate.inputs import RunPair
from evalkit.analysis.gate.verdicts import GateComparison, MetricVerdict, choose_metrics, decide, margins_of
from evalkit.analysis.run_scores import RunScores, ScoreColumn, answer_digest, baseline_file
from evalkit.core.errors import EvalkitError
from evalkit.core.signature import Signature
from evalkit.core.types import MetricKey
from evalkit.runs.schema import RunHeader
from tests.support.paths import CONF

METRIC = MetricKey("strict", "closed_accuracy")
ERROR_RATE = MetricKey("plugin", "error_rate")

BASE: list[float | None] = [1.0] * 2000 + [0.0] * 1000
random.Random(3).shuffle(BASE)


def header(**changes: Any) -> RunHeader:
    """The header of a finished run of 3000 samples, with these changes."""
    fields: dict[str, Any] = {
        "task": "toy", "split": "test", "data_sha256": "d", "closed_rule": "label", "prompt": "plain@0",
        "image": "original", "limit": None, "n": len(BASE), "model": "m", "run_id": "m-1", "evalkit": "0",
        "generation": "greedy.max16", "status": "done",
    }  # fmt: skip
    return RunHeader(**fields | changes)


def run(
    values: Sequence[float | None],
    origin: str = "a",
    key: MetricKey = METRIC,
    *,
    higher_is_better: bool = True,
    **changes: Any,
) -> RunScores:
    """A run of one metric with three questions per image, in which answers with different scores have different texts.

    changes: of the header.
    """
    n = len(values)
    texts = tuple(f"t{k}{v}" for k, v in enumerate(values))
    made = header(**{"n": n} | changes)
    signature = Signature.parse(
        f"{key.metric}|task:{made.task}.test|n:{n}|protocol:{key.protocol}.1|prompt:p|gen:{origin}|v:0"
    )
    return RunScores(
        origin=origin,
        header=made,
        ids=tuple(str(k) for k in range(n)),
        image_ids=tuple(f"i{k // 3}" for k in range(n)),
        columns={key: ScoreColumn.of(values, range(n), signature=signature, higher_is_better=higher_is_better)},
        answers=tuple(answer_digest(t) for t in texts),
        questions=tuple(f"q{k}" for k in range(n)),
        texts=texts,
    )


def with_column(scores: RunScores, key: MetricKey = METRIC, **changes: Any) -> RunScores:
    """A run with changed fields of one of its columns."""
    return replace(scores, columns={**scores.columns, key: replace(scores.columns[key], **changes)})


def both(one: RunScores, two: RunScores) -> RunScores:
    """One run with the metrics of two runs over the same samples."""
    return replace(
        one,
        columns={**one.columns, **two.columns},
        answers=tuple(answer_digest(a + b) for a, b in zip(one.texts, two.texts, strict=True)),
    )


def flip(values: Sequence[float | None], lost: int, won: int, seed: int = 0) -> list[float | None]:
    """The values with `lost` ones turned into zeros and `won` zeros into ones, at random places."""
    randomly = random.Random(seed)
    new = list(values)
    for k in randomly.sample([k for k, v in enumerate(values) if v == 1.0], lost):
        new[k] = 0.0
    for k in randomly.sample([k for k, v in enumerate(values) if v == 0.0], won):
        new[k] = 1.0
    return new


def gate_runs(
    *matches: tuple[RunScores, RunScores],
    metrics: Sequence[str] | None = None,
    margin: float = 0.02,
    margins: Mapping[str, float] | None = None,
) -> list[GateComparison]:
    """The gate as its verb runs it."""
    pairs = [RunPair(*match) for match in matches]
    chosen = choose_metrics(pairs, metrics)
    return decide(pairs, chosen, margins_of(sorted({k for keys in chosen for k in keys}), margin, margins or {}))


def one(
    baseline: RunScores, candidate: RunScores, margin: float = 0.02, metrics: Sequence[str] | None = None
) -> MetricVerdict:
    """The verdict of a gate of one metric."""
    ((verdict,),) = (c.verdicts for c in gate_runs((baseline, candidate), margin=margin, metrics=metrics))
    return verdict


def exit_code(**settings: Any) -> int:
    """The exit code of `gate` with these settings, without a process of its own and without Hydra."""
    from evalkit.cli.commands import gate

    defaults = yaml.safe_load((CONF / "gate.yaml").read_text(encoding="utf-8"))
    try:
        return gate.main({**defaults, "choices": {}, **settings})
    except EvalkitError as problem:
        return problem.exit_code


def as_content(baseline: RunScores) -> dict[str, Any]:
    """The content of a baseline's file, parsed."""
    content: dict[str, Any] = json.loads(baseline_file(baseline, list(baseline.columns), with_texts=True))
    return content


def as_text(content: Mapping[str, Any]) -> str:
    """The text of a baseline file with this content, valid or not, and the checksum that belongs to it."""
    from evalkit.core.files import key_a_line
    from evalkit.runs.read import baseline_digest

    rest = {k: v for k, v in content.items() if k != "digest"}
    return key_a_line({**rest, "digest": baseline_digest(rest)})
