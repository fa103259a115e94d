"""EvalScope's SLAKE: equality after its normaliser of what the last ANSWER line says."""

from __future__ import annotations

import re
import string
from collections.abc import Mapping

from evalkit.core.remembered import remembered
from evalkit.core.types import Sample
from evalkit.scoring.row_protocol import ACCURACIES, MetricResult, RowProtocol, all_accuracies, best_of, references
from evalkit.scoring.text.normalise import ARTICLES, LMMS_WIDE_PUNCTUATION, ZERO_TO_TEN, without_enclosed, word_set

_ANSWER = re.compile(r"ANSWER:\s*(.*)", re.IGNORECASE)
_ROUND = {"(": ")", "（": "）"}
_PUNCTUATION = str.maketrans(dict.fromkeys(string.punctuation + LMMS_WIDE_PUNCTUATION, " "))
_YES = word_set("yes yeah yep true 是 是的 有 包含 存在 可以 能 会")
_NO = word_set("no nope false 否 不是 没有 无 不包含 不存在 不可以 不能 不会 不正常")
_X_RAY = frozenset({"x ray", "xray", "x光", "x 光", "x射线", "x 射线"})
_DIGITS = {word: str(value) for value, word in enumerate(ZERO_TO_TEN)} | {"none": "0", "两": "2"}
_DIGITS |= {char: str(value) for value, char in enumerate("零一二三四五六七八九十")}
_COUNTER = "个"


class EvalScopeSlake(RowProtocol):
    """EvalScope's SLAKE, English and Chinese, open and closed by the row's label: one rule for all four."""

    metrics = ACCURACIES

    norm = "evalscope"

    def metric_results(self, sample: Sample, answer: str) -> Mapping[str, MetricResult]:
        predicted = evalscope(last_answer(answer))
        hits = (float(predicted == evalscope(gold)) for gold in references(sample))
        return best_of((all_accuracies(hit) for hit in hits), predicted)


def last_answer(text: str) -> str:
    """What follows the last "ANSWER:" in its line, or in the next one where its line ends there; else the whole text.

    >>> last_answer('The form is ANSWER: X.\\nANSWER: "CT"'), last_answer(" CT ")
    ('CT', 'CT')
    """
    found = _ANSWER.findall(text)
    return str(found[-1]).strip().strip("\"'") if found else text.strip()


@remembered
def evalscope(text: str) -> str:
    """EvalScope's SLAKE form: parentheses out, signs to spaces, digits for number words, no articles, yes, no, xray.

    >>> evalscope("An X-Ray."), evalscope("存在"), evalscope("两个"), evalscope("None"), evalscope("CT (axial)")
    ('xray', 'yes', '2', '0', 'ct')
    """
    bare = without_enclosed(text.strip().lower(), _ROUND).translate(_PUNCTUATION)
    words = " ".join(word for word in map(_digit, bare.split()) if word not in ARTICLES)
    if words in _X_RAY:
        return "xray"
    if words in _YES:
        return "yes"
    return "no" if words in _NO else words


def _digit(word: str) -> str:
    """The digit of a number word, whose Chinese counter is taken off; any other word as it is."""
    if word.endswith(_COUNTER) and ((number := word[:-1]).isdigit() or number in _DIGITS):
        word = number
    return _DIGITS.get(word, word)
