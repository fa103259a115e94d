"""Fake of the documented interface of vLLM: `LLM`, `SamplingParams`, `RequestOutput`.

It answers with transformers, one prompt at a time, using only its arguments: token ids with unexpanded image
placeholders, images and sampling parameters.  So its answers equal those of engine=hf only if these are complete.  Like
vLLM, it refuses a whole call before it answers any of it, and it caches blocks of prompts, keyed by tokens and image
identifiers, in a cache of limited size.  `SCRIPT` (and the environment variable FAKE_VLLM, for other processes) makes
it misbehave.  Unless disabled, it normalises pixels itself by the checkpoint's files: if these omit mean and deviation,
the pixels are raw bytes.
"""

from __future__ import annotations

import json
import os
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from vllm.exceptions import VLLMValidationError
from vllm.v1.engine.exceptions import EngineDeadError

BLOCK = 8
# Blocks in the cache: enough for the prompts of about two images.
CACHE = 6


@dataclass
class Script:
    """Misbehaviour of the fake.

    dies_at: number of the answer (from 0) before which the engine dies.  seconds: duration of an answer.
    finish: prompt length -> finish reason.  says: prompt length -> token ids of the answer.  extra: tokens prepended to
    every prompt, as by a processor with another template.  start: exception raised by the constructor.
    """

    dies_at: int | None = None
    seconds: float = 0.0
    finish: dict[int, str] = field(default_factory=dict)
    says: dict[int, list[int]] = field(default_factory=dict)
    extra: list[int] = field(default_factory=list)
    start: Exception | None = None


SCRIPT = Script()
MADE: list[LLM] = []


class SamplingParams:
    KNOWN: ClassVar[dict[str, Any]] = {
        "temperature": 1.0, "top_p": 1.0, "top_k": 0, "max_tokens": 16, "repetition_penalty": 1.0, "seed": None,
        "stop": None, "stop_token_ids": None, "logit_bias": None, "detokenize": True, "prompt_logprobs": None,
        "logprobs": None,
    }  # fmt: skip

    def __init__(self, **given: Any) -> None:
        if unknown := set(given) - set(self.KNOWN):
            raise TypeError(f"unexpected keyword arguments {sorted(unknown)}")
        self.given = given
        self.__dict__.update(self.KNOWN | given)
        if self.stop and not self.detokenize:
            raise ValueError("stop strings are only supported when detokenize is True")
        if any(abs(bias) > 100 for bias in (self.logit_bias or {}).values()):
            raise ValueError("logit_bias is clamped to [-100, 100]")


@dataclass
class Logprob:
    logprob: float


@dataclass
class CompletionOutput:
    index: int
    text: str
    token_ids: list[int]
    finish_reason: str | None
    cumulative_logprob: float | None = None
    stop_reason: int | str | None = None


@dataclass
class RequestOutput:
    request_id: str
    prompt_token_ids: list[int]
    outputs: list[CompletionOutput]
    num_cached_tokens: int
    finished: bool = True
    prompt_logprobs: list[dict[int, Logprob] | None] | None = None


