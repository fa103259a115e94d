"""Plain batches through transformers' `generate`: whole prompts, padded on the left.

The reference that prefix sharing is checked against, and the fallback for prompts that cannot share.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from evalkit.core.types import Request
from evalkit.engines.loaded_model import NOT_FINITE, LoadedModel, contains_stop
from evalkit.engines.preprocess import PromptRow
from evalkit.engines.sampling import draw_tokens
from evalkit.engines.thought_limit import ThoughtLimit, opening_of


class Trace(NamedTuple):
    """Generated token ids of one prompt, and the raw logits (vocabulary,) of each step in float32."""

    ids: list[int]
    logits: list[Any]


class _Generated(NamedTuple):
    """New token ids of each row, and the return value of transformers' `generate`."""

    ids: list[list[int]]
    output: Any


def answer(loaded: LoadedModel, rows: Sequence[PromptRow]) -> list[list[int]]:
    """Generate new token ids for each row: up to the end token or the limit, then whatever `generate` pads with."""
    return _generate(loaded, rows, with_logits=False).ids


def answer_with_probabilities(loaded: LoadedModel, rows: Sequence[PromptRow]) -> list[list[tuple[int, float]]]:
    """Generate as `answer` does (without beams), and give each token with its log-probability."""
    watch = _ProbabilityWatch()
    new = _generate(loaded, rows, with_logits=False, watch=watch).ids
    values = watch.logprobs(new)
    return [list(zip(ids, found, strict=False)) for ids, found in zip(new, values, strict=True)]


def answer_with_logits(loaded: LoadedModel, rows: Sequence[PromptRow], *, padding: int = 0) -> list[Trace]:
    """Generate as `answer` does, and keep the logits of every step.

    padding: places on the left of the longest prompt.
    """
    import torch

    new, output = _generate(loaded, rows, with_logits=True, padding=padding)
    logits = torch.stack(output.logits, dim=1).float()  # (rows, steps, vocabulary)
    return [Trace(ids, list(steps)) for ids, steps in zip(new, logits, strict=True)]


def _generate(
    loaded: LoadedModel,
    rows: Sequence[PromptRow],
    *,
    with_logits: bool,
    padding: int = 0,
    watch: _ProbabilityWatch | None = None,
) -> _Generated:
    import torch

    started = time.perf_counter()
    inputs = collate(loaded, rows, padding=padding)
    with torch.inference_mode():
        draws = rows[0].request.draw is not None
        if loaded.generation.temperature > 0 and not draws:
            torch.manual_seed(seed(rows[0].request))
        config = generation_config(loaded, draws, output_logits=with_logits, return_dict_in_generate=with_logits)
        finite = _FiniteWatch(len(rows), sampling=loaded.generation.temperature > 0 and not draws)
        limits = _ThoughtLimits(loaded, rows, inputs["input_ids"].shape[1])
        chooser = [_DrawnToken(loaded, rows, inputs["input_ids"].shape[1])] if draws else []
        watching = [finite] if watch is None else [finite, watch]
        output = loaded.model.generate(
            **inputs,
            generation_config=config,
            logits_processor=[*watching, *chooser, *limits.processors],
            **_stopping(loaded, inputs["input_ids"].shape[1], limits.criteria),
        )
    sequences = output.sequences if with_logits else output
    new: list[list[int]] = sequences[:, inputs["input_ids"].shape[1] :].tolist()
    count_work(loaded, rows, inputs["input_ids"], new)
    new = finite.mark(limits.cut(new))
    loaded.counters.plain_seconds += time.perf_counter() - started
    return _Generated(new, output)


class _FiniteWatch:
    """Logits processor that notes at which step the logits of a row are first NaN or infinite.

    It runs after the checkpoint's own processors and before those of sampling.  A few logits of minus infinity forbid
    tokens; the largest one is finite unless one is NaN or plus infinity, or all are minus infinity.  Nothing is read
    back from the device before the end.
    """

    def __init__(self, rows: int, *, sampling: bool) -> None:
        self.rows = rows
        self.sampling = sampling
        self.step = 0
        self.first: Any = None  # (rows,): the step, or -1

    def __call__(self, _ids: Any, scores: Any) -> Any:
        """Note the rows whose logits (rows * beams, vocabulary) are not finite; return them unchanged."""
        import torch

        bad = ~scores.amax(dim=-1).isfinite()
        by_row = bad.view(self.rows, -1).any(dim=1)
        before = torch.full_like(by_row, -1, dtype=torch.long) if self.first is None else self.first
        self.first = torch.where((before < 0) & by_row, self.step, before)
        self.step += 1
        # Sampling from NaN is an error, on a GPU one that no later call survives.
        return scores.masked_fill(bad[:, None], 0.0) if self.sampling else scores

    def mark(self, new: Sequence[list[int]]) -> list[list[int]]:
        """Cut each row at its first step without finite logits, and mark the place with NOT_FINITE."""
        first = [-1] * len(new) if self.first is None else self.first.tolist()
        return [ids if k < 0 or k > len(ids) else [*ids[:k], NOT_FINITE] for ids, k in zip(new, first, strict=True)]


