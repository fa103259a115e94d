"""The part of an answer that affirms something: without questions, and without what it denies."""

from __future__ import annotations

import re

from evalkit.scoring.text.clauses import asks, clauses, sentences, spelled_out, without_tags
from evalkit.scoring.text.medical import fold, plain_words
from evalkit.scoring.text.normalise import word_set
from evalkit.scoring.text.restatement import denied_end
from evalkit.scoring.text.statement_words import AGAINST, DENIAL, YES_NO, is_plain_denied

# "不是左侧" up to the next mark, or to what is named instead; "左侧已排除"
_ZH_DENIED = re.compile(
    r"(?:不是|不在|不属于|不位于|并非|没有|排除|而非|而不是)[^，,。.；;!！\n]*?(?=而是|[，,。.；;!！\n]|$)"
    r"|[^，,。.；;!！\n]*(?:排除|除外)"
)
_ZH_NEGATIONS = frozenset("不非无没")
_ELLIPTIC = re.compile(r"(?:is|are|was|were) (\w+)")
_OF_PLACE = word_set("on in at of from located more seen shown")
_NO = word_set("no nope nah")


def affirmed_text(answer: str, question: str, options: str) -> str | None:
    """An answer without its questions and without what it denies; None if it is nothing but questions.

    A denial that the options themselves contain ("no contrast") is none.  An answer without questions and denials
    comes back as it is.

    >>> affirmed_text("It is on the right, not left", "Left or right?", "left right")
    'it is on the right, '
    >>> affirmed_text("The left is ruled out", "Left or right?", "left right")
    ''
    >>> affirmed_text("Is it left?", "Left or right?", "left right") is None
    True
    """
    asked, offered = fold(question), set(plain_words(fold(options)))
    everything = sentences(spelled_out(without_tags(fold(answer))))
    told = [part for part in everything if _is_statement(part, offered) or not asks(part, asked)]
    if everything and not told:
        return None
    before = [clause for part in told for clause in clauses(part, frozenset())]
    after = [_affirmed(clause, offered) for clause in before]
    return answer if len(told) == len(everything) and before == after else "\n".join(after)


def _affirmed(clause: str, offered: set[str]) -> str:
    """A clause without what it denies."""
    if instead := AGAINST.search(clause):
        clause = clause[: instead.start()]
    denials = [
        match
        for match in DENIAL.finditer(clause)
        if match[0] not in YES_NO - _NO and not offered & set(plain_words(match[0]))
    ]
    if not denials:
        return clause if offered & _ZH_NEGATIONS else _ZH_DENIED.sub("", clause)
    denial = denials[0]
    before, after = clause[: denial.start()], clause[denial.end() :]
    end = denied_end(after, lists_on=True)
    denied = plain_words(after[:end])
    if len(denials) > 1 or denial["whole"] or not plain_words(after):
        return ""
    # "left is not seen" denies what stands before it, "left, not right" and "MRI without contrast" what follows
    predicate = bool(denied) and not offered & set(denied) and all(map(is_plain_denied, denied))
    return "" if predicate else before + after[end:]


def _is_statement(sentence: str, offered: set[str]) -> bool:
    """Whether a sentence that starts as questions do is an answer without its subject ("is on the left")."""
    found = _ELLIPTIC.match(sentence)
    return found is not None and not sentence.endswith("?") and found[1] in offered | _OF_PLACE
