"""Prompt variants: how a question is put to a model.  Made from the question alone, never from the gold answer.

plain: the question.  short: asks for a word or phrase.  options: a question that offers options, or can only be
answered yes or no, lists them as LLaVA-Med's own answer files do (their fine-tuned checkpoints need that hint).
"""

from __future__ import annotations

import hashlib
import re

from evalkit.errors import ConfigError, did_you_mean
from evalkit.tasks.options_zh import chinese_options

SHORT = "Answer the question using a single word or phrase."
OPTIONS = "Please choose from the following two options: [{}]"
SHORT_ZH = "请用一个词或短语回答。"
OPTIONS_ZH = "请从以下选项中选择：[{}]"
_VARIANTS = {
    "plain": "{question}",
    "short": "{question}\n" + SHORT + "|" + SHORT_ZH,
    "options": "{question} " + OPTIONS + "|" + OPTIONS_ZH + "|options_in.2",
}
YES_NO = ("yes", "no")

_CHINESE = re.compile(r"[\u4e00-\u9fff]")
_AUXILIARY = re.compile(
    r"(?:(?:in|on|from|besides) (?:this|the) [\w -]+?, ?)?"
    r"(?:(?:is|are|was|were|am|does|do|did|has|have|had|can|could|will|would|should|may|might|isn't|aren't|doesn't)\b"
    r"|(?:any|anything)\b|evidence of\b)",  # "Any effusion?", "Evidence of haemorrhage?" leave "is there" out
    re.I,
)
# "Is there A or B?", "Is A or B seen?" ask whether there is one of them, not which of them it is.
_WHETHER = re.compile(
    r"\b(?:is|are|was|were) there\b|\b(?:any|anything|evidence|have|has|contain|contains|show|see|suggest)\b"
    r"|\bor\b.*\bseen\b",
    re.I,
)
# What, where and how ask for something else, unless they list the options after a comma.
_OPEN_WORD = re.compile(r"(?:what|where|how|why|who|when|whose)\b", re.I)
_ARTICLES = re.compile(r"^(?:(?:a|an|the|on|in|at|from|it|to|of|is|are|this|either|located|taken)\s+)+", re.I)
# Words that share the noun behind the "or".
_SHARING = frozenset({"with", "without", "more", "less", "left", "right", "upper", "lower", "gray", "grey", "white"})
_NO_NOUN = frozenset({"relative", "compared", "than", "in", "on", "of", "to", "for", "and", "seen"})
# General nouns that belong to every option but stand behind the last one only.
_NOUN = re.compile(r"(?<=\w)\s+(?:image|images|scan|picture|view|film|sequence|plane)$", re.I)
_REST = re.compile(r"(?<=\w)\s+(?:side|weighted)$", re.I)
_LETTERS = re.compile(r"[^\w\s\-/]")


def render(prompt: str, question: str, choices: tuple[str, ...]) -> str:
    """The text that a model is asked under the variant `prompt`.

    Raises:
        ConfigError: there is no such variant.
    """
    check_prompt(prompt)
    chinese = bool(_CHINESE.search(question))
    if prompt == "short":
        return f"{question}\n{SHORT_ZH if chinese else SHORT}"
    if prompt == "options" and choices:
        return f"{question} {(OPTIONS_ZH if chinese else OPTIONS).format(', '.join(choices))}"
    return question


def prompt_id(prompt: str) -> str:
    """The variant's name and the first 8 hex digits of the SHA-256 of its template, for signatures."""
    check_prompt(prompt)
    return f"{prompt}@{hashlib.sha256(_VARIANTS[prompt].encode()).hexdigest()[:8]}"


def check_prompt(prompt: str) -> None:
    """Raises ConfigError for an unknown variant."""
    if prompt not in _VARIANTS:
        raise ConfigError(f"task.prompt={prompt} is not possible. {did_you_mean(str(prompt), _VARIANTS)}")


def options_in(question: str) -> tuple[str, ...]:
    """The answers that a question itself offers; () when it offers none.

    >>> options_in("Is the lesion on the left or right?")
    ('left', 'right')
    >>> options_in("Which is bigger in this image, lung or heart?")
    ('lung', 'heart')
    >>> options_in("Is there a mass or a nodule?"), options_in("What organ is this?")
    (('yes', 'no'), ())
    """
    text = " ".join(question.split()).strip()
    if _CHINESE.search(text):
        return chinese_options(text)
    asks = bool(_AUXILIARY.match(text))
    if re.search(r"\bor not\b", text, re.I):
        return YES_NO
    if _lists(text, asks) and (found := _listed(text)):
        return found
    return YES_NO if asks else ()


def _lists(text: str, asks: bool) -> bool:
    """Whether an "or" in the question separates options to choose from."""
    if not (found := re.search(r"\bor\b", text, re.I)):
        return False
    if asks:
        return not _WHETHER.search(text) or bool(
            re.search(r"\bnormal or abnormal\b|\babnormal or normal\b", text, re.I)
        )
    return not _OPEN_WORD.match(text) or bool(re.search("[,:]", text[: found.start()]))


def _listed(text: str) -> tuple[str, ...]:
    """The members of "A, B or C"; the first loses what leads up to it, the last what follows it."""
    before, after = re.split(r"\bor\b", text.rstrip("?. "), maxsplit=1, flags=re.I)
    *lead, last = [p.strip() for p in re.split(r"[,:]", before) if p.strip()] or [""]
    right = _bare(after)
    if not last or not right:
        return ()
    # After a comma the whole piece is an option; without one only its last word is.
    listed = [p for p in lead[1:] if len(p.split()) <= 3] if lead else []
    left = _bare(last) if lead and len(last.split()) <= 3 else last.split()[-1]
    if lead and _AUXILIARY.match(lead[0]) and len(last.split()) <= 3:  # "Is this A, B or C?"
        listed.insert(0, " ".join(lead[0].split()[-len(last.split()) :]))
    if not lead:
        left, right = _pair(last, right)
    elif len(right.split()) > max(2, len(left.split())):
        right = " ".join(right.split()[: len(left.split())])
    options = tuple(_bare(o) for o in (*listed, left, right))
    if not all(_NOUN.search(option) for option in options):  # "MRI or CT scan", but "coronal plane or axial plane"
        options = tuple(_NOUN.sub("", option) for option in options)
    return options if all(options) and len(set(options)) == len(options) else ()


def _pair(before: str, right: str) -> tuple[str, str]:
    """The options around an "or" without commas; `before` ends with the first one, `right` begins with the second."""
    words, following = before.split(), right.split()
    left = words[-1]
    if left.lower() in (lower := [word.lower() for word in following]):  # "T1 weighted or T2 weighted MRI"
        n = lower.index(left.lower()) + 1
        return " ".join(words[-n:]), " ".join(following[:n])
    if (
        left.lower() in _SHARING and len(following) > 1 and following[1].lower() not in _NO_NOUN
    ):  # "left or right kidney", "with or without contrast"
        return f"{left} {following[1]}", " ".join(following[:2])
    return left, right if len(following) <= 2 else following[0]


def _bare(option: str) -> str:
    """An option without punctuation, the small words before it and a "side" or "weighted" behind it."""
    return _REST.sub("", _ARTICLES.sub("", _LETTERS.sub("", option).strip()))
