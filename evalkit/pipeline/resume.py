"""Generation that resumes: answers that a run already has are kept, the missing ones are generated and appended."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from evalkit.core import console
from evalkit.core.columns import column_values
from evalkit.core.errors import StoreError
from evalkit.core.packed_predictions import PackedPredictions
from evalkit.core.reasoning import cut_before_answer, cut_unmarked, separate
from evalkit.core.sample_text import described
from evalkit.core.types import Prediction, Request, Sample
from evalkit.engines.base import Engine
from evalkit.pipeline.preflight import Preflight
from evalkit.pipeline.requests import Requests
from evalkit.runs.background_writer import BackgroundWriter
from evalkit.runs.schema import PredictionLine
from evalkit.runs.store import RunFolder, answered, cut_torn_line, set_aside, write_predictions
from evalkit.runs.verify import digest_at_the_end, digest_of

# Rows that a dry run shows.
SHOWN_ROWS = 5


class Answers(NamedTuple):
    """The predictions of a run in sample order; n_asked: how many of them were generated now."""

    predictions: PackedPredictions
    n_asked: int


def describe(folder: RunFolder, requests: Requests, samples: Sequence[Sample], notes: Sequence[str]) -> None:
    """Print a dry run's report: how many requests remain, how the data were read, the first prompt and rows."""
    known = answered(folder.predictions)
    waiting = sum(fingerprint not in known for fingerprint in requests.fingerprints())
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


def check_unedited(folder: RunFolder, requests: Requests) -> None:
    """Refuse to go on from a finished run whose answers were changed.

    Lines may be removed: their samples are asked again.

    Raises:
        StoreError: every request has an answer, and the file is not the one that the run ended with.
    """
    listed = digest_at_the_end(folder, folder.predictions.name)
    if listed is None or not folder.predictions.is_file() or digest_of(folder.predictions) == listed:
        return
    known = answered(folder.predictions)
    if all(fingerprint in known for fingerprint in requests.fingerprints()):
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
    requests: Requests
    resume: bool = True
    reasoning: str = "auto"
    opened: AbstractSet[str] = frozenset()
    asks_for_thought: bool = False
    preflight: Preflight | None = None


def answer_missing(
    folder: RunFolder, samples: Sequence[Sample], requests: Sequence[Request], engine: Engine, resume: bool, **more: Any
) -> Answers:
    """`answer_together` of one run; more: further fields of `Unanswered`."""
    held = Requests.of(requests.__getitem__, len(requests))
    run = Unanswered(folder=folder, samples=samples, requests=held, resume=resume, **more)
    return answer_together([run], engine)[0]


def answer_together(runs: Sequence[Unanswered], engine: Engine) -> list[Answers]:
    """Generate the missing answers of runs in one pass of the engine, which computes an image once for all of them.

    Answers are appended to each run's file as they arrive, their reasoning apart.  A request that several runs have is
    answered once.  Samples that failed in an earlier run are asked again: what failed then may succeed now.  An answer
    that was cut inside its reasoning is not: it would be cut again.
    """
    parts = [_Part(run) for run in runs]
    asked, wrong = _asked(parts), 0
    total, missing = sum(len(run.requests) for run in runs), sum(part.n_asked for part in parts)
    status = getattr(engine, "status", None) or (lambda: "")
    with ExitStack() as stack:
        advance = stack.enter_context(console.progress(total, total - missing, "answering", status))
        writers = [
            stack.enter_context(BackgroundWriter(part.run.folder.predictions, part.line_of, advance)) for part in parts
        ]
        for batch in engine.generate(asked):
            expected = [part.take(batch, writer) for part, writer in zip(parts, writers, strict=True)]
            wrong += len(batch) - len(set().union(*expected))
    if asked and (said := status()):
        console.note(f"{engine.name}: {said}")
    if wrong := wrong + max(part.answers.n_missing for part in parts):
        raise RuntimeError(f"engine {engine.name} did not answer {wrong} requests exactly once")
    return [part.finished() for part in parts]


def _asked(parts: Sequence[_Part]) -> Sequence[Request]:
    """The requests without an answer; one that several runs have, once."""
    if len(parts) == 1:
        return parts[0].waiting()
    return list({request.fingerprint: request for part in parts for request in part.waiting()}.values())


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
        ids = tuple(column_values(run.samples, "id"))
        self.place_of = {sample_id: place for place, sample_id in enumerate(ids)}
        self.answers = PackedPredictions(ids)
        self.is_changed = False
        self._keep(answered(path))
        self.n_asked = self.answers.n_missing
        self.look = run.preflight.of(self.n_asked) if run.preflight else None
        self.first: list[Prediction] = []
        if n_known := len(run.requests) - self.n_asked:
            console.note(f"{n_known} of {len(run.requests)} answers are already in {run.folder.path}")

    def _keep(self, stored: Mapping[str, Prediction]) -> None:
        """Take over the answers of an earlier start; failed ones are asked again."""
        for place, sample in enumerate(self.run.samples if stored else ()):
            found = stored.get(self.run.requests.fingerprint(place))
            if found is None:
                continue
            if found.sample_id != sample.id:
                raise StoreError(
                    f"{self.run.folder.predictions}: the answer to sample {sample.id} has another sample_id, "
                    "so the file was edited after it was written. Restore it, or start over with resume=false."
                )
            apart = self._apart(found)
            if not apart.failed:
                self.answers[place] = apart
                self.is_changed |= apart != found

    def waiting(self) -> Requests:
        """The requests without an answer."""
        return self.run.requests.at([k for k in range(len(self.run.samples)) if not self.answers.has(k)])

    def _apart(self, prediction: Prediction) -> Prediction:
        run = self.run
        apart = separate(prediction, run.reasoning, opened=prediction.sample_id in run.opened)
        return cut_before_answer(apart, run.reasoning) if run.asks_for_thought else apart

    def line_of(self, prediction: Prediction) -> PredictionLine:
        """The line of an answer."""
        return PredictionLine.of(self.run.samples[self.place_of[prediction.sample_id]], prediction)

    def take(self, batch: Sequence[Prediction], writer: BackgroundWriter) -> set[int]:
        """Write those answers of a batch that the run waits for, and look at the first ones.

        Returns:
            Positions of these answers in the batch.
        """
        new: dict[int, Prediction] = {}
        for k, prediction in enumerate(batch):
            place = self.place_of.get(prediction.sample_id)
            if (
                place is None
                or self.answers.has(place)
                or self.run.requests.fingerprint(place) != prediction.fingerprint
            ):
                continue
            new[k] = self.answers[place] = self._apart(prediction)
        if new:
            writer.write(list(new.values()))
            self._look_at(new.values())
        return set(new)

    def _look_at(self, new: Iterable[Prediction]) -> None:
        if self.look is None:
            return
        self.first += new
        if len(self.first) >= min(self.look.n, self.n_asked):
            samples = (self.run.samples[self.place_of[p.sample_id]] for p in self.first)
            self.look.check({s.id: s for s in samples}, self.first)
            self.look = None

    def finished(self) -> Answers:
        """The answers in sample order, once all were taken; the file has one line for each then."""
        run = self.run
        n_cut = cut_unmarked(self.answers, run.reasoning)
        # Superseded lines (an earlier failure, another version of the data) are dropped: one line a sample.
        if n_cut or self.is_changed or _count_lines(run.folder.predictions) != len(run.requests):
            write_predictions(run.folder.predictions, run.samples, self.answers)
        return Answers(self.answers, self.n_asked)


def _count_lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(1 for _ in file)
