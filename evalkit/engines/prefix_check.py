"""Check of prefix sharing on the first images of a run: logits and answers are compared with those of plain prompts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from evalkit.engines import plain_decode, prefix_decode
from evalkit.engines.loaded_model import NOT_FINITE, Counters, LoadedModel, trim_answer
from evalkit.engines.plain_decode import Trace
from evalkit.engines.preprocess import PromptRow
from evalkit.engines.shared_prefix import PrefixGroup

# In float32, correct sharing moves logits by about 1e-5, and a mistake by 0.8 or more.
FLOAT32_TOLERANCE = 1e-3
# Tolerance in half precision: this multiple of what a plain batch moves the logits by, and at least this many steps of
# the number format.
HALF_BATCHING_FACTOR, HALF_MIN_STEPS = 3.0, 2.0
NO_NUMBERS = "the logits are NaN or infinite"


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """Outcome of the check.

    reason: why sharing failed; None if it gives the results of plain prompts.  finite: False if logits were NaN or
    infinite, so that nothing could be compared.  answers: the pack's answers with sharing.  measurements: for the
    manifest.
    """

    reason: str | None
    finite: bool
    answers: list[list[list[Any]]]
    measurements: dict[str, Any]


class _Comparison(NamedTuple):
    reason: str | None
    measurements: dict[str, Any]


class Probe(NamedTuple):
    """Questions that are compared: an image of the pack, and numbers of its questions."""

    image: int
    questions: list[int]


def check(
    loaded: LoadedModel, pack: Sequence[PrefixGroup], at_once: int | None = None, forward_places: int | None = None
) -> CheckResult:
    """Answer a pack with sharing, two of its questions alone, and the same two again with a changed image.

    The changed image must move the logits by more than the tolerance; otherwise the comparison could not have failed.
    The cost of the reference and the control is reported in `measurements`, not in the run's counters.
    """
    image, numbers = choose_probe(pack)
    logits: dict[tuple[int, int], list[Any]] = {}

    def record(m: int, number: int, values: Any) -> None:
        if m == image and number in numbers:
            logits.setdefault((m, number), []).append(values.clone())

    answers = prefix_decode.answer(loaded, pack, at_once=at_once, forward_places=forward_places, record=record)
    run_counters, loaded.counters = loaded.counters, Counters()
    try:
        shared = {n: Trace(answers[image][n], logits[image, n]) for n in numbers}
        reason, measurements = _compare(loaded, pack[image], shared)
    finally:
        cost, loaded.counters = loaded.counters, run_counters
    measurements |= {
        "prefill_tokens": cost.prefill_tokens,
        "vision_encodes": cost.vision_encodes,
        "questions": len(numbers),
    }
    return CheckResult(reason=reason, finite=reason != NO_NUMBERS, answers=answers, measurements=measurements)


def choose_probe(pack: Sequence[PrefixGroup]) -> Probe:
    """Choose the image whose prompts differ most in length, and its shortest and longest question."""

    def lengths(shared: PrefixGroup) -> list[int]:
        return [len(row.ids) for row in shared.group.rows]

    image = max(range(len(pack)), key=lambda m: max(lengths(pack[m])) - min(lengths(pack[m])))
    found = lengths(pack[image])
    shortest, longest = found.index(min(found)), found.index(max(found))
    if shortest == longest:  # all of the same length
        return Probe(image, list(range(min(2, len(found)))))
    return Probe(image, [shortest, longest])


def _compare(loaded: LoadedModel, shared: PrefixGroup, found: dict[int, Trace]) -> _Comparison:
    rows = shared.group.rows
    alone = {n: plain_decode.answer_with_logits(loaded, [rows[n]])[0] for n in found}
    if any(NOT_FINITE in trace.ids for trace in (*found.values(), *alone.values())):
        return _Comparison(NO_NUMBERS, {"logit_difference": None})
    tolerance = _tolerance(loaded, [rows[n] for n in found], [alone[n] for n in found])
    difference = max(largest_difference(found[n], alone[n]) for n in found)
    control = _control(loaded, shared, found, alone)
    found_values = {"logit_difference": difference, "tolerance": tolerance, "changed_image_difference": control}
    measurements = {name: value if math.isfinite(value) else None for name, value in found_values.items()}  # for JSON
    if not difference <= tolerance:
        reason = f"its logits differ from plain prompts' by {difference:.3g} (allowed {tolerance:.3g})"
        return _Comparison(reason, measurements)
    if not control > tolerance:
        reason = f"a changed image moves the logits by only {control:.3g}, so the check could not fail"
        return _Comparison(reason, measurements)
    different = [n for n in found if trim_answer(loaded, found[n].ids).ids != trim_answer(loaded, alone[n].ids).ids]
    if different and loaded.dtype == "float32":
        return _Comparison(f"{len(different)} of {len(found)} answers differ from plain prompts'", measurements)
    return _Comparison(None, measurements)


def largest_difference(a: Trace, b: Trace) -> float:
    """Largest absolute difference between the logits of two answers, over the steps up to their first unequal token."""
    largest = 0.0
    for token_a, token_b, x, y in zip(a.ids, b.ids, a.logits, b.logits, strict=False):
        largest = max(largest, _distance(x, y))
        if token_a != token_b:
            break
    return largest


def _distance(x: Any, y: Any) -> float:
    """Largest absolute difference between logits; infinite where one is NaN, and 0 where both are the same infinity."""
    import torch

    difference = torch.where(x == y, 0.0, x.float() - y.float()).abs().max()
    return float(difference.nan_to_num(math.inf))


def _tolerance(loaded: LoadedModel, rows: Sequence[PromptRow], alone: Sequence[Trace]) -> float:
    import torch

    if loaded.dtype == "float32":
        return FLOAT32_TOLERANCE
    # A batch of one prompt, or of prompts of one length, is computed by the kernels of a single prompt: padding and a
    # second row call for those that take a mask, as sharing does.
    batch = plain_decode.answer_with_logits(loaded, rows if len(rows) > 1 else [*rows, *rows], padding=8)
    batched = max(largest_difference(trace, one) for trace, one in zip(batch, alone, strict=False))
    step = torch.finfo(getattr(torch, loaded.dtype)).eps * max(float(t.logits[0].abs().max()) for t in batch)
    return max(HALF_BATCHING_FACTOR * batched, HALF_MIN_STEPS * float(step))


def with_changed_image(shared: PrefixGroup, numbers: Sequence[int]) -> PrefixGroup:
    """Some questions of a group, with another image in place of its own."""
    import torch

    rows = shared.group.rows
    changed = {
        name: torch.where(t > 0, t - 1, t + 1) if t.is_floating_point() else t for name, t in rows[0].images.items()
    }
    group = replace(shared.group, rows=tuple(replace(rows[n], images=changed) for n in numbers))
    return replace(shared, group=group)


def _control(loaded: LoadedModel, shared: PrefixGroup, found: dict[int, Trace], alone: dict[int, Trace]) -> float:
    """Largest change of the first logits of the same questions when the image is a different one."""
    changed = with_changed_image(shared, list(found))
    first: dict[int, Any] = {}  # question -> its first logits (vocabulary,)
    plain = replace(loaded.generation, max_new_tokens=1, reasoning_budget=None, reasoning_overflow="force")
    short = replace(loaded, generation=plain)
    prefix_decode.answer(short, [changed], record=lambda _, number, values: first.setdefault(number, values.clone()))
    return max(_distance(first[i], alone[n].logits[0]) for i, n in enumerate(found))
