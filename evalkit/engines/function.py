"""Engine that asks a function of the caller's: an image and a question in, a text out; one at a time or in batches."""

from __future__ import annotations

import asyncio
import inspect
import time
import uuid
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from evalkit.core.errors import ConfigError
from evalkit.core.types import Generation, ImagePlace, ImageRef, Message, Prediction, Request, digest_json
from evalkit.engines.loaded_model import Tally, failed_prediction, prediction_of_error
from evalkit.engines.preprocess import SAMPLE_FAULTS, group_by_image
from evalkit.records.base import whole_characters

# Calls of an asynchronous function that are in flight.
CONCURRENCY = 16
KIND = "function"


class FunctionEngine:
    """Generates by calling a function.

    A call that raises, or returns anything but a text, is a failed sample with the reason, and never an empty answer.

    Args:
        function: `function(image, question) -> str`, or with a batch size `function(images, questions) -> list of str`;
            either may be asynchronous.
        name: of the model, for messages.
        digest: the caller's name for what the function computes: answers under the same name are continued.  None:
            nothing is known about it, so that no earlier answer is taken for one of its own.
        batch_size: maximum number of questions of a call; None: one question, not in a list.
        concurrency: calls of an asynchronous function in flight.
    """

    name = KIND
    needs_images = True
    generation = Generation()
    decoding = KIND  # a function does not say how it decodes

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        name: str,
        digest: str | None = None,
        batch_size: int | None = None,
        concurrency: int = CONCURRENCY,
    ) -> None:
        for setting, value in (("batch_size", batch_size), ("concurrency", concurrency)):
            if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
                raise ConfigError(f"{setting}={value!r} is not valid; expected a whole number of 1 or more.")
        self.function, self.model = function, name
        self.batch_size, self.concurrency = batch_size, concurrency
        self.digest = digest
        self.identity = digest_json([self.name, str(uuid.uuid4()) if digest is None else digest])
        self._tally = Tally()
        self._calls = 0
        self._opened: tuple[tuple[ImageRef, ...], list[Any]] = ((), [])  # of the last question

    def generate(self, requests: Sequence[Request]) -> Iterator[list[Prediction]]:
        """See `Engine.generate`.  The questions of an image come one after another.

        Raises:
            EngineError: the first samples all failed.
        """
        ordered = list(chain.from_iterable(group_by_image(requests)))
        size = self.batch_size or 1
        batches = [ordered[k : k + size] for k in range(0, len(ordered), size)]
        answers = self._at_once(batches) if is_asynchronous(self.function) else map(self._ask, batches)
        for batch in answers:
            self._tally.add(self.model, batch)
            yield batch

    def _ask(self, batch: Sequence[Request]) -> list[Prediction]:
        """Call the function for a batch, in this thread."""
        call = self._call(batch)
        if isinstance(call, list):
            return call
        started = time.perf_counter()
        try:
            result = self.function(*call)
            if inspect.isawaitable(result):  # of a plain function that hands on a coroutine
                result = asyncio.run(_awaited(result))
            texts = self._texts(result, len(batch))
        except Exception as problem:  # noqa: BLE001 - whatever the caller's code raises
            return [prediction_of_error(r, problem) for r in batch]
        return _predictions(batch, texts, time.perf_counter() - started)

    def _at_once(self, batches: Sequence[Sequence[Request]]) -> Iterator[list[Prediction]]:
        """Call an asynchronous function for several batches at a time."""
        source = iter(batches)
        running: set[asyncio.Task[list[Prediction]]] = set()

        async def some() -> list[Prediction]:
            while len(running) < self.concurrency and (batch := next(source, None)) is not None:
                running.add(asyncio.create_task(self._ask_async(batch)))
            if not running:
                return []
            done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            running.difference_update(done)
            return [prediction for task in done for prediction in task.result()]

        async def stop() -> None:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

        with asyncio.Runner() as runner:
            try:
                while found := runner.run(some()):
                    yield found
            finally:
                runner.run(stop())

    async def _ask_async(self, batch: Sequence[Request]) -> list[Prediction]:
        call = self._call(batch)
        if isinstance(call, list):
            return call
        started = time.perf_counter()
        try:
            texts = self._texts(await self.function(*call), len(batch))
        except Exception as problem:  # noqa: BLE001 - whatever the caller's code raises
            return [prediction_of_error(r, problem) for r in batch]
        return _predictions(batch, texts, time.perf_counter() - started)

    def _call(self, batch: Sequence[Request]) -> tuple[Any, Any] | list[Prediction]:
        """The arguments of a call; the failures of the whole batch where an image of it cannot be opened."""
        self._calls += 1
        try:
            shown = [self._images(r) for r in batch]
        except SAMPLE_FAULTS as problem:
            return [prediction_of_error(r, problem) for r in batch]
        questions = [question_of(r.messages) for r in batch]
        return (shown, questions) if self.batch_size is not None else (shown[0], questions[0])

    def _images(self, request: Request) -> Any:
        """The image of a request, a list of several, None without one; copies: a function may draw on what it gets.

        Raises:
            DataError: one cannot be read.
        """
        from evalkit.core.images import open_image

        if self._opened[0] != request.placed_images:
            self._opened = request.placed_images, [open_image(ref) for ref in request.placed_images]
        copies = [image.copy() for image in self._opened[1]]
        return copies[0] if len(copies) == 1 else copies or None

    def _texts(self, result: Any, n: int) -> list[Any]:
        """The returned values, one a request.  Raises ValueError for a batch of another length, or no list."""
        if self.batch_size is None:
            return [result]
        if isinstance(result, str | bytes | Mapping | set | frozenset) or not isinstance(result, Iterable):
            raise ValueError(f"the function returned {_described(result)} for a batch; expected a list of {n} texts")
        texts = list(result)
        if len(texts) != n:
            raise ValueError(f"the function returned {len(texts)} answers to a batch of {n} questions")
        return texts

    def metadata(self) -> dict[str, Any]:
        """See `Engine.metadata`."""
        return {
            "engine": self.name,
            "function": described(self.function),
            "asynchronous": is_asynchronous(self.function),
            "batch_size": self.batch_size,
            "digest": self.digest,
            "calls": self._calls,
        }


