"""engine=vllm: vLLM in this process, its prefix cache on, fed image by image."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from typing import Any

from evalkit.core import console
from evalkit.core.errors import ConfigError, EngineError, Partial, first_line
from evalkit.core.types import Prediction, Request, digest_json
from evalkit.engines import vllm_package as package
from evalkit.engines.hf import device_of, dtype_of
from evalkit.engines.loaded_model import Tally, failed
from evalkit.engines.preprocess import by_image
from evalkit.engines.vllm_prompts import (
    Ready,
    Rules,
    Window,
    answer_in,
    expanded,
    prepare,
    refuse_what_vllm_cannot,
    rules,
    windows,
)
from evalkit.models import checkpoint
from evalkit.models.checkpoint import CheckpointSpec
from evalkit.models.processors import pil_arguments

# What decides here: prefix caching is what this engine is for, and a checkpoint's own decoding settings stay out.
OURS = frozenset(
    {
        "model", "tokenizer", "dtype", "tensor_parallel_size", "pipeline_parallel_size", "max_model_len",
        "gpu_memory_utilization", "enable_prefix_caching", "limit_mm_per_prompt", "generation_config",
        "skip_tokenizer_init", "seed", "runner",
    }
)  # fmt: skip


class VllmEngine:
    """Generates with vLLM (`vllm.LLM`).

    Args:
        spec: the checkpoint, in Hugging Face form.
        dtype: as for engine=hf.
        tensor_parallel_size: GPUs that share each layer; pipeline_parallel_size: groups of layers.
        max_model_len: tokens of prompt and answer together, None: the model's own.
        gpu_memory_utilization: the share of a GPU's memory that vLLM takes; None: vLLM's own.
        window: requests handed over at a time: answers come, and are saved, a window at a time.
        image_processor: pil: the PIL version of the checkpoint's, as engine=hf takes it; auto: vLLM's choice.
        check_prompts: compare what vLLM made of the first image's prompts with what engine=hf makes of them, and stop
            where a token differs.
        engine_args: further arguments of `vllm.LLM`; they are part of the answers' key.

    Raises:
        ConfigError: a setting is not possible, or the package vllm is not installed.
        ModelError: the model cannot be expressed in vLLM; says why and what to use.
    """

    name = "vllm"
    needs_images = True

    def __init__(
        self,
        *,
        spec: CheckpointSpec,
        dtype: str = "auto",
        tensor_parallel_size: int = 1,
        pipeline_parallel_size: int = 1,
        max_model_len: int | None = None,
        gpu_memory_utilization: float | None = None,
        window: int = 512,
        image_processor: str = "pil",
        check_prompts: bool = True,
        engine_args: Mapping[str, Any] | None = None,
    ) -> None:
        self.parallel = {
            "tensor_parallel_size": tensor_parallel_size,
            "pipeline_parallel_size": pipeline_parallel_size,
        }
        for name, value in {**self.parallel, "window": window, "max_model_len": max_model_len}.items():
            if value is not None and value < 1:
                raise ConfigError(f"engine.{name}={value} is not possible; it must be 1 or more.")
        if gpu_memory_utilization is not None and not 0 < gpu_memory_utilization <= 1:
            raise ConfigError(
                f"engine.gpu_memory_utilization={gpu_memory_utilization} is not a share, above 0 up to 1."
            )
        if taken := sorted(OURS & set(engine_args or {})):
            raise ConfigError(
                f"engine.engine_args may not hold {', '.join(taken)}: evalkit sets these itself; see "
                "conf/engine/vllm.yaml for those that have a setting of their own."
            )
        if image_processor not in ("pil", "auto"):
            raise ConfigError(f"engine.image_processor={image_processor} is not possible. Known: pil, auto.")
        package.require()
        self.spec = spec
        self.generation = spec.generation
        self.window, self.check_prompts = window, check_prompts
        self.memory = {"max_model_len": max_model_len, "gpu_memory_utilization": gpu_memory_utilization}
        self.engine_args = dict(engine_args or {})
        self.image_processor = image_processor
        self.parts = checkpoint.locate(spec)
        self.folder = checkpoint.weights_folder(self.parts)
        refuse_what_vllm_cannot(spec, self.folder)
        self.device = device_of("auto")
        self.dtype = dtype_of(dtype, spec, self.device)
        self.weights_digest = checkpoint.digest(spec, self.parts)
        decisive = [*([self.engine_args] if engine_args else []), *(["auto"] if image_processor == "auto" else [])]
        self.identity = digest_json([self.name, self.weights_digest, spec.chat_template, self.dtype, *decisive])
        self._llm: Any = None
        self._images = 0
        self._checked = 0
        self._counts: Counter[str] = Counter()
        self._tally = Tally()

    def generate(self, requests: Sequence[Request]) -> Iterator[list[Prediction]]:
        """See `Engine.generate`.  The next window is prepared in a thread while vLLM answers this one.

        Raises:
            EngineError: vLLM does not start, makes other prompts, or answers nothing.
            Partial: vLLM died in the middle.
        """
        if not requests:
            return
        own = rules(self.spec, self.folder)
        self.load(max(len(r.images) for r in requests))
        for window in _ahead(own, windows(by_image(requests), self.window)):
            self._counts["image_decodes"] += window.decodes
            predictions = [*window.failures, *self._answers(own, window.rows)]
            self._tally.add(self.spec.name, predictions)
            yield predictions

    def load(self, images: int) -> Any:
        """`vllm.LLM` for prompts of so many images each: made at the first call, and anew where it needs more."""
        if self._llm is None or images > self._images:
            self._llm, self._images = None, images
            given = {k: v for k, v in self.memory.items() if v is not None} | self.parallel | self.engine_args
            pil = self._pil() if self.image_processor == "pil" else {}
            if keywords := pil | dict(given.get("mm_processor_kwargs") or {}):
                given["mm_processor_kwargs"] = keywords
            self._llm = package.start(self.spec.name, self.folder, {"dtype": self.dtype, **given}, images)
        return self._llm

    def _pil(self) -> dict[str, Any]:
        if (asked := pil_arguments(self.folder)) is not None:
            return asked
        self.image_processor = "auto"
        console.note(
            f"{self.spec.name}: its processor has a part for videos, and could not be made with the PIL image "
            "processor beside it, so that vLLM chooses: pixels may differ a little from those of engine=hf"
        )
        return {}

    def _answers(self, own: Rules, rows: Sequence[Ready]) -> list[Prediction]:
        started = time.perf_counter()
        asked = self._ask(rows)
        seconds = (time.perf_counter() - started) / max(1, len(rows))
        if self.check_prompts and not self._checked:
            self._check(own, asked)
        predictions = []
        for row, output in asked:
            if isinstance(output, Exception):
                predictions.append(failed(row.request, output))
                continue
            self._count(output)
            predictions.append(answer_in(own, row.request, output, seconds))
        return predictions

    def _ask(self, rows: Sequence[Ready]) -> list[tuple[Ready, Any]]:
        """Each row with its `vllm.RequestOutput`, or with what vLLM refused it with.

        vLLM refuses a call whole where one of its prompts is at fault, before any is answered: it is asked again in
        halves, down to the prompt itself.
        """
        if not rows:
            return []
        import vllm

        try:
            outputs = self._llm.generate(
                [dict(row.prompt) for row in rows],
                [vllm.SamplingParams(**row.sampling) for row in rows],
                use_tqdm=False,
            )
        except package.deaths() as problem:
            raise self._died(problem) from problem
        except package.faults() as problem:
            if len(rows) == 1:
                return [(rows[0], problem)]
            half = len(rows) // 2
            return [*self._ask(rows[:half]), *self._ask(rows[half:])]
        if len(outputs) != len(rows):
            raise EngineError(f"{self.spec.name}: vLLM gave {len(outputs)} answers to {len(rows)} requests.")
        return list(zip(rows, outputs, strict=True))

    def _died(self, problem: Exception) -> EngineError | Partial:
        said = f"{self.spec.name}: vLLM died: {first_line(problem)}. Its own log on stderr says why"
        if not self._tally.answered:
            return EngineError(f"{said}; nothing was answered.")
        return Partial(f"{said}. What is answered is kept; the same command goes on from there.")

    def _check(self, own: Rules, asked: Sequence[tuple[Ready, Any]]) -> None:
        """Compare what vLLM made of the first image's prompts with those of engine=hf, to the token."""
        answered = [(row, output) for row, output in asked if row.request.images and not isinstance(output, Exception)]
        for row, output in answered:
            if row.request.image_digests != answered[0][0].request.image_digests:
                break
            here, there = expanded(own.processor, row), [int(i) for i in output.prompt_token_ids]
            if here != there:
                raise EngineError(_difference(self.spec.name, row.request, here, there))
            self._checked += 1

    def _count(self, output: Any) -> None:
        self._counts["prompt_tokens"] += len(output.prompt_token_ids)
        self._counts["cached_tokens"] += output.num_cached_tokens or 0
        self._counts["answer_tokens"] += len(output.outputs[0].token_ids)

    def facts(self) -> dict[str, Any]:
        """See `Engine.facts`."""
        import torch
        import transformers

        facts: dict[str, Any] = {
            "engine": self.name,
            "weights_sha256": self.weights_digest,
            "dtype": self.dtype,
            "device": self.device,
            "vllm": package.version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "torchvision": find_spec("torchvision") is not None,
            "image_processor": "pil" if self.image_processor == "pil" else "vLLM's choice",
            "prefix_caching": True,
            **self.parallel,
            **self.memory,
            "engine_args": self.engine_args,
            "window": self.window,
            "batch_invariant": os.environ.get("VLLM_BATCH_INVARIANT") == "1",
            "prompts_checked": self._checked,
            "counters": dict(self._counts),
        }
        if torch.cuda.is_available():
            facts["device_name"] = torch.cuda.get_device_name(0)
        return facts


