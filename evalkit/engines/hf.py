"""engine=hf: a transformers image-text-to-text model in this process, in left-padded batches."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

from evalkit.errors import ConfigError, EngineError
from evalkit.models import checkpoint
from evalkit.models.checkpoint import CheckpointSpec
from evalkit.types import ImagePlace, Message, Prediction, Request, digest_json

DTYPES = ("float32", "bfloat16", "float16")
# What a model or its processor raises about one bad sample.  Anything else is a fault of ours and stops the run.
SAMPLE_FAULTS = (RuntimeError, ValueError, IndexError, TypeError)
# When the first samples all fail, the fault is not theirs.
FAULTS_BEFORE_GIVING_UP = 8


class HfEngine:
    """Generates with transformers.

    Args:
        spec: the checkpoint.
        batch_size: requests a batch, halved for the rest of the run whenever memory runs out.
        dtype: float32, bfloat16, float16, or auto (the model's own; else bfloat16 on a GPU, float32 on a CPU).
        device: auto, or a torch device.
    """

    name = "hf"
    needs_images = True

    def __init__(
        self, *, spec: CheckpointSpec, batch_size: int = 16, dtype: str = "auto", device: str = "auto"
    ) -> None:
        if batch_size < 1:
            raise ConfigError(f"engine.batch_size={batch_size} is not possible; it must be 1 or more.")
        self.spec = spec
        self.generation = spec.generation
        self.batch_size = batch_size
        self.parts = checkpoint.locate(spec)
        self.device = _device(device)
        self.dtype = _dtype(dtype, spec, self.device)
        self.weights_digest = checkpoint.digest(spec, self.parts)
        self.identity = digest_json([self.name, self.weights_digest, spec.chat_template, self.dtype])
        self._model: Any = None
        self._processor: Any = None
        self._out_of_memory = 0

    def generate(self, requests: Sequence[Request]) -> Iterator[list[Prediction]]:
        """See `Engine.generate`."""
        if not requests:
            return
        self._load()
        waiting = list(requests)
        answered = 0
        while waiting:
            size = 1 if self.generation.temperature > 0 else self.batch_size
            batch, rest = waiting[:size], waiting[size:]
            predictions = self._answer(batch)
            if predictions is None:  # out of memory: the same requests again, fewer at a time
                self.batch_size = max(1, len(batch) // 2)
                continue
            answered += sum(p.error is None for p in predictions)
            if not answered and len(requests) - len(rest) >= FAULTS_BEFORE_GIVING_UP:
                raise EngineError(
                    f"{self.spec.name}: the first {len(requests) - len(rest)} samples all failed, the last with: "
                    f"{predictions[-1].error}. The model, its processor or its chat template do not fit the requests."
                )
            waiting = rest
            yield predictions

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
            "out_of_memory": self._out_of_memory,
        }
        if torch.cuda.is_available() and self.device.startswith("cuda"):
            facts["device_name"] = torch.cuda.get_device_name(self.device)
        if self._model is not None:
            facts["model_class"] = type(self._model).__name__
            facts["attention"] = self._model.config._attn_implementation
            facts["processor"] = type(self._processor).__name__
            facts["image_processor"] = type(self._processor.image_processor).__name__
        return facts

    def _load(self) -> None:
        if self._model is None:
            self._model, self._processor = checkpoint.load(self.spec, self.parts, device=self.device, dtype=self.dtype)

    def _answer(self, batch: Sequence[Request]) -> list[Prediction] | None:
        """The batch's predictions; None when memory ran out and a smaller batch may fit."""
        import torch

        try:
            return self._forward(batch)
        except torch.OutOfMemoryError as problem:
            return self._memory_ran_out(batch, problem)
        except SAMPLE_FAULTS as problem:
            if "allocate memory" in str(problem):  # how torch says it on a CPU
                return self._memory_ran_out(batch, problem)
            if len(batch) == 1:
                return [_failed(batch[0], problem)]
        # One bad sample must not take its neighbours down: ask each alone.
        alone = [self._answer([request]) for request in batch]
        return [prediction for part in alone if part for prediction in part]

    def _memory_ran_out(self, batch: Sequence[Request], problem: Exception) -> list[Prediction] | None:
        import torch

        self._out_of_memory += 1
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return [_failed(batch[0], problem)] if len(batch) == 1 else None

    def _forward(self, batch: Sequence[Request]) -> list[Prediction]:
        """One call of generate.  Token ids are (rows, longest prompt), padded on the left."""
        import torch

        started = time.perf_counter()
        inputs = self._inputs(batch)
        with torch.inference_mode():
            if self.generation.temperature > 0:
                torch.manual_seed(_seed(batch[0]))
            output = self._model.generate(**inputs, generation_config=self._generation_config(), **self._stop())
        new = output[:, inputs["input_ids"].shape[1] :].tolist()
        seconds = (time.perf_counter() - started) / len(batch)
        return [self._prediction(request, ids, seconds) for request, ids in zip(batch, new, strict=True)]

    def _inputs(self, batch: Sequence[Request]) -> dict[str, Any]:
        from evalkit.images import open_image

        prompts = [self.render(r.messages) for r in batch]
        images = [[open_image(ref) for ref in r.images] for r in batch]
        bos = self._processor.tokenizer.bos_token
        # A template that writes the beginning-of-sequence token itself must not get a second one.
        special = not (bos and prompts[0].startswith(bos))
        features = self._processor(
            text=prompts,
            images=images if any(images) else None,
            padding=True,
            return_tensors="pt",
            add_special_tokens=special,
        )
        features.pop("token_type_ids", None) if "token_type_ids" not in self._forward_arguments() else None
        import torch

        dtype = getattr(torch, self.dtype)
        return {
            key: value.to(self.device, dtype) if value.is_floating_point() else value.to(self.device)
            for key, value in features.items()
        }

    def _forward_arguments(self) -> frozenset[str]:
        import inspect

        return frozenset(inspect.signature(self._model.forward).parameters)

    def render(self, messages: Sequence[Message]) -> str:
        """The prompt's text under the checkpoint's chat template, image places still as placeholders."""
        conversation = [
            {
                "role": m.role,
                "content": [
                    {"type": "image"} if isinstance(part, ImagePlace) else {"type": "text", "text": part}
                    for part in m.content
                ],
            }
            for m in messages
        ]
        return str(self._processor.apply_chat_template(conversation, tokenize=False, add_generation_prompt=True))

    def _generation_config(self) -> Any:
        """Only what the settings say: a checkpoint's own sampling defaults must not leak in."""
        from transformers import GenerationConfig

        g = self.generation
        own = self._model.generation_config
        sampling = {"temperature": g.temperature, "top_p": g.top_p, "top_k": g.top_k} if g.temperature > 0 else {}
        return GenerationConfig(
            max_new_tokens=g.max_new_tokens,
            do_sample=g.temperature > 0,
            num_beams=g.num_beams,
            repetition_penalty=g.repetition_penalty,
            eos_token_id=self._eos(),
            pad_token_id=self._processor.tokenizer.pad_token_id,
            bos_token_id=own.bos_token_id,
            **sampling,
        )

    def _eos(self) -> list[int]:
        own = self._model.generation_config.eos_token_id
        ids = own if isinstance(own, list) else [own]
        found = [i for i in (*ids, self._processor.tokenizer.eos_token_id) if i is not None]
        return sorted(set(found))

    def _stop(self) -> dict[str, Any]:
        if not self.generation.stop:
            return {}
        return {"stop_strings": list(self.generation.stop), "tokenizer": self._processor.tokenizer}

    def _prediction(self, request: Request, ids: list[int], seconds: float) -> Prediction:
        ends = self._eos()
        length = next((i for i, token in enumerate(ids) if token in ends), None)
        kept = ids if length is None else ids[:length]
        text = self._processor.tokenizer.decode(kept, skip_special_tokens=True)
        stopped = length is not None
        for stop in self.generation.stop:
            if stop in text:
                text, stopped = text.split(stop)[0], True
        return Prediction(
            sample_id=request.sample_id,
            text=text.strip(),
            finish_reason="stop" if stopped else "length",
            n_tokens=len(kept),
            seconds=round(seconds, 4),
            fingerprint=request.fingerprint,
        )


def _failed(request: Request, problem: Exception) -> Prediction:
    return Prediction(
        sample_id=request.sample_id,
        error=f"{type(problem).__name__}: {checkpoint.first_line(problem)}",
        finish_reason="error",
        fingerprint=request.fingerprint,
    )


def _seed(request: Request) -> int:
    """Sampling is seeded by the request, one at a time, so that batches and order do not change an answer."""
    return (int(request.fingerprint[:12], 16) + request.generation.seed) % 2**63


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
