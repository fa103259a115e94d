"""Gold answers that a protocol cannot use, and closed rows that it does not count."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from evalkit.core.errors import DataError
from evalkit.core.types import CLOSED, Prediction, Sample
from evalkit.scoring.base import ScoringProtocol

# So many samples are named in a message.
SHOWN = 10


def check_golds(samples: Sequence[Sample], protocols: Sequence[ScoringProtocol], where: str) -> None:
    """Refuse gold answers that a protocol's normaliser empties: every answer contains, or equals, an empty text.

    Raises:
        DataError: there are some; names the samples, the gold answers and the protocols.
    """
    empty: dict[str, str] = {}
    affected: dict[str, None] = {}
    for protocol in protocols:
        # A protocol of a plug-in may be without this method.
        form = getattr(protocol, "gold_form", None)
        if form is None:
            continue
        texts = {gold for sample in samples for gold in sample.references if gold.strip()}
        lost = {gold for gold in texts if not form(gold)}
        for sample in samples if lost else ():
            if found := lost & set(sample.references):
                empty.setdefault(sample.id, sorted(found)[0])
                affected[protocol.name] = None
    if empty:
        named = ", ".join(f"{sample} ({gold!r})" for sample, gold in list(empty.items())[:SHOWN])
        more = f" and {len(empty) - SHOWN} more" if len(empty) > SHOWN else ""
        raise DataError(
            f"{where}: the gold answers of {len(empty)} samples normalise to nothing under {', '.join(affected)}, so "
            f"that any answer could count as right: {named}{more}. Expected gold answers with a word that the protocol "
            "keeps (articles and punctuation are removed). Give the text of the option in place of its letter, leave "
            "these rows out, or choose other protocols with protocol=NAME."
        )


def uncounted_rows(samples: Sequence[Sample], protocols: Sequence[ScoringProtocol]) -> list[str]:
    """One note for each protocol that does not count some of the CLOSED rows, with their number, reasons and ids."""
    notes = []
    closed = [sample for sample in samples if sample.answer_type == CLOSED]
    for protocol in protocols:
        reason_of = getattr(protocol, "uncounted", None)
        if reason_of is None:
            continue
        left_out: dict[str, list[str]] = defaultdict(list)
        for sample in closed:
            if reason := reason_of(sample):
                left_out[reason].append(sample.id)
        if left_out:
            n = sum(map(len, left_out.values()))
            reasons = "; ".join(f"{len(ids)} because {reason}: {_named(ids)}" for reason, ids in left_out.items())
            notes.append(f"{protocol.name} does not count {n} of {len(closed)} closed rows ({reasons})")
    return notes


def letter_golds(samples: Sequence[Sample], protocols: Sequence[ScoringProtocol]) -> list[str]:
    """One note for each protocol under which a gold answer that is one letter is found inside of words."""
    rows = [s for s in samples if any(len(gold.strip()) == 1 and gold.strip().isalpha() for gold in s.references)]
    notes = []
    for protocol in protocols:
        found = [sample.id for sample in rows if _reads_letters_in_words(protocol, sample)]
        if found:
            notes.append(
                f"{protocol.name} finds {len(found)} gold answers of one letter inside of words, so that almost any "
                f"answer is right for them: {_named(found)}. Give the text of the option in place of its letter"
            )
    return notes


def _reads_letters_in_words(protocol: ScoringProtocol, sample: Sample) -> bool:
    """Whether a word around the gold letter, which is no answer to anything, counts as right."""
    letter = next(gold.strip() for gold in sample.references if len(gold.strip()) == 1 and gold.strip().isalpha())
    word = Prediction(sample_id=sample.id, text=f"qx{letter}xq")
    higher = {metric.name for metric in protocol.metrics if metric.higher_is_better}
    return any(score.metric in higher and (score.value or 0) > 0 for score in protocol.score(sample, word))


def _named(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - SHOWN} more" if len(ids) > SHOWN else ""
    return f"{', '.join(ids[:SHOWN])}{more}"
