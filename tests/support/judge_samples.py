"""Samples with context, open samples, and a judge on the tests' server, for the tests of the judge."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from evalkit.core.types import Prediction, Sample
from evalkit.judge.config import JudgeConfig

# The parts of a run that go into the signatures of its judged metrics.
IDENTITY = SimpleNamespace(task="chat", split="test", data_sha256="0123456789abcdef", evalkit="0.1.0")
KEY = "sk-test-0123456789-very-secret"


def chat(n: int) -> list[Sample]:
    """n chat questions, four per image, of two types and five domains, with the context for a judge."""
    domains = ("chest_xray", "mri", "histology", "gross", "ct_scan")
    return [
        Sample(
            id=str(i),
            image_id=f"image-{i // 4}",
            question=f"What does figure {i} show?",
            references=(f"It shows finding {i}.",),
            tags={"type": "detailed_description" if i % 4 == 3 else "conversation", "domain": domains[i // 4 % 5]},
            context={
                "question": f"What does figure {i} show?\n<image>",
                "caption": f"Fig. {i}: a finding",
                "mentions": f"Figure {i} is shown.",
                "mentions_repr": f"[{{'tokens': 'Figure {i} is shown.'}}]",
            },
        )
        for i in range(n)
    ]


def vqa(n: int) -> list[Sample]:
    """n questions, half of them open, two per image."""
    return [
        Sample(
            id=f"q{i}",
            image_id=f"image-{i // 2}",
            question=f"Which organ is number {i}?",
            references=(f"organ {i}",),
            tags={"answer_type": "OPEN" if i % 2 == 0 else "CLOSED"},
        )
        for i in range(n)
    ]


def answers(samples: list[Sample], text: str = "It is answer {}.") -> list[Prediction]:
    """One answer per sample; {} in the text becomes its id."""
    return [Prediction(sample_id=s.id, text=text.format(s.id)) for s in samples]


def config(url: str, **changes: Any) -> JudgeConfig:
    """A judge on the server at a URL; changes replace its settings."""
    settings: dict[str, Any] = {
        "name": "server",
        "model": "judge-2026-01-01",
        "base_url": url,
        "api_key_env": "JUDGE_TEST_KEY",
        "concurrency": 4,
        "timeout": 5.0,
        "retries": 2,
        "parameters": {"temperature": 0, "max_tokens": 200},
        **changes,
    }
    return JudgeConfig(**settings)
