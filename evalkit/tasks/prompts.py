"""Prompt variants: how a question is put to a model.  Made from the question alone, never from the gold answer.

plain: the question.  short: asks for a word or phrase.  options: a question that offers options, or can only be
answered yes or no, lists them as LLaVA-Med's own answer files do (their fine-tuned checkpoints need that hint).
"""

from __future__ import annotations

import hashlib
import re

from evalkit.errors import ConfigError, did_you_mean

SHORT = "Answer the question using a single word or phrase."
OPTIONS = "Please choose from the following two options: [{}]"
SHORT_ZH = "请用一个词或短语回答。"
OPTIONS_ZH = "请从以下选项中选择：[{}]"
_VARIANTS = {
    "plain": "{question}",
    "short": "{question}\n" + SHORT + "|" + SHORT_ZH,
    "options": "{question} " + OPTIONS + "|" + OPTIONS_ZH + "|options_in.1",
}
YES_NO = ("yes", "no")
YES_NO_ZH = ("是", "不是")

_CHINESE = re.compile(r"[\u4e00-\u9fff]")
_AUXILIARY = re.compile(
    r"(?:(?:in|on|from) (?:this|the) [\w -]+?, ?)?"
    r"(?:is|are|was|were|am|does|do|did|has|have|had|can|could|will|would|should|may|might|isn't|aren't|doesn't)\b",
    re.I,
)
# "Is there A or B?" asks whether there is one of them, not which of them it is.
_WHETHER = re.compile(r"\b(?:is|are|was|were) there\b|\b(?:have|has|contain|contains|show|see|seen|suggest)\b", re.I)
_ARTICLES = re.compile(r"^(?:(?:a|an|the|on|in|at|from|it|to|of|is|are|this|either|more|located|taken|with)\s+)+", re.I)
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
        return _chinese_options(text)
    asks = bool(_AUXILIARY.match(text))
    if re.search(r"\bor not\b", text, re.I):
        return YES_NO
    if re.search(r"\bor\b", text, re.I) and not (asks and _WHETHER.search(text)):
        found = _listed(text)
        if found:
            return found
    return YES_NO if asks else ()


def _listed(text: str) -> tuple[str, ...]:
    """The members of "A, B or C"; the first loses what leads up to it, the last what follows it."""
    before, after = re.split(r"\bor\b", text.rstrip("?. "), maxsplit=1, flags=re.I)
    *lead, last = [p.strip() for p in re.split(r"[,:;]", before) if p.strip()] or [""]
    right = _ARTICLES.sub("", _LETTERS.sub("", after).strip())
    if not last or not right:
        return ()
    # After a comma the whole piece is an option; without one only its last word is.
    listed = [p for p in lead[1:] if len(p.split()) <= 3] if lead else []
    left = last if lead and len(last.split()) <= 3 else last.split()[-1]
    right_words = right.split()
    right = right if len(right_words) <= max(2, len(left.split())) else " ".join(right_words[: len(left.split())])
    options = tuple(_ARTICLES.sub("", _LETTERS.sub("", o).strip()) for o in (*listed, left, right))
    return options if all(options) and len(set(options)) == len(options) else ()


def _chinese_options(text: str) -> tuple[str, ...]:
    text = text.rstrip("？?。 ")
    if "还是" in text:
        before, after = text.split("还是", 1)
        left = re.split(r"[，,、：:是在为]", before)[-1]
        return (left, after) if left and after and left != after else ()
    if text.endswith(("吗", "么")) or re.search(r"是否|有没有|是不是|能否|可否", text):
        return YES_NO_ZH
    return ()
