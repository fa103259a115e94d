"""engine=hf: a transformers image-text-to-text model in this process, with one prefill per image if possible."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from typing import Any

from evalkit.core.errors import ConfigError, did_you_mean
from evalkit.core.types import Prediction, Request, digest_json
from evalkit.engines.answer_probability import WITH_PROBABILITY
from evalkit.engines.batching import Answer, BatchRunner, PrefixSharing
from evalkit.engines.cpu_kernels import Kernels, kernels_for
from evalkit.engines.cpu_tuning import is_small, tune
from evalkit.engines.decoding import GENERATION, Decoding
from evalkit.engines.loaded_model import Counters, LoadedModel, Tally
from evalkit.engines.loglikelihood import LOG_LIKELIHOOD, Collector, Whole, joined, no_generation
from evalkit.engines.packing import Limits
from evalkit.engines.preprocess import Preprocessor, group_by_image
from evalkit.engines.shared_prefix import model_obstacle, structural_obstacle
from evalkit.models import checkpoint
from evalkit.models.checkpoint import CheckpointSpec, ModelAndProcessor
from evalkit.models.components import Part

DTYPES = ("float32", "bfloat16", "float16")
SHARING_MODES = ("auto", "off", "require")
# Default number of samples answered again one at a time in half precision, where the order of sums may flip a near-tie.
HALF_PRECISION_FLIP_SAMPLES = 32


class HfEngine:
    """Generates with transformers.

    Args:
        spec: the checkpoint.
        batch_size: maximum number of requests in a batch; None: as many as `max_batch_tokens` allows.
        dtype: float32, bfloat16, float16, or auto (the model YAML's; else bfloat16 on a GPU, float32 on a CPU).
        device: auto, or a torch device.
        share_prefix: auto: compute an image's part of the prompt once for all its questions, if a check on the first
            images shows that this model gives the same results; off; require: stop with an error if it is not possible.
        exact: answer one question at a time after its image's prefix, so that no answer depends on its batch or on
            whether the prefix was shared, in any dtype.
        max_batch_tokens: token places in a batch, halved for the rest of the run whenever memory runs out; None: as
            many as fit into the free memory.
        workers: threads that open images and tokenise ahead of the model; 0: none.
        measure_flips: number of samples to answer again, one at a time and without sharing, in order to count texts
            that differ; None: 32 in half precision, none in float32.
        compile_kernels: in float32 on a CPU, compute parts of the prefill with functions that a C compiler makes for
            this processor, where there is one and they give torch's results.
    """

    name = "hf"
    needs_images = True
    scores_options = True
    gives_probability = True

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
        compile_kernels: bool = True,
    ) -> None:
        for name, value, minimum in (
            ("batch_size", batch_size, 1),
            ("max_batch_tokens", max_batch_tokens, 1),
            ("workers", workers, 0),
            ("measure_flips", measure_flips, 0),
        ):
            if value is not None and value < minimum:
                raise ConfigError(f"engine.{name}={value} is not valid; it must be {minimum} or more.")
        # YAML reads a bare `off` as false.
        mode = "off" if share_prefix is False else str(share_prefix)
        if mode not in SHARING_MODES:
            raise ConfigError(f"engine.share_prefix={mode} is not valid. {did_you_mean(mode, SHARING_MODES)}")
        self.spec = spec
        self.generation = spec.generation
        self.max_images = spec.max_images
        self.exact = exact
        self.compile_kernels = compile_kernels
        self.sharing = PrefixSharing(spec.name, mode, exact=exact)
        self.limits = Limits(tokens=max_batch_tokens or 0, rows=1 if exact else batch_size)
        self.workers = min(4, os.cpu_count() or 1) if workers is None else workers
        self.parts = self._locate()
        # What can be refused is refused before the data are read.
        checkpoint.check_settings(spec, self.parts)
        adapter = checkpoint.adapter_of(spec, self.parts)
        self._changes: dict[str, Any] = {"adapter": adapter.record()} if adapter is not None else {}
        if spec.quantization:
            self._changes["quantization"] = spec.quantization
        self.device = self._device(device)
        self.dtype = resolve_dtype(dtype, spec, self.device)
        default_flips = 0 if self.dtype == "float32" else HALF_PRECISION_FLIP_SAMPLES
        self.measure_flips = default_flips if measure_flips is None else measure_flips
        self.weights_digest = self._digest()
        changes = [*(["exact"] if exact else []), *([spec.quantization] if spec.quantization else [])]
        self.identity = digest_json([self.name, self.weights_digest, spec.chat_template, self.dtype, *changes])
        self.packed_layers = 0
        self.kernels: Kernels | str | None = None
        self._loaded: LoadedModel | None = None
        self._flips: Counter[str] = Counter()
        self._tally = Tally()

    def generate(self, requests: Sequence[Request]) -> Iterator[list[Prediction]]:
        """See `Engine.generate`.  The questions of an image stay together; images with most questions come first."""
        if not requests:
            return
        loaded, obstacle = self.load(), model_obstacle
        decoding: Decoding = WITH_PROBABILITY if requests[0].with_probability else GENERATION
        if requests[0].continuations:
            loaded = replace(loaded, generation=no_generation(loaded.generation))
            decoding, obstacle = LOG_LIKELIHOOD, structural_obstacle
        elif requests[0].draw is None:  # not of a run that draws several answers, such as a measurement of speed
            loaded = replace(loaded, generation=replace(loaded.generation, n=1))
        if self.sharing.allowed is None and (reason := obstacle(loaded)):
            self.sharing.disable(reason)
        flip_subset = self._flip_subset(requests)
        runner = BatchRunner(loaded, self.sharing, self.limits, exact=self.exact, decoding=decoding)
        groups = Preprocessor(loaded, workers=self.workers).process_all(group_by_image(requests))
        collector = Collector()
        for batch in runner.run(groups):
            answers = _whole_answers(batch, collector)
            self._tally.add(self.spec.name, (answer.prediction for answer in answers))
            self._count_flips(runner, [a for a in answers if a.prediction.fingerprint in flip_subset])
            if answers:
                yield [answer.prediction for answer in answers]

    def metadata(self) -> dict[str, Any]:
        """See `Engine.metadata`."""
        import importlib.util

        import torch
        import transformers

        record: dict[str, Any] = {
            "engine": self.name,
            "weights_sha256": self.weights_digest,
            "dtype": self.dtype,
            "device": self.device,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "torchvision": importlib.util.find_spec("torchvision") is not None,
            "batch_size": self.limits.rows,
            "max_batch_tokens": self.limits.tokens,
            **self._changes,
            "exact": self.exact,
            "out_of_memory": self.limits.out_of_memory,
            "share_prefix": self.sharing.mode,
            "prefix_shared": bool(self.sharing.allowed) and not self.sharing.separate,
            "prefix_not_shared": dict(self.sharing.reasons),
            "prefix_check": self.sharing.check_measurements,
        }
        if self.measure_flips:
            n, differ = self._flips["n"], self._flips["differ"]
            record["flips"] = {"n": n, "differ": differ, "rate": round(differ / n, 4) if n else None}
        if torch.cuda.is_available() and self.device.startswith("cuda"):
            record["device_name"] = torch.cuda.get_device_name(self.device)
        if (loaded := self._loaded) is not None:
            record["model_class"] = type(loaded.model).__name__
            if self.packed_layers:
                record["packed_layers"] = self.packed_layers
            if isinstance(self.kernels, Kernels):
                record["compiled_kernels"] = list(self.kernels.names)
            elif self.kernels is not None:
                record["compiled_kernels_not_used"] = self.kernels
            record["attention"] = loaded.model.config._attn_implementation
            record["processor"] = type(loaded.processor).__name__
            record["image_processor"] = type(loaded.processor.image_processor).__name__
            record["counters"] = {
                k: round(v, 3) if isinstance(v, float) else v for k, v in asdict(loaded.counters).items()
            }
        return record

    @property
    def generation_suffix(self) -> str:
        """What the decoding settings of a signature end with: the bits of quantised weights."""
        return f".{self.spec.quantization}" if self.spec.quantization else ""

    @property
    def is_loaded(self) -> bool:
        """Whether the model has been loaded."""
        return self._loaded is not None

    @property
    def loading(self) -> tuple[Any, ...]:
        """What decides, with the model's YAML, which model is loaded, and how it computes."""
        return self.parts, self.dtype, self.device, self.compile_kernels

    def load(self) -> LoadedModel:
        """Load the model and its processor at the first call, and return them."""
        if self._loaded is None:
            if self.dtype == "float32":
                use_full_float32()
            model, processor = self._load_model()
            if self.device == "cpu" and is_small(model):
                import torch

                # A second thread costs more than it saves for such small kernels: ten times as much on a busy machine.
                torch.set_num_threads(1)
            self._loaded = LoadedModel(
                model=model, processor=processor, device=self.device, dtype=self.dtype, generation=self.generation
            )
            if isinstance(self.kernels, Kernels):
                self._loaded.faster_prefill = self.kernels.in_place
            self.limits.from_memory(self._loaded)
        return self._loaded

    # The steps that differ for a model that is in memory already (`evalkit.engines.held_model`).

    def _locate(self) -> tuple[Part, ...]:
        return checkpoint.locate(self.spec)

    def _device(self, device: str) -> str:
        return resolve_device(device)

    def _digest(self) -> str:
        return checkpoint.digest(self.spec, self.parts)

    def _load_model(self) -> ModelAndProcessor:
        _check_device(self.device)  # and not before: a dry run is possible on a machine without the device
        loaded = checkpoint.load(self.spec, self.parts, device=self.device, dtype=self.dtype)
        if self.device == "cpu" and self.dtype == "float32" and not is_small(loaded.model):
            self.packed_layers = tune(loaded.model)
            if self.compile_kernels:
                self.kernels = kernels_for(loaded.model)
        return loaded

    def use_model_of(self, other: HfEngine) -> None:
        """Use the model that another engine with the same checkpoint, dtype, device and compile_kernels has loaded."""
        if other.loading != self.loading:
            raise ConfigError(
                "Two engines can share a model only with the same checkpoint, dtype, device and compile_kernels."
            )
        self._loaded = replace(other.load(), counters=Counters(), generation=self.generation)
        self.packed_layers, self.kernels = other.packed_layers, other.kernels
        self.limits.from_memory(self._loaded)

    def _flip_subset(self, requests: Sequence[Request]) -> frozenset[str]:
        """Fingerprints of a fixed random subset: the smallest ones (fingerprints are digests)."""
        if not self.measure_flips:
            return frozenset()
        return frozenset(sorted(r.fingerprint for r in requests)[: self.measure_flips])

    def _count_flips(self, runner: BatchRunner, answers: Sequence[Whole]) -> None:
        """Answer again one at a time without sharing, outside the run's counters, and count texts that differ."""
        loaded = runner.loaded
        counters, loaded.counters = loaded.counters, Counters()
        for rows, before in answers:
            if rows and before.text is not None:
                parts = [runner.run_plain([row])[0].prediction for row in rows]
                alone = joined(rows[0].request, parts) if before.options else parts[0]
                self._flips["n"] += 1
                self._flips["differ"] += alone.text != before.text
        loaded.counters = counters


def _whole_answers(batch: Sequence[Answer], collector: Collector) -> list[Whole]:
    """The answers of a batch, those of single options joined where their request is complete."""
    answers = []
    for row, prediction in batch:
        if row is None or not row.request.continuations:
            answers.append(Whole(() if row is None else (row,), prediction))
        elif (whole := collector.add(row, prediction)) is not None:
            answers.append(whole)
    return answers


def use_full_float32() -> None:
    """Compute float32 with all its bits; by default a GPU's convolutions use TF32 for some shapes, with 10 bits."""
    import torch

    torch.backends.cudnn.conv.fp32_precision = "ieee"
    torch.backends.cuda.matmul.fp32_precision = "ieee"


def resolve_device(device: str) -> str:
    """Replace `auto` by the torch device of this machine: cuda, mps or cpu."""
    if device != "auto":
        return device
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _check_device(device: str) -> None:
    """Raise ConfigError unless torch knows a device and this machine has it."""
    import torch

    try:
        found = torch.device(device)
    except RuntimeError:
        raise ConfigError(
            f"engine.device={device} is not possible: torch has no device of that name. Expected auto, cpu, cuda, "
            "cuda:0 or mps."
        ) from None
    n = torch.cuda.device_count()
    if found.type == "cuda" and (not torch.cuda.is_available() or (found.index or 0) >= n):
        raise ConfigError(
            f"engine.device={device} is not possible: torch sees {n} CUDA devices on this machine, numbered from 0. "
            "Leave the setting out to take what is there."
        )


def resolve_dtype(dtype: str, spec: CheckpointSpec, device: str) -> str:
    """Replace `auto` by the dtype for a checkpoint on a device.  Raises ConfigError for an unknown dtype."""
    chosen = spec.dtype if dtype == "auto" and spec.dtype else dtype
    if chosen == "auto":
        return "bfloat16" if device.startswith("cuda") else "float32"
    if chosen not in DTYPES:
        raise ConfigError(f"engine.dtype={chosen} is not valid. Known: auto, {', '.join(DTYPES)}.")
    return chosen
