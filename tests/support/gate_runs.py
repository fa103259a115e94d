"""Runs made up of scores, for what only reads them."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import yaml

from evalkit.analysis.gate.verdicts import Comparison, Verdict, chosen, judge, margins_of
from evalkit.analysis.run_scores import Scored, answer_digest, baseline_content
from evalkit.cli.commands import gate
from evalkit.core.errors import EvalkitError
from tests.support.paths import CONF

METRIC = "strict closed_accuracy"
HEADER = {
    "task": "toy", "split": "test", "data_sha256": "d", "closed_rule": "label", "prompt": "plain@0",
    "image": "original", "limit": None, "model": "m", "run_id": "m-1", "evalkit": "0", "generation": "greedy.max16",
    "status": "done",
}  # fmt: skip

BASE: list[float | None] = [1.0] * 2000 + [0.0] * 1000
random.Random(3).shuffle(BASE)


def run(values: Sequence[float | None], origin: str = "a", metric: str = METRIC, **header: Any) -> Scored:
    """A run of one metric, three questions an image, its answers another text wherever the score is another."""
    n = len(values)
    texts = tuple(f"t{k}{v}" for k, v in enumerate(values))
    task, protocol, name = (HEADER | header)["task"], *metric.split(" ")
    return Scored(
        origin=origin,
        header=HEADER | {"n": n} | header,
        ids=tuple(str(k) for k in range(n)),
        image_ids=tuple(f"i{k // 3}" for k in range(n)),
        scores={metric: tuple(values)},
        rows={metric: tuple(range(n))},
        signatures={metric: f"{name}|task:{task}.test|n:{n}|protocol:{protocol}.1|prompt:p|gen:{origin}|v:0"},
        answers=tuple(answer_digest(t) for t in texts),
        questions=tuple(f"q{k}" for k in range(n)),
        texts=texts,
    )


def both(one: Scored, two: Scored) -> Scored:
    """One run with the metrics of two over the same samples."""
    return replace(
        one,
        scores={**one.scores, **two.scores},
        rows={**one.rows, **two.rows},
        signatures={**one.signatures, **two.signatures},
        answers=tuple(answer_digest(a + b) for a, b in zip(one.texts, two.texts, strict=True)),
    )


def flip(values: Sequence[float | None], worse: int, better: int, seed: int = 0) -> list[float | None]:
    """`worse` ones become zeros and `better` zeros become ones, at random places."""
    randomly = random.Random(seed)
    new = list(values)
    for k in randomly.sample([k for k, v in enumerate(values) if v == 1.0], worse):
        new[k] = 0.0
    for k in randomly.sample([k for k, v in enumerate(values) if v == 0.0], better):
        new[k] = 1.0
    return new


def held(
    *matches: tuple[Scored, Scored],
    metrics: Sequence[str] | None = None,
    margin: float = 0.02,
    margins: Mapping[str, float] | None = None,
) -> list[Comparison]:
    """The gate as its verb holds it."""
    mine = chosen(matches, metrics)
    return judge(matches, mine, margins_of(sorted({m for ms in mine for m in ms}), margin, margins or {}))


def one(baseline: Scored, candidate: Scored, margin: float = 0.02) -> Verdict:
    """The verdict of a gate of one metric."""
    ((verdict,),) = (c.verdicts for c in held((baseline, candidate), margin=margin))
    return verdict


def exit_code(**settings: Any) -> int:
    """The exit code of `gate` with these settings, without the start of a process and of Hydra."""
    defaults = yaml.safe_load((CONF / "gate.yaml").read_text(encoding="utf-8"))
    try:
        return gate.main({**defaults, "choices": {}, **settings})
    except EvalkitError as problem:
        return problem.exit_code


def as_content(baseline: Scored) -> dict[str, Any]:
    """A baseline's file, parsed."""
    content: dict[str, Any] = json.loads(baseline_content(baseline, list(baseline.scores), with_texts=True))
    return content
