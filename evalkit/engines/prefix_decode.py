"""One prefill an image: its questions continue from the shared keys and values, all in one sequence an image.

A batch row is an image.  Its prefix is computed once; then the rest of every prompt is put behind it in ONE sequence,
with a 4D mask under which a question sees the prefix and itself, and with position ids as if it stood there alone.
The prefix's keys and values are never copied for a question, nothing is padded but the shorter rows, and several
images make a batch.  (The other form, a cache row for each question, repeats the prefix in memory for each of them:
on two cores it was no faster and took seven times the memory.)  A question that is finished leaves the sequence, an
image without open questions leaves the batch.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from evalkit.engines.loaded_model import Loaded, holds_stop
from evalkit.engines.plain_decode import padded
from evalkit.engines.shared_prefix import Shared

# Who owns a place in the cache: a question's number in its image, or one of these.
PREFIX, NOBODY, BLIND = -1, -2, -3

# Given (image in the batch, question in the image, logits (vocabulary,)) at every step.
Recorder = Callable[[int, int, Any], None]


class LayoutError(Exception):
    """The model does not do what sharing needs; the message is the reason for falling back."""


@dataclass(slots=True, kw_only=True)
class _Question:
    """One question while it is answered: its image's row in the batch, what is left of its prompt, its answer."""

    image: int
    number: int
    suffix: tuple[int, ...]
    ids: list[int] = field(default_factory=list)


def answer(
    loaded: Loaded,
    pack: Sequence[Shared],
    *,
    at_once: int | None = None,
    together: int | None = None,
    record: Recorder | None = None,
) -> list[list[list[int]]]:
    """New token ids of every question of every image of the pack, greedy.

    Args:
        at_once: at most so many questions continue together; possible with one image only.
        together: places in one forward pass over prefixes, which are joined afterwards; None: all in one.
        record: called with the logits of every step.

    Raises:
        LayoutError: the model's cache did not take the prefix.
    """
    import torch

    answers: list[list[list[int]]] = [[[] for _ in shared.group.rows] for shared in pack]
    questions = [
        _Question(image=m, number=i, suffix=row.ids[shared.length :])
        for m, shared in enumerate(pack)
        for i, row in enumerate(shared.group.rows)
    ]
    size = at_once or len(questions)
    assert len(pack) == 1 or size >= len(questions), "an image leaves the cache when it is done"
    with torch.inference_mode():
        cache, first = prefill(loaded, pack, together)
        width = cache.get_seq_length()
        for start in range(0, len(questions), size):
            part = questions[start : start + size]
            _Tree(loaded, pack, cache, record).run(part, first)
            for q in part:
                answers[q.image][q.number] = q.ids
            if start + size < len(questions):
                cache.crop(width - cache.get_seq_length())
    return answers


