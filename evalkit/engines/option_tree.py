"""Log-probabilities of options behind one shared prefix: image, then question, then option, as a tree in one sequence.

A batch row is an image, as in `evalkit.engines.prefix_decode`.  Its prefix is computed once.  Then the rest of each
question that its options have in common follows once, and after it the tokens of each option, in ONE sequence under a
4D mask: a token attends to the prefix, to its question's common part and to its own option.  The last token of an
option predicts nothing that is asked for, so options of one token cost no token at all.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import groupby
from typing import Any, NamedTuple

from evalkit.engines.loaded_model import LoadedModel
from evalkit.engines.prefix_decode import attention_mask
from evalkit.engines.prefix_prefill import CacheLayoutError, prefill
from evalkit.engines.preprocess import PromptRow, equal_start
from evalkit.engines.shared_prefix import PrefixGroup

# Number of the option of a place that all options of its question share, and the question of a padded place.
COMMON, NO_QUESTION = -1, -1


class Place(NamedTuple):
    """A token after the prefix.  offset: its distance from the end of the prefix in its own prompt."""

    token: int
    question: int
    option: int
    offset: int


class Layout(NamedTuple):
    """The places of an image, and for each of its rows those whose logits predict the tokens of the continuation."""

    places: list[Place]
    predicting: list[list[int]]


def layout(rows: Sequence[PromptRow], length: int) -> Layout:
    """The places of rows about one image behind a prefix of `length` tokens."""
    places: list[Place] = []
    predicting: list[list[int]] = []
    for question, (_, found) in enumerate(groupby(rows, key=lambda row: row.request.fingerprint)):
        options = list(found)
        # The last token of a row is predicted, and predicts nothing.
        fed = [row.ids[length:-1] for row in options]
        common = min(equal_start(fed[0], other) for other in fed)
        first = len(places)
        places += [Place(t, question, COMMON, k) for k, t in enumerate(fed[0][:common])]
        for number, (row, tokens) in enumerate(zip(options, fed, strict=True)):
            own = len(places) - common
            places += [Place(t, question, number, common + k) for k, t in enumerate(tokens[common:])]
            offsets = range(row.start - 1 - length, len(tokens))
            predicting.append([(first if k < common else own) + k for k in offsets])
    return Layout(places, predicting)


def score(
    loaded: LoadedModel,
    pack: Sequence[PrefixGroup],
    *,
    at_once: int | None = None,
    forward_places: int | None = None,
) -> list[list[list[float]]]:
    """Log-probabilities by image, row and token of the continuation; NaN where the logits are not finite.

    Args:
        at_once, forward_places: see `prefix_decode.answer`; at_once counts rows.

    Raises:
        CacheLayoutError: the model's cache or logits are not as expected.
    """
    import torch

    n_rows = sum(len(shared.group.rows) for shared in pack)
    size = at_once or n_rows
    assert len(pack) == 1 or size >= n_rows, "one prefix is used again, those of several images are not"
    found: list[list[list[float]]] = [[] for _ in pack]
    with torch.inference_mode():
        cache = prefill(loaded, pack, forward_places).cache
        width = cache.get_seq_length()
        for start in range(0, max(len(shared.group.rows) for shared in pack), size):
            layouts = [layout(shared.group.rows[start : start + size], shared.length) for shared in pack]
            for m, values in enumerate(_forward(loaded, pack, cache, layouts, start)):
                found[m] += values
            if cache.get_seq_length() > width:
                cache.crop(width - cache.get_seq_length())
    return found


def _forward(
    loaded: LoadedModel, pack: Sequence[PrefixGroup], cache: Any, layouts: Sequence[Layout], first: int
) -> list[list[list[float]]]:
    """One pass over the places of all images; first: the number of the first row.  Log-probabilities as in `score`."""
    import torch

    started = time.perf_counter()
    width = max(len(found.places) for found in layouts)
    tokens, question, option, offset = _tensors(loaded, layouts, width)
    lengths = torch.tensor([shared.length for shared in pack])
    positions = torch.stack([s.first_position() for s in pack], dim=1)[:, :, None] + offset
    before = cache.get_seq_length()
    columns = sorted({place for found in layouts for row in found.predicting for place in row})
    output = loaded.model(
        input_ids=tokens.to(loaded.device),
        attention_mask=attention_mask(loaded, _visible(lengths, before, question, option, offset).to(loaded.device)),
        position_ids=(positions if pack[0].positions.ndim > 1 else positions[0]).to(loaded.device),
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=torch.tensor(columns, device=loaded.device),
    )
    if cache.get_seq_length() != before + width or output.logits.shape[1] != len(columns):
        raise CacheLayoutError("the cache or the logits are not those of the tokens that were added")
    real = int((question != NO_QUESTION).sum())
    loaded.counters.prefill_tokens += real
    loaded.counters.padding_tokens += question.numel() - real
    values = _gathered(output.logits, pack, layouts, columns, first)
    loaded.counters.question_seconds += time.perf_counter() - started
    return values


def _tensors(loaded: LoadedModel, layouts: Sequence[Layout], width: int) -> tuple[Any, Any, Any, Any]:
    """Token, question, option and offset (images, width) of every place, padded on the right."""
    import torch

    shape = (len(layouts), width)
    padding = (loaded.pad_id, NO_QUESTION, COMMON, 0)
    tensors = [torch.full(shape, value, dtype=torch.long) for value in padding]
    for m, found in enumerate(layouts):
        for tensor, values in zip(tensors, zip(*found.places, strict=True), strict=True):
            tensor[m, : len(values)] = torch.tensor(values)
    return tensors[0], tensors[1], tensors[2], tensors[3]


def _visible(lengths: Any, width: int, question: Any, option: Any, offset: Any) -> Any:
    """What each new place attends to, (images, new places, `width` places of the prefix and new ones)."""
    import torch

    new = question.shape[1]
    past = (torch.arange(width) < lengths[:, None])[:, None, :].expand(-1, new, -1)
    same = question[:, None, :] == question[:, :, None]
    own = (option[:, None, :] == COMMON) | (option[:, None, :] == option[:, :, None])
    earlier = offset[:, None, :] <= offset[:, :, None]
    return torch.cat([past, same & own & earlier], dim=2)


def _gathered(
    logits: Any, pack: Sequence[PrefixGroup], layouts: Sequence[Layout], columns: Sequence[int], first: int
) -> list[list[list[float]]]:
    """The log-probabilities of the rows' tokens from the logits (images, columns, vocabulary)."""
    import torch

    column = {place: k for k, place in enumerate(columns)}
    found: list[list[list[float]]] = []
    for m, image in enumerate(layouts):
        rows = pack[m].group.rows[first : first + len(image.predicting)]
        at = torch.tensor([column[place] for row in image.predicting for place in row], device=logits.device)
        wanted = torch.tensor([t for row in rows for t in row.ids[row.start :]], device=logits.device)
        values = log_probabilities(logits[m][at], wanted)
        ends = [len(places) for places in image.predicting]
        found.append([list(part) for part in _divided(values, ends)])
    return found


def log_probabilities(logits: Any, tokens: Any) -> list[float]:
    """log softmax of logits (n, vocabulary) at tokens (n,), in float32; NaN where it is not finite."""
    values = logits.float().log_softmax(dim=-1).gather(-1, tokens[:, None]).squeeze(-1)
    return values.masked_fill(~values.isfinite(), float("nan")).tolist()  # type: ignore[no-any-return]


def _divided(values: Sequence[float], sizes: Sequence[int]) -> list[Sequence[float]]:
    parts, start = [], 0
    for size in sizes:
        parts.append(values[start : start + size])
        start += size
    return parts
