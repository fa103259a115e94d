"""Features of an answer to a multiple-choice question, by which the probes that explain it are found."""

from __future__ import annotations

import re

from evalkit.core.types import LETTERS, Sample
from evalkit.scoring.choices import mentioned, read_choice
from evalkit.scoring.text.answer_marks import plain_answer

_LONE = re.compile(r"(?<![A-Za-z'’])([A-Z])(?![A-Za-z'’])")
_LONE_SMALL = re.compile(r"(?<![A-Za-z'’])([b-hj-z])(?![A-Za-z'’])|(?:^|is|:)\W*a\W*$|[(\[{*:]\s*a\s*[)\]}*.]")
_ARTICLE = re.compile(r"(?<![A-Za-z'’(])(?:A|I)\s+[a-z]")
_WRAPPED = re.compile(r"[(\[{*`_$<>\"'“]\s*[A-Za-z]\s*[)\]}*`_$<>\"'”]|boxed|</?answer>")
_HAN_OR_WIDE = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uff00-\uffef]")
# VLMEvalKit reads a lone letter among the last so many words only.
_LAST_WORDS = 5


def choice_features(sample: Sample, answer: str) -> frozenset[str]:
    """Every feature of an answer that may explain why two readings of it differ."""
    offered = LETTERS[: len(sample.choices)]
    text = plain_answer(answer)
    lone = _LONE.findall(text)
    named = {letter for letter in lone if letter in offered}
    words = text.split()
    told = mentioned(text, sample.choices)
    several = len(sample.letters) > 1
    reading = read_choice(answer, sample.choices, several=several)
    ends = "".join(words[-_LAST_WORDS + 1 :])
    tests = {
        "empty": not text,
        "signs": bool(text) and not any(char.isalnum() for char in text),
        "two letters": len(named) > 1,
        "two options": len(named) < 2 and (len(told) > 1 or reading.reason.startswith("states")),
        "article": _ARTICLE.search(text) is not None,
        "small letter": not named and _LONE_SMALL.search(text) is not None,
        "other letter": bool(set(lone) - set(offered) - {"I"}),
        "wide": _HAN_OR_WIDE.search(answer) is not None,
        "wrapped": _WRAPPED.search(answer) is not None,
        "early letter": bool(named) and not any(letter in ends for letter in named),
        "letter and words": bool(named) and len(words) > 1,
        "letter": bool(named),
        "capitals": any(char in offered for char in re.sub(_LONE, "", text)),
        "inner text": len(told) < len([c for c in sample.choices if c.casefold() in text.casefold()]),
        "text in words": bool(told) and not named and len(words) > len(sample.choices[0].split()),
        "text": bool(told),
        "nothing": not reading.labels,
    }
    return frozenset(name for name, holds in tests.items() if holds)
