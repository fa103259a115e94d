"""Conversion of requests to the chat completions format, and of replies to predictions."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from evalkit.clients.response import MAX_WORDS, Reply
from evalkit.core.errors import ConfigError
from evalkit.core.finish_reasons import finish_kind, plain_word
from evalkit.core.reasoning import answer_start
from evalkit.core.types import (
    CUT_IN_REASONING,
    REASONING_ALONE,
    Generation,
    ImagePlace,
    ImageRef,
    Message,
    Prediction,
    Request,
)
from evalkit.engines.loaded_model import failed_prediction
from evalkit.engines.plain_decode import seed
from evalkit.models.templates import without_marks

if TYPE_CHECKING:
    from PIL.Image import Image

# Parameters that the interface defines; servers of open weights accept more, and some ignore unknown ones.
STANDARD = frozenset(
    {"model", "messages", "max_tokens", "max_completion_tokens", "temperature", "top_p", "seed", "stop"}
)
# Fastest zlib level: servers are usually nearby, and every level gives the same pixels.
COMPRESSION = 1


def data_urls(images: Sequence[ImageRef], max_pixels: int | None = None) -> list[str]:
    """Encode images losslessly as PNG data URLs, with the pixels that other engines use (8-bit RGB, upright).

    max_pixels: larger images are scaled down to at most so many pixels, with their proportions.

    Raises:
        DataError: an image is missing, truncated, or not an image.
    """
    from evalkit.core.images import open_image

    urls = []
    for ref in images:
        out = io.BytesIO()
        within(open_image(ref), max_pixels).save(out, format="PNG", compress_level=COMPRESSION)
        urls.append(f"data:image/png;base64,{base64.b64encode(out.getvalue()).decode('ascii')}")
    return urls


def within(image: Image, max_pixels: int | None) -> Image:
    """The image, scaled down by Lanczos where it has more pixels than the limit."""
    if max_pixels is None or image.width * image.height <= max_pixels:
        return image
    from PIL.Image import Resampling

    factor = math.sqrt(max_pixels / (image.width * image.height))
    width = min(max(1, int(image.width * factor)), max_pixels)
    height = min(max(1, int(image.height * factor)), max(1, max_pixels // width))
    return image.resize((width, height), Resampling.LANCZOS)


def parameters(generation: Generation) -> dict[str, Any]:
    """Decoding settings under the interface's names, including those at their neutral values.

    A server may take settings that are not sent from the checkpoint's generation_config.json (vLLM does), which would
    change the answers: a repetition penalty of 1.05 there must not apply.  `seed` is added to each request.

    Raises:
        ConfigError: a setting that the interface does not support.
    """
    g = generation
    if g.num_beams > 1:
        raise ConfigError(
            f"num_beams={g.num_beams} is not supported by engine=server: the chat completions interface has no beam "
            "search. Choose a preset without beams (generation=NAME), or use engine=hf."
        )
    sampling: dict[str, Any] = {"top_p": g.top_p, "top_k": -1 if g.top_k is None else g.top_k}
    always: dict[str, Any] = {
        "max_tokens": g.max_new_tokens + (g.reasoning_budget or 0),  # servers count the thought too
        "temperature": g.temperature,
        "repetition_penalty": g.repetition_penalty,
    }
    return always | (sampling if g.temperature > 0 else {}) | ({"stop": list(g.stop)} if g.stop else {})


# Parameters of a request that the user may leave out with engine.drop.
DROPPABLE = ("max_tokens", "temperature", "top_p", "top_k", "repetition_penalty", "seed", "stop")


def dispensable(generation: Generation) -> tuple[str, ...]:
    """Names of parameters that are left out if the server refuses them.

    Those at their neutral values, `stop` (the text is cut at stop strings here in any case), and those that newer
    models no longer take, which changes the answers and is said and recorded: see `left_out`.
    """
    g = generation
    neutral = {"repetition_penalty": g.repetition_penalty == 1.0, "top_k": g.top_k is None}
    return (
        *(name for name, is_neutral in neutral.items() if is_neutral),
        "stop",
        "temperature",
        "top_p",
        "seed",
        "logprobs",
    )


def left_out(generation: Generation, dropped: Collection[str]) -> tuple[str, ...]:
    """The dropped parameters without which the answers are drawn in another way, sorted."""
    g = generation
    sampled = g.temperature > 0
    matters = {
        "temperature": True,
        "top_p": sampled and g.top_p != 1.0,
        "top_k": sampled and g.top_k is not None,
        "repetition_penalty": g.repetition_penalty != 1.0,
        "seed": sampled,
    }
    return tuple(sorted(name for name in dropped if matters.get(name)))


def body(
    request: Request, urls: Sequence[str], model: str, decoding: Mapping[str, Any], extra: Mapping[str, Any]
) -> dict[str, Any]:
    """Make the request's JSON.

    urls: data URLs of its images.  decoding: see `parameters`.  extra: the user's further parameters.
    """
    sampled = {"seed": seed(request) % 2**31} if request.generation.temperature > 0 else {}
    messages = [message(m, urls) for m in request.messages]
    probability = {"logprobs": True} if request.with_probability else {}
    return {"model": model, "messages": messages, **decoding, **sampled, **probability, **extra}


def message(turn: Message, urls: Sequence[str]) -> dict[str, Any]:
    """Convert a turn: its parts in order, or a plain string if there is only text, which every template accepts.

    A text that looks like the mark of an image is changed as in the other engines: servers search texts for such marks.
    """
    if all(isinstance(part, str) for part in turn.content):
        return {"role": turn.role, "content": without_marks("".join(str(part) for part in turn.content))}
    parts = [
        {"type": "image_url", "image_url": {"url": urls[part.index]}}
        if isinstance(part, ImagePlace)
        else {"type": "text", "text": without_marks(part)}
        for part in turn.content
    ]
    return {"role": turn.role, "content": parts}


def prediction_of(request: Request, reply: Reply, attempts: Sequence[str]) -> Prediction:
    """Make the prediction of a reply; a reply without an answer becomes an error with the reason."""
    kind = finish_kind(reply.finish)
    if (reply.reasoning or reply.tokens_thought) and kind == "length" and not (reply.text or "").strip():
        return Prediction(
            sample_id=request.sample_id,
            error=CUT_IN_REASONING,
            finish_reason="length",
            n_tokens=reply.tokens_out,
            seconds=reply.seconds,
            fingerprint=request.fingerprint,
            attempts=_attempts(attempts),
            reasoning=reply.reasoning or "",
            thought_tokens=reply.tokens_thought,
        )
    if reason := no_answer_reason(reply):
        return failed_prediction(request, reason, attempts, reply.seconds, reply.tokens_out)
    text = str(reply.text)
    begin = answer_start(text)  # a stop string inside a thought ends nothing
    stops = [at for stop in request.generation.stop if (at := text.find(stop, begin)) >= 0]
    finish: Literal["stop", "length", "unknown"] = "unknown"
    if stops or kind == "stop":
        finish = "stop"
    elif kind == "length":
        finish = "length"
    return Prediction(
        sample_id=request.sample_id,
        text=text[: min(stops, default=len(text))].strip(),
        finish_reason=finish,
        n_tokens=reply.tokens_out,
        seconds=reply.seconds,
        fingerprint=request.fingerprint,
        attempts=_attempts(attempts),
        reasoning=reply.reasoning or "",
        thought_tokens=reply.tokens_thought,
        logprob=reply.logprob if request.with_probability else None,
    )


def _attempts(attempts: Sequence[str]) -> tuple[str, ...]:
    """The outcomes of the attempts for the record; none where the first one succeeded."""
    return () if list(attempts) == ["200"] else tuple(attempts)


def no_answer_reason(reply: Reply) -> str:
    """Reason why a reply has no answer; "" if it has one, which may be an empty text.

    A reply that was withheld or broken off is a failure even where it has some text: that text is not the model's whole
    answer.  An empty text is an answer only where the model ended it itself.
    """
    own_words = f": {_short(reply.error)}" if reply.error else ""
    kind = finish_kind(reply.finish)
    if kind == "withheld":
        named = "" if plain_word(reply.finish) == "content_filter" else f" (finish_reason {reply.finish})"
        return f"the server's content filter withheld the answer{named}{own_words}"
    if reply.error:
        return f"the server's reply reports an error{own_words}"
    if reply.refusal:
        return f"refused by the server: {_short(reply.refusal)}"
    if kind == "broken off":
        some = f", after the text {_short(reply.text)!r}" if (reply.text or "").strip() else ""
        return f"the server broke the answer off (finish_reason {reply.finish}){some}"
    if reply.reasoning_only:
        return f"{REASONING_ALONE} (finish_reason {reply.finish})"
    if reply.text is None or (not reply.text.strip() and kind != "stop"):
        limit = ": the limit of new tokens was reached before any text" if kind == "length" else ""
        return f"the reply contains no text (finish_reason {reply.finish}){limit}"
    return ""


def _short(text: str | None) -> str:
    return " ".join((text or "").split())[:MAX_WORDS]
