"""How much goes into one batch: tokens that fit into free memory, and groups put together up to that."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from evalkit.engines.loaded_model import Loaded
from evalkit.engines.shared_prefix import Shared

# Places in the cache.  Decoding reads the weights once for all questions, so several images decode together; a
# question's tokens are multiplied with all places of its image's row before the mask hides them, so rows must end.
MOST_TOKENS = {"cpu": 4096, "cuda": 32768, "mps": 8192}
# Places in a forward pass over prompts.  A few cores are busy with one image (two at once were 5 % slower and took
# twice the memory), a large GPU with these.
TOGETHER = {"cpu": 1024, "cuda": 32768, "mps": 8192}
FEWEST_TOKENS = 256
# Of the memory that is free when the model is loaded, for batches; the rest is for fragments and for others.
SHARE_OF_FREE = 0.5
# Answers are short as a rule, whatever max_new_tokens allows; where they are not, running out of memory is met.
EXPECTED_NEW = 64


def tokens_that_fit(loaded: Loaded) -> int:
    """Prompt tokens that a batch may hold, from the free memory and what a token takes in this model."""
    import torch

    if loaded.device.startswith("cuda"):
        free = torch.cuda.mem_get_info(loaded.device)[0]
    elif hasattr(os, "sysconf") and "SC_AVPHYS_PAGES" in os.sysconf_names:
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    else:
        return MOST_TOKENS["cpu"]
    return max(FEWEST_TOKENS, int(free * SHARE_OF_FREE / bytes_per_token(loaded)))


def bytes_per_token(loaded: Loaded) -> int:
    """What a token of a batch takes at most: keys and values, twice while they grow, and the work of one layer."""
    import torch

    text = loaded.text_config
    heads = text.num_attention_heads
    head = getattr(text, "head_dim", None) or text.hidden_size // heads
    kept = 2 * text.num_hidden_layers * (getattr(text, "num_key_value_heads", None) or heads) * head
    work = 8 * text.hidden_size + 3 * getattr(text, "intermediate_size", 4 * text.hidden_size) + 4 * heads * head
    return int((2 * kept + work) * torch.finfo(getattr(torch, loaded.dtype)).bits // 8)


def expected_new(loaded: Loaded) -> int:
    """Tokens that room is kept for behind every prompt."""
    return min(loaded.generation.max_new_tokens, EXPECTED_NEW)


@dataclass(slots=True)
class Limits:
    """How much may go into one batch.  What memory bounds shrinks when it runs out, which is counted.

    tokens: places in the cache.  rows: questions; None: any number.  together: places in one forward pass over
    several prefixes, or several plain prompts when `rows` is None; None: as many as `tokens`.  memory: places that
    memory has room for, what a plain batch of so many `rows` must fit into.
    """

    tokens: int
    rows: int | None = None
    together: int | None = None
    memory: int = 0
    out_of_memory: int = 0

    @property
    def several(self) -> int:
        """Places in one forward pass over several prefixes, or several plain prompts."""
        return self.tokens if self.together is None else min(self.tokens, self.together)

    def from_memory(self, loaded: Loaded) -> None:
        """Fill in what was not given, from the free memory and the kind of the device."""
        if self.tokens:
            self.memory = self.tokens
            return
        kind = loaded.device.split(":")[0]
        self.memory = tokens_that_fit(loaded)
        self.tokens = min(self.memory, MOST_TOKENS.get(kind, MOST_TOKENS["cpu"]))
        self.together = TOGETHER.get(kind, TOGETHER["cpu"])


class Packer:
    """Collects shared groups into packs of one shape, within the limits.

    A pack is a list of groups that are answered in one batch; a group that is too large stands alone in its pack.
    """

    # Groups that wait for others of their shape; beyond this the fullest pack goes, so that memory stays flat.
    MOST_WAITING = 32

    def __init__(self, loaded: Loaded, limits: Limits) -> None:
        self.loaded = loaded
        self.limits = limits
        self._open: dict[tuple[Any, ...], list[Shared]] = {}

    def add(self, shared: Shared) -> list[list[Shared]]:
        """Take a group in; returns the packs that are full now."""
        key = (shared.group.shape, shared.whole)
        pack = self._open.setdefault(key, [])
        if pack and not self.fits([*pack, shared]):
            self._open[key] = [shared]
            return [pack]
        pack.append(shared)
        if sum(map(len, self._open.values())) > self.MOST_WAITING:
            return [self._open.pop(max(self._open, key=lambda k: len(self._open[k])))]
        return []

    def rest(self) -> list[list[Shared]]:
        """What is left when no more groups come."""
        packs, self._open = list(self._open.values()), {}
        return packs

    def fits(self, pack: Sequence[Shared]) -> bool:
        """Whether the pack is one batch, padding counted."""
        rows = sum(len(s.group.rows) for s in pack)
        return (self.limits.rows is None or rows <= self.limits.rows) and self.places(pack) <= self.limits.tokens

    def places(self, pack: Sequence[Shared]) -> int:
        """Places that the pack takes in the cache."""
        new = expected_new(self.loaded)
        behind = max(s.tokens - s.length + new * len(s.group.rows) for s in pack)
        return len(pack) * (max(s.length for s in pack) + behind)

    def at_once(self, pack: Sequence[Shared]) -> int | None:
        """How many questions of a pack may continue together; None: all."""
        if self.fits(pack):
            return None
        assert len(pack) == 1
        shared = pack[0]
        n = len(shared.group.rows)
        each = (shared.tokens - shared.length) / n + expected_new(self.loaded)
        # A prefix that is longer than a batch should be still leaves half a batch to its questions.
        by_tokens = int(max(self.limits.tokens - shared.length, self.limits.tokens // 2) / each)
        return max(1, min(by_tokens, self.limits.rows or n, n))