class _DrawnToken:
    """Logits processor that leaves only the token that `evalkit.engines.sampling` draws, for a greedy choice.

    Rows without finite logits stay as they are.
    """

    def __init__(self, loaded: LoadedModel, rows: Sequence[PromptRow], width: int) -> None:
        self.generation = loaded.generation
        self.seeds = [seed(row.request) for row in rows]
        self.width = width

    def __call__(self, ids: Any, scores: Any) -> Any:
        """Draw a token for every row of logits (rows, vocabulary)."""
        step = ids.shape[1] - self.width
        drawn = draw_tokens(scores.float(), self.generation, [(one, step) for one in self.seeds])
        kept = scores.new_full(scores.shape, float("-inf")).scatter(-1, drawn[:, None], 0.0)
        return kept.where(scores.amax(dim=-1, keepdim=True).isfinite(), scores)


def limit_of(loaded: LoadedModel, row: PromptRow) -> ThoughtLimit | None:
    """The limit of a row's thought; None without a budget."""
    if loaded.generation.reasoning_budget is None:
        return None
    return ThoughtLimit(loaded, opening_of(loaded, row.ids))


class _ThoughtLimits:
    """The budgets of the thoughts in a batch, for transformers' `generate`; nothing to do without a budget.

    processors: what leaves only the tokens of a closing mark.  criteria: what ends the rows at their limit.
    """

    def __init__(self, loaded: LoadedModel, rows: Sequence[PromptRow], width: int) -> None:
        found = [limit_of(loaded, row) for row in rows]
        self.limits = [limit for limit in found if limit is not None]
        self.ends = loaded.ends
        self.width = width
        self.done = [False] * len(rows)
        self.processors = [self._force] if self.limits else []
        self.criteria = [self._at_limit] if self.limits else []

    def cut(self, new: Sequence[list[int]]) -> list[list[int]]:
        """The new tokens of each row up to its limit."""
        if not self.limits:
            return list(new)
        return [ids[: limit.length] for ids, limit in zip(new, self.limits, strict=True)]

    def _force(self, _ids: Any, scores: Any) -> Any:
        """Leave only the token that closes a thought, in the rows (rows, vocabulary) where one does."""
        tokens = {n: limit.next_token() for n, limit in enumerate(self.limits) if not self.done[n]}
        forced = {n: token for n, token in tokens.items() if token is not None}
        if forced:
            scores = scores.clone()  # transformers records the model's own, with which the check of sharing compares
        for number, token in forced.items():
            scores[number] = float("-inf")
            scores[number, token] = 0.0
        return scores

    def _at_limit(self, ids: Any, _scores: Any, **_: Any) -> Any:
        """Whether each row of ids (rows, places) has ended."""
        import torch

        for number, row in enumerate(ids[:, self.width :].tolist()):
            if not self.done[number]:
                self.done[number] = row[-1] in self.ends or self.limits[number].take(row)
        return torch.tensor(self.done, device=ids.device)


class _ProbabilityWatch:
    """Logits processor that notes the log-probability of each chosen token, and holds one step's logits at a time."""

    def __init__(self) -> None:
        self._last: Any = None  # (rows, vocabulary)
        self._chosen: list[Any] = []  # (rows,) a step

    def __call__(self, ids: Any, scores: Any) -> Any:
        """Note the last token of ids (rows, places) under the logits before it; return the scores unchanged."""
        if self._last is not None:
            self._chosen.append(self._last.gather(1, ids[:, -1:])[:, 0])
        self._last = scores.float().log_softmax(dim=-1)
        return scores

    def logprobs(self, new: Sequence[Sequence[int]]) -> list[list[float]]:
        """The log-probabilities of the new tokens of each row, after generation."""
        import torch

        ends = torch.tensor([[max(0, ids[-1])] for ids in new], device=self._last.device)
        chosen = torch.stack([*self._chosen, self._last.gather(1, ends)[:, 0]], dim=1)
        found: list[list[float]] = chosen.tolist()
        return found


