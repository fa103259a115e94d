"""Decoding with one prefill per image: all questions about an image continue from its shared keys and values.

A batch row is an image.  Its prefix is computed once; then the rest of every prompt is appended to it in ONE sequence,
with a 4D mask under which a question attends to the prefix and to itself, and with the position ids that it would have
alone.  The prefix's keys and values are never copied for a question, only shorter rows are padded, and a batch holds
several images.  Where one question is asked in several ways (prompt variants, orders of options), what its prompts
have in common after the prefix is appended once as well, as a stem.  (The alternative, one cache row per question,
repeats the prefix in memory for each question: on two cores it was no faster and took seven times the memory.)
Finished questions leave the sequence, and images without open questions leave the batch.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from evalkit.engines.decode_memory import with_room
from evalkit.engines.grouped_attention import grouped_heads
from evalkit.engines.loaded_model import NOT_FINITE, LoadedModel, contains_stop
from evalkit.engines.needed_layers import only_needed
from evalkit.engines.plain_decode import limit_of, seed
from evalkit.engines.prefix_prefill import CacheLayoutError, prefill
from evalkit.engines.sampling import draw_tokens
from evalkit.engines.shared_prefix import PrefixGroup, common_prefix
from evalkit.engines.thought_limit import ThoughtLimit

# Owner of a place in the cache: a question's number in its image, or PREFIX or PADDING.  NO_OWNER matches no place.
PREFIX, PADDING, NO_OWNER = -1, -2, -3

# Called with (image in the batch, question in the image, logits (vocabulary,)) at every step.
Recorder = Callable[[int, int, Any], None]


@dataclass(slots=True, kw_only=True)
class _Question:
    """Question being answered: its image's row in the batch, the rest of its prompt, its new tokens.

    limit: of its thought, under a budget.
    stem: owner of the places of the first `n_stem` tokens of the suffix, which several questions share; NO_OWNER for
    none.
    """

    image: int
    number: int
    suffix: tuple[int, ...]
    stem: int = NO_OWNER
    n_stem: int = 0
    limit: ThoughtLimit | None = None
    ids: list[int] = field(default_factory=list)


def answer(
    loaded: LoadedModel,
    pack: Sequence[PrefixGroup],
    *,
    at_once: int | None = None,
    forward_places: int | None = None,
    record: Recorder | None = None,
) -> list[list[list[int]]]:
    """Generate greedily, or by each request's own draws; return new token ids by image, question and step.

    Args:
        at_once: maximum number of questions decoded together; only possible for a pack of one image.
        forward_places: token places in one forward pass over prefixes, joined afterwards; None: all in one pass.
        record: called with the logits of every step.

    Raises:
        CacheLayoutError: the model's cache does not hold the prefix as expected.
    """
    import torch

    answers: list[list[list[int]]] = [[[] for _ in shared.group.rows] for shared in pack]
    questions = [
        _Question(image=m, number=i, suffix=row.ids[shared.length :], limit=limit_of(loaded, row))
        for m, shared in enumerate(pack)
        for i, row in enumerate(shared.group.rows)
    ]
    size = at_once or len(questions)
    assert len(pack) == 1 or size >= len(questions), "finished images are removed from the cache"
    with torch.inference_mode():
        cache, first_logits = prefill(loaded, pack, forward_places)
        width = cache.get_seq_length()
        cache = with_room(cache)
        for start in range(0, len(questions), size):
            part = questions[start : start + size]
            set_stems(part, pack)
            _PackDecoder(loaded, pack, cache, record).run(part, first_logits)
            for q in part:
                answers[q.image][q.number] = q.ids
            if start + size < len(questions):
                cache.crop(width - cache.get_seq_length())
    return answers


def set_stems(questions: Sequence[_Question], pack: Sequence[PrefixGroup]) -> None:
    """Give the prompts of an image that ask one question in several ways the tokens that they begin with as a stem."""
    groups: dict[tuple[int, str], list[_Question]] = {}
    for q in questions:
        groups.setdefault((q.image, pack[q.image].group.rows[q.number].request.question), []).append(q)
    first = max((q.number for q in questions), default=0) + 1
    for number, group in enumerate(groups.values()):
        if len(group) > 1 and (common := common_prefix([q.suffix for q in group])) > 0:
            for q in group:
                q.stem, q.n_stem = first + number, common


def attention_mask(loaded: LoadedModel, visible: Any) -> Any:
    """The model's 4D mask from visible places (images, new tokens, places)."""
    import torch

    # On a CPU, `sdpa` makes a mask of numbers from one of truth values anew in every layer.
    if loaded.text_config._attn_implementation == "sdpa" and not loaded.device.startswith("cpu"):
        return visible[:, None]
    dtype = getattr(torch, loaded.dtype)
    hidden = torch.full_like(visible, torch.finfo(dtype).min, dtype=dtype)
    return hidden.masked_fill(visible, 0.0)[:, None]


