"""Gold answers that a protocol cannot use, and closed rows that it does not count."""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence

from evalkit.core.columns import Packed, column_values
from evalkit.core.errors import DataError
from evalkit.core.packed_samples import PackedSamples
from evalkit.core.types import CHOICE, CLOSED, Prediction, Sample
from evalkit.scoring.base import ScoringProtocol
from evalkit.scoring.row_protocol import RowProtocol
from evalkit.stats.labels import FEW_ROWS, MACRO_AGGREGATES

# So many samples are named in a message.
SHOWN = 10


def with_rows(samples: Sequence[Sample], protocols: Sequence[ScoringProtocol]) -> list[ScoringProtocol]:
    """The protocols, those whose rule depends on all rows (a list of their answers) with these rows."""
    made = []
    for protocol in protocols:
        prepare = getattr(protocol, "with_rows", None)
        made.append(protocol if prepare is None else prepare(samples))
    return made


def check_golds(samples: Sequence[Sample], protocols: Sequence[ScoringProtocol], where: str) -> None:
    """Refuse gold answers that a protocol's normaliser empties: every answer contains, or equals, an empty text.

    Raises:
        DataError: there are some; names the samples, the gold answers and the protocols.
    """
    kinds = PackedSamples.of(samples).kinds
    empty: dict[str, str] = {}
    affected: dict[str, None] = {}
    for protocol in protocols:
        # A protocol of a plug-in may be without this method.
        form = getattr(protocol, "gold_form", None)
        if form is None:
            continue
        reads = reads_choices(protocol)
        scored = (s for s in kinds if s.answer_type != CHOICE or reads)
        lost = {gold for s in scored for gold in s.references if gold.strip() and not form(gold)}
        for sample in samples if lost else ():
            if (sample.answer_type != CHOICE or reads) and (found := lost & set(sample.references)):
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
    """Notes on rows that a protocol does not count, with their number, reasons and ids.

    One for each protocol that leaves out CLOSED rows, or some CHOICE rows where it scores such rows; and one for all
    protocols that score no CHOICE row.
    """
    notes = []
    closed, choices = _Typed(samples, CLOSED), _Typed(samples, CHOICE)
    for protocol in protocols:
        if not is_choice_only(protocol):
            notes += _left_out(protocol, closed, "closed")
        if reads_choices(protocol):
            notes += _left_out(protocol, choices, "multiple-choice")
    return notes + _unread_choices(len(choices), protocols)


class _Typed(Packed[Sample]):
    """The samples with an answer type."""

    def __init__(self, samples: Sequence[Sample], answer_type: str) -> None:
        types = column_values(samples, "answer_type")
        self._places = array("q", (place for place, found in enumerate(types) if found == answer_type))
        self._samples = samples

    def __len__(self) -> int:
        return len(self._places)

    def value_at(self, place: int) -> Sample:
        """The sample of a place."""
        return self._samples[self._places[place]]


def is_choice_only(protocol: ScoringProtocol) -> bool:
    """Whether a protocol scores multiple-choice rows and no others."""
    return bool(protocol.metrics) and all(metric.rows == "choice" for metric in protocol.metrics)


def reads_choices(protocol: ScoringProtocol) -> bool:
    """Whether a protocol scores multiple-choice rows: by metrics of their own, or by letters under `all`."""
    reads_letters = bool(getattr(protocol, "reads_letters", False))
    return any(metric.rows == "choice" or (metric.rows == "all" and reads_letters) for metric in protocol.metrics)


def _left_out(protocol: ScoringProtocol, rows: Sequence[Sample], kind: str) -> list[str]:
    """One note on the rows of a kind that a protocol does not count, by its own reasons; none where it counts all."""
    reason_of: Callable[[Sample], str] | None = getattr(protocol, "uncounted", None)
    if reason_of is None or getattr(reason_of, "__func__", None) is RowProtocol.uncounted:
        return []
    left_out: dict[str, list[str]] = defaultdict(list)
    for sample in rows:
        if reason := reason_of(sample):
            left_out[reason].append(sample.id)
    if not left_out:
        return []
    n = sum(map(len, left_out.values()))
    reasons = "; ".join(f"{len(ids)} because {reason}: {_named(ids)}" for reason, ids in left_out.items())
    return [f"{protocol.name} does not count {n} of {len(rows)} {kind} rows ({reasons})"]


def _unread_choices(n_choices: int, protocols: Sequence[ScoringProtocol]) -> list[str]:
    """One note on the protocols that score no multiple-choice row; none where there is no such row or protocol."""
    others = [protocol.name for protocol in protocols if not reads_choices(protocol)]
    if not n_choices or not others:
        return []
    read = [protocol.name for protocol in protocols if reads_choices(protocol)]
    also = (
        f"{', '.join(read)} {'does' if len(read) == 1 else 'do'}"
        if read
        else "no chosen protocol does, so they have no number; add protocol=choice-strict"
    )
    verb = "does" if len(others) == 1 else "do"
    return [f"{', '.join(others)} {verb} not score the {n_choices} multiple-choice rows; {also}"]


def letter_golds(samples: Sequence[Sample], protocols: Sequence[ScoringProtocol]) -> list[str]:
    """One note for each protocol under which a gold answer that is one letter is found inside of words."""
    rows = [s for s in samples if _has_letter(s)] if any(map(_has_letter, PackedSamples.of(samples).kinds)) else []
    notes = []
    for protocol in protocols:
        found = [sample.id for sample in rows if _reads_letters_in_words(protocol, sample)]
        if found:
            notes.append(
                f"{protocol.name} finds {len(found)} gold answers of one letter inside of words, so that almost any "
                f"answer is right for them: {_named(found)}. Give the text of the option in place of its letter"
            )
    return notes


def _has_letter(sample: Sample) -> bool:
    """Whether a gold answer of a row that is no multiple choice is one letter."""
    golds = (gold.strip() for gold in sample.references)
    return sample.answer_type != CHOICE and any(len(gold) == 1 and gold.isalpha() for gold in golds)


def _reads_letters_in_words(protocol: ScoringProtocol, sample: Sample) -> bool:
    """Whether a word around the gold letter, which is no answer to anything, counts as right."""
    letter = next(gold.strip() for gold in sample.references if len(gold.strip()) == 1 and gold.strip().isalpha())
    word = Prediction(sample_id=sample.id, text=f"qx{letter}xq")
    higher = {metric.name for metric in protocol.metrics if metric.higher_is_better}
    return any(score.metric in higher and (score.value or 0) > 0 for score in protocol.score(sample, word))


def small_classes(samples: Sequence[Sample], protocols: Sequence[ScoringProtocol]) -> list[str]:
    """One note where a protocol averages over classes and some of them have few rows: each weighs as much as others."""
    averaged = [m.name for p in protocols for m in p.metrics if m.aggregate in MACRO_AGGREGATES]
    if not averaged:
        return []
    support = Counter(references[0].lower() for references in column_values(samples, "references"))
    few = sorted((n, name) for name, n in support.items() if n < FEW_ROWS)
    if not few:
        return []
    return [
        f"{', '.join(dict.fromkeys(averaged))}: {len(few)} of {len(support)} classes have fewer than {FEW_ROWS} rows "
        f"({_named([f'{name}: {n}' for n, name in few])}), and each weighs 1/{len(support)}; the interval smooths "
        "their rates"
    ]


def _named(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - SHOWN} more" if len(ids) > SHOWN else ""
    return f"{', '.join(ids[:SHOWN])}{more}"
