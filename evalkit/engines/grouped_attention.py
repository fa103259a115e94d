"""Attention of a few new tokens in which the query heads of one key head are rows of one product.

Under a mask, transformers repeats keys and values for each query head (four times for 12 heads over 3), copying the
whole cache in each layer of each step.  Here each key head is read once, by all its query heads together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any

from evalkit.engines.loaded_model import LoadedModel
from evalkit.engines.replacement import attending_by


@contextmanager
def grouped_heads(loaded: LoadedModel) -> Iterator[None]:
    """Let the language model's `sdpa` attention on a CPU group its heads; other attention stays as it is."""
    config = loaded.text_config
    if config._attn_implementation != "sdpa" or not loaded.device.startswith("cpu"):
        yield
        return
    with attending_by(config, registered("evalkit_grouped_heads", attend)):
        yield


@cache
def registered(name: str, attention: Callable[..., Any]) -> str:
    """Register an attention with transformers, which takes the masks of `sdpa`; returns its name."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

    AttentionInterface.register(name, attention)
    AttentionMaskInterface.register(name, ALL_MASK_ATTENTION_FUNCTIONS["sdpa"])
    return name


def attend(module: Any, query: Any, key: Any, value: Any, attention_mask: Any, **settings: Any) -> tuple[Any, None]:
    """Attention of query (rows, heads, new, size) to key and value (rows, key heads, places, size) under a mask.

    attention_mask: (rows, 1, new, places), True where a token attends.  Without it, with one key head for each query
    head, or with settings other than `scaling`, it is transformers' own.

    Returns:
        (rows, new, heads, size), and None for the weights.
    """
    import torch
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    rows, heads, new, size = query.shape
    each = heads // key.shape[1]
    if each == 1 or attention_mask is None or attention_mask.shape[1] != 1 or has_other_rule(settings):
        own: tuple[Any, None] = sdpa_attention_forward(module, query, key, value, attention_mask, **settings)
        return own
    output = torch.nn.functional.scaled_dot_product_attention(
        query.reshape(rows, heads // each, each * new, size),
        key,
        value,
        attn_mask=attention_mask.repeat(1, 1, each, 1),
        scale=settings.get("scaling"),
    )
    return output.reshape(rows, heads, new, -1).transpose(1, 2).contiguous(), None


def has_other_rule(settings: Mapping[str, Any]) -> bool:
    """Whether an attention's settings ask for more than its scale and whether it is causal."""
    return any(settings.get(name) is not None for name in ("position_bias", "cache", "softcap")) or bool(
        settings.get("dropout")
    )
