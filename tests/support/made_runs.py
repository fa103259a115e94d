"""Finished runs made without a model, written by the code that `run` uses."""

from __future__ import annotations

import contextlib
import io
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evalkit.cli.config import build, load_option
from evalkit.core.types import Metric, Prediction, Sample, Score
from evalkit.pipeline.conclude import AnalysisSettings, conclude
from evalkit.runs.read import summary_at
from evalkit.runs.schema import Manifest, Summary
from evalkit.runs.store import RunFolder, write_predictions, write_record
from evalkit.scoring.aggregate import RunProvenance
from evalkit.scoring.base import ScoringProtocol
from evalkit.tasks.base import LoadedTask

PROTOCOLS = ("llava-med", "strict", "exact-match")


def made_samples(n: int, per_image: int = 2) -> list[Sample]:
    """Samples, every other one closed, with the tags modality and organ."""
    drawn = random.Random(0)
    organs, modalities = ("lung", "liver", "brain", "kidney"), ("CT", "MR", "X-ray")
    found = []
    for i in range(n):
        organ, closed = drawn.choice(organs), i % 2 == 0
        question = f"Is there a mass in the {organ}?" if closed else f"What is seen in the {organ}?"
        right = drawn.choice(("yes", "no")) if closed else drawn.choice(("left lung", "liver, kidney", "MRI"))
        tags = {"answer_type": "CLOSED" if closed else "OPEN", "modality": drawn.choice(modalities), "organ": organ}
        found.append(
            Sample(id=f"q{i}", image_id=f"im{i // per_image}", question=question, references=(right,), tags=tags)
        )
    return found


def answered(sample: Sample, text: str) -> Prediction:
    return Prediction(sample_id=sample.id, text=text, finish_reason="stop", n_tokens=1, seconds=0.25)


def failed(sample: Sample, error: str = "CUDA out of memory") -> Prediction:
    return Prediction(sample_id=sample.id, error=error, finish_reason="error")


def mixed(
    samples: Sequence[Sample], seed: int, texts: Sequence[str] = ("no", "left", "I cannot tell")
) -> list[Prediction]:
    """Half of the answers right, some failed, the others as given."""
    drawn = random.Random(seed)
    chosen = (drawn.choice([None, *texts, *(4 * ["="])]) for _ in samples)
    return [
        failed(s) if t is None else answered(s, s.references[0] if t == "=" else t)
        for s, t in zip(samples, chosen, strict=True)
    ]


def made_run(
    folder: Path,
    samples: Sequence[Sample],
    predictions: Sequence[Prediction],
    *,
    model: str = "made",
    protocols: Sequence[str] = PROTOCOLS,
    config: dict[str, Any] | None = None,
    task: str = "toy",
) -> Path:
    """A run's folder with predictions, scores, summary and manifest."""
    built: list[ScoringProtocol] = [build(load_option("protocol", p), p) for p in protocols]
    return made_run_under(folder, samples, predictions, built, model=model, config=config, task=task)


def made_run_under(
    folder: Path,
    samples: Sequence[Sample],
    predictions: Sequence[Prediction],
    protocols: Sequence[ScoringProtocol],
    *,
    model: str = "made",
    config: dict[str, Any] | None = None,
    task: str = "toy",
) -> Path:
    """As `made_run`, with protocols that need not be registered."""
    loaded = LoadedTask(
        name=task, split="test", form="made", samples=tuple(samples), closed_rule="label", prompt="plain@0"
    )
    folder.mkdir(parents=True, exist_ok=True)
    run = RunFolder(folder)
    write_predictions(run.predictions, samples, predictions)
    provenance = RunProvenance(model=model, task=loaded)
    with contextlib.redirect_stderr(io.StringIO()):
        conclude(run, samples, predictions, protocols, provenance, None, AnalysisSettings())
    write_record(run.manifest, manifest_of(summary_at(run.summary), config or {}))
    return folder


def manifest_of(summary: Summary, config: Mapping[str, Any]) -> Manifest:
    """The manifest of a finished run with this summary."""
    taken = ("run_id", "model", "task", "split", "form", "n", "data_sha256", "prompt", "image", "generation",
             "closed_rule", "limit", "evalkit")  # fmt: skip
    return Manifest(config=config, status="done", **{name: getattr(summary, name) for name in taken})


class ErrorRates:
    """A plug-in protocol with a metric of which lower is better."""

    name = "error-rates"
    version = 1
    unscored = "exclude"
    metrics: tuple[Metric, ...] = (Metric(name="error_rate", higher_is_better=False), Metric(name="exact_match"))

    def is_closed(self, sample: Sample) -> bool | None:
        return None

    def score(self, sample: Sample, prediction: Prediction) -> list[Score]:
        hit = float(prediction.text == sample.references[0])
        values = {"error_rate": 1 - hit, "exact_match": hit}
        return [Score(sample_id=sample.id, protocol=self.name, metric=m, value=v) for m, v in values.items()]

    def settings(self) -> dict[str, str]:
        return {}