async def _awaited(result: Awaitable[Any]) -> Any:
    return await result


def is_asynchronous(function: Any) -> bool:
    """Whether calling an object gives a coroutine."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004


def described(function: Any) -> str:
    """The name of a function, or of the class of an object that can be called."""
    inner = getattr(function, "func", function)  # functools.partial
    name = getattr(inner, "__qualname__", None) or type(inner).__qualname__
    return f"{getattr(inner, '__module__', None) or type(inner).__module__}.{name}"


def question_of(messages: Sequence[Message]) -> str:
    """The text of a prompt: its turns below each other.  Images that do not all come first are marked in it."""
    parts = [part for message in messages for part in message.content]
    lead = next((k for k, part in enumerate(parts) if isinstance(part, str) and part.strip()), len(parts))
    is_marked = any(isinstance(part, ImagePlace) for part in parts[lead:])
    turns = [
        "".join(p if isinstance(p, str) else f"<image {p.index + 1}>" if is_marked else "" for p in m.content).strip()
        for m in messages
    ]
    return "\n\n".join(filter(None, turns))


def _predictions(batch: Sequence[Request], texts: Sequence[Any], seconds: float) -> list[Prediction]:
    share = round(seconds / len(batch), 4)
    return [_prediction(r, text, share) for r, text in zip(batch, texts, strict=True)]


def _prediction(request: Request, text: Any, seconds: float) -> Prediction:
    if not isinstance(text, str):
        reason = f"the function returned {_described(text)}; expected a text"
        return failed_prediction(request, reason, seconds=seconds)
    return Prediction(
        sample_id=request.sample_id,
        text=whole_characters(str(text)).strip(),
        seconds=seconds,
        fingerprint=request.fingerprint,
    )


def _described(value: Any) -> str:
    return "None" if value is None else f"{type(value).__name__} ({str(value)[:40]!r})"
