"""Draws of tokens that depend on the request alone: not on the batch, on its order, or on whether a prefix is shared.

A token is the place at which the cumulated probabilities, in the order of the vocabulary, pass a number from 0 to 1
that is made of the request's seed and the step.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from evalkit.core.types import Generation

# Bits of a float's fraction: each number is exact.
_BITS = 53


def uniform(seed: int, step: int) -> float:
    """A number from 0 to below 1 for a step of a request.

    >>> uniform(7, 0) == uniform(7, 0) != uniform(7, 1)
    True
    """
    digest = hashlib.sha256(f"{seed}:{step}".encode()).digest()
    return float((int.from_bytes(digest[:8], "big") >> (64 - _BITS)) / (1 << _BITS))


def draw_tokens(logits: Any, generation: Generation, keys: Sequence[tuple[int, int]]) -> Any:
    """Draw one token for each row of logits (rows, vocabulary); returns ids (rows,).

    Temperature, `top_k` and `top_p` apply in this order, as in transformers.

    Args:
        keys: the seed of each row's request, and the step.
    """
    import torch

    cumulated = _probabilities(logits, generation).cumsum(dim=-1)
    chances = torch.tensor([uniform(*key) for key in keys], dtype=torch.float64, device=logits.device)
    # The sum is 1 but for rounding; of equal entries, which have no probability of their own, the first is chosen.
    targets = chances[:, None] * cumulated[:, -1:]
    return torch.searchsorted(cumulated, targets, right=True).squeeze(-1).clamp(max=logits.shape[-1] - 1)


def _probabilities(logits: Any, generation: Generation) -> Any:
    """Probabilities (rows, vocabulary) in float64 after temperature, top_k and top_p."""
    from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    steps: list[Any] = []
    if generation.temperature != 1.0:
        steps.append(TemperatureLogitsWarper(float(generation.temperature)))
    if generation.top_k:
        steps.append(TopKLogitsWarper(generation.top_k))
    if generation.top_p < 1.0:
        steps.append(TopPLogitsWarper(float(generation.top_p)))
    scores = logits.double()
    for step in steps:
        scores = step(None, scores)
    return scores.softmax(dim=-1)
