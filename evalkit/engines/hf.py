"""engine=hf: a transformers image-text-to-text model in this process, one prefill an image where the model allows it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from evalkit import console
from evalkit.engines import plain, prefix
from evalkit.engines.check import check
from evalkit.engines.loaded import Loaded, failed, prediction
from evalkit.engines.packing import Packer, expected_new, tokens_that_fit
from evalkit.engines.prefix import LayoutError, Shared
from evalkit.engines.prepare import SAMPLE_FAULTS, Group, Preparer, Row, by_image
from evalkit.errors import ConfigError, EngineError, did_you_mean
from evalkit.models import checkpoint
from evalkit.models.checkpoint import CheckpointSpec
from evalkit.types import Prediction, Request, digest_json

DTYPES = ("float32", "bfloat16", "float16")
SHARING = ("auto", "off", "require")
# When the first samples all fail, the fault is not theirs.
FAULTS_BEFORE_GIVING_UP = 8
# Other problems than a sample's own that a model's code has with what sharing asks of it.
SHARING_FAULTS = (*SAMPLE_FAULTS, LayoutError, AttributeError, KeyError, NotImplementedError, AssertionError)


class HfEngine:
    """Generates with transformers.

    Args:
        spec: the checkpoint.
        batch_size: at most so many requests at once; None: as many as `max_batch_tokens` allows.
        dtype: float32, bfloat16, float16, or auto (the model's own; else bfloat16 on a GPU, float32 on a CPU).
        device: auto, or a torch device.
        share_prefix: auto: compute an image's part of the prompt once for all its questions, where a check on the
            first images shows that this model gives the same so; off; require: stop where it cannot be done.
        exact: one question at a time behind its image's prefix, so that no answer depends on its batch in any dtype.
        max_batch_tokens: places in a batch, halved for the rest of the run whenever memory runs out; None: what fits
            into the free memory.
        workers: threads that open images and tokenise ahead of the model; 0: none.
        measure_flips: answer so many samples once more, one at a time and unshared, and count other texts.
    """

    name = "hf"
    needs_images = True

    def __init__(
        self,
        *,
        spec: CheckpointSpec,
        batch_size: int | None = None,
        dtype: str = "auto",
        device: str = "auto",
        share_prefix: str = "auto",
        exact: bool = False,
        max_batch_tokens: int | None = None,
        workers: int | None = None,
        measure_flips: int = 0,
    ) -> None:
        for name, value, least in (
            ("batch_size", batch_size, 1),
            ("max_batch_tokens", max_batch_tokens, 1),
            ("workers", workers, 0),
            ("measure_flips", measure_flips, 0),
        ):
            if value is not None and value < least:
                raise ConfigError(f"engine.{name}={value} is not possible; it must be {least} or more.")
        # YAML reads a bare `off` as false.
        share_prefix = "off" if share_prefix is False else share_prefix
        if share_prefix not in SHARING:
            raise ConfigError(
                f"engine.share_prefix={share_prefix} is not possible. {did_you_mean(str(share_prefix), SHARING)}"
            )
        self.spec = spec
        self.generation = spec.generation
        self.batch_size = 1 if exact else batch_size
        self.share_prefix = share_prefix
        self.exact = exact
        self.max_batch_tokens = max_batch_tokens
        self.workers = min(4, os.cpu_count() or 1) if workers is None else workers
        self.measure_flips = measure_flips
        self.folder = checkpoint.locate(spec)
        self.device = _device(device)
        self.dtype = _dtype(dtype, spec, self.device)
        self.weights_digest = checkpoint.folder_digest(self.folder)
        self.identity = digest_json(
            [self.name, self.weights_digest, spec.chat_template, self.dtype, *(["exact"] if exact else [])]
        )
        self._loaded: Loaded | None = None
        self._sharing: bool | None = False if share_prefix == "off" else None
        self._reasons: Counter[str] = Counter()
        self._check: dict[str, Any] | None = None
        self._out_of_memory = 0
        self._flips = Counter[str]()
        self._answered = self._failures = 0

    def generate(self, requests: Sequence[Request]) -> Iterator[list[Prediction]]:
        """See `Engine.generate`.  Groups of one image stay together; the ones with most questions come first."""
        if not requests:
            return
        loaded = self.load()
        if self._sharing is None and (reason := prefix.model_obstacle(loaded)):
            self._fall_back(reason)
        again = self._flip_subset(requests)
        for answered in self._batches(loaded, by_image(requests)):
            self._give_up_if_all_fail(answered)
            self._count_flips(loaded, [(row, p) for row, p in answered if p.fingerprint in again])
            yield [p for _, p in answered]

    def facts(self) -> dict[str, Any]:
        """See `Engine.facts`."""
        import importlib.util

        import torch
        import transformers

        facts: dict[str, Any] = {
            "engine": self.name,
            "weights_sha256": self.weights_digest,
            "dtype": self.dtype,
            "device": self.device,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "torchvision": importlib.util.find_spec("torchvision") is not None,
            "batch_size": self.batch_size,
            "max_batch_tokens": self.max_batch_tokens,
            "exact": self.exact,
            "out_of_memory": self._out_of_memory,
            "share_prefix": self.share_prefix,
            "prefix_shared": bool(self._sharing),
            "prefix_not_shared": dict(self._reasons),
            "prefix_check": self._check,
        }
        if self.measure_flips:
            facts["flips"] = {"n": self._flips["asked"], "differ": self._flips["differ"]}
        if torch.cuda.is_available() and self.device.startswith("cuda"):
            facts["device_name"] = torch.cuda.get_device_name(self.device)
        if (loaded := self._loaded) is not None:
            facts["model_class"] = type(loaded.model).__name__
            facts["attention"] = loaded.model.config._attn_implementation
            facts["processor"] = type(loaded.processor).__name__
            facts["image_processor"] = type(loaded.processor.image_processor).__name__
            facts["counters"] = {
                k: round(v, 3) if isinstance(v, float) else v for k, v in asdict(loaded.counters).items()
            }
        return facts

    def load(self) -> Loaded:
        """The model and its processor, loaded at the first call."""
        if self._loaded is None:
            model, processor = checkpoint.load(self.spec, self.folder, device=self.device, dtype=self.dtype)
            self._loaded = Loaded(
                model=model, processor=processor, device=self.device, dtype=self.dtype, generation=self.generation
            )
            if self.max_batch_tokens is None:
                self.max_batch_tokens = tokens_that_fit(self._loaded)
        return self._loaded

    def _batches(
        self, loaded: Loaded, groups: Sequence[Sequence[Request]]
    ) -> Iterator[list[tuple[Row | None, Prediction]]]:
        """Prepared groups, sorted into packs that share and rows that do not, and answered."""
        assert self.max_batch_tokens is not None
        packer = Packer(loaded, tokens=self.max_batch_tokens, rows=self.batch_size)
        alone: list[Row] = []
        for group in Preparer(loaded, workers=self.workers).prepared(groups):
            if group.failures:
                yield [(None, p) for p in group.failures]
            if not group.rows:
                continue
            shared = self._share(loaded, group)
            if shared is None:
                alone += group.rows
                while len(ready := self._plain_batch(loaded, alone)) < len(alone):
                    yield self._answer_plain(loaded, ready)
                    alone = alone[len(ready) :]
            else:
                for pack in packer.add(shared):
                    yield from self._answer_shared(loaded, pack, packer)
        for pack in packer.rest():
            yield from self._answer_shared(loaded, pack, packer)
        while alone:
            ready = self._plain_batch(loaded, alone)
            yield self._answer_plain(loaded, ready)
            alone = alone[len(ready) :]

    def _share(self, loaded: Loaded, group: Group) -> Shared | None:
        if self._sharing is False:
            return None
        shared = prefix.share(loaded, group, exact=self.exact)
        if isinstance(shared, Shared):
            return shared
        self._not_shared(shared)
        return None

    def _not_shared(self, reason: str) -> None:
        """Say once, and count, why something is answered without sharing; `require` stops instead."""
        if self.share_prefix == "require":
            raise EngineError(
                f"{self.spec.name}: engine.share_prefix=require, but the image's part of the prompt cannot be shared: "
                f"{reason}. With engine.share_prefix=auto such prompts are answered in plain batches."
            )
        if reason not in self._reasons:
            console.note(f"{self.spec.name}: prompts are not shared between the questions of an image: {reason}")
        self._reasons[reason] += 1

    def _fall_back(self, reason: str) -> None:
        self._not_shared(reason)
        self._sharing = False

    def _answer_shared(
        self, loaded: Loaded, pack: list[Shared], packer: Packer
    ) -> Iterator[list[tuple[Row | None, Prediction]]]:
        """A pack answered by sharing; checked when it is the first, in smaller packs when memory runs out."""
        import time

        import torch

        rows = [row for shared in pack for row in shared.group.rows]
        if self._sharing is False:  # the check failed while this pack was being collected
            yield from self._plain_batches(loaded, rows)
            return
        started = time.perf_counter()
        try:
            answers = self._checked(loaded, pack, packer)
        except torch.OutOfMemoryError:
            yield from self._smaller(loaded, pack, packer)
            return
        except SHARING_FAULTS as problem:
            if _is_out_of_memory(problem):
                yield from self._smaller(loaded, pack, packer)
                return
            reason = f"{type(problem).__name__}: {checkpoint.first_line(problem)}"
            self._not_shared(reason) if self._sharing else self._fall_back(reason)
            answers = None
        if answers is None:
            yield from self._plain_batches(loaded, rows)
            return
        seconds = (time.perf_counter() - started) / len(rows)
        ids = [new for image in answers for new in image]
        yield [(row, prediction(loaded, row.request, new, seconds)) for row, new in zip(rows, ids, strict=True)]

    def _checked(self, loaded: Loaded, pack: list[Shared], packer: Packer) -> list[list[list[int]]] | None:
        """The pack's answers; None when the check found that sharing is not right for this model."""
        if self._sharing:
            return prefix.answer(loaded, pack, at_once=packer.at_once(pack))
        verdict = check(loaded, pack, packer.at_once(pack))
        self._check = verdict.facts
        if verdict.reason:
            self._fall_back(f"in the check on the first images {verdict.reason}")
        else:
            self._sharing = True
        return verdict.answers

    def _smaller(
        self, loaded: Loaded, pack: list[Shared], packer: Packer
    ) -> Iterator[list[tuple[Row | None, Prediction]]]:
        """The same requests again after memory ran out, half as much at a time for the rest of the run."""
        self._memory_ran_out()
        if len(pack) == 1 and packer.at_once(pack) == 1:
            self._not_shared("memory ran out at one question at a time")
            yield from self._plain_batches(loaded, [row for shared in pack for row in shared.group.rows])
            return
        packer.tokens = self.max_batch_tokens = max(1, min(packer.tokens, packer.places(pack)) // 2)
        smaller = Packer(loaded, tokens=packer.tokens, rows=packer.rows)
        full = [p for shared in pack for p in smaller.add(shared)]
        for part in (*full, *smaller.rest()):
            yield from self._answer_shared(loaded, part, packer)

    def _memory_ran_out(self) -> None:
        import torch

        self._out_of_memory += 1
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _plain_batch(self, loaded: Loaded, rows: Sequence[Row]) -> list[Row]:
        """The first of the rows, as many as make one plain batch: of one shape, and no more than fits."""
        assert self.max_batch_tokens is not None
        most = 1 if self.generation.temperature > 0 else self.batch_size or len(rows)
        shape = Group(rows=(rows[0],)).shape
        longest = 0
        for n, row in enumerate(rows):
            longest = max(longest, len(row.ids))
            places = (n + 1) * (longest + expected_new(loaded))
            if n and (n >= most or places > self.max_batch_tokens or Group(rows=(row,)).shape != shape):
                return list(rows[:n])
        return list(rows)

    def _plain_batches(self, loaded: Loaded, rows: Sequence[Row]) -> Iterator[list[tuple[Row | None, Prediction]]]:
        waiting = list(rows)
        while waiting:
            batch = self._plain_batch(loaded, waiting)
            yield self._answer_plain(loaded, batch)
            waiting = waiting[len(batch) :]

    def _answer_plain(self, loaded: Loaded, rows: Sequence[Row]) -> list[tuple[Row | None, Prediction]]:
        """A plain batch; one at a time where a sample fails, half as many where memory runs out."""
        import time

        import torch

        started = time.perf_counter()
        try:
            new = plain.answer(loaded, rows)
        except torch.OutOfMemoryError as problem:
            return self._halved(loaded, rows, problem)
        except SAMPLE_FAULTS as problem:
            if _is_out_of_memory(problem):
                return self._halved(loaded, rows, problem)
            if len(rows) == 1:
                return [(rows[0], failed(rows[0].request, problem))]
            # One bad sample must not take its neighbours down: ask each alone.
            return [pair for row in rows for pair in self._answer_plain(loaded, [row])]
        seconds = (time.perf_counter() - started) / len(rows)
        return [(row, prediction(loaded, row.request, ids, seconds)) for row, ids in zip(rows, new, strict=True)]

    def _halved(
        self, loaded: Loaded, rows: Sequence[Row], problem: Exception
    ) -> list[tuple[Row | None, Prediction]]:
        self._memory_ran_out()
        if len(rows) == 1:
            return [(rows[0], failed(rows[0].request, problem))]
        half = len(rows) // 2
        self.batch_size = min(self.batch_size or half, half)
        return [pair for part in (rows[:half], rows[half:]) for pair in self._answer_plain(loaded, part)]

    def _give_up_if_all_fail(self, answered: Sequence[tuple[Row | None, Prediction]]) -> None:
        errors = [p.error for _, p in answered if p.error is not None]
        self._failures += len(errors)
        self._answered += len(answered) - len(errors)
        if not self._answered and self._failures >= FAULTS_BEFORE_GIVING_UP:
            raise EngineError(
                f"{self.spec.name}: the first {self._failures} samples all failed, the last with: {errors[-1]}. "
                "The model, its processor or its chat template do not fit the requests."
            )

    def _flip_subset(self, requests: Sequence[Request]) -> frozenset[str]:
        """A fixed random subset: the requests with the smallest fingerprints, which are digests."""
        return frozenset(sorted(r.fingerprint for r in requests)[: self.measure_flips])

    def _count_flips(self, loaded: Loaded, answered: Sequence[tuple[Row | None, Prediction]]) -> None:
        """Answer again one at a time and unshared, outside the run's counters, and count other texts."""
        from evalkit.engines.loaded import Counters

        counters, loaded.counters = loaded.counters, Counters()
        for row, before in answered:
            if row is not None and before.text is not None:
                (_, alone), *_ = self._answer_plain(loaded, [row])
                self._flips["asked"] += 1
                self._flips["differ"] += alone.text != before.text
        loaded.counters = counters


def _is_out_of_memory(problem: Exception) -> bool:
    return "allocate memory" in str(problem)  # how torch says it on a CPU


def _device(device: str) -> str:
    if device != "auto":
        return device
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _dtype(dtype: str, spec: CheckpointSpec, device: str) -> str:
    wanted = spec.dtype if dtype == "auto" and spec.dtype else dtype
    if wanted == "auto":
        return "bfloat16" if device.startswith("cuda") else "float32"
    if wanted not in DTYPES:
        raise ConfigError(f"engine.dtype={wanted} is not possible. Known: auto, {', '.join(DTYPES)}.")
    return wanted
