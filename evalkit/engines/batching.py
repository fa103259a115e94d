"""Batched generation: packs that share image prefixes, plain batches for the rest, back-off when memory runs out."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from evalkit.core import console
from evalkit.core.errors import EngineError, first_line
from evalkit.core.types import Prediction
from evalkit.engines.decoding import GENERATION, Decoding, RowResult
from evalkit.engines.loaded_model import LoadedModel, prediction_of_error
from evalkit.engines.packing import Limits, Packer, expected_new
from evalkit.engines.prefix_prefill import CacheLayoutError
from evalkit.engines.preprocess import SAMPLE_FAULTS, PromptGroup, PromptRow
from evalkit.engines.shared_prefix import PrefixGroup

# Errors of a model's code that show that it does not support prefix sharing, rather than a fault of one sample.
SHARING_FAULTS = (*SAMPLE_FAULTS, CacheLayoutError, AttributeError, KeyError, NotImplementedError)


class Answer(NamedTuple):
    """Prediction with its processed prompt; row is None if the prompt could not be prepared."""

    row: PromptRow | None
    prediction: Prediction


class Division(NamedTuple):
    """Group divided into those prompts that have a prefix to share and those answered in plain batches."""

    prefix_groups: list[PrefixGroup]
    plain_rows: Sequence[PromptRow]


class PrefixSharing:
    """State of prefix sharing in a run: requested mode, result of the check, reasons for falling back.

    mode: auto, off or require.  allowed: None until the first pack was checked.  separate: every question computes its
    image's prefix again, in the same steps as a shared one; this is `off` under `exact`, where answers must not depend
    on the mode.
    """

    def __init__(self, model: str, mode: str, *, exact: bool = False) -> None:
        self.model = model
        self.mode = mode
        self.separate = exact and mode == "off"
        self.allowed: bool | None = False if mode == "off" and not exact else None
        self.reasons: Counter[str] = Counter()
        self.check_measurements: dict[str, Any] | None = None

    def refuse(self, reason: str) -> None:
        """Count a reason for answering without sharing, and report it the first time.

        Raises:
            EngineError: the mode is `require`.
        """
        if self.mode == "require":
            raise EngineError(
                f"{self.model}: engine.share_prefix=require, but the image's part of the prompt cannot be shared: "
                f"{reason}. With engine.share_prefix=auto such prompts are answered in plain batches."
            )
        if reason not in self.reasons:
            console.note(f"{self.model}: prompts are not shared between the questions of an image: {reason}")
        self.reasons[reason] += 1

    def disable(self, reason: str) -> None:
        """Answer without sharing for the rest of the run."""
        self.refuse(reason)
        self.allowed = False


class BatchRunner:
    """Answers prepared groups with a loaded model.  decoding: what is computed of each row."""

    def __init__(
        self,
        loaded: LoadedModel,
        sharing: PrefixSharing,
        limits: Limits,
        *,
        exact: bool,
        decoding: Decoding = GENERATION,
    ) -> None:
        self.loaded = loaded
        self.sharing = sharing
        self.limits = limits
        self.exact = exact
        self.decoding = decoding

    def run(self, groups: Iterator[PromptGroup]) -> Iterator[list[Answer]]:
        """Answer every request of the groups exactly once, a batch at a time, in any order."""
        packer = Packer(self.loaded, self.limits)
        waiting: list[PromptRow] = []
        for group in groups:
            if group.failures:
                yield [Answer(None, p) for p in group.failures]
            if not group.rows:
                continue
            division = self._divide(group)
            for shared in division.prefix_groups:
                for pack in packer.add(shared):
                    yield from self.run_pack(pack)
            waiting += division.plain_rows
            while waiting and len(batch := self._plain_batch(waiting)) < len(waiting):
                yield self.run_plain(batch)
                waiting = waiting[len(batch) :]
        for pack in packer.rest():
            yield from self.run_pack(pack)
        yield from self._run_plain_batches(waiting)

    def _divide(self, group: PromptGroup) -> Division:
        """Divide a group by whether its prompts can share a prefix.

        With `exact`, each question of a group without a common prefix is tested alone, so that how it is answered does
        not depend on the other questions.
        """
        if self.sharing.allowed is False:
            return Division([], group.rows)
        shared = self.decoding.find_prefix(self.loaded, group, exact=self.exact)
        if isinstance(shared, PrefixGroup):
            return Division(shared.split() if self.sharing.separate else [shared], ())
        self.sharing.refuse(shared)
        if not self.exact:
            return Division([], group.rows)
        found = [
            (row, self.decoding.find_prefix(self.loaded, PromptGroup(rows=(row,)), exact=True)) for row in group.rows
        ]
        return Division(
            [prefix for _, prefix in found if isinstance(prefix, PrefixGroup)],
            [row for row, prefix in found if not isinstance(prefix, PrefixGroup)],
        )

    def run_pack(self, pack: list[PrefixGroup]) -> Iterator[list[Answer]]:
        """Answer a pack with shared prefixes; the first pack is checked, and memory errors lead to smaller packs."""
        packer = Packer(self.loaded, self.limits)
        if len(pack) > 1 and not packer.fits(pack):  # the limits have shrunk since it was packed
            yield from self._repack(pack)
            return
        rows = [row for shared in pack for row in shared.group.rows]
        started = time.perf_counter()
        answers, out_of_memory = None, False
        try:
            # The check may have failed while this pack was being collected.
            if self.sharing.allowed is not False:
                answers = self._answer_checked(pack, packer.at_once(pack))
        except SHARING_FAULTS as problem:  # torch's OutOfMemoryError is a RuntimeError
            if not (out_of_memory := is_out_of_memory(problem)):
                reason = f"{type(problem).__name__}: {first_line(problem)}"
                self.sharing.refuse(reason) if self.sharing.allowed else self.sharing.disable(reason)
        if out_of_memory:  # handled outside `except`, which would keep the failed call's tensors alive
            yield from self._retry_smaller(pack)
            return
        if answers is None:
            yield from self._run_plain_batches(rows)
            return
        seconds = (time.perf_counter() - started) / len(rows)
        found = list(zip(rows, (new for image in answers for new in image), strict=True))
        yield [
            Answer(row, self.decoding.prediction(self.loaded, row, new, seconds))
            for row, new in found
            if self.decoding.is_finite(new)
        ]
        # The questions of an image share one sequence, where NaN from one passes into the others (0 * NaN is NaN).
        yield from self._run_plain_batches([row for row, new in found if not self.decoding.is_finite(new)])

    def _answer_checked(self, pack: list[PrefixGroup], at_once: int | None) -> list[list[RowResult]] | None:
        """Answer a pack, with the check if it is the first; None if the check failed for this model."""
        if self.sharing.allowed:
            places = self.limits.forward_limit
            return self.decoding.shared(self.loaded, pack, at_once=at_once, forward_places=places)
        result = self.decoding.check(self.loaded, pack, at_once, self.limits.forward_limit)
        self.sharing.check_measurements = result.measurements
        if result.reason is None:
            self.sharing.allowed = True
        elif not self.exact:
            self.sharing.disable(f"in the check on the first images {result.reason}")
            return None
        elif result.finite:  # with other first images it might pass, so answers would depend on which come first
            raise EngineError(
                f"{self.sharing.model}: engine.exact=true promises answers that do not depend on other questions, but "
                f"in the check on the first images {result.reason}. Leave out engine.exact; "
                "engine.share_prefix=off engine.batch_size=1 answers one plain prompt at a time."
            )
        return result.answers  # without numbers nothing was compared: the next pack is checked

    def _retry_smaller(self, pack: list[PrefixGroup]) -> Iterator[list[Answer]]:
        """Answer a pack again after memory ran out, with the limit halved for the rest of the run."""
        self._record_out_of_memory()
        packer = Packer(self.loaded, self.limits)
        if len(pack) == 1 and (packer.at_once(pack) or len(pack[0].group.rows)) == 1:
            self.sharing.refuse("memory ran out at one question at a time")
            yield from self._run_plain_batches(pack[0].group.rows)
            return
        self.limits.tokens = max(1, min(self.limits.tokens, packer.places(pack)) // 2)
        yield from self._repack(pack)

    def _repack(self, pack: Sequence[PrefixGroup]) -> Iterator[list[Answer]]:
        packer = Packer(self.loaded, self.limits)
        for part in (*(p for shared in pack for p in packer.add(shared)), *packer.rest()):
            yield from self.run_pack(part)

    def _record_out_of_memory(self) -> None:
        import torch

        self.limits.out_of_memory += 1
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _plain_batch(self, rows: Sequence[PromptRow]) -> list[PromptRow]:
        """Take the leading rows that form one plain batch: of one shape, and within the limits."""
        # transformers samples by one state for all rows of a batch; draws have a seed each.
        is_alone = self.loaded.generation.temperature > 0 and rows[0].request.draw is None
        max_rows = 1 if is_alone else self.limits.rows or len(rows)
        max_places = self.limits.memory if self.limits.rows else self.limits.forward_limit
        shape = PromptGroup(rows=(rows[0],)).shape
        longest = 0
        for n, row in enumerate(rows):
            longest = max(longest, len(row.ids))
            places = (n + 1) * (longest + expected_new(self.loaded))
            if n and (n >= max_rows or places > max_places or PromptGroup(rows=(row,)).shape != shape):
                return list(rows[:n])
        return list(rows)

    def _run_plain_batches(self, rows: Sequence[PromptRow]) -> Iterator[list[Answer]]:
        waiting = list(rows)
        while waiting:
            batch = self._plain_batch(waiting)
            yield self.run_plain(batch)
            waiting = waiting[len(batch) :]

    def run_plain(self, rows: Sequence[PromptRow]) -> list[Answer]:
        """Answer a plain batch; one row at a time after a sample's failure, in halves after memory ran out."""
        started = time.perf_counter()
        out_of_memory, new = False, None
        try:
            new = self.decoding.plain(self.loaded, rows)
        except SAMPLE_FAULTS as problem:  # torch's OutOfMemoryError is a RuntimeError
            out_of_memory = is_out_of_memory(problem)
            if len(rows) == 1:
                return [Answer(rows[0], prediction_of_error(rows[0].request, problem))]
        if out_of_memory:  # handled outside `except`, which would keep the failed call's tensors alive
            self._record_out_of_memory()
            half = len(rows) // 2
            self.limits.rows = min(self.limits.rows or half, half)
            return [answer for part in (rows[:half], rows[half:]) for answer in self.run_plain(part)]
        if new is None:  # one bad sample must not fail the others: answer each alone
            return [answer for row in rows for answer in self.run_plain([row])]
        seconds = (time.perf_counter() - started) / len(rows)
        return [
            Answer(row, self.decoding.prediction(self.loaded, row, found, seconds))
            for row, found in zip(rows, new, strict=True)
        ]


def is_out_of_memory(problem: Exception) -> bool:
    """Whether an exception says that the device or the machine is out of memory."""
    import torch

    return isinstance(problem, torch.OutOfMemoryError) or "allocate memory" in str(problem)
