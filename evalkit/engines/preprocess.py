"""Preprocessing of requests in threads ahead of the model: images opened and preprocessed once, prompts tokenised."""

from __future__ import annotations

import copy
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from evalkit.core.errors import DataError
from evalkit.core.types import Message, Prediction, Request
from evalkit.engines.loaded_model import LoadedModel, prediction_of_error
from evalkit.engines.prompt_check import PromptCheck, image_marks
from evalkit.models.processors import WHOLE_PROMPT
from evalkit.models.reasoning_switch import switch_of
from evalkit.models.templates import TEMPLATE_FAULTS, chat, template_error

# Exceptions that a model or its processor raises for one bad sample.  Any other is a programming error and stops the
# run.
SAMPLE_FAULTS = (RuntimeError, ValueError, IndexError, TypeError, OSError, DataError)
# Questions without an image have nothing to share; they are processed in groups of this size.
TEXT_ONLY_GROUP_SIZE = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptRow:
    """One processed prompt.

    ids: token ids, with image placeholders expanded.  sequences: further integer tensors (1, len(ids), ...) such as
    token types.  images: tensors of the images; equal ones are the same objects in all rows of a group.
    option, start: under `Request.continuations` the number of the continuation that the prompt ends with, and the
    position of its first token; the rows of one request follow each other.
    """

    request: Request
    ids: tuple[int, ...]
    sequences: Mapping[str, Any]
    images: Mapping[str, Any]
    option: int = 0
    start: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptGroup:
    """Prompts about one image (or one tuple of images), and the requests that could not be prepared."""

    rows: tuple[PromptRow, ...]
    failures: tuple[Prediction, ...] = ()

    @property
    def shape(self) -> tuple[Any, ...]:
        """Key that must be equal for rows to be batched: shapes of the image tensors, and names of the sequences."""
        first = self.rows[0]
        images = tuple((name, tuple(t.shape[1:])) for name, t in sorted(first.images.items()))
        return images, tuple(sorted(first.sequences))


def group_by_image(requests: Sequence[Request]) -> list[list[Request]]:
    """Group requests by the bytes of their images in order, most questions first; groups of equal size keep theirs.

    Groups of similar size are adjacent, so that batches of several groups need little padding.
    """
    groups: dict[tuple[str, ...], list[Request]] = {}
    for request in requests:
        groups.setdefault(request.placed_digests, []).append(request)
    text_only = groups.pop((), [])
    parts = [text_only[i : i + TEXT_ONLY_GROUP_SIZE] for i in range(0, len(text_only), TEXT_ONLY_GROUP_SIZE)]
    return sorted([*groups.values(), *parts], key=len, reverse=True)


def render(processor: Any, messages: Sequence[Message], reasoning: str = "auto") -> str:
    """Render the prompt's text with the checkpoint's chat template; image placeholders are not expanded yet.

    reasoning: see `Generation`.

    Raises:
        ModelError: the template refuses the messages, or is not valid.
        ConfigError: the template has no switch for thinking.
    """
    from jinja2 import TemplateError

    turns = chat(messages, image_marks(processor))
    switch = {} if reasoning == "auto" else switch_of(template_text(processor), reasoning)
    try:
        return str(processor.apply_chat_template(turns, tokenize=False, add_generation_prompt=True, **switch))
    except (TemplateError, *TEMPLATE_FAULTS) as problem:
        raise template_error(problem) from None


def template_text(processor: Any) -> str:
    """The chat template of a processor, or of its tokenizer; "" for none."""
    found = getattr(processor, "chat_template", None) or getattr(processor.tokenizer, "chat_template", None)
    if isinstance(found, Mapping):
        found = found.get("default")
    return str(found or "")


class _CachedImageProcessor:
    """Image processor that runs for the first prompt of a group and reuses the result for the others."""

    def __init__(self, processor: Any) -> None:
        self._processor = processor
        self._images: list[Any] = []
        self._result: Any = None

    def __call__(self, images: Any, *args: Any, **kwargs: Any) -> Any:
        leaves = _leaves(images)
        known = len(leaves) == len(self._images) and all(a is b for a, b in zip(leaves, self._images, strict=True))
        if self._result is None or not known:
            self._images, self._result = leaves, self._processor(images, *args, **kwargs)
        # A copy of the mapping, not of the tensors: processors remove entries from what they get.
        return type(self._result)(dict(self._result))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._processor, name)


def _leaves(images: Any) -> list[Any]:
    if isinstance(images, list | tuple):
        return [leaf for part in images for leaf in _leaves(part)]
    return [images]


