"""A judge in this process: a registered checkpoint run with transformers, one reply at a time.

The verb `judge` runs in its own process after the judged run has ended, so the judged model's memory is free.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from typing import Any

from evalkit.core.errors import JudgeError
from evalkit.core.extras import require_hf
from evalkit.core.image_files import opened
from evalkit.core.reasoning import opens_thought
from evalkit.engines.loaded_model import decode_answer
from evalkit.models import checkpoint
from evalkit.models.checkpoint import CheckpointSpec
from evalkit.models.templates import without_marks

DATA_URL = "data:"


def local_complete(
    spec: CheckpointSpec, *, device: str, dtype: str, max_tokens: int
) -> Callable[[list[dict[str, Any]]], str]:
    """A function that maps chat messages (in the form of the OpenAI API, images as data URLs) to the text of the reply.

    Decoding is greedy; the weights are loaded on the first call.

    Raises:
        ConfigError: the packages that run checkpoints are not installed.
        ModelError: the checkpoint is not on this machine or does not load.
    """
    require_hf(f"the judge {spec.name}, a checkpoint in this process,")
    parts = checkpoint.locate(spec)
    loaded: list[Any] = []

    def complete(messages: list[dict[str, Any]]) -> str:
        if not loaded:
            loaded.extend(checkpoint.load(spec, parts, device=device, dtype=dtype))
        model, processor = loaded
        return _reply(model, processor, messages, max_tokens)

    return complete


def _reply(model: Any, processor: Any, messages: list[dict[str, Any]], max_tokens: int) -> str:
    import torch

    images: list[Any] = []
    turns = [{"role": m["role"], "content": _content(m["content"], images)} for m in messages]
    prompt = processor.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    bos = processor.tokenizer.bos_token
    inputs = processor(
        text=[prompt],
        images=[images] if images else None,
        return_tensors="pt",
        add_special_tokens=not (bos and prompt.startswith(bos)),
    ).to(model.device)
    if "pixel_values" in inputs:
        inputs["pixel_values"] = inputs["pixel_values"].to(model.dtype)
    with torch.inference_mode():
        output = model.generate(**inputs, max_new_tokens=max_tokens, do_sample=False)
    text = decode_answer(processor.tokenizer, output[0, inputs["input_ids"].shape[1] :].tolist()).strip()
    # The mark of a thought that the template has opened: without it, a cut thought would look like the reply.
    return f"<think>{text}" if opens_thought(prompt) else text


def _content(content: str | list[Mapping[str, Any]], images: list[Any]) -> list[dict[str, str]]:
    """The parts of a message for a chat template; its images are appended to `images`, in their order."""
    if isinstance(content, str):
        return [{"type": "text", "text": without_marks(content)}]
    parts: list[dict[str, str]] = []
    for part in content:
        if part["type"] == "text":
            parts.append({"type": "text", "text": without_marks(str(part["text"]))})
        else:
            images.append(_image(str(part["image_url"]["url"])))
            parts.append({"type": "image"})
    return parts


def _image(url: str) -> Any:
    if not url.startswith(DATA_URL):
        raise JudgeError("A judge in this process accepts images as data URLs only, and this one is none.")
    with opened(base64.b64decode(url.partition(",")[2])) as image:
        return image.convert("RGB")
