"""engine=hf: a transformers image-text-to-text model in this process, one prefill an image where a model allows it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from typing import Any

from evalkit.core.errors import ConfigError, did_you_mean
from evalkit.core.types import Prediction, Request, digest_json
from evalkit.engines import shared_prefix as prefix
from evalkit.engines.batching import Answered, Answerer, Sharing
from evalkit.engines.loaded_model import Counters, Loaded, Tally
from evalkit.engines.packing import Limits
from evalkit.engines.preprocess import Preparer, by_image
from evalkit.models import checkpoint
from evalkit.models.checkpoint import CheckpointSpec

DTYPES = ("float32", "bfloat16", "float16")
SHARING = ("auto", "off", "require")
# Parameters below which a model runs in one thread of a CPU.
TINY = 5_000_000
# Samples whose answers are compared with one at a time where arithmetic order may flip a near-tie.
FLIPS_IN_HALF_PRECISION = 32


class HfEngine:
    """Generates with transformers.

    Args:
        spec: the checkpoint.
        batch_size: at most so many requests at once; None: as many as `max_batch_tokens` allows.
        dtype: float32, bfloat16, float16, or auto (the model's own; else bfloat16 on a GPU, float32 on a CPU).
        device: auto, or a torch device.
        share_prefix: auto: compute an image's part of the prompt once for all its questions, where a check on the
            first images shows that this model gives the same so; off; require: stop where it cannot be done.
        exact: one question at a time behind its image's prefix, so that no answer depends on its batch, nor on whether
            the prefix was shared, in any dtype.
        max_batch_tokens: places in a batch, halved for the rest of the run whenever memory runs out; None: what fits
            into the free memory.
        workers: threads that open images and tokenise ahead of the model; 0: none.
        measure_flips: answer so many samples once more, one at a time and unshared, and count other texts; None: 32 in
            half precision, none in float32.
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
        share_prefix: str | bool = "auto",
        exact: bool = False,
        max_batch_tokens: int | None = None,
        workers: int | None = None,
        measure_flips: int | None = None,
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
        sharing = "off" if share_prefix is False else str(share_prefix)
        if sharing not in SHARING:
            raise ConfigError(f"engine.share_prefix={sharing} is not possible. {did_you_mean(sharing, SHARING)}")
        self.spec = spec
        self.generation = spec.generation
        self.exact = exact
        self.sharing = Sharing(spec.name, sharing, exact=exact)
        self.limits = Limits(tokens=max_batch_tokens or 0, rows=1 if exact else batch_size)
        self.workers = min(4, os.cpu_count() or 1) if workers is None else workers
        self.parts = checkpoint.locate(spec)
        self.device = device_of(device)
        self.dtype = dtype_of(dtype, spec, self.device)
        by_default = 0 if self.dtype == "float32" else FLIPS_IN_HALF_PRECISION
        self.measure_flips = by_default if measure_flips is None else measure_flips
        self.weights_digest = checkpoint.digest(spec, self.parts)
        self.identity = digest_json(
            [self.name, self.weights_digest, spec.chat_template, self.dtype, *(["exact"] if exact else [])]
        )
        self._loaded: Loaded | None = None
        self._flips: Counter[str] = Counter()
        self._tally = Tally()

    def generate(self, requests: Sequence[Request]) -> Iterator[list[Prediction]]:
        """See `Engine.generate`.  Groups of one image stay together; the ones with most questions come first."""
        if not requests:
            return
        loaded = self.load()
        if self.sharing.allowed is None and (reason := prefix.model_obstacle(loaded)):
            self.sharing.give_up(reason)
        again = self._flip_subset(requests)
        answerer = Answerer(loaded, self.sharing, self.limits, exact=self.exact)
        groups = Preparer(loaded, workers=self.workers).prepared(by_image(requests))
        for answered in answerer.answered(groups):
            self._tally.add(self.spec.name, (p for _, p in answered))
            self._count_flips(answerer, [pair for pair in answered if pair[1].fingerprint in again])
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
            "batch_size": self.limits.rows,
            "max_batch_tokens": self.limits.tokens,
            "exact": self.exact,
            "out_of_memory": self.limits.out_of_memory,
            "share_prefix": self.sharing.wanted,
            "prefix_shared": bool(self.sharing.allowed) and not self.sharing.apart,
            "prefix_not_shared": dict(self.sharing.reasons),
            "prefix_check": self.sharing.facts,
        }
        if self.measure_flips:
            n, differ = self._flips["asked"], self._flips["differ"]
            facts["flips"] = {"n": n, "differ": differ, "rate": round(differ / n, 4) if n else None}
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
            model, processor = checkpoint.load(self.spec, self.parts, device=self.device, dtype=self.dtype)
            if self.device == "cpu" and model.num_parameters() < TINY:
                import torch

                # Handing such small kernels to a second thread costs more than it saves: ten times on a busy machine.
                torch.set_num_threads(1)
            self._loaded = Loaded(
                model=model, processor=processor, device=self.device, dtype=self.dtype, generation=self.generation
            )
            self.limits.from_memory(self._loaded)
        return self._loaded

    def use_model_of(self, other: HfEngine) -> None:
        """Answer with the model that another engine of the same checkpoint, dtype and device has loaded."""
        if (other.parts, other.dtype, other.device) != (self.parts, self.dtype, self.device):
            raise ConfigError("two engines can have one model only with the same checkpoint, dtype and device")
        self._loaded = replace(other.load(), counters=Counters(), generation=self.generation)
        self.limits.from_memory(self._loaded)

    def _flip_subset(self, requests: Sequence[Request]) -> frozenset[str]:
        """A fixed random subset: the requests with the smallest fingerprints, which are digests."""
        if not self.measure_flips:
            return frozenset()
        return frozenset(sorted(r.fingerprint for r in requests)[: self.measure_flips])

    def _count_flips(self, answerer: Answerer, answered: Answered) -> None:
        """Answer again one at a time and unshared, outside the run's counters, and count other texts."""
        loaded = answerer.loaded
        counters, loaded.counters = loaded.counters, Counters()
        for row, before in answered:
            if row is not None and before.text is not None:
                ((_, alone),) = answerer.plain([row])
                self._flips["asked"] += 1
                self._flips["differ"] += alone.text != before.text
        loaded.counters = counters


def device_of(device: str) -> str:
    """The torch device that `auto` means on this machine."""
    if device != "auto":
        return device
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def dtype_of(dtype: str, spec: CheckpointSpec, device: str) -> str:
    """The dtype that `auto` means for a checkpoint on a device; ConfigError for an unknown one."""
    wanted = spec.dtype if dtype == "auto" and spec.dtype else dtype
    if wanted == "auto":
        return "bfloat16" if device.startswith("cuda") else "float32"
    if wanted not in DTYPES:
        raise ConfigError(f"engine.dtype={wanted} is not possible. Known: auto, {', '.join(DTYPES)}.")
    return wanted
