"""Statistics of a run's answers: rates of failures, yes/no answers as a diagnostic test, consistency of rewordings."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from statistics import median
from typing import Any, NamedTuple

from evalkit.core.columns import column_values
from evalkit.core.remembered import remembered
from evalkit.core.types import CUT_IN_REASONING, MetricKey, Prediction, Sample, Score
from evalkit.models.text_only_baselines import fold_text
from evalkit.scoring.score_table import ScoreTable
from evalkit.scoring.text.medical import read_list
from evalkit.scoring.text.refusals import contains_refusal
from evalkit.scoring.text.yes_no import gold_polarity, read_yes_no
from evalkit.stats import mean_interval

# So many equal answers are no coincidence.
MIN_EQUAL = 20
# Answers of more words than this, and than twice their references, are sentences where a word is asked for.
SENTENCE_WORDS = 4
# Characters of the answer that a warning quotes.
SHOWN_ANSWER = 60


def rates(
    samples: Sequence[Sample], predictions: Sequence[Prediction], scores: Sequence[Score] | ScoreTable
) -> dict[str, Any]:
    """Shares of all samples; unparsable: closed answers that `strict` could not read, as a share of its closed samples.

    truncated: None where no answer records how it ended, as in files of other tools.
    """
    n = len(samples)
    closed = ScoreTable.of(scores, samples).metrics.get(MetricKey("strict", "closed_accuracy"))
    texts = [text for text in column_values(predictions, "text") if text is not None]
    is_refusal = remembered(contains_refusal)
    ends = Counter(zip(column_values(predictions, "error"), column_values(predictions, "finish_reason"), strict=True))
    truncated = sum(k for (error, reason), k in ends.items() if reason == "length" or error == CUT_IN_REASONING)
    return {
        "failed": sum(k for (error, _), k in ends.items() if error not in (None, CUT_IN_REASONING)) / n,
        "empty": sum(not t.strip() for t in texts) / n,
        "truncated": truncated / n if truncated or any(reason != "unknown" for _, reason in ends) else None,
        "refusal": sum(is_refusal(t) for t in texts) / n,
        "unparsable": int((closed.values != closed.values).sum()) / len(closed.values) if closed else None,
        "words": sum(len(t.split()) for t in texts) / len(texts) if texts else None,
    }


class Wordiness(NamedTuple):
    """Words of the answers and of the shortest references, in the median."""

    said: float
    asked: float


def wordiness(texts: Iterable[str | None], references: Iterable[Sequence[str]]) -> Wordiness | None:
    """How long answers and references are, where the answers are sentences and a word is asked for; else None."""
    said = [len(text.split()) for text in texts if text]
    asked = [min(len(r.split()) for r in of) for of in references if of]
    if not said or not asked:
        return None
    found = Wordiness(median(said), median(asked))
    return found if found.said > max(SENTENCE_WORDS, 2 * found.asked) else None


def uniform_answers(samples: Sequence[Sample], predictions: Sequence[Prediction]) -> tuple[str, ...]:
    """Warnings about answers that cannot be a model's answers to the questions: all empty, or all the same.

    The same answer to all is said from `MIN_EQUAL` answers on, to questions with different references.
    """
    texts = [text for text in column_values(predictions, "text") if text is not None]
    if texts and not any(t.strip() for t in texts):
        return (
            f"all {len(texts)} answers are empty: the numbers say nothing about the model. Check the prompt, the token "
            "limit, and whether answers are decoded or stored under another name",
        )
    if len(texts) < MIN_EQUAL or any(t != texts[0] and _ending_off(t) != _ending_off(texts[0]) for t in texts):
        return ()
    references = {fold_text(references[0]) for references in set(column_values(samples, "references"))}
    if len(references) > 1:
        return (
            f"all {len(texts)} answers are the same ({' '.join(texts[0].split())[:SHOWN_ANSWER]!r}), to questions with "
            f"{len(references)} different reference answers: check that the questions and images reach the model",
        )
    return ()


def _ending_off(text: str) -> str:
    return fold_text(text).rstrip(".!")


class _Verdict(NamedTuple):
    """A yes/no sample whose answer could be read: whether the reference and the answer are yes, and its image."""

    gold: bool
    answer: bool
    image_id: str


def yes_no(samples: Sequence[Sample], predictions: Sequence[Prediction]) -> dict[str, Any] | None:
    """Yes/no samples as a diagnostic test: yes-bias, sensitivity, specificity; None without such samples.

    n_read: the answers that say yes or no; the shares are over them, with intervals clustered by image.
    """
    read: list[_Verdict] = []
    n = 0
    verdict_of = remembered(lambda text, question: read_yes_no(text, question).polarity)
    columns = (column_values(samples, name) for name in ("references", "question", "image_id"))
    for references, question, image_id, said in zip(*columns, column_values(predictions, "text"), strict=True):
        gold = references[0].strip().lower().rstrip(".")
        if gold not in ("yes", "no"):
            continue
        n += 1
        text = said or ""
        verdict = verdict_of(text, question) if text.strip() else None
        if verdict is not None:
            read.append(_Verdict(gold == "yes", verdict == "yes", image_id))
    if not read:
        return {"n": n, "n_read": 0} if n else None
    hits = {gold: [float(v.answer == gold) for v in read if v.gold == gold] for gold in (True, False)}
    images = {gold: [v.image_id for v in read if v.gold == gold] for gold in (True, False)}
    sensitivity, specificity = (sum(hits[gold]) / len(hits[gold]) if hits[gold] else None for gold in (True, False))
    return {
        "n": n,
        "n_read": len(read),
        "yes_said": sum(v.answer for v in read) / len(read),
        "yes_gold": sum(v.gold for v in read) / len(read),
        "sensitivity": sensitivity,
        "sensitivity_interval": _bounds(hits[True], images[True]),
        "specificity": specificity,
        "specificity_interval": _bounds(hits[False], images[False]),
        "balanced_accuracy": None if sensitivity is None or specificity is None else (sensitivity + specificity) / 2,
    }


def _bounds(values: Sequence[float], images: Sequence[str]) -> list[float | None]:
    interval = mean_interval(values, images)
    return [interval.low, interval.high] if interval else [None, None]


class _Answer(NamedTuple):
    """A sample and the text of its answer."""

    sample: Sample
    text: str

    @property
    def reading(self) -> object:
        """The content of the answer, as `strict` reads it."""
        return _reading(self.sample, self.text)

    @property
    def gold(self) -> object:
        """The content of the reference answer, read in the same way."""
        return _reading(self.sample, self.sample.references[0])


def consistency(samples: Sequence[Sample], predictions: Sequence[Prediction]) -> dict[str, Any] | None:
    """Rewordings of one question about one image (tag `pair`): how many pairs get the same answer.

    Linked questions may differ in meaning ("is the trachea normal?", "is it midline?"), so only pairs with the same
    reference answer count; n_other_gold is the number of the others.  Answers are the same when `strict` reads the same
    from both: the verdict where the reference is yes or no, else the list after aliases.
    """
    groups: dict[tuple[str, str], list[_Answer]] = defaultdict(list)
    texts = column_values(predictions, "text")
    for place, (tags, text) in enumerate(zip(column_values(samples, "tags"), texts, strict=True)):
        if (pair := tags.get("pair")) and text is not None:
            sample = samples[place]
            groups[sample.image_id, pair].append(_Answer(sample, text))
    linked = [(a, b) for group in groups.values() for k, a in enumerate(group) for b in group[k + 1 :]]
    if not linked:
        return None
    pairs = [(a, b) for a, b in linked if a.gold == b.gold]
    same = [float(a.reading == b.reading) for a, b in pairs]
    right = sum(a.reading == b.reading == a.gold for a, b in pairs)
    return {
        "n_pairs": len(pairs),
        "n_other_gold": len(linked) - len(pairs),
        "same_answer": sum(same) / len(same) if same else None,
        "interval": _bounds(same, [a.sample.image_id for a, _ in pairs]),
        "both_right": right / len(pairs) if pairs else None,
    }


def _reading(sample: Sample, text: str) -> object:
    """The verdict of an answer to a yes/no question (its text where unreadable), else the list of its terms."""
    if gold_polarity(sample.references[0], sample.question) and text.strip():
        return read_yes_no(text, sample.question).polarity or fold_text(text)
    return read_list(text).items