class _PackDecoder:
    """Decodes the questions of a pack after their prefixes, and tracks which question owns each place of the cache."""

    def __init__(self, loaded: LoadedModel, pack: Sequence[PrefixGroup], cache: Any, record: Recorder | None) -> None:
        import torch

        self.loaded = loaded
        self.cache = cache
        self.record = record
        width = cache.get_seq_length()
        places = torch.arange(width)
        lengths = torch.tensor([shared.length for shared in pack])
        # (images, places): owner of each place of the cache.
        self.owners = torch.where(places < lengths[:, None], PREFIX, PADDING).to(loaded.device)
        # (axes, images): position of the first token after the prefix.
        self.starts = torch.stack([shared.first_position() for shared in pack], dim=1)
        self.axes = pack[0].positions.ndim > 1
        self.images = list(range(len(pack)))
        self.suppressed = loaded.suppressed()
        self.seeds = {
            (m, i): seed(row.request) for m, shared in enumerate(pack) for i, row in enumerate(shared.group.rows)
        }

    def run(self, questions: Sequence[_Question], first_logits: Any | None) -> None:
        """Answer the questions and fill their `ids`.  first_logits: logits of their first token, if known already."""
        started = time.perf_counter()
        waiting = [[q for q in questions if q.image == m] for m in self.images]
        logits = self._suffixes(waiting) if first_logits is None else first_logits
        self.loaded.counters.question_seconds += time.perf_counter() - started
        started = time.perf_counter()
        waiting = self._choose(waiting, logits)
        while any(waiting):
            waiting = self._drop_finished_images(waiting)
            waiting = self._choose(waiting, self._step(waiting))
        self.loaded.counters.decode_seconds += time.perf_counter() - started

    def _suffixes(self, waiting: Sequence[Sequence[_Question]]) -> Any:
        """Run one forward pass over the rest of all prompts.

        The last tokens of the questions are in the last places, so that logits are computed for these only.

        Returns:
            Logits (images, questions, vocabulary).
        """
        import torch

        stems = [{q.stem: q for q in row if q.stem != NO_OWNER} for row in waiting]
        bodies = max(
            sum(q.n_stem for q in stem.values()) + sum(len(q.suffix) - 1 - q.n_stem for q in row)
            for row, stem in zip(waiting, stems, strict=True)
        )
        width = bodies + max(len(row) for row in waiting)
        ids = torch.full((len(waiting), width), self.loaded.pad_id)
        owners, parents = torch.full((2, len(waiting), width), PADDING)
        offsets = torch.zeros((len(waiting), width), dtype=torch.long)
        for m, row in enumerate(waiting):
            body = [(t, q.stem, q.stem, i) for q in stems[m].values() for i, t in enumerate(q.suffix[: q.n_stem])]
            body += [(q.suffix[i], q.number, q.stem, i) for q in row for i in range(q.n_stem, len(q.suffix) - 1)]
            last = [(q.suffix[-1], q.number, q.stem, len(q.suffix) - 1) for q in row]
            for first, tokens in ((0, body), (bodies, last)):
                if tokens:
                    values = torch.tensor(tokens).T
                    for target, column in zip((ids, owners, parents, offsets), values, strict=True):
                        target[m, first : first + len(tokens)] = column
        self.loaded.counters.prefill_tokens += (tokens_here := int((owners >= 0).sum()))
        self.loaded.counters.padding_tokens += ids.numel() - tokens_here
        return self._forward(ids, owners, parents, offsets, width - bodies)

    def _step(self, waiting: Sequence[Sequence[_Question]]) -> Any:
        """Run one decoding step of every open question; returns logits (images, questions, vocabulary)."""
        import torch

        width = max(len(row) for row in waiting)
        ids = torch.full((len(waiting), width), self.loaded.pad_id)
        owners, parents = torch.full((2, len(waiting), width), PADDING)
        offsets = torch.zeros((len(waiting), width), dtype=torch.long)
        for m, row in enumerate(waiting):
            if row:
                n = len(row)
                ids[m, :n] = torch.tensor([q.ids[-1] for q in row])
                owners[m, :n] = torch.tensor([q.number for q in row])
                parents[m, :n] = torch.tensor([q.stem for q in row])
                offsets[m, :n] = torch.tensor([len(q.suffix) + len(q.ids) - 1 for q in row])
        self.loaded.counters.decode_steps += 1
        self.loaded.counters.decode_tokens += sum(len(row) for row in waiting)
        return self._forward(ids, owners, parents, offsets, width)

    def _forward(self, ids: Any, owners: Any, parents: Any, offsets: Any, keep: int) -> Any:
        import torch

        device = self.loaded.device
        new = owners.to(device)
        within = offsets.to(device)
        # A token attends to the prefix, to the places of its question and of its stem in the cache, and to their new
        # places up to its own.
        query = torch.where(new >= 0, new, NO_OWNER)[:, :, None]
        stem = torch.where(parents >= 0, parents, NO_OWNER).to(device)[:, :, None]
        before = self.owners[:, None, :]
        past = (before == PREFIX) | (before == query) | (before == stem)
        now = (new[:, None, :] == query) | (new[:, None, :] == stem)
        now = now & (within[:, None, :] <= within[:, :, None])
        self.owners = torch.cat([self.owners, new], dim=1)
        positions = self.starts[:, :, None] + offsets
        with only_needed(self.loaded, slice(-keep, None)), grouped_heads(self.loaded):
            output = self.loaded.model(
                input_ids=ids.to(device),
                attention_mask=self._mask(torch.cat([past, now], dim=2)),
                position_ids=(positions if self.axes else positions[0]).to(device),
                past_key_values=self.cache,
                use_cache=True,
                logits_to_keep=keep,
            )
        if self.cache.get_seq_length() != self.owners.shape[1]:
            raise CacheLayoutError("the cache did not grow by the tokens that were added")
        return output.logits[:, -keep:].float()

    def _mask(self, visible: Any) -> Any:
        return attention_mask(self.loaded, visible)

    def _choose(self, waiting: Sequence[Sequence[_Question]], logits: Any) -> list[list[_Question]]:
        """Append the most likely or the drawn token to every open question; returns those that are still open.

        NOT_FINITE is appended where the logits are NaN or infinite, and ends the question.
        """
        if self.record is not None:
            for m, row in enumerate(waiting):
                for i, q in enumerate(row):
                    self.record(q.image, q.number, logits[m, i])
        if self.suppressed:
            logits[..., self.suppressed] = float("-inf")
        # NaN counts as the largest in argmax, so the largest logit alone shows whether any is NaN or infinite.
        best = logits.argmax(dim=-1, keepdim=True)
        best = best.masked_fill(~logits.gather(-1, best).isfinite(), NOT_FINITE)
        chosen = best.squeeze(-1).tolist()
        if self.loaded.generation.temperature > 0:
            self._draw(waiting, logits, chosen)
        for row, tokens in zip(waiting, chosen, strict=True):
            for q, token in zip(row, tokens, strict=False):
                forced = q.limit.next_token() if q.limit else None
                q.ids.append(token if forced is None else forced)
        return [[q for q in row if not self._finished(q)] for row in waiting]

    def _draw(self, waiting: Sequence[Sequence[_Question]], logits: Any, chosen: list[list[int]]) -> None:
        """Replace the most likely tokens by drawn ones, where the logits are finite."""
        places = [(m, i) for m, row in enumerate(waiting) for i in range(len(row)) if chosen[m][i] != NOT_FINITE]
        if not places:
            return
        images, numbers = zip(*places, strict=True)
        keys = [(self.seeds[waiting[m][i].image, waiting[m][i].number], len(waiting[m][i].ids)) for m, i in places]
        drawn = draw_tokens(logits[list(images), list(numbers)], self.loaded.generation, keys).tolist()
        for (m, i), token in zip(places, drawn, strict=True):
            chosen[m][i] = token

    def _finished(self, question: _Question) -> bool:
        g = self.loaded.generation
        if question.ids[-1] == NOT_FINITE or question.ids[-1] in self.loaded.ends:
            return True
        if question.limit.take(question.ids) if question.limit else len(question.ids) >= g.max_new_tokens:
            return True
        return bool(g.stop) and contains_stop(self.loaded, question.ids)

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