def prefill(loaded: Loaded, pack: Sequence[Shared], together: int | None = None) -> tuple[Any, Any]:
    """A cache with the prefixes of the pack's images, one row each, shorter ones filled up on the right.

    together: places in one forward pass; None: all.

    Returns:
        The cache, and where the prefixes are whole prompts the logits behind them (images, 1, vocabulary), else None.
    """
    import torch
    from transformers import DynamicCache

    longest = max(shared.length for shared in pack)
    size = len(pack) if together is None else max(1, together // longest)
    parts = [_prefill(loaded, pack[i : i + size]) for i in range(0, len(pack), size)]
    if len(parts) == 1:
        return parts[0]
    caches = [cache for cache, _ in parts]
    layers = []
    for number in range(len(caches[0].layers)):
        keys = _joined([cache.layers[number].keys for cache in caches], longest)
        values = _joined([cache.layers[number].values for cache in caches], longest)
        layers.append((keys, values))
        for cache in caches:  # so that no more than a layer is held twice
            cache.layers[number].keys = cache.layers[number].values = None
    first = None if parts[0][1] is None else torch.cat([logits for _, logits in parts])
    return DynamicCache(layers), first


def _joined(states: Sequence[Any], width: int) -> Any:
    """Keys or values (images, heads, places, size) of several caches as one of `width` places."""
    import torch

    return torch.cat([torch.nn.functional.pad(s, (0, 0, 0, width - s.shape[-2])) for s in states])


def _prefill(loaded: Loaded, pack: Sequence[Shared]) -> tuple[Any, Any]:
    """One forward pass of `prefill`."""
    import torch
    from transformers import DynamicCache

    started = time.perf_counter()
    width = max(shared.length for shared in pack)
    firsts = [shared.group.rows[0] for shared in pack]
    ids = torch.full((len(pack), width), loaded.pad_id)
    mask = torch.zeros((len(pack), width), dtype=torch.long)
    for m, (shared, row) in enumerate(zip(pack, firsts, strict=True)):
        ids[m, : shared.length] = torch.tensor(row.ids[: shared.length])
        mask[m, : shared.length] = 1
    starts = [shared.positions[..., : shared.length].reshape(-1, shared.length).T.unsqueeze(0) for shared in pack]
    positions = padded(starts, width, left=False).permute(2, 0, 1)  # (axes, images, width)
    inputs: dict[str, Any] = {"input_ids": ids, "attention_mask": mask}
    inputs["position_ids"] = positions if pack[0].positions.ndim > 1 else positions[0]
    for name in firsts[0].sequences:
        parts = [r.sequences[name][:, : s.length] for r, s in zip(firsts, pack, strict=True)]
        inputs[name] = padded(parts, width, left=False)
    for name in firsts[0].images:
        inputs[name] = torch.cat([row.images[name] for row in firsts])
    # Made without the model's configuration: a layer with a sliding window would throw places away that the mask
    # counts on, and `share` has seen to it that no window bites.
    cache = DynamicCache()
    on_device = {name: loaded.on_device(tensor) for name, tensor in inputs.items()}
    whole = pack[0].whole
    ends = torch.tensor(sorted({shared.length - 1 for shared in pack}))
    output = loaded.model(
        **on_device, past_key_values=cache, use_cache=True, logits_to_keep=ends.to(loaded.device) if whole else 1
    )
    if cache.get_seq_length() != width:
        raise LayoutError(f"the cache holds {cache.get_seq_length()} places after a prefix of {width}")
    tokens = sum(shared.length for shared in pack)
    loaded.counters.prefix_prefills += len(pack)
    loaded.counters.vision_encodes += sum(len(row.request.images) for row in firsts)
    loaded.counters.prefill_tokens += tokens
    loaded.counters.padding_tokens += ids.numel() - tokens
    loaded.counters.prefix_seconds += time.perf_counter() - started
    if not whole:
        return cache, None
    if output.logits.shape[1] != len(ends):
        raise LayoutError("the model does not give the logits of the places that it is asked for")
    place = torch.tensor([int((ends == shared.length - 1).nonzero()) for shared in pack])
    return cache, output.logits[torch.arange(len(pack)), place][:, None].float()


class _Tree:
    """The questions of a pack behind their prefixes: what each place of the cache belongs to, and the loop."""

    def __init__(self, loaded: Loaded, pack: Sequence[Shared], cache: Any, record: Recorder | None) -> None:
        import torch

        self.loaded = loaded
        self.cache = cache
        self.record = record
        width = cache.get_seq_length()
        places = torch.arange(width)
        lengths = torch.tensor([shared.length for shared in pack])
        # (images, places): who owns each place of the cache.
        self.owners = torch.where(places < lengths[:, None], PREFIX, NOBODY).to(loaded.device)
        # (axes, images): the position of the first token behind the prefix.
        self.starts = torch.stack([shared.start() for shared in pack], dim=1)
        self.axes = pack[0].positions.ndim > 1
        self.images = list(range(len(pack)))
        self.suppressed = loaded.suppressed()

    def run(self, questions: Sequence[_Question], first: Any) -> None:
        """Answer the questions; their `ids` are filled.  first: their first logits, where they are known already."""
        started = time.perf_counter()
        waiting = [[q for q in questions if q.image == m] for m in self.images]
        logits = self._suffixes(waiting) if first is None else first
        self.loaded.counters.question_seconds += time.perf_counter() - started
        started = time.perf_counter()
        waiting = self._choose(waiting, logits)
        while any(waiting):
            waiting = self._drop_finished_images(waiting)
            waiting = self._choose(waiting, self._step(waiting))
        self.loaded.counters.decode_seconds += time.perf_counter() - started

    def _suffixes(self, waiting: Sequence[Sequence[_Question]]) -> Any:
        """One pass over what is left of all prompts.

        The last tokens of the questions stand in the last places, so that only their logits need be computed.

        Returns:
            Logits (images, questions, vocabulary).
        """
        import torch

        bodies = max(sum(len(q.suffix) - 1 for q in row) for row in waiting)
        width = bodies + max(len(row) for row in waiting)
        ids = torch.full((len(waiting), width), self.loaded.pad_id)
        owners = torch.full((len(waiting), width), NOBODY)
        offsets = torch.zeros((len(waiting), width), dtype=torch.long)
        for m, row in enumerate(waiting):
            body = [(t, q.number, i) for q in row for i, t in enumerate(q.suffix[:-1])]
            last = [(q.suffix[-1], q.number, len(q.suffix) - 1) for q in row]
            for first, tokens in ((0, body), (bodies, last)):
                if tokens:
                    values = torch.tensor(tokens).T
                    ids[m, first : first + len(tokens)] = values[0]
                    owners[m, first : first + len(tokens)] = values[1]
                    offsets[m, first : first + len(tokens)] = values[2]
        self.loaded.counters.prefill_tokens += (tokens_here := int((owners >= 0).sum()))
        self.loaded.counters.padding_tokens += ids.numel() - tokens_here
        return self._forward(ids, owners, offsets, width - bodies)

    def _step(self, waiting: Sequence[Sequence[_Question]]) -> Any:
        """One decoding step of every open question; logits (images, questions, vocabulary)."""
        import torch

        width = max(len(row) for row in waiting)
        ids = torch.full((len(waiting), width), self.loaded.pad_id)
        owners = torch.full((len(waiting), width), NOBODY)
        offsets = torch.zeros((len(waiting), width), dtype=torch.long)
        for m, row in enumerate(waiting):
            if row:
                n = len(row)
                ids[m, :n] = torch.tensor([q.ids[-1] for q in row])
                owners[m, :n] = torch.tensor([q.number for q in row])
                offsets[m, :n] = torch.tensor([len(q.suffix) + len(q.ids) - 1 for q in row])
        self.loaded.counters.decode_steps += 1
        self.loaded.counters.decode_tokens += sum(len(row) for row in waiting)
        return self._forward(ids, owners, offsets, width)

    def _forward(self, ids: Any, owners: Any, offsets: Any, keep: int) -> Any:
        import torch

        device = self.loaded.device
        new = owners.to(device)
        within = offsets.to(device)
        # A question sees the prefix, all that it has in the cache already, and of the new places its own up to here.
        asking = torch.where(new >= 0, new, BLIND)[:, :, None]
        past = (self.owners[:, None, :] == PREFIX) | (self.owners[:, None, :] == asking)
        now = (new[:, None, :] == asking) & (within[:, None, :] <= within[:, :, None])
        self.owners = torch.cat([self.owners, new], dim=1)
        positions = self.starts[:, :, None] + offsets
        output = self.loaded.model(
            input_ids=ids.to(device),
            attention_mask=self._mask(torch.cat([past, now], dim=2)),
            position_ids=(positions if self.axes else positions[0]).to(device),
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=keep,
        )
        if self.cache.get_seq_length() != self.owners.shape[1]:
            raise LayoutError("the cache did not grow by the tokens that were added")
        return output.logits[:, -keep:].float()

    def _mask(self, visible: Any) -> Any:
        import torch

        if self.loaded.text_config._attn_implementation == "sdpa":
            return visible[:, None]
        dtype = getattr(torch, self.loaded.dtype)
        hidden = torch.full_like(visible, torch.finfo(dtype).min, dtype=dtype)
        return hidden.masked_fill(visible, 0.0)[:, None]

    def _choose(self, waiting: Sequence[Sequence[_Question]], logits: Any) -> list[list[_Question]]:
        """Give every open question its next token; returns those that are open still."""
        if self.record is not None:
            for m, row in enumerate(waiting):
                for i, q in enumerate(row):
                    self.record(q.image, q.number, logits[m, i])
        if self.suppressed:
            logits[..., self.suppressed] = float("-inf")
        chosen = logits.argmax(dim=-1).tolist()
        for row, tokens in zip(waiting, chosen, strict=True):
            for q, token in zip(row, tokens, strict=False):
                q.ids.append(token)
        return [[q for q in row if not self._finished(q)] for row in waiting]

    def _finished(self, question: _Question) -> bool:
        g = self.loaded.generation
        if question.ids[-1] in self.loaded.ends or len(question.ids) >= g.max_new_tokens:
            return True
        return bool(g.stop) and holds_stop(self.loaded, question.ids)

    def _drop_finished_images(self, waiting: list[list[_Question]]) -> list[list[_Question]]:
        import torch

        open_rows = [m for m, row in enumerate(waiting) if row]
        if len(open_rows) == len(waiting):
            return waiting
        kept = torch.tensor(open_rows)
        self.cache.batch_select_indices(kept.to(self.loaded.device))
        self.owners = self.owners[kept.to(self.loaded.device)]
        self.starts = self.starts[:, kept]
        return [waiting[m] for m in open_rows]
