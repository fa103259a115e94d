"""Prefill of image prefixes: the leading tokens that the questions of an image share, computed once, a row an image."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from evalkit.engines.decode_memory import joined
from evalkit.engines.loaded_model import LoadedModel
from evalkit.engines.needed_layers import only_needed
from evalkit.engines.plain_decode import padded
from evalkit.engines.shared_prefix import PrefixGroup


class CacheLayoutError(Exception):
    """Raised if the model's cache does not behave as sharing needs; the message is the reason for falling back."""


class Prefilled(NamedTuple):
    """Cache with one row per image, and the logits (images, 1, vocabulary) after prefixes that are whole prompts."""

    cache: Any
    logits: Any | None


def prefill(loaded: LoadedModel, pack: Sequence[PrefixGroup], forward_places: int | None = None) -> Prefilled:
    """Compute the prefixes of the pack's images, one cache row per image, shorter ones padded on the right.

    forward_places: token places in one forward pass; None: all in one pass.
    """
    import torch

    longest = max(shared.length for shared in pack)
    size = len(pack) if forward_places is None else max(1, forward_places // longest)
    parts = [_prefill(loaded, pack[i : i + size]) for i in range(0, len(pack), size)]
    if len(parts) == 1:
        return parts[0]
    logits = None if parts[0].logits is None else torch.cat([part.logits for part in parts])
    return Prefilled(joined([part.cache for part in parts], longest), logits)


def _prefill(loaded: LoadedModel, pack: Sequence[PrefixGroup]) -> Prefilled:
    """Run one forward pass of `prefill`."""
    import torch
    from transformers import DynamicCache

    started = time.perf_counter()
    width = max(shared.length for shared in pack)
    inputs = _prefix_inputs(loaded, pack, width)
    # Made without the model's configuration: a layer with a sliding window would drop places that the mask refers to,
    # and `find_prefix` has made sure that no prompt exceeds a window.
    cache = DynamicCache()
    on_device = {name: loaded.on_device(tensor) for name, tensor in inputs.items()}
    whole = pack[0].whole
    ends = torch.tensor(sorted({shared.length - 1 for shared in pack}))
    kept = ends.to(loaded.device) if whole else slice(-1, None)
    with loaded.faster_prefill(), only_needed(loaded, kept):
        output = loaded.model(**on_device, past_key_values=cache, use_cache=True, logits_to_keep=kept if whole else 1)
    if cache.get_seq_length() != width:
        raise CacheLayoutError(f"the cache holds {cache.get_seq_length()} places after a prefix of {width}")
    tokens = sum(shared.length for shared in pack)
    loaded.counters.prefix_prefills += len(pack)
    loaded.counters.vision_encodes += sum(len(shared.group.rows[0].request.images) for shared in pack)
    loaded.counters.prefill_tokens += tokens
    loaded.counters.padding_tokens += inputs["input_ids"].numel() - tokens
    loaded.counters.prefix_seconds += time.perf_counter() - started
    if not whole:
        return Prefilled(cache, None)
    if output.logits.shape[1] != len(ends):
        raise CacheLayoutError("the model does not return the logits of the requested places")
    place = torch.tensor([int((ends == shared.length - 1).nonzero()) for shared in pack])
    return Prefilled(cache, output.logits[torch.arange(len(pack)), place][:, None].float())


def _prefix_inputs(loaded: LoadedModel, pack: Sequence[PrefixGroup], width: int) -> dict[str, Any]:
    """Make the model's inputs for the prefixes of a pack, padded on the right to (images, width)."""
    import torch

    firsts = [shared.group.rows[0] for shared in pack]
    ids = torch.full((len(pack), width), loaded.pad_id)
    mask = torch.zeros((len(pack), width), dtype=torch.long)
    for m, (shared, row) in enumerate(zip(pack, firsts, strict=True)):
        ids[m, : shared.length] = torch.tensor(row.ids[: shared.length])
        mask[m, : shared.length] = 1
    starts = [shared.positions[..., : shared.length].reshape(-1, shared.length).T.unsqueeze(0) for shared in pack]
    positions = padded(starts, width, left=False).permute(2, 0, 1)  # (axes, images, width)
    # Padding comes after all tokens, which attend to earlier ones only: a mask would change nothing.  On a CPU,
    # attention without one is twice as fast; elsewhere it was not measured.
    inputs: dict[str, Any] = {"input_ids": ids} | ({} if loaded.device.startswith("cpu") else {"attention_mask": mask})
    inputs["position_ids"] = positions if pack[0].positions.ndim > 1 else positions[0]
    for name in firsts[0].sequences:
        parts = [r.sequences[name][:, : s.length] for r, s in zip(firsts, pack, strict=True)]
        inputs[name] = padded(parts, width, left=False)
    for name in firsts[0].images:
        inputs[name] = torch.cat([row.images[name] for row in firsts])
    return inputs