def _ahead(own: Rules, pieces: Iterator[list[Sequence[Request]]]) -> Iterator[Window]:
    """Windows, each prepared while the one before it is answered."""
    from concurrent.futures import Future, ThreadPoolExecutor

    processor = _copy(own)
    waiting: Future[Window] | None = None
    with ThreadPoolExecutor(1, thread_name_prefix="prepare") as pool:
        for piece in pieces:
            following = pool.submit(prepare, processor, piece)
            if waiting is not None:
                yield waiting.result()
            waiting = following
        if waiting is not None:
            yield waiting.result()


def _copy(own: Rules) -> Rules:
    """With a processor of its own: fast tokenizers refuse to be shared between threads."""
    import copy
    from dataclasses import replace

    return replace(own, processor=copy.deepcopy(own.processor))


def _difference(name: str, request: Request, here: Sequence[int], there: Sequence[int]) -> str:
    at = next((i for i, (a, b) in enumerate(zip(here, there, strict=False)) if a != b), min(len(here), len(there)))
    return (
        f"{name}: vLLM makes another prompt of sample {request.sample_id} than engine=hf: {len(there)} tokens instead "
        f"of {len(here)}, and the first that differs is number {at} ({list(there[at : at + 3])} instead of "
        f"{list(here[at : at + 3])}). The answers would be to another question. Use engine=hf; or take vLLM's prompts "
        "as they are with engine.check_prompts=false, which the manifest then says."
    )
