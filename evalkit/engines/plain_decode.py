"""Batches as transformers makes them: whole prompts, padding on the left, `generate`.

The reference that image-prefix sharing is checked against, and the path of whatever cannot share.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from evalkit.core.types import Request
from evalkit.engines.loaded_model import Loaded, holds_stop
from evalkit.engines.preprocess import Row


def answer(loaded: Loaded, rows: Sequence[Row]) -> list[list[int]]:
    """The new token ids of each row, up to the end token or the limit and whatever `generate` pads with after it."""
    return _generate(loaded, rows, with_logits=False)[0]


def answer_with_logits(loaded: Loaded, rows: Sequence[Row]) -> tuple[list[list[int]], list[Any]]:
    """As `answer`, and for each row its raw logits (steps, vocabulary) in float32."""
    import torch

    new, output = _generate(loaded, rows, with_logits=True)
    logits = torch.stack(output.logits, dim=1).float()
    return new, list(logits)


def _generate(loaded: Loaded, rows: Sequence[Row], *, with_logits: bool) -> tuple[list[list[int]], Any]:
    import torch

    started = time.perf_counter()
    inputs = collate(loaded, rows)
    with torch.inference_mode():
        if loaded.generation.temperature > 0:
            torch.manual_seed(seed(rows[0].request))
        config = generation_config(loaded, output_logits=with_logits, return_dict_in_generate=with_logits)
        output = loaded.model.generate(
            **inputs, generation_config=config, **_stop(loaded, inputs["input_ids"].shape[1])
        )
    sequences = output.sequences if with_logits else output
    new: list[list[int]] = sequences[:, inputs["input_ids"].shape[1] :].tolist()
    _count(loaded, rows, inputs["input_ids"], new)
    loaded.counters.plain_seconds += time.perf_counter() - started
    return new, output


def _count(loaded: Loaded, rows: Sequence[Row], ids: Any, new: Sequence[Sequence[int]]) -> None:
    counters = loaded.counters
    tokens = sum(len(row.ids) for row in rows)
    counters.prefill_tokens += tokens
    counters.padding_tokens += ids.numel() - tokens
    counters.vision_encodes += sum(len(row.request.images) for row in rows)
    counters.decode_steps += max(0, max((len(ids) for ids in new), default=0) - 1)
    lengths = [next((i + 1 for i, t in enumerate(ids) if t in loaded.ends), len(ids)) for ids in new]
    counters.decode_tokens += sum(n - 1 for n in lengths if n)  # the first token comes out of the prefill


def collate(loaded: Loaded, rows: Sequence[Row]) -> dict[str, Any]:
    """The model's inputs for rows of one `Group.shape`: sequences (rows, longest prompt) padded on the left."""
    import torch

    width = max(len(row.ids) for row in rows)
    ids = torch.full((len(rows), width), loaded.pad_id)
    mask = torch.zeros((len(rows), width), dtype=torch.long)
    for i, row in enumerate(rows):
        ids[i, width - len(row.ids) :] = torch.tensor(row.ids)
        mask[i, width - len(row.ids) :] = 1
    inputs: dict[str, Any] = {"input_ids": ids, "attention_mask": mask}
    for name in rows[0].sequences:
        inputs[name] = padded([row.sequences[name] for row in rows], width, left=True)
    for name in rows[0].images:
        inputs[name] = torch.cat([row.images[name] for row in rows])
    return {name: loaded.on_device(tensor) for name, tensor in inputs.items()}


def padded(tensors: Sequence[Any], width: int, *, left: bool) -> Any:
    """Tensors (1, length, ...) as one (n, width, ...), filled with zeros on the left or on the right."""
    import torch

    result = torch.zeros((len(tensors), width, *tensors[0].shape[2:]), dtype=tensors[0].dtype)
    for i, tensor in enumerate(tensors):
        length = tensor.shape[1]
        place = slice(width - length, width) if left else slice(0, length)
        result[i, place] = tensor[0]
    return result


def generation_config(loaded: Loaded, **output: bool) -> Any:
    """What the settings say; a checkpoint's own sampling defaults must not leak in.

    `generate` takes whatever is None here from the checkpoint's generation_config.json, and then from defaults of its
    own (a top_k of 50): what changes nothing is therefore said with its neutral value.
    """
    from transformers import GenerationConfig

    g = loaded.generation
    sampling: dict[str, float] = {}
    if g.temperature > 0:
        sampling = {"temperature": g.temperature, "top_p": g.top_p, "top_k": g.top_k or 0}
        sampling |= {"min_p": 0.0, "typical_p": 1.0, "epsilon_cutoff": 0.0, "eta_cutoff": 0.0}
    return GenerationConfig(
        max_new_tokens=g.max_new_tokens,
        do_sample=g.temperature > 0,
        num_beams=g.num_beams,
        repetition_penalty=g.repetition_penalty,
        eos_token_id=sorted(loaded.ends),
        pad_token_id=loaded.pad_id,
        bos_token_id=loaded.model.generation_config.bos_token_id,
        **sampling,
        **output,
    )


def _stop(loaded: Loaded, width: int) -> dict[str, Any]:
    """Stopping at stop strings, by the text itself: transformers' own rule does not take every tokenizer."""
    if not loaded.generation.stop:
        return {}
    import torch
    from transformers import StoppingCriteriaList

    def stopped(ids: Any, _scores: Any, **_: Any) -> Any:
        return torch.tensor([holds_stop(loaded, row[width:]) for row in ids.tolist()], device=ids.device)

    return {"stopping_criteria": StoppingCriteriaList([stopped])}


def seed(request: Request) -> int:
    """Sampling is seeded by the request, one at a time, so that batches and order do not change an answer."""
    return (int(request.fingerprint[:12], 16) + request.generation.seed) % 2**63