class LLM:
    def __init__(self, model: str, **arguments: Any) -> None:
        from transformers import AutoModelForImageTextToText

        if SCRIPT.start is not None:
            raise SCRIPT.start
        self.arguments = {"model": model, **arguments}
        self.model = AutoModelForImageTextToText.from_pretrained(model, local_files_only=True).eval()
        self.processor = _processor(model)
        says = json.loads((Path(model) / "processor_config.json").read_text())["image_processor"]
        raw = arguments.get("mm_device_do_normalize", True) and "image_mean" not in says
        self.pixels = {"do_rescale": False, "do_normalize": False} if raw else {}
        self.calls: list[list[dict[str, Any]]] = []
        self.params: list[SamplingParams] = []
        self.cache: OrderedDict[tuple[Any, ...], None] = OrderedDict()
        self.answered = 0
        MADE.append(self)

    def generate(self, prompts: Any, sampling_params: Any, *, use_tqdm: bool = True) -> list[RequestOutput]:
        assert not use_tqdm and len(prompts) == len(sampling_params)
        whole = [self._whole(p) for p in prompts]
        limit = self.arguments.get("max_model_len")
        for ids, params in zip(whole, sampling_params, strict=True):
            if limit is not None and len(ids) >= limit:
                raise VLLMValidationError(f"The decoder prompt (length {len(ids)}) is longer than {limit}")
            assert params.max_tokens > 0
        self.calls.append(list(prompts))
        self.params += sampling_params
        return [self._answer(*row) for row in zip(prompts, whole, sampling_params, strict=True)]

    def _whole(self, prompt: dict[str, Any]) -> list[int]:
        assert set(prompt) <= {"prompt_token_ids", "multi_modal_data", "multi_modal_uuids"}
        images = prompt.get("multi_modal_data", {}).get("image", [])
        assert len(images) == len(prompt.get("multi_modal_uuids", {}).get("image", []))
        assert len(images) <= self.arguments["limit_mm_per_prompt"]["image"]
        token = self.model.config.image_token_index
        places = [i for i in prompt["prompt_token_ids"] if i == token]
        assert len(places) == len(images), "Failed to apply prompt replacement"
        count = self.model.config.image_seq_length
        return SCRIPT.extra + [i for t in prompt["prompt_token_ids"] for i in ([t] * count if t == token else [t])]

    def _answer(self, prompt: dict[str, Any], ids: list[int], params: SamplingParams) -> RequestOutput:
        script = os.environ.get("FAKE_VLLM", "")
        seconds = float(script.removeprefix("seconds=")) if script.startswith("seconds=") else SCRIPT.seconds
        time.sleep(seconds)
        if self.answered == SCRIPT.dies_at:
            raise EngineDeadError("EngineCore encountered an issue. See stack trace (above) for the root cause.")
        self.answered += 1
        cached = self._cached(ids, tuple(prompt.get("multi_modal_uuids", {}).get("image", ())))
        new = SCRIPT.says.get(len(ids)) or self._greedy(ids, prompt, params)
        stopped = bool(new) and new[-1] in (params.stop_token_ids or ())
        text = self._text(ids, new) if params.detokenize else ""
        reason = next((s for s in params.stop or () if s in text), None)
        finish = "stop" if stopped or reason else "length"
        output = CompletionOutput(0, text, new, SCRIPT.finish.get(len(ids), finish), stop_reason=reason)
        if params.logprobs is not None:
            output.cumulative_logprob = self._logprob(ids, new, prompt, params)
        asked = self._prompt_logprobs(ids, prompt) if params.prompt_logprobs is not None else None
        return RequestOutput(str(self.answered), ids, [output], cached, prompt_logprobs=asked)

    def _logprob(self, ids: list[int], new: list[int], prompt: dict[str, Any], params: SamplingParams) -> float:
        import torch

        with torch.no_grad():
            logits = self.model(**self._inputs(ids + new, prompt)).logits[0]
        if self.arguments.get("logprobs_mode") == "processed_logprobs":  # the default is of the raw logits
            for token, bias in (params.logit_bias or {}).items():
                logits[:, token] += bias
        values = logits.log_softmax(-1)
        return sum(float(values[len(ids) - 1 + k, t]) for k, t in enumerate(new))

    def _prompt_logprobs(self, ids: list[int], prompt: dict[str, Any]) -> list[dict[int, Logprob] | None]:
        """As with prompt_logprobs=0: of each token itself, and None for the first."""
        import torch

        with torch.inference_mode():
            values = self.model(**self._inputs(ids, prompt)).logits[0].log_softmax(-1)
        return [None, *({t: Logprob(float(values[k, t]))} for k, t in enumerate(ids[1:]))]

    def _inputs(self, ids: list[int], prompt: dict[str, Any]) -> dict[str, Any]:
        import torch

        inputs: dict[str, Any] = {"input_ids": torch.tensor([ids])}
        if images := prompt.get("multi_modal_data", {}).get("image"):
            made = self.processor.image_processor(images, return_tensors="pt", **self.pixels)
            inputs["pixel_values"] = made["pixel_values"].float()
        return inputs

    def _cached(self, ids: list[int], images: tuple[str, ...]) -> int:
        """Number of the prompt's tokens that are cached; adds the prompt's whole blocks to the cache."""
        cached, found = 0, True
        for end in range(BLOCK, len(ids), BLOCK):
            key = (images, *ids[:end])
            found = found and key in self.cache
            cached = end if found else cached
            self.cache[key] = None
            self.cache.move_to_end(key)
            if len(self.cache) > CACHE:
                self.cache.popitem(last=False)
        return cached

    def _text(self, ids: list[int], new: list[int]) -> str:
        """The text of new tokens behind those of the prompt: the first word may have a space before it."""
        before, whole = (self.processor.tokenizer.decode(t, skip_special_tokens=True) for t in (ids, ids + new))
        return str(whole[len(before) :])

    def _greedy(self, ids: list[int], prompt: dict[str, Any], params: SamplingParams) -> list[int]:
        import torch

        inputs = self._inputs(ids, prompt)
        new: list[int] = []
        while len(new) < params.max_tokens:
            with torch.inference_mode():
                output = self.model(**inputs, use_cache=True)
            logits = output.logits[0, -1].tolist()
            for token, bias in (params.logit_bias or {}).items():
                logits[token] += bias
            new.append(max(range(len(logits)), key=logits.__getitem__))
            inputs = {"input_ids": torch.tensor([new[-1:]]), "past_key_values": output.past_key_values}
            text = self._text(ids, new) if params.stop else ""
            if new[-1] in (params.stop_token_ids or ()) or any(s in text for s in params.stop or ()):
                break
        return new


def _processor(folder: str) -> Any:
    from transformers import AutoProcessor

    return AutoProcessor.from_pretrained(folder, local_files_only=True, backend="pil")
