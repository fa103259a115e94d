"""Generation that resumes: answers that a run already has are kept, the missing ones are generated and appended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from evalkit.core import console
from evalkit.core.errors import StoreError
from evalkit.core.reasoning import cut_before_answer, cut_unmarked, separate
from evalkit.core.sample_text import described
from evalkit.core.types import Prediction, Request, Sample
from evalkit.engines.base import Engine
from evalkit.pipeline.preflight import Preflight
from evalkit.runs.background_writer import BackgroundWriter
from evalkit.runs.schema import PredictionLine
from evalkit.runs.store import RunFolder, answered, cut_torn_line, set_aside, write_predictions
from evalkit.runs.verify import digest_at_the_end, digest_of

# Rows that a dry run shows.
SHOWN_ROWS = 5


class Answers(NamedTuple):
    """The predictions of a run in sample order; n_asked: how many of them were generated now."""

    predictions: list[Prediction]
    n_asked: int


def describe(folder: RunFolder, requests: Sequence[Request], samples: Sequence[Sample], notes: Sequence[str]) -> None:
    """Print a dry run's report: how many requests remain, how the data were read, the first prompt and rows."""
    known = answered(folder.predictions)
    waiting = sum(r.fingerprint not in known for r in requests)
    images = len({r.image_digests for r in requests})
    console.out(f"dry run: {len(samples)} samples on {images} images, {waiting} still to ask, nothing was loaded")
    for text in notes:
        console.note(f"note: {text}")
    for message in requests[0].messages:
        text = "".join(part if isinstance(part, str) else "<image>" for part in message.content)
        console.out(f"first prompt, {message.role}: {text!r}")
    if options := requests[0].continuations:
        console.out(f"its options, whose log-probabilities are scored: {', '.join(map(repr, options))}")
    for sample in samples[:SHOWN_ROWS]:
        console.out(f"row {described(sample)}")
    console.out(str(folder.path))


def check_unedited(folder: RunFolder, requests: Sequence[Request]) -> None:
    """Refuse to go on from a finished run whose answers were changed.

    Lines may be removed: their samples are asked again.

    Raises:
        StoreError: every request has an answer, and the file is not the one that the run ended with.
    """
    listed = digest_at_the_end(folder, folder.predictions.name)
    if listed is None or not folder.predictions.is_file() or digest_of(folder.predictions) == listed:
        return
    known = answered(folder.predictions)
    if all(r.fingerprint in known for r in requests):
        raise StoreError(
            f"{folder.predictions} was changed after the run ended: no answer is missing, and its sha256 is another "
            "one. Restore the file, or start over with resume=false."
        )
    console.warn(f"{folder.predictions} was changed after the run ended; what is missing is asked again")


@dataclass(frozen=True, slots=True, kw_only=True)
class Unanswered:
    """A run whose missing answers are generated.  The caller holds the lock of its folder.

    reasoning: see `evalkit.core.reasoning.separate`; also for answers of an earlier run, which may hold thoughts.
    opened: ids of the samples whose prompt ends inside a thought.  asks_for_thought: the prompts ask to think
    under a heading before the answer.  preflight: the look at the first answers, before the
    others are asked.
    """

    folder: RunFolder
    samples: Sequence[Sample]
    requests: Sequence[Request]
    resume: bool = True
    reasoning: str = "auto"
    opened: AbstractSet[str] = frozenset()
    asks_for_thought: bool = False
    preflight: Preflight | None = None


def answer_missing(
    folder: RunFolder, samples: Sequence[Sample], requests: Sequence[Request], engine: Engine, resume: bool, **more: Any
) -> Answers:
    """`answer_together` of one run; more: further fields of `Unanswered`."""
    run = Unanswered(folder=folder, samples=samples, requests=requests, resume=resume, **more)
    return answer_together([run], engine)[0]


