"""Batch sizes by tokens: how many fit into free memory, and packing of groups up to that limit."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from evalkit.engines.loaded_model import LoadedModel
from evalkit.engines.shared_prefix import PrefixGroup

# Maximum places in the cache.  Decoding reads the weights once for all questions, so several images are decoded
# together; but a question's tokens are multiplied with all places of its image's row before the mask hides them, so
# rows must not grow without limit.
MAX_TOKENS = {"cpu": 8192, "cuda": 32768, "mps": 8192}
# Maximum places in a forward pass over prompts.  Two images of LLaVA are enough work for a few cores (1.04 times as
# fast as one at a time; four and eight are no faster and take more memory); a large GPU needs this many.
MAX_FORWARD_PLACES = {"cpu": 1300, "cuda": 32768, "mps": 8192}
MIN_TOKENS = 256
# Share of the memory free after loading that is used for batches; the rest is for fragmentation and other processes.
SHARE_OF_FREE = 0.5
# Answers are usually short, whatever max_new_tokens allows; if they are not, the out-of-memory back-off applies.
EXPECTED_NEW = 64


def tokens_that_fit(loaded: LoadedModel) -> int:
    """Number of tokens that a batch may hold, from the free memory and the memory that a token takes."""
    import torch

    if loaded.device.startswith("cuda"):
        free = torch.cuda.mem_get_info(loaded.device)[0]
    elif hasattr(os, "sysconf") and "SC_AVPHYS_PAGES" in os.sysconf_names:
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    else:
        return MAX_TOKENS["cpu"]
    return max(MIN_TOKENS, int(free * SHARE_OF_FREE / bytes_per_token(loaded)))


def bytes_per_token(loaded: LoadedModel) -> int:
    """Maximum bytes per token of a batch: keys and values, twice while they grow, and one layer's activations."""
    import torch

    text = loaded.text_config
    heads = text.num_attention_heads
    head = getattr(text, "head_dim", None) or text.hidden_size // heads
    kept = 2 * text.num_hidden_layers * (getattr(text, "num_key_value_heads", None) or heads) * head
    work = 8 * text.hidden_size + 3 * getattr(text, "intermediate_size", 4 * text.hidden_size) + 4 * heads * head
    return int((2 * kept + work) * torch.finfo(getattr(torch, loaded.dtype)).bits // 8)


def expected_new(loaded: LoadedModel) -> int:
    """Number of answer tokens for which places are reserved after every prompt."""
    return min(loaded.generation.most_new_tokens, EXPECTED_NEW)


@dataclass(slots=True)
class Limits:
    """Limits of one batch.  The memory-bound ones shrink when memory runs out; `out_of_memory` counts how often.

    tokens: places in the cache.  rows: questions; None: any number.  forward_places: places in one forward pass over
    several prefixes, or several plain prompts when `rows` is None; None: as many as `tokens`.  memory: places that
    fit into memory, a bound for plain batches of a given number of `rows`.
    """

    tokens: int
    rows: int | None = None
    forward_places: int | None = None
    memory: int = 0
    out_of_memory: int = 0

    @property
    def forward_limit(self) -> int:
        """Maximum places in one forward pass over several prefixes, or several plain prompts."""
        return self.tokens if self.forward_places is None else min(self.tokens, self.forward_places)

    def from_memory(self, loaded: LoadedModel) -> None:
        """Set the limits that were not given, from the free memory and the kind of device."""
        if self.tokens:
            self.memory = self.tokens
            return
        kind = loaded.device.split(":")[0]
        self.memory = tokens_that_fit(loaded)
        self.tokens = min(self.memory, MAX_TOKENS.get(kind, MAX_TOKENS["cpu"]))
        self.forward_places = MAX_FORWARD_PLACES.get(kind, MAX_FORWARD_PLACES["cpu"])


class Packer:
    """Collects prefix groups into packs of one shape, within the limits.

    A pack is a list of groups that are answered in one batch; a group that is too large is the only one in its pack.
    """

    # Maximum number of groups waiting for others of their shape; beyond it the fullest pack is released, which bounds
    # memory.
    MAX_WAITING = 32

    def __init__(self, loaded: LoadedModel, limits: Limits) -> None:
        self.loaded = loaded
        self.limits = limits
        self._open: dict[tuple[Any, ...], list[PrefixGroup]] = {}

    def add(self, shared: PrefixGroup) -> list[list[PrefixGroup]]:
        """Add a group; returns the packs that are now full."""
        key = (shared.group.shape, shared.whole)
        pack = self._open.setdefault(key, [])
        if pack and not self.fits([*pack, shared]):
            self._open[key] = [shared]
            return [pack]
        pack.append(shared)
        if sum(map(len, self._open.values())) > self.MAX_WAITING:
            return [self._open.pop(max(self._open, key=lambda k: len(self._open[k])))]
        return []

    def rest(self) -> list[list[PrefixGroup]]:
        """Return the remaining packs after the last group."""
        packs, self._open = list(self._open.values()), {}
        return packs

    def fits(self, pack: Sequence[PrefixGroup]) -> bool:
        """Whether the pack fits into one batch, including padding."""
        rows = sum(len(s.group.rows) for s in pack)
        return (self.limits.rows is None or rows <= self.limits.rows) and self.places(pack) <= self.limits.tokens

    def places(self, pack: Sequence[PrefixGroup]) -> int:
        """Number of places that the pack takes in the cache."""
        new = expected_new(self.loaded)
        after_prefix = max(s.tokens - s.length + new * len(s.group.rows) for s in pack)
        return len(pack) * (max(s.length for s in pack) + after_prefix)

    def at_once(self, pack: Sequence[PrefixGroup]) -> int | None:
        """Maximum number of questions of a pack that may be decoded together; None: all."""
        if self.fits(pack):
            return None
        assert len(pack) == 1
        shared = pack[0]
        n = len(shared.group.rows)
        each = (shared.tokens - shared.length) / n + expected_new(self.loaded)
        # A prefix longer than the limit still leaves half of the limit to its questions.
        by_tokens = int(max(self.limits.tokens - shared.length, self.limits.tokens // 2) / each)
        return max(1, min(by_tokens, self.limits.rows or n, n))
