"""ColonEval's scorers by the form of a row: options, ranges, yes or no, landmarks, longest run of the gold's words."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from evalkit.core.types import CHOICE, LETTERS, Metric, Sample
from evalkit.scoring.row_protocol import MetricResult, RowProtocol

_OPENING, _CLOSING = re.compile("<answer>", re.IGNORECASE), re.compile("</answer>", re.IGNORECASE)
_OPTION = re.compile(r"<([A-Z])>\s*(.*?)(?=\s*<[A-Z]>|$)")
_NAMED = re.compile(r"<([A-Z])>(.*?)(?:\s*\((.*)\))?\s*$", re.DOTALL)
_RANGE = re.compile(r"([><]=?)\s*(\d+)|(\d+)\s*([><]=?)")
_MIRRORED = {">": "<", "<": ">", ">=": "<=", "<=": ">="}
_OPERATORS = {
    ">=": "at least|or more|or greater|greater than or equal to|≥",
    ">": "larger than|greater than|more than|above|>",
    "<=": "at most|or less|or smaller|less than or equal to|≤",
    "<": "less than|smaller than|below|<",
}
_AGREES = (
    "yes", "shows", "displays", "confirms", "is present", "can be seen", "visible", "identified", "observed",
    "detected", "reveals", "presents", "indicates",
)  # fmt: skip
_DENIES = (
    "no", "not", "fails to show", "does not show", "cannot be seen", "is absent", "is not present", "not visible",
    "no sign of", "unremarkable", "clear of", "devoid of",
)  # fmt: skip
_LANDMARKS = ("ileocecal valve", "cecum")
_REFEREE = "the authors' code asks a language model about such an answer"


class _Option(NamedTuple):
    """An option as the authors cut it from the question: all but the last keep the comma behind them."""

    letter: str
    text: str
    short: str | None


class ColonEval(RowProtocol):
    """accuracy: the mean over all rows of ColonEval's 16 tasks, whose scorer follows from the form of the row.

    Options (single choice; ranges in mm read in words too), yes or no, a landmark (0.5 for the right yes or no, 1.0
    with its name), and else the share of the gold's words in its longest run inside the answer.  What stands in an
    <answer> tag is read, where there is one.  An answer that names several options, or yes and no, is unscored.
    """

    metrics = (Metric(name="accuracy"),)
    rule = "none"
    rules = ("none",)
    norm = "lower"
    reads_letters = True

    def is_closed(self, sample: Sample) -> bool | None:
        del sample
        return None

    def metric_results(self, sample: Sample, answer: str) -> Mapping[str, MetricResult]:
        said = _tagged(answer).strip()
        gold = sample.references[0]
        if sample.answer_type == CHOICE:
            return {"accuracy": _choice(sample, said)}
        if gold.strip().lower() in ("yes", "no"):
            return {"accuracy": _yes_or_no(gold.strip().lower(), said.lower())}
        if re.match(r"(?:yes|no)\b\W+\w", gold.strip(), re.IGNORECASE):
            return {"accuracy": MetricResult(value=landmark(gold, said), extracted=said)}
        return {"accuracy": MetricResult(value=longest_run(gold, said), extracted=said)}


def _tagged(answer: str) -> str:
    """The content of the first <answer> tag that closes, else the whole answer."""
    opening = _OPENING.search(answer)
    closing = _CLOSING.search(answer, opening.end()) if opening else None
    return answer[opening.end() : closing.start()] if opening and closing else answer


def longest_run(gold: str, answer: str) -> float:
    """Share of the gold's words in the longest run of them that is a substring of the answer.

    >>> longest_run("low-grade adenoma", "A grade adenoma."), longest_run("polyp", "polyps"), longest_run("polyp", "")
    (0.6666666666666666, 1.0, 0.0)
    """
    said, words = _normalised(answer), _normalised(gold).split()
    for length in range(len(words), 0, -1):
        if any(" ".join(words[i : i + length]) in said for i in range(len(words) - length + 1)):
            return length / len(words)
    return 0.0 if words else 1.0  # the empty text is part of every answer


def _normalised(text: str) -> str:
    text = re.sub(r"[^\w\s]", "", re.sub("[-/]", " ", text))
    return re.sub(r"\s+", " ", text).strip().lower()


def landmark(gold: str, answer: str) -> float:
    """0.5 for the same yes or no as the gold, by the authors' words for either, and 1.0 with the landmark's name.

    >>> landmark("Yes. It shows cecum.", "The cecum is visible"), landmark("Yes. It shows cecum.", "yes")
    (1.0, 0.5)
    """
    right, said = gold.lower().strip(), answer.lower().strip()
    if not said or right == said:
        return float(bool(said))
    agrees, denies = _has_any(_AGREES, said), _has_any(_DENIES, said)
    stance = "unknown" if agrees == denies else "yes" if agrees else "no"
    if right.split()[0].strip(".,?!") != stance:
        return 0.0
    if "not show anatomical landmark" in right:
        named = "not show" in said or "unclear" in said
    else:
        named = any(f"shows {name}" in right and name in said for name in _LANDMARKS)
    return 1.0 if named else 0.5


def _has_any(words: Sequence[str], text: str) -> bool:
    return any(re.search(rf"\b{re.escape(word)}\b", text) for word in words)


def _yes_or_no(gold: str, said: str) -> MetricResult:
    if _has_any(("yes",), said) and _has_any(("no",), said):
        return MetricResult(value=None, reason=f"both yes and no; {_REFEREE}")
    hit = "undecidable" not in said and _has_any((gold,), said)
    return MetricResult(value=float(hit), extracted=said)


def _choice(sample: Sample, said: str) -> MetricResult:
    """The result of a row with options, which are read from the question as the authors print it."""
    if len(sample.references) > 1:
        return MetricResult(value=None, reason="several of its options are right, and the authors' code knows one")
    pairs = list(zip(LETTERS, sample.choices, strict=False))
    question = f"{sample.question} " + ", ".join(f"<{letter}> {text}" for letter, text in pairs)
    options = [_cut(letter, text) for letter, text in _OPTION.findall(question)]
    named = _named(said)
    if named is not None and (_is_foreign(named, options) or _is_mixed(named, options)):
        return MetricResult(value=0.0, extracted=said, note="the letter and the text are not those of one option")
    if _count_named(said.lower(), options) > 1:
        return MetricResult(value=None, reason=f"several options are named; {_REFEREE}")
    letter = sample.letters[0]
    gold = f"<{letter}> {sample.references[0]}"
    low = said.lower()
    hit = "undecidable" not in low and (_names_gold(gold, low) or (_is_range(sample) and _in_range(gold, low)))
    return MetricResult(value=float(hit), extracted=said)


def _is_range(sample: Sample) -> bool:
    return any("mm" in text and re.search("[<>≤≥]", text) for text in sample.choices)


def _cut(letter: str, text: str) -> _Option:
    text = text.strip()
    found = re.search(r"\((.*?)\)", text)
    if found is None:
        return _Option(letter, text.lower(), None)
    return _Option(letter, text[: found.start()].strip().lower(), found[1].strip().lower())


def _named(text: str) -> tuple[str, str, str | None] | None:
    """Letter, text and short form of an answer "<A> Text (Short)"; None for any other."""
    found = _NAMED.match(text)
    if found is None:
        return None
    letter, content, short = found.groups()
    if short:
        short = short.strip()
        short = short.removeprefix("characteristic for ").strip()
    return letter, content.strip(), short or None


def _is_foreign(named: tuple[str, str, str | None], options: Sequence[_Option]) -> bool:
    """Whether an answer names a letter or a text that no option has."""
    letter, text, short = named
    if not text and not short:
        return False
    low, brief = text.lower(), (short or "").lower()
    shorts = [o.short for o in options if o.short is not None]
    return (
        letter not in {o.letter for o in options}
        or (bool(low) and not any(low in o.text or o.text in low for o in options))
        or (bool(brief) and not any(brief in s or s in brief for s in shorts))
    )


def _is_mixed(named: tuple[str, str, str | None], options: Sequence[_Option]) -> bool:
    """Whether letter, text and short form are those of different options."""
    letter, text, short = named
    places = (
        next((i for i, o in enumerate(options) if o.letter == letter), None),
        next((i for i, o in enumerate(options) if text and o.text == text.lower()), None),
        next((i for i, o in enumerate(options) if short and o.short == short.lower()), None),
    )
    return len({p for p in places if p is not None}) > 1


def _count_named(said: str, options: Sequence[_Option]) -> int:
    """How many options an answer names by text, letter or short form; a text inside a longer named one is left out."""
    found: list[tuple[int, str, bool]] = []
    found += [(i, o.text, True) for i, o in enumerate(options) if o.text and _word(o.text, said)]
    lone = r"(?<![a-zA-Z]')(?<![a-zA-Z0-9]){}(?![a-zA-Z0-9])"
    letters = [(i, o.letter.lower()) for i, o in enumerate(options)]
    found += [(i, letter, False) for i, letter in letters if re.search(lone.format(letter), said, re.IGNORECASE)]
    found += [(i, o.short, False) for i, o in enumerate(options) if o.short and _word(o.short, said)]
    kept: set[int] = set()
    for place, text, is_text in sorted(found, key=lambda f: -len(f[1])):
        inside = is_text and any(text in options[k].text and text != options[k].text for k in kept)
        if not inside:
            kept.add(place)
    return len(kept)


def _word(text: str, said: str) -> bool:
    return re.search(rf"\b{re.escape(text)}\b", said, re.IGNORECASE) is not None


def named_option(reply: str, options: Sequence[str]) -> str:
    """The letter of the one option that a referee's reply names; Z for "undecidable", "" for none, several or prose.

    The authors ask for the option, or the word, alone, and read the reply as the answer in whose place it stands.

    >>> named_option("<B> Narrow Band Imaging (NBI)", ("White Light Imaging (WLI)", "Narrow Band Imaging (NBI)"))
    'B'
    """
    low = reply.strip().lower()
    word = low.strip(" \"'`*_.,;:!")
    pairs = list(zip(LETTERS, options, strict=False))
    if "undecidable" in low:  # beside an option it is wrong for the authors, and no plain statement
        return "Z" if word == "undecidable" else ""
    if tuple(options) == ("yes", "no"):
        letters = [letter for letter, option in pairs if option == word]
    elif "\n" in low or _count_named(low, [_cut(letter, text) for letter, text in pairs]) > 1:
        return ""
    else:
        letters = [letter for letter, text in pairs if _names_gold(f"<{letter}> {text}", low)]
    return letters[0] if len(letters) == 1 else ""


def _names_gold(gold: str, said: str) -> bool:
    """Whether an answer has the letter of the right option in one of the authors' forms, its text or its short form."""
    letter, text, short = _named(gold) or ("", "", None)
    low = letter.lower()
    forms = rf"<{low}>|(\({low}\))|^{low}$|\b{low}[\s.)>\]]|[\s<([]({low})\b"
    texts = (t.lower() for t in (text, short) if t)
    return re.search(forms, said, re.IGNORECASE) is not None or any(t in said for t in texts)


def _in_range(gold: str, said: str) -> bool:
    """Whether an answer states every bound of the right range in words or signs."""
    text = gold[4:].replace("≥", ">=").replace("≤", "<=").replace("mm", "")
    subject = re.search(r"\b([a-zA-Z]+)\b", text)
    if subject is None:
        return False
    bounds = [(a, b) if a else (_MIRRORED[d], c) for a, b, c, d in _RANGE.findall(text)]
    return all(
        re.search(rf"\b({subject[1]}|it|is)\b.*?(?:{_OPERATORS[sign]})\s*{number}\b", said, re.IGNORECASE)
        for sign, number in bounds
    )