class Preprocessor:
    """Processes groups in worker threads, at most `ahead` groups before they are consumed.

    Every thread has its own copy of the processor: fast tokenizers cannot be shared between threads while they pad.
    """

    def __init__(self, loaded: LoadedModel, *, workers: int, ahead: int = 4) -> None:
        self.loaded = loaded
        self.counters = loaded.counters  # the run's: the prefix check replaces loaded.counters while threads work
        self.workers = workers
        self.ahead = ahead
        self.prompt_check = PromptCheck()
        self._local = threading.local()
        self._lock = threading.Lock()

    def process_all(self, groups: Sequence[Sequence[Request]]) -> Iterator[PromptGroup]:
        """Yield the groups in order.  A request that cannot be processed becomes a failure of its group."""
        if self.workers == 0:
            yield from map(self.process, groups)
            return
        from concurrent.futures import Future, ThreadPoolExecutor

        pool = ThreadPoolExecutor(self.workers, thread_name_prefix="prepare")
        waiting: deque[Future[PromptGroup]] = deque()
        source = iter(groups)
        try:
            for group in source:
                waiting.append(pool.submit(self.process, group))
                if len(waiting) > self.ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def process(self, requests: Sequence[Request]) -> PromptGroup:
        """Process one group: open and preprocess its images once, expand and tokenise its prompts one by one."""
        from evalkit.core.images import open_image

        started = time.perf_counter()
        try:
            images = [open_image(ref) for ref in requests[0].placed_images]
        except SAMPLE_FAULTS as problem:
            return PromptGroup(rows=(), failures=tuple(prediction_of_error(r, problem) for r in requests))
        rows: list[PromptRow] = []
        failures: list[Prediction] = []
        for request in requests:
            try:
                rows += self._rows(request, images, rows[0].images if rows else {})
            except SAMPLE_FAULTS as problem:
                failures.append(prediction_of_error(request, problem))
        with self._lock:
            self.counters.image_decodes += len(images)
            self.counters.prepare_seconds += time.perf_counter() - started
        return PromptGroup(rows=tuple(rows), failures=tuple(failures))

    def _processor(self) -> Any:
        if not hasattr(self._local, "processor"):
            with self._lock:
                processor = copy.deepcopy(self.loaded.processor)
            processor.image_processor = _CachedImageProcessor(processor.image_processor)
            self._local.processor = processor
        return self._local.processor

    def _rows(self, request: Request, images: Sequence[Any], reusable: Mapping[str, Any]) -> list[PromptRow]:
        """The prompt of a request, or one for each of its continuations."""
        prompt = render(self._processor(), request.messages, self.loaded.generation.reasoning)
        row = self._row(request, prompt, images, reusable)
        if not request.continuations:
            return [row]
        texts = [continued(prompt, text) for text in request.continuations]
        return with_starts(row, [self._row(request, text, images, row.images) for text in texts])

    def _row(self, request: Request, prompt: str, images: Sequence[Any], reusable: Mapping[str, Any]) -> PromptRow:
        processor = self._processor()
        bos = processor.tokenizer.bos_token
        features = processor(
            text=[prompt],
            images=[list(images)] if images else None,
            return_tensors="pt",
            # A template that writes the beginning-of-sequence token itself must not get a second one.
            add_special_tokens=not (bos and prompt.startswith(bos)),
            text_kwargs=WHOLE_PROMPT,
        )
        self.prompt_check.check(processor, prompt, features["input_ids"][0].tolist(), request.sample_id)
        return make_row(self.loaded, request, features, reusable)


def continued(prompt: str, continuation: str) -> str:
    """A rendered prompt with a continuation after it: joined by one space unless the prompt ends with white space.

    >>> continued("ASSISTANT:", "B"), continued("<|im_start|>assistant\\n", "B")
    ('ASSISTANT: B', '<|im_start|>assistant\\nB')
    """
    return f"{prompt}{'' if not prompt or prompt[-1].isspace() else ' '}{continuation}"


def with_starts(prompt: PromptRow, rows: Sequence[PromptRow]) -> list[PromptRow]:
    """The prompts of a request's continuations, with the position at which the continuation of each begins.

    Each text was tokenised as a whole.  The continuations begin after the longest prefix of tokens that the prompt
    alone has in common with all of them: a token across the boundary belongs to the continuation, and all
    continuations of a request are scored from the same position.

    Raises:
        ValueError: a continuation has no token of its own.
    """
    start = min(equal_start(prompt.ids, row.ids) for row in rows)
    for row, text in zip(rows, prompt.request.continuations, strict=True):
        if len(row.ids) <= start:
            raise ValueError(f"the option {text!r} has no token of its own after the prompt")
    if start < 1:
        raise ValueError("the prompt has no token before its options")
    return [replace(row, option=k, start=start) for k, row in enumerate(rows)]


def equal_start(a: Sequence[int], b: Sequence[int]) -> int:
    """Length of the longest common prefix.

    >>> equal_start((1, 2, 3), (1, 2, 4)), equal_start((1,), (1, 2))
    (2, 1)
    """
    return next((k for k, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def make_row(
    loaded: LoadedModel, request: Request, features: Mapping[str, Any], reusable: Mapping[str, Any]
) -> PromptRow:
    """Divide a processor's output for one prompt into per-token sequences and image tensors.

    reusable: image tensors of an earlier row of the same group, used instead of equal new ones.
    """
    ids = features["input_ids"][0].tolist()
    sequences: dict[str, Any] = {}
    images: dict[str, Any] = {}
    for name, tensor in features.items():
        if name in ("input_ids", "attention_mask"):
            continue
        if name in ("token_type_ids", "mm_token_type_ids") and name not in loaded.arguments:
            continue  # the tokenizer returns them, but this model does not accept them
        per_token = tensor.ndim >= 2 and tuple(tensor.shape[:2]) == (1, len(ids)) and not tensor.is_floating_point()
        (sequences if per_token else images)[name] = tensor
    return PromptRow(request=request, ids=tuple(ids), sequences=sequences, images=_interned(images, reusable))


def _interned(images: dict[str, Any], reusable: Mapping[str, Any]) -> dict[str, Any]:
    import torch

    return {
        name: reusable[name] if name in reusable and torch.equal(tensor, reusable[name]) else tensor
        for name, tensor in images.items()
    }