def count_work(loaded: LoadedModel, rows: Sequence[PromptRow], ids: Any, new: Sequence[Sequence[int]]) -> None:
    """Add a call of `generate` to the counters.  ids: (rows, places) of the prompts; new: tokens after them."""
    counters = loaded.counters
    tokens = sum(len(row.ids) for row in rows)
    counters.prefill_tokens += tokens
    counters.padding_tokens += ids.numel() - tokens
    counters.vision_encodes += sum(len(row.request.images) for row in rows)
    counters.decode_steps += max(0, max((len(ids) for ids in new), default=0) - 1)
    lengths = [next((i + 1 for i, t in enumerate(ids) if t in loaded.ends), len(ids)) for ids in new]
    counters.decode_tokens += sum(n - 1 for n in lengths if n)  # the first token is computed by the prefill


def collate(loaded: LoadedModel, rows: Sequence[PromptRow], *, padding: int = 0) -> dict[str, Any]:
    """Make inputs (rows, longest prompt + `padding`) for rows of one `PromptGroup.shape`, padded on the left."""
    import torch

    width = max(len(row.ids) for row in rows) + padding
    ids = torch.full((len(rows), width), loaded.pad_id)
    mask = torch.zeros((len(rows), width), dtype=torch.long)
    for i, row in enumerate(rows):
        ids[i] = _padding_token(loaded, row)
        ids[i, width - len(row.ids) :] = torch.tensor(row.ids)
        mask[i, width - len(row.ids) :] = 1
    inputs: dict[str, Any] = {"input_ids": ids, "attention_mask": mask}
    for name in rows[0].sequences:
        inputs[name] = padded([row.sequences[name] for row in rows], width, left=True)
    for name in rows[0].images:
        inputs[name] = torch.cat([row.images[name] for row in rows])
    return {name: loaded.on_device(tensor) for name, tensor in inputs.items()}


def _padding_token(loaded: LoadedModel, row: PromptRow) -> int:
    """The token on the left of a prompt: under a repetition penalty one of the prompt's own.

    transformers 5.19 penalises every token that stands in a row, padding included (5.23 does not), which may be a token
    that ends answers: an answer would depend on the lengths of the other prompts in its batch.
    """
    if loaded.generation.repetition_penalty == 1.0:
        return loaded.pad_id
    return next((t for t in reversed(row.ids) if t != loaded.image_token_id), loaded.pad_id)


def padded(tensors: Sequence[Any], width: int, *, left: bool) -> Any:
    """Stack tensors (1, length, ...) into one (n, width, ...), padded with zeros on the left or on the right."""
    import torch

    result = torch.zeros((len(tensors), width, *tensors[0].shape[2:]), dtype=tensors[0].dtype)
    for i, tensor in enumerate(tensors):
        length = tensor.shape[1]
        place = slice(width - length, width) if left else slice(0, length)
        result[i, place] = tensor[0]
    return result


def generation_config(loaded: LoadedModel, draws: bool = False, **output: bool) -> Any:
    """Make the GenerationConfig of the requested settings, without a checkpoint's own sampling defaults.

    draws: tokens are drawn by `_DrawnToken`, so that `generate` itself is greedy.

    `generate` takes values that are None here from the checkpoint's generation_config.json, and then from its own
    defaults (a top_k of 50); unused settings are therefore given their neutral values.
    """
    from transformers import GenerationConfig

    g = loaded.generation
    sampling: dict[str, float] = {}
    is_sampled = g.temperature > 0 and not draws
    if is_sampled:
        sampling = {"temperature": g.temperature, "top_p": g.top_p, "top_k": g.top_k or 0}
        sampling |= {"min_p": 0.0, "typical_p": 1.0, "epsilon_cutoff": 0.0, "eta_cutoff": 0.0}
    return GenerationConfig(
        max_new_tokens=g.most_new_tokens,
        do_sample=is_sampled,
        num_beams=g.num_beams,
        repetition_penalty=g.repetition_penalty,
        eos_token_id=sorted(loaded.ends),
        pad_token_id=loaded.pad_id,
        bos_token_id=loaded.model.generation_config.bos_token_id,
        **sampling,
        **output,
    )


def _stopping(loaded: LoadedModel, width: int, further: Sequence[Any]) -> dict[str, Any]:
    """Make the criteria that stop at stop strings, compared as text: transformers' rule fails for some tokenizers.

    further: criteria besides.
    """
    if not loaded.generation.stop and not further:
        return {}
    import torch
    from transformers import StoppingCriteriaList

    def stopped(ids: Any, _scores: Any, **_: Any) -> Any:
        return torch.tensor([contains_stop(loaded, row[width:]) for row in ids.tolist()], device=ids.device)

    return {"stopping_criteria": StoppingCriteriaList([*([stopped] if loaded.generation.stop else []), *further])}


def seed(request: Request) -> int:
    """Derive the sampling seed from the request, so that batches and order do not change an answer."""
    return (int(request.fingerprint[:12], 16) + request.generation.seed) % 2**63
