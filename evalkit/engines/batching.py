"""Requests answered in batches: packs that share their images' prefixes, plain ones for the rest, memory back-off."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from evalkit.core import console
from evalkit.core.errors import EngineError, first_line
from evalkit.core.types import Prediction
from evalkit.engines import plain_decode as plain
from evalkit.engines import prefix_decode as tree
from evalkit.engines import shared_prefix as prefix
from evalkit.engines.loaded_model import Loaded, failed, prediction
from evalkit.engines.packing import Limits, Packer, expected_new
from evalkit.engines.prefix_check import check
from evalkit.engines.prefix_decode import LayoutError
from evalkit.engines.preprocess import SAMPLE_FAULTS, Group, Row
from evalkit.engines.shared_prefix import Shared

# Other problems than a sample's own that a model's code has with what sharing asks of it.
SHARING_FAULTS = (*SAMPLE_FAULTS, LayoutError, AttributeError, KeyError, NotImplementedError)

# What was answered, with its processed prompt (None where there was none to be had).
Answered = list[tuple[Row | None, Prediction]]


class Sharing:
    """Whether prefixes are shared: what was asked for, what the check found, and why not where not.

    wanted: auto, off or require.  allowed: None until the first pack was checked.  apart: every question computes its
    image's prefix for itself, in the steps of a shared one: `off` where no answer may depend on what was asked for.
    """

    def __init__(self, model: str, wanted: str, *, exact: bool = False) -> None:
        self.model = model
        self.wanted = wanted
        self.apart = exact and wanted == "off"
        self.allowed: bool | None = False if wanted == "off" and not exact else None
        self.reasons: Counter[str] = Counter()
        self.facts: dict[str, Any] | None = None

    def refuse(self, reason: str) -> None:
        """Say once, and count, why something is answered without sharing.

        Raises:
            EngineError: with `require`.
        """
        if self.wanted == "require":
            raise EngineError(
                f"{self.model}: engine.share_prefix=require, but the image's part of the prompt cannot be shared: "
                f"{reason}. With engine.share_prefix=auto such prompts are answered in plain batches."
            )
        if reason not in self.reasons:
            console.note(f"{self.model}: prompts are not shared between the questions of an image: {reason}")
        self.reasons[reason] += 1

    def give_up(self, reason: str) -> None:
        """Refuse for the rest of the run."""
        self.refuse(reason)
        self.allowed = False


class Answerer:
    """Answers prepared groups with a loaded model."""

    def __init__(self, loaded: Loaded, sharing: Sharing, limits: Limits, *, exact: bool) -> None:
        self.loaded = loaded
        self.sharing = sharing
        self.limits = limits
        self.exact = exact

    def answered(self, groups: Iterator[Group]) -> Iterator[Answered]:
        """Every request of the groups exactly once, a batch at a time, in any order."""
        packer = Packer(self.loaded, self.limits)
        waiting: list[Row] = []
        for group in groups:
            if group.failures:
                yield [(None, p) for p in group.failures]
            if not group.rows:
                continue
            sharing, others = self._divided(group)
            for shared in sharing:
                for pack in packer.add(shared):
                    yield from self.share(pack)
            waiting += others
            while waiting and len(batch := self._plain_batch(waiting)) < len(waiting):
                yield self.plain(batch)
                waiting = waiting[len(batch) :]
        for pack in packer.rest():
            yield from self.share(pack)
        yield from self._plainly(waiting)

    def _divided(self, group: Group) -> tuple[list[Shared], Sequence[Row]]:
        """What of a group has a prefix, and the rows that are to be answered plainly.

        With `exact` each question is looked at by itself where the group has no common prefix, so that how it is
        answered does not depend on which others are asked.
        """
        if self.sharing.allowed is False:
            return [], group.rows
        shared = prefix.share(self.loaded, group, exact=self.exact)
        if isinstance(shared, Shared):
            return shared.apart() if self.sharing.apart else [shared], ()
        self.sharing.refuse(shared)
        if not self.exact:
            return [], group.rows
        alone = [(row, prefix.share(self.loaded, Group(rows=(row,)), exact=True)) for row in group.rows]
        return [s for _, s in alone if isinstance(s, Shared)], [row for row, s in alone if not isinstance(s, Shared)]

    def share(self, pack: list[Shared]) -> Iterator[Answered]:
        """A pack answered by sharing; checked when it is the first, in smaller packs when memory runs out."""
        packer = Packer(self.loaded, self.limits)
        if len(pack) > 1 and not packer.fits(pack):  # the limits have shrunk since it was packed
            yield from self._packed_anew(pack)
            return
        rows = [row for shared in pack for row in shared.group.rows]
        started = time.perf_counter()
        answers, full = None, False
        try:
            # The check may have failed while this pack was being collected.
            if self.sharing.allowed is not False:
                answers = self._checked(pack, packer.at_once(pack))
        except SHARING_FAULTS as problem:  # torch's OutOfMemoryError is a RuntimeError
            if not (full := is_out_of_memory(problem)):
                reason = f"{type(problem).__name__}: {first_line(problem)}"
                self.sharing.refuse(reason) if self.sharing.allowed else self.sharing.give_up(reason)
        if full:  # only here: within `except` the failed call's tensors would still be held
            yield from self._smaller(pack)
            return
        if answers is None:
            yield from self._plainly(rows)
            return
        seconds = (time.perf_counter() - started) / len(rows)
        ids = [new for image in answers for new in image]
        yield [(row, prediction(self.loaded, row.request, new, seconds)) for row, new in zip(rows, ids, strict=True)]

    def _checked(self, pack: list[Shared], at_once: int | None) -> list[list[list[int]]] | None:
        """The pack's answers; None when the check found that sharing is not right for this model."""
        if self.sharing.allowed:
            return tree.answer(self.loaded, pack, at_once=at_once, together=self.limits.several)
        verdict = check(self.loaded, pack, at_once, self.limits.several)
        self.sharing.facts = verdict.facts
        if verdict.reason:
            self.sharing.give_up(f"in the check on the first images {verdict.reason}")
        else:
            self.sharing.allowed = True
        return verdict.answers

    def _smaller(self, pack: list[Shared]) -> Iterator[Answered]:
        """The same requests again after memory ran out, half as much at a time for the rest of the run."""
        self._memory_ran_out()
        packer = Packer(self.loaded, self.limits)
        if len(pack) == 1 and (packer.at_once(pack) or len(pack[0].group.rows)) == 1:
            self.sharing.refuse("memory ran out at one question at a time")
            yield from self._plainly(pack[0].group.rows)
            return
        self.limits.tokens = max(1, min(self.limits.tokens, packer.places(pack)) // 2)
        yield from self._packed_anew(pack)

    def _packed_anew(self, pack: Sequence[Shared]) -> Iterator[Answered]:
        packer = Packer(self.loaded, self.limits)
        for part in (*(p for shared in pack for p in packer.add(shared)), *packer.rest()):
            yield from self.share(part)

    def _memory_ran_out(self) -> None:
        import torch

        self.limits.out_of_memory += 1
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _plain_batch(self, rows: Sequence[Row]) -> list[Row]:
        """The first of the rows, as many as make one plain batch: of one shape, and no more than fits."""
        most = 1 if self.loaded.generation.temperature > 0 else self.limits.rows or len(rows)
        room = self.limits.memory if self.limits.rows else self.limits.several
        shape = Group(rows=(rows[0],)).shape
        longest = 0
        for n, row in enumerate(rows):
            longest = max(longest, len(row.ids))
            places = (n + 1) * (longest + expected_new(self.loaded))
            if n and (n >= most or places > room or Group(rows=(row,)).shape != shape):
                return list(rows[:n])
        return list(rows)

    def _plainly(self, rows: Sequence[Row]) -> Iterator[Answered]:
        waiting = list(rows)
        while waiting:
            batch = self._plain_batch(waiting)
            yield self.plain(batch)
            waiting = waiting[len(batch) :]

    def plain(self, rows: Sequence[Row]) -> Answered:
        """A plain batch; one at a time where a sample fails, half as many where memory runs out."""
        started = time.perf_counter()
        full, new = False, None
        try:
            new = plain.answer(self.loaded, rows)
        except SAMPLE_FAULTS as problem:  # torch's OutOfMemoryError is a RuntimeError
            full = is_out_of_memory(problem)
            if len(rows) == 1:
                return [(rows[0], failed(rows[0].request, problem))]
        if full:  # only here: within `except` the failed call's tensors would still be held
            self._memory_ran_out()
            half = len(rows) // 2
            self.limits.rows = min(self.limits.rows or half, half)
            return [pair for part in (rows[:half], rows[half:]) for pair in self.plain(part)]
        if new is None:  # one bad sample must not take its neighbours down: ask each alone
            return [pair for row in rows for pair in self.plain([row])]
        seconds = (time.perf_counter() - started) / len(rows)
        return [(row, prediction(self.loaded, row.request, ids, seconds)) for row, ids in zip(rows, new, strict=True)]


def is_out_of_memory(problem: Exception) -> bool:
    """Whether the device, or the machine, has no memory left for what was asked."""
    import torch

    return isinstance(problem, torch.OutOfMemoryError) or "allocate memory" in str(problem)
