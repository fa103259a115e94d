"""Protocols as their YAMLs configure them, and rows made of a few words."""

import importlib
import json
from functools import cache

import pytest
import yaml

from evalkit.core.types import Prediction, Sample
from tests.support.paths import ROOT, SHARED

CONF = ROOT / "conf" / "protocol"
ANSWERS = SHARED / "data/predictions/qwen2-vl-2b-vqa-rad"
RUNS = {
    "baseline": "baseline/predictions.jsonl",
    "lora_quick": "lora_quick/lora_predictions.jsonl",
    "lora_rank4": "lora_rank4/lora_predictions.jsonl",
    "lora_rank8": "lora_rank8/lora_predictions.jsonl",
    "lora_rank16": "lora_rank16/lora_predictions.jsonl",
}

needs_answers = [
    pytest.mark.data,
    pytest.mark.skipif(not ANSWERS.is_dir(), reason=f"no real answers in {ANSWERS}; set EVALKIT_SHARED"),
]


@cache
def protocol(name, **changes):
    settings = yaml.safe_load((CONF / f"{name}.yaml").read_text(encoding="utf-8")) | changes
    module, _, attribute = settings.pop("target").partition(":")
    settings.pop("about")
    return getattr(importlib.import_module(module), attribute)(**settings)


def row(gold, answer_type="OPEN", question="What is this?", **fields):
    references = gold if isinstance(gold, tuple) else (gold,)
    tags = {"answer_type": answer_type} if answer_type else {}
    return Sample(id="1", image_id="i", question=question, references=references, tags=tags, **fields)


def scores(name, gold, answer, answer_type="OPEN", question="What is this?", settings=None, **fields):
    """metric -> Score of one answer under a protocol."""
    sample = row(gold, answer_type, question, **fields)
    found = protocol(name, **(settings or {})).score(sample, Prediction(sample_id="1", text=answer))
    return {score.metric: score for score in found}


def value(name, metric, gold, answer, answer_type="OPEN", **rest):
    return scores(name, gold, answer, answer_type, **rest)[metric].value


def read_answers(run):
    """The rows of one of the five real runs, as (Sample, Prediction): closed is what its file calls so, yes or no."""
    pairs = []
    for line in (ANSWERS / RUNS[run]).read_text(encoding="utf-8").splitlines():
        item = json.loads(line)
        sample = Sample(
            id=str(item["id"]),
            image_id=str(item["id"]),
            question=item["question"],
            references=(item["reference"],),
            tags={"answer_type": item["qtype"].upper()},
        )
        pairs.append((sample, Prediction(sample_id=sample.id, text=item["prediction"])))
    return pairs


def mean_of(name, metric, pairs, **changes):
    """The metric's mean over the rows that it covers and that could be scored."""
    chosen = protocol(name, **changes)
    values = [s.value for pair in pairs for s in chosen.score(*pair) if s.metric == metric and s.value is not None]
    return sum(values) / len(values)
