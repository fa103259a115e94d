"""Generation that resumes: answers that a run already has are kept, the missing ones are generated and appended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import NamedTuple

from evalkit.core import console
from evalkit.core.errors import StoreError
from evalkit.core.reasoning import cut_unmarked, separate
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


def answer_missing(
    folder: RunFolder,
    samples: Sequence[Sample],
    requests: Sequence[Request],
    engine: Engine,
    resume: bool,
    *,
    reasoning: str = "auto",
    opened: AbstractSet[str] = frozenset(),
    preflight: Preflight | None = None,
) -> Answers:
    """Generate the missing answers, appending them as they arrive, their reasoning apart.

    The caller holds the run's lock.

    Samples that failed in an earlier run are asked again: what failed then may succeed now.  An answer that was cut
    inside its reasoning is not: it would be cut again.

    Args:
        reasoning: see `evalkit.core.reasoning.separate`; also for answers of an earlier run, which may hold thoughts.
        opened: ids of the samples whose prompt ends inside a thought.
        preflight: the look at the first answers, before the others are asked.
    """

    def apart(prediction: Prediction) -> Prediction:
        return separate(prediction, reasoning, opened=prediction.sample_id in opened)

    if not resume:
        set_aside(folder.predictions)
        folder.summary.unlink(missing_ok=True)  # a folder with a summary is a finished run
    cut_torn_line(folder.predictions)
    stored = answered(folder.predictions)
    pairs = [(r.sample_id, stored[r.fingerprint].sample_id) for r in requests if r.fingerprint in stored]
    if edited := [wanted for wanted, found in pairs if wanted != found]:
        raise StoreError(
            f"{folder.predictions}: the answer to sample {edited[0]} has another sample_id, so the file was edited "
            "after it was written. Restore it, or start over with resume=false."
        )
    known = {k: new for k, p in stored.items() if not (new := apart(p)).failed}
    is_changed = any(stored[k] != p for k, p in known.items())
    waiting = [r for r in requests if r.fingerprint not in known]
    sample_of = {s.id: s for s in samples}
    if known:
        console.note(f"{len(requests) - len(waiting)} of {len(requests)} answers are already in {folder.path}")
    outstanding = Counter(r.fingerprint for r in waiting)
    look, first = preflight.of(len(waiting)) if preflight else None, list[Prediction]()
    status = getattr(engine, "status", None) or (lambda: "")
    with (
        console.progress(len(requests), len(requests) - len(waiting), "answering", status) as advance,
        BackgroundWriter(folder.predictions, lambda p: PredictionLine.of(sample_of[p.sample_id], p), advance) as writer,
    ):
        for batch in engine.generate(waiting):
            outstanding.subtract(p.fingerprint for p in batch)
            batch = [apart(p) for p in batch]
            writer.write(batch)
            known.update({p.fingerprint: p for p in batch})
            if look is not None:
                first += batch
                if len(first) >= min(look.n, len(waiting)):
                    look.check(sample_of, first)
                    look = None
    if waiting and (said := status()):
        console.note(f"{engine.name}: {said}")
    if wrong := [f for f, n in outstanding.items() if n != 0]:
        raise RuntimeError(f"engine {engine.name} did not answer {len(wrong)} requests exactly once")
    apart_alone = [known[r.fingerprint] for r in requests]
    predictions = cut_unmarked(apart_alone, reasoning)
    is_changed = is_changed or predictions != apart_alone
    # Superseded lines (an earlier failure, another version of the data) are dropped: one line a sample.
    if is_changed or _count_lines(folder.predictions) != len(requests):
        write_predictions(folder.predictions, samples, predictions)
    return Answers(predictions, len(waiting))


def _count_lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(1 for _ in file)
