"""Requests made into tensors ahead of the model: images opened and preprocessed once, prompts expanded, in threads."""

from __future__ import annotations

import copy
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evalkit.core.errors import DataError
from evalkit.core.types import ImagePlace, Message, Prediction, Request
from evalkit.engines.loaded_model import Loaded, failed

# What a model or its processor raises about one bad sample.  Anything else is a fault of ours and stops the run.
SAMPLE_FAULTS = (RuntimeError, ValueError, IndexError, TypeError, OSError, DataError)
# Questions without an image have nothing to share; they are prepared in pieces of this many.
IMAGELESS_GROUP = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One processed prompt.

    ids: token ids, image places expanded.  sequences: further integer tensors (1, len(ids), ...) such as token types.
    images: tensors that belong to the images; the same objects in all rows of a group wherever they are equal.
    """

    request: Request
    ids: tuple[int, ...]
    sequences: Mapping[str, Any]
    images: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The prompts about one image (or one tuple of images), and the requests that could not be prepared."""

    rows: tuple[Row, ...]
    failures: tuple[Prediction, ...] = ()

    @property
    def shape(self) -> tuple[Any, ...]:
        """What must be equal for image tensors to be put together into one batch."""
        first = self.rows[0]
        images = tuple((name, tuple(t.shape[1:])) for name, t in sorted(first.images.items()))
        return images, tuple(sorted(first.sequences))


def by_image(requests: Sequence[Request]) -> list[list[Request]]:
    """Requests grouped by the bytes of their images, most questions first; equal counts keep their order.

    Groups of like size lie beside each other, so that a batch of several wastes little padding.
    """
    groups: dict[tuple[str, ...], list[Request]] = {}
    for request in requests:
        groups.setdefault(request.image_digests, []).append(request)
    alone = groups.pop((), [])
    pieces = [alone[i : i + IMAGELESS_GROUP] for i in range(0, len(alone), IMAGELESS_GROUP)]
    return sorted([*groups.values(), *pieces], key=len, reverse=True)


def render(processor: Any, messages: Sequence[Message]) -> str:
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
    return str(processor.apply_chat_template(conversation, tokenize=False, add_generation_prompt=True))


class _OncePerGroup:
    """An image processor that works at the first prompt of a group and remembers for the others."""

    def __init__(self, processor: Any) -> None:
        self._processor = processor
        self._images: list[Any] = []
        self._result: Any = None

    def __call__(self, images: Any, *args: Any, **kwargs: Any) -> Any:
        leaves = _leaves(images)
        known = len(leaves) == len(self._images) and all(a is b for a, b in zip(leaves, self._images, strict=True))
        if self._result is None or not known:
            self._images, self._result = leaves, self._processor(images, *args, **kwargs)
        # A copy of the mapping, not of the tensors: processors take entries out of what they get.
        return type(self._result)(dict(self._result))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._processor, name)


def _leaves(images: Any) -> list[Any]:
    if isinstance(images, list | tuple):
        return [leaf for part in images for leaf in _leaves(part)]
    return [images]


class Preparer:
    """Prepares groups in worker threads, at most `ahead` of them before they are asked for.

    Every thread has its own copy of the processor: fast tokenizers refuse to be shared while they pad.
    """

    def __init__(self, loaded: Loaded, *, workers: int, ahead: int = 4) -> None:
        self.loaded = loaded
        self.counters = loaded.counters  # threads write to the run's, whatever a check puts in its place meanwhile
        self.workers = workers
        self.ahead = ahead
        self._local = threading.local()
        self._lock = threading.Lock()

    def prepared(self, groups: Sequence[Sequence[Request]]) -> Iterator[Group]:
        """The groups in order.  A request that cannot be prepared is a failure of its group, never an exception."""
        if self.workers == 0:
            yield from map(self.prepare, groups)
            return
        from concurrent.futures import Future, ThreadPoolExecutor

        pool = ThreadPoolExecutor(self.workers, thread_name_prefix="prepare")
        waiting: deque[Future[Group]] = deque()
        source = iter(groups)
        try:
            for group in source:
                waiting.append(pool.submit(self.prepare, group))
                if len(waiting) > self.ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def prepare(self, requests: Sequence[Request]) -> Group:
        """One group: its images opened and preprocessed once, its prompts expanded and tokenised one by one."""
        from evalkit.core.images import open_image

        started = time.perf_counter()
        try:
            images = [open_image(ref) for ref in requests[0].images]
        except SAMPLE_FAULTS as problem:
            return Group(rows=(), failures=tuple(failed(r, problem) for r in requests))
        rows: list[Row] = []
        failures: list[Prediction] = []
        for request in requests:
            try:
                rows.append(self._row(request, images, rows[0].images if rows else {}))
            except SAMPLE_FAULTS as problem:
                failures.append(failed(request, problem))
        with self._lock:
            self.counters.image_decodes += len(images)
            self.counters.prepare_seconds += time.perf_counter() - started
        return Group(rows=tuple(rows), failures=tuple(failures))

    def _processor(self) -> Any:
        if not hasattr(self._local, "processor"):
            with self._lock:
                processor = copy.deepcopy(self.loaded.processor)
            processor.image_processor = _OncePerGroup(processor.image_processor)
            self._local.processor = processor
        return self._local.processor

    def _row(self, request: Request, images: Sequence[Any], known: Mapping[str, Any]) -> Row:
        processor = self._processor()
        prompt = render(processor, request.messages)
        bos = processor.tokenizer.bos_token
        features = processor(
            text=[prompt],
            images=[list(images)] if images else None,
            return_tensors="pt",
            # A template that writes the beginning-of-sequence token itself must not get a second one.
            add_special_tokens=not (bos and prompt.startswith(bos)),
        )
        return row_from(self.loaded, request, features, known)


def row_from(loaded: Loaded, request: Request, features: Mapping[str, Any], known: Mapping[str, Any]) -> Row:
    """Sort what a processor gives for one prompt into what follows the tokens and what belongs to the images.

    known: image tensors of an earlier row of the same group, taken instead of equal new ones.
    """
    ids = features["input_ids"][0].tolist()
    sequences: dict[str, Any] = {}
    images: dict[str, Any] = {}
    for name, tensor in features.items():
        if name in ("input_ids", "attention_mask"):
            continue
        if name in ("token_type_ids", "mm_token_type_ids") and name not in loaded.arguments:
            continue  # the tokenizer gives them, this model knows none
        follows = tensor.ndim >= 2 and tuple(tensor.shape[:2]) == (1, len(ids)) and not tensor.is_floating_point()
        (sequences if follows else images)[name] = tensor
    return Row(request=request, ids=tuple(ids), sequences=sequences, images=_interned(images, known))


def _interned(images: dict[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    import torch

    return {
        name: known[name] if name in known and torch.equal(tensor, known[name]) else tensor
        for name, tensor in images.items()
    }
