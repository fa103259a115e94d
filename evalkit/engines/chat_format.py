"""A request as the chat completions interface takes it, and its reply as a prediction."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from evalkit.clients.response import Reply
from evalkit.core.errors import ConfigError
from evalkit.core.types import Generation, ImagePlace, ImageRef, Message, Prediction, Request
from evalkit.engines.loaded_model import failure
from evalkit.engines.plain_decode import seed

# What the interface itself defines; servers of open weights know more, and some ignore what they do not know.
STANDARD = frozenset({"model", "messages", "max_tokens", "temperature", "top_p", "seed", "stop"})
# Zlib's fastest: images travel to a machine that is near, and every level gives the same pixels.
COMPRESSION = 1
STOPPED = ("stop", "eos", "eos_token", "stop_sequence")


def data_urls(images: Sequence[ImageRef]) -> list[str]:
    """The images as every other engine sees them (8-bit RGB, upright), losslessly as PNG in data URLs.

    Raises:
        DataError: one of them is missing, no image, or cut off.
    """
    from evalkit.core.images import open_image

    urls = []
    for ref in images:
        out = io.BytesIO()
        open_image(ref).save(out, format="PNG", compress_level=COMPRESSION)
        urls.append(f"data:image/png;base64,{base64.b64encode(out.getvalue()).decode('ascii')}")
    return urls


def parameters(generation: Generation) -> dict[str, Any]:
    """Decoding settings as the interface names them; what changes nothing is said too.

    A server takes what is not said from the checkpoint's own generation_config.json (vLLM does), and the answers with
    it: a repetition penalty of 1.05 there must not get in.  `seed` goes with each request.

    Raises:
        ConfigError: a setting that the interface has no name for.
    """
    g = generation
    if g.num_beams > 1:
        raise ConfigError(
            f"num_beams={g.num_beams} cannot be asked of a server: the chat completions interface has no beam search. "
            "Choose a preset without it (generation=NAME), or engine=hf."
        )
    sampling: dict[str, Any] = {"top_p": g.top_p, "top_k": -1 if g.top_k is None else g.top_k}
    said: dict[str, Any] = {
        "max_tokens": g.max_new_tokens,
        "temperature": g.temperature,
        "repetition_penalty": g.repetition_penalty,
    }
    return said | (sampling if g.temperature > 0 else {}) | ({"stop": list(g.stop)} if g.stop else {})


def dispensable(generation: Generation) -> tuple[str, ...]:
    """Parameters that a server may refuse and that are then left out.

    Those at the value that changes nothing, and `stop`: the text is cut at stop strings here in any case.
    """
    g = generation
    neutral = {"repetition_penalty": g.repetition_penalty == 1.0, "top_k": g.top_k is None, "top_p": g.top_p == 1.0}
    return (*(name for name, fine in neutral.items() if fine), "stop")


def body(request: Request, urls: Sequence[str], model: str, extra: Mapping[str, Any]) -> dict[str, Any]:
    """The request's JSON.  urls: of its images.  extra: further parameters of the user's."""
    sampled = {"seed": seed(request) % 2**31} if request.generation.temperature > 0 else {}
    messages = [message(m, urls) for m in request.messages]
    return {"model": model, "messages": messages, **parameters(request.generation), **sampled, **extra}


def message(turn: Message, urls: Sequence[str]) -> dict[str, Any]:
    """A turn: its parts in their order, or plain text where it is nothing else, which every template takes."""
    if all(isinstance(part, str) for part in turn.content):
        return {"role": turn.role, "content": "".join(str(part) for part in turn.content)}
    parts = [
        {"type": "image_url", "image_url": {"url": urls[part.index]}}
        if isinstance(part, ImagePlace)
        else {"type": "text", "text": part}
        for part in turn.content
    ]
    return {"role": turn.role, "content": parts}


def answered(request: Request, reply: Reply, attempts: Sequence[str]) -> Prediction:
    """The prediction in a reply; a reply without an answer is an error that says why."""
    if why := no_answer(reply):
        return failure(request, why, attempts, reply.seconds, reply.tokens_out)
    text = str(reply.text)
    stops = [at for stop in request.generation.stop if (at := text.find(stop)) >= 0]
    finish: Literal["stop", "length", "unknown"] = "unknown"
    if stops or reply.finish in STOPPED:
        finish = "stop"
    elif reply.finish == "length":
        finish = "length"
    return Prediction(
        sample_id=request.sample_id,
        text=text[: min(stops, default=len(text))].strip(),
        finish_reason=finish,
        n_tokens=reply.tokens_out,
        seconds=reply.seconds,
        fingerprint=request.fingerprint,
        attempts=() if list(attempts) == ["200"] else tuple(attempts),
    )


def no_answer(reply: Reply) -> str:
    """Why a reply is no answer; "" where it is one, an empty text included."""
    if reply.finish == "content_filter":
        return "the server's content filter kept the answer back"
    if reply.refusal:
        return f"refused by the server: {' '.join(reply.refusal.split())[:200]}"
    if reply.text is None:
        limit = ": the limit of new tokens was reached before any" if reply.finish == "length" else ""
        return f"the reply holds no text (finish_reason {reply.finish}){limit}"
    return ""
