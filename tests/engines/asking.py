"""Asking an engine in tests: every request exactly once, none failed."""

from __future__ import annotations

from evalkit.engines.base import Engine
from evalkit.types import Prediction, Request

Answer = tuple[str | None, str, int | None]


def answers(engine: Engine, requests: list[Request]) -> dict[str, Answer]:
    """sample id -> (text, finish reason, tokens); every request exactly once, none failed."""
    given: list[Prediction] = [p for batch in engine.generate(requests) for p in batch]
    assert sorted(p.fingerprint for p in given) == sorted(r.fingerprint for r in requests)
    assert [p.error for p in given if p.error] == []
    return {p.sample_id: (p.text, p.finish_reason, p.n_tokens) for p in given}
