"""Helpers that run an engine in tests."""

from __future__ import annotations

from dataclasses import replace

from evalkit.core.errors import EvalkitError
from evalkit.core.types import Prediction, Request
from evalkit.engines.base import Engine

Answer = tuple[str | None, str, int | None]


def answers(engine: Engine, requests: list[Request]) -> dict[str, Answer]:
    """Return sample id -> (text, finish reason, tokens); asserts every request exactly once and no failure."""
    given: list[Prediction] = [p for batch in engine.generate(requests) for p in batch]
    assert sorted(p.fingerprint for p in given) == sorted(r.fingerprint for r in requests)
    assert [p.error for p in given if p.error] == []
    return {p.sample_id: (p.text, p.finish_reason, p.n_tokens) for p in given}


def ask_all(engine: Engine, requests: list[Request]) -> tuple[list[Prediction], EvalkitError | None]:
    """Return the predictions, and the error that ended the run, if any."""
    given: list[Prediction] = []
    try:
        for batch in engine.generate(requests):
            given += batch
    except EvalkitError as problem:
        return given, problem
    return given, None


def blind(request: Request) -> Request:
    """Copy a request without its image."""
    message = replace(request.messages[0], content=(request.question,))
    name = f"{request.sample_id}-blind"
    return replace(request, sample_id=name, images=(), image_digests=(), messages=(message,))
