"""Requests with continuations, and their log-probabilities by a plain forward pass over each full prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from evalkit.core.types import Request
from evalkit.engines.hf import HfEngine
from evalkit.engines.preprocess import Preprocessor, PromptRow


def with_options(request: Request, texts: Sequence[str]) -> Request:
    """A request that asks for the log-probabilities of texts."""
    return replace(request, continuations=tuple(texts))


def plain_forward(model: Any, row: PromptRow) -> list[float]:
    """Log-probabilities of a row's continuation: one forward pass over the full prompt, without cache and padding."""
    import torch

    ids = torch.tensor([row.ids])
    with torch.inference_mode():
        logits = model(
            input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False, **row.sequences, **row.images
        ).logits[0]
    values = logits.float().log_softmax(-1)
    return [float(values[k - 1, row.ids[k]]) for k in range(row.start, len(row.ids))]


def expected_scores(engine: HfEngine, request: Request) -> list[tuple[float, int]]:
    """(sum, tokens) of each option of a request."""
    loaded = engine.load()
    rows = Preprocessor(loaded, workers=0).process([request]).rows
    found = [plain_forward(loaded.model, row) for row in rows]
    return [(sum(values), len(values)) for values in found]


def scores(engine: HfEngine, requests: Sequence[Request]) -> dict[str, list[tuple[float, int]]]:
    """(log-probability, tokens) of each option by sample, from the engine; asserts that none failed."""
    given = [p for batch in engine.generate(requests) for p in batch]
    assert sorted(p.fingerprint for p in given) == sorted(r.fingerprint for r in requests)
    assert [p.error for p in given if p.error] == []
    return {p.sample_id: [(o.logprob, o.n_tokens) for o in p.options] for p in given}
