"""Attention of one layer at some places of its input only, where nothing reads its output at the others."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from evalkit.engines.grouped_attention import attend, registered
from evalkit.engines.replacement import replaced

# Name of the attention of `evalkit.engines.cpu_kernels`.
COMPILED = "evalkit_compiled"


def can_choose_places(attention: Any) -> bool:
    """Whether an attention layer has the parts of transformers' decoders and attends by `sdpa` or what replaces it."""
    config = getattr(attention, "config", None)
    has_parts = all(hasattr(attention, name) for name in ("q_proj", "o_proj"))
    return has_parts and getattr(config, "_attn_implementation", None) in ("sdpa", COMPILED)


@contextmanager
def attention_at(attention: Any, places: Any) -> Iterator[None]:
    """Let one layer attend at these places of its new tokens only; its output is 0 elsewhere.

    places: a slice, or a tensor of indices.  The layer reads a copy of its configuration, so that other layers, and the
    masks that the model makes, stay as they are.
    """
    own = copy.copy(attention.config)
    own._attn_implementation = registered("evalkit_chosen_places", _attend_at_places)
    own.evalkit_places = places
    with replaced(attention, "config", own):
        yield


def _attend_at_places(
    module: Any, query: Any, key: Any, value: Any, attention_mask: Any, **settings: Any
) -> tuple[Any, None]:
    """Attention of query (rows, heads, new, size) at the places of the layer's configuration.

    Returns:
        (rows, new, heads, size) with 0 at the other places, and None for the weights.
    """
    new = query.shape[2]
    chosen = query[:, :, module.config.evalkit_places]
    if chosen.shape[2] == new or not (mask := _mask_of_places(module, new, key.shape[2], attention_mask, settings)):
        return attend(module, query, key, value, attention_mask, **settings)
    found, _ = attend(module, chosen, key, value, mask[0], **settings | {"is_causal": False})
    output = found.new_zeros((found.shape[0], new, *found.shape[2:]))
    output[:, module.config.evalkit_places] = found
    return output, None


def _mask_of_places(module: Any, new: int, width: int, mask: Any, settings: dict[str, Any]) -> tuple[Any] | None:
    """The mask (rows or 1, heads or 1, chosen places, width) in a tuple; None if it is not known.

    No mask means that a token attends to all places up to its own, in a layer that is causal.
    """
    import torch

    places = module.config.evalkit_places
    if mask is not None:
        return (mask[:, :, places],) if mask.ndim == 4 and mask.shape[2] == new else None
    causal = settings.get("is_causal")
    if not (getattr(module, "is_causal", True) if causal is None else causal):
        return (None,)
    if new != width:
        return None
    indices = torch.arange(new)[places]
    if len(indices) == 1 and int(indices) == width - 1:
        return (None,)
    return ((torch.arange(width) <= indices[:, None])[None, None],)
