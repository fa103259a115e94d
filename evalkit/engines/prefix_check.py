"""Sharing compared with plain prompts on the first images of a run: the same logits, the same answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from evalkit.engines import plain_decode as plain
from evalkit.engines import prefix_decode as tree
from evalkit.engines.loaded_model import Counters, Loaded, cut
from evalkit.engines.shared_prefix import Shared

# In float32 sharing moves logits by some 1e-5, and what is wrong by 0.8 and more.
FLOAT32_TOLERANCE = 1e-3
# In half precision: so many times what plain batching moves them, and at least so many steps of the number format.
HALF_TIMES, HALF_STEPS = 3.0, 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether sharing gave what plain prompts give.

    answers: the pack's answers when it did.  facts: for the manifest.
    """

    reason: str | None
    answers: list[list[list[int]]] | None
    facts: dict[str, Any]


def check(loaded: Loaded, pack: Sequence[Shared], at_once: int | None = None, together: int | None = None) -> Verdict:
    """Answer a pack by sharing, two of its questions alone, and these two once more behind a changed image.

    The changed image must move the logits beyond the tolerance, or the comparison could not have failed.  What the
    reference and the control cost is kept out of the run's counters and stands in `facts`.
    """
    image, numbers = _probes(pack)
    logits: dict[tuple[int, int], list[Any]] = {}

    def record(m: int, number: int, values: Any) -> None:
        if m == image and number in numbers:
            logits.setdefault((m, number), []).append(values.clone())

    answers = tree.answer(loaded, pack, at_once=at_once, together=together, record=record)
    run_counters, loaded.counters = loaded.counters, Counters()
    try:
        shared = {n: (answers[image][n], logits[image, n]) for n in numbers}
        reason, facts = _compare(loaded, pack[image], shared)
    finally:
        cost, loaded.counters = loaded.counters, run_counters
    facts |= {"prefill_tokens": cost.prefill_tokens, "vision_encodes": cost.vision_encodes, "questions": len(numbers)}
    return Verdict(reason=reason, answers=None if reason else answers, facts=facts)


def _probes(pack: Sequence[Shared]) -> tuple[int, list[int]]:
    """The image whose prompts differ most in length, and its shortest and longest question."""

    def lengths(shared: Shared) -> list[int]:
        return [len(row.ids) for row in shared.group.rows]

    image = max(range(len(pack)), key=lambda m: max(lengths(pack[m])) - min(lengths(pack[m])))
    found = lengths(pack[image])
    shortest, longest = found.index(min(found)), found.index(max(found))
    if shortest == longest:  # all of one length
        return image, list(range(min(2, len(found))))
    return image, [shortest, longest]


def _compare(
    loaded: Loaded, shared: Shared, found: dict[int, tuple[list[int], list[Any]]]
) -> tuple[str | None, dict[str, Any]]:
    rows = shared.group.rows
    alone = {n: _alone(loaded, rows[n]) for n in found}
    tolerance = _tolerance(loaded, [rows[n] for n in found], [alone[n] for n in found])
    difference = max(largest_difference(found[n], alone[n]) for n in found)
    control = _control(loaded, shared, found, alone)
    facts = {"logit_difference": difference, "tolerance": tolerance, "changed_image_difference": control}
    if not difference <= tolerance:
        return f"its logits differ from plain prompts' by {difference:.3g} (allowed {tolerance:.3g})", facts
    if not control > tolerance:
        return f"a changed image moves the logits by {control:.3g} only, so the check could not fail", facts
    different = [n for n in found if cut(loaded, found[n][0])[0] != cut(loaded, alone[n][0])[0]]
    if different and loaded.dtype == "float32":
        return f"{len(different)} of {len(found)} answers differ from plain prompts'", facts
    return None, facts


def _alone(loaded: Loaded, row: Any) -> tuple[list[int], list[Any]]:
    ids, logits = plain.answer_with_logits(loaded, [row])
    return ids[0], list(logits[0])


def largest_difference(a: tuple[list[int], list[Any]], b: tuple[list[int], list[Any]]) -> float:
    """The largest absolute difference of the logits of two answers, over the steps at which their history is equal."""
    largest = 0.0
    for token_a, token_b, x, y in zip(a[0], b[0], a[1], b[1], strict=False):
        largest = max(largest, float((x.float() - y.float()).abs().max()))
        if token_a != token_b:
            break
    return largest


def _tolerance(loaded: Loaded, rows: Sequence[Any], alone: Sequence[tuple[list[int], list[Any]]]) -> float:
    import torch

    if loaded.dtype == "float32":
        return FLOAT32_TOLERANCE
    ids, logits = plain.answer_with_logits(loaded, rows)
    batched = max(largest_difference((i, list(x)), one) for i, x, one in zip(ids, logits, alone, strict=True))
    step = torch.finfo(getattr(torch, loaded.dtype)).eps * max(float(x[0].abs().max()) for x in logits)
    return max(HALF_TIMES * batched, HALF_STEPS * float(step))


def _control(loaded: Loaded, shared: Shared, found: dict[int, Any], alone: dict[int, Any]) -> float:
    """How far the first logits of the same questions move when the image is another one."""
    import torch

    rows = shared.group.rows
    changed = {
        name: torch.where(t > 0, t - 1, t + 1) if t.is_floating_point() else t for name, t in rows[0].images.items()
    }
    group = replace(shared.group, rows=tuple(replace(rows[n], images=changed) for n in found))
    first: dict[int, Any] = {}  # question -> its first logits (vocabulary,)
    short = replace(loaded, generation=replace(loaded.generation, max_new_tokens=1))
    tree.answer(
        short, [replace(shared, group=group)], record=lambda _, number, values: first.setdefault(number, values.clone())
    )
    moved = [float((first[i] - alone[n][1][0].float()).abs().max()) for i, n in enumerate(found)]
    return max(moved)