def answer_together(runs: Sequence[Unanswered], engine: Engine) -> list[Answers]:
    """Generate the missing answers of runs in one pass of the engine, which computes an image once for all of them.

    Answers are appended to each run's file as they arrive, their reasoning apart.  A request that several runs have is
    answered once.  Samples that failed in an earlier run are asked again: what failed then may succeed now.  An answer
    that was cut inside its reasoning is not: it would be cut again.
    """
    parts = [_Part(run) for run in runs]
    waiting = {request.fingerprint: request for part in parts for request in part.waiting()}
    asked, wrong = list(waiting.values()), 0
    total, missing = sum(len(run.requests) for run in runs), sum(part.n_asked for part in parts)
    status = getattr(engine, "status", None) or (lambda: "")
    with ExitStack() as stack:
        advance = stack.enter_context(console.progress(total, total - missing, "answering", status))
        writers = [
            stack.enter_context(BackgroundWriter(part.run.folder.predictions, part.line_of, advance)) for part in parts
        ]
        for batch in engine.generate(asked):
            wrong += sum(waiting.pop(p.fingerprint, None) is None for p in batch)
            for part, writer in zip(parts, writers, strict=True):
                part.take(batch, writer)
    if asked and (said := status()):
        console.note(f"{engine.name}: {said}")
    if wrong := wrong + len(waiting):
        raise RuntimeError(f"engine {engine.name} did not answer {wrong} requests exactly once")
    return [part.finished() for part in parts]


class _Part:
    """The answers that one run has, by the place of their requests, and those that it waits for.

    n_asked: how many are missing at the start.
    """

    def __init__(self, run: Unanswered) -> None:
        self.run = run
        path = run.folder.predictions
        if not run.resume:
            set_aside(path)
            run.folder.summary.unlink(missing_ok=True)  # a folder with a summary is a finished run
        cut_torn_line(path)
        self.place_of = {request.fingerprint: place for place, request in enumerate(run.requests)}
        self.answers: list[Prediction | None] = [None] * len(run.requests)
        self.is_changed = False
        self._keep(answered(path))
        self.n_asked = self.answers.count(None)
        self.look = run.preflight.of(self.n_asked) if run.preflight else None
        self.first: list[Prediction] = []
        if n_known := len(run.requests) - self.n_asked:
            console.note(f"{n_known} of {len(run.requests)} answers are already in {run.folder.path}")

    def _keep(self, stored: Mapping[str, Prediction]) -> None:
        """Take over the answers of an earlier start; failed ones are asked again."""
        for place, request in enumerate(self.run.requests):
            found = stored.get(request.fingerprint)
            if found is None:
                continue
            if found.sample_id != request.sample_id:
                raise StoreError(
                    f"{self.run.folder.predictions}: the answer to sample {request.sample_id} has another sample_id, "
                    "so the file was edited after it was written. Restore it, or start over with resume=false."
                )
            apart = self._apart(found)
            if not apart.failed:
                self.answers[place] = apart
                self.is_changed |= apart != found

    def waiting(self) -> list[Request]:
        """The requests without an answer."""
        return [request for request, found in zip(self.run.requests, self.answers, strict=True) if found is None]

    def _apart(self, prediction: Prediction) -> Prediction:
        run = self.run
        apart = separate(prediction, run.reasoning, opened=prediction.sample_id in run.opened)
        return cut_before_answer(apart, run.reasoning) if run.asks_for_thought else apart

    def line_of(self, prediction: Prediction) -> PredictionLine:
        """The line of an answer."""
        return PredictionLine.of(self.run.samples[self.place_of[prediction.fingerprint]], prediction)

    def take(self, batch: Sequence[Prediction], writer: BackgroundWriter) -> None:
        """Write those answers of a batch that the run waits for, and look at the first ones."""
        places = [self.place_of.get(p.fingerprint) for p in batch]
        new = {k: self._apart(p) for k, p in zip(places, batch, strict=True) if k is not None and self.answers[k] is None}
        if not new:
            return
        writer.write(list(new.values()))
        for place, prediction in new.items():
            self.answers[place] = prediction
        if self.look is not None:
            self.first += new.values()
            if len(self.first) >= min(self.look.n, self.n_asked):
                samples = (self.run.samples[self.place_of[p.fingerprint]] for p in self.first)
                self.look.check({s.id: s for s in samples}, self.first)
                self.look = None

    def finished(self) -> Answers:
        """The answers in sample order, once all were taken; the file has one line for each then."""
        run = self.run
        apart_alone = [found for found in self.answers if found is not None]
        predictions = cut_unmarked(apart_alone, run.reasoning)
        # Superseded lines (an earlier failure, another version of the data) are dropped: one line a sample.
        is_changed = self.is_changed or predictions != apart_alone
        if is_changed or _count_lines(run.folder.predictions) != len(run.requests):
            write_predictions(run.folder.predictions, run.samples, predictions)
        return Answers(predictions, self.n_asked)


def _count_lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(1 for _ in file)
