"""Prompt variants: the text of a question as the model sees it.  Built from the question alone, never from the gold.

plain: the question.  short: the question and a request for a single word or phrase.  options: the question and, if it
offers options or can only be answered yes or no, a list of them in the wording of LLaVA-Med's released answer files
(their fine-tuned checkpoints need that hint).  letters: as options, each on a line with its letter, and a request for
the letter, in the wording of LLaVA that HuatuoGPT-Vision's authors use; `options` becomes `letters` for protocols that
read letters.  numbers: as letters, with numbers from 1; `choice-strict` then reads a number as the option.  cot: the
question and a request to think first and to answer under a heading, which all protocols that read answers read alone.

The options of a multiple-choice question are more than two, so that `options` lists them one a line and asks for the
text of one.  `plain` and `short` do not list them: the answer is a text or a letter only where the question itself has
the options.

White space inside a question is the data set's own in every variant (tabs, line breaks, several spaces), as in the code
of LLaVA-Med, MedEvalKit and lmms-eval; outer white space is off, as in LLaVA-Med's.  Scoring, joins and the digest of
the data read the question with single spaces.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence

from evalkit.core.errors import ConfigError, did_you_mean
from evalkit.tasks.options_zh import chinese_options

SHORT = "Answer the question using a single word or phrase."
OPTIONS = "Please choose from the following two options: [{}]"
LETTERS = "Answer with the option's letter from the given choices directly."
LETTERS_ZH = "请直接回答所选项的字母。"
NUMBERS = "Answer with the option's number from the given choices directly."
NUMBERS_ZH = "请直接回答所选项的编号。"
# For multiple choice under `options`.
ONE_OF = "Answer with the text of one of these options."
ONE_OF_ZH = "请回答其中一个选项的内容。"
SHORT_ZH = "请用一个词或短语回答。"
OPTIONS_ZH = "请从以下选项中选择：[{}]"
COT = (
    'Think step by step under the heading "### Reasoning". Then give the answer alone, {}, under the heading '
    '"### Answer".'
)
COT_ZH = "请先在标题“### Reasoning”下逐步思考，然后在标题“### Answer”下只给出答案：{}。"
# What the answer is: of a question, of a multiple-choice question.
_COT_ANSWER = ("as a single word or phrase", "as the letter of the right option")
_COT_ANSWER_ZH = ("一个词或短语", "正确选项的字母")
_VARIANTS = {
    "plain": "{question}",
    "short": "{question}\n" + SHORT + "|" + SHORT_ZH,
    "options": "{question} " + OPTIONS + "|" + OPTIONS_ZH + "|options_in.2",
    "letters": "{question}\nA. {}\n" + LETTERS + "|" + LETTERS_ZH + "|options_in.2",
    "numbers": "{question}\n1. {}\n" + NUMBERS + "|" + NUMBERS_ZH + "|options_in.2",
    "cot": "{question}\n" + COT.format(_COT_ANSWER[0]) + "|" + COT_ZH.format(_COT_ANSWER_ZH[0]),
}
# What a variant adds for multiple-choice questions, where it asks them in another way.
_FOR_CHOICES = {
    "options": "{question}\n- {}\n" + ONE_OF + "|" + ONE_OF_ZH,
    "cot": "{question}\nA. {}\n" + COT.format(_COT_ANSWER[1]) + "|" + COT_ZH.format(_COT_ANSWER_ZH[1]),
}
# Variants that show the options of a question.
_LISTING = {"options": "options", "letters": "lettered options", "numbers": "numbered options"}
YES_NO = ("yes", "no")

_CHINESE = re.compile(r"[\u4e00-\u9fff]")
_AUXILIARY = re.compile(
    r"(?:(?:in|on|from) (?:this|the) [\w -]+?, ?)?"
    r"(?:is|are|was|were|am|does|do|did|has|have|had|can|could|will|would|should|may|might|isn't|aren't|doesn't|any|anything|evidence)\b",
    re.I,
)
# "Is there A or B?" is a yes/no question: whether one of them is there, not which of them.
_WHETHER = re.compile(
    r"\b(?:is|are|was|were) there\b|\b(?:any|evidence|have|has|contain|contains|show|see|seen|suggest)\b", re.I
)
# An "or" in these questions is part of the subject ("What mass or nodule is this?"), unless a comma precedes the list.
_OPEN_QUESTION = re.compile(r"(?:what|how|where|when|why|who|whom|whose)\b", re.I)
# Prefixes of opposites: of such a pair exactly one is true, so it is a choice even after "is there".
_PREFIXES = re.compile(r"^(?:hyper|hypo|homo|hetero|intra|extra|supra|infra|uni|bi|in|ex)(?=\w{4})", re.I)
_SIDES = {"left", "right"}
# In "an AP or PA film" the last noun belongs to both options; not if the second has an article: "an MRI or a CT scan".
_OWN_NOUN = re.compile(r"^(?:a|an|the|on|in|at|from|this)\b", re.I)
_IMAGE = re.compile(r"(?<=\w)\s+(?:image|scan|film|view|plane|study)$", re.I)
_NEGATIONS = ("non", "no", "not", "without")
_ARTICLES = re.compile(r"^(?:(?:a|an|the|on|in|at|from|it|to|of|is|are|this|either|more|located|taken)\s+)+", re.I)
_LETTERS = re.compile(r"[^\w\s\-/]")


def render(prompt: str, question: str, choices: tuple[str, ...], *, is_choice: bool = False) -> str:
    """The prompt text of a question under the variant `prompt`.

    is_choice: it is a multiple-choice question, and `choices` are its options.

    >>> print(render("numbers", "Which modality?", ("CT", "MRI"), is_choice=True))
    Which modality?
    1. CT
    2. MRI
    Answer with the option's number from the given choices directly.

    Raises:
        ConfigError: unknown variant.
    """
    check_prompt(prompt)
    chinese = bool(_CHINESE.search(question))
    if prompt == "short":
        return f"{question}\n{SHORT_ZH if chinese else SHORT}"
    if prompt == "cot":
        is_lettered = is_choice and bool(choices)
        wording, kinds = (COT_ZH, _COT_ANSWER_ZH) if chinese else (COT, _COT_ANSWER)
        return "\n".join((question, *(_lettered(choices) if is_lettered else ()), wording.format(kinds[is_lettered])))
    if prompt == "options" and choices and is_choice:
        return "\n".join((question, *(f"- {choice}" for choice in choices), ONE_OF_ZH if chinese else ONE_OF))
    if prompt == "options" and choices:
        return f"{question} {(OPTIONS_ZH if chinese else OPTIONS).format(', '.join(choices))}"
    if prompt == "letters" and choices:
        return "\n".join((question, *_lettered(choices), LETTERS_ZH if chinese else LETTERS))
    if prompt == "numbers" and choices:
        numbered = (f"{k}. {choice}" for k, choice in enumerate(choices, start=1))
        return "\n".join((question, *numbered, NUMBERS_ZH if chinese else NUMBERS))
    return question


def _lettered(choices: Sequence[str]) -> list[str]:
    """The options, each with its letter."""
    return [f"{chr(ord('A') + k)}. {choice}" for k, choice in enumerate(choices)]


def asks_for_thought(prompt: str) -> bool:
    """Whether the name of a task's prompt variants, as in signatures, has the one that asks for a thought.

    >>> asks_for_thought(prompt_id("cot")), asks_for_thought(prompt_id("short"))
    (True, False)
    """
    return "cot@" in prompt


def options_note(prompt: str, options: Iterable[tuple[str, ...]]) -> list[str]:
    """A note on how many questions list their options, one entry of `options` a question; none for other prompts."""
    if prompt not in _LISTING:
        return []
    listed = [bool(of) for of in options]
    return [
        f"prompt {prompt}: {sum(listed)} of {len(listed)} questions list {_LISTING[prompt]}, the others are asked as "
        "they are"
    ]


def unlisted_note(prompt: str, n_choice: int) -> list[str]:
    """A note where multiple-choice questions are asked without their options, which the data has apart from them."""
    if prompt in _LISTING or prompt == "cot" or not n_choice:
        return []
    return [
        f"prompt {prompt}: {n_choice} multiple-choice questions are asked as they are, without a list of their "
        "options; task.prompt=letters, numbers or options adds it"
    ]


def prompt_id(prompt: str, *, has_choices: bool = False) -> str:
    """The name of the variant and the first 8 hexadecimal digits of the SHA-256 of its template, for signatures.

    has_choices: the task has multiple-choice questions, which some variants ask in wording of their own.
    """
    check_prompt(prompt)
    text = _VARIANTS[prompt] + (_FOR_CHOICES.get(prompt, "") if has_choices else "")
    return f"{prompt}@{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def check_prompt(prompt: str) -> None:
    """Raises ConfigError for an unknown variant."""
    if prompt not in _VARIANTS:
        raise ConfigError(f"Unknown prompt variant task.prompt={prompt}. {did_you_mean(str(prompt), _VARIANTS)}")


def options_in(question: str) -> tuple[str, ...]:
    """The answers that a question itself offers; empty if it offers none.

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
    is_yes_no = bool(_AUXILIARY.match(text))
    if re.search(r"\bor not\b", text, re.I):
        return YES_NO
    if re.search(r"\bor\b", text, re.I) and not (
        _OPEN_QUESTION.match(text) and not re.search(r"[,:;].*\bor\b", text, re.I)
    ):
        found = _listed(text, is_yes_no)
        if found and not (is_yes_no and _WHETHER.search(text) and not _opposites(*found[-2:])):
            return found
    return YES_NO if is_yes_no else ()


def _opposites(left: str, right: str) -> bool:
    """Whether two options are opposites: normal and abnormal, hyper- and hypoinflation, left and right."""
    left, right = left.lower(), right.lower()
    short, long = sorted((left, right), key=len)
    negated = len(short) > 4 and long.endswith(short) and len(long) - len(short) < 4
    same_stem = _PREFIXES.sub("", left) == _PREFIXES.sub("", right)
    return {left, right} == _SIDES or negated or same_stem


def _listed(text: str, is_yes_no: bool) -> tuple[str, ...]:
    """The members of "A, B or C", without the text before the first and after the last of them."""
    before, after = re.split(r"\bor\b", text.rstrip("?. "), maxsplit=1, flags=re.I)
    *lead, last = [p.strip() for p in re.split(r"[,:;]", before) if p.strip()] or [""]
    after = _LETTERS.sub("", after).strip()
    if not last or not after:
        return ()
    listed = [p for p in lead[1:] if len(p.split()) <= 3]
    if lead and len(last.split()) <= 3:  # after a comma the whole piece is an option
        if is_yes_no and before.rstrip().endswith(","):  # "Is it A, B, or C?": the first piece ends with an option too
            listed.insert(0, " ".join(lead[0].split()[-len(last.split()) :]))
            after = _IMAGE.sub("", _first_words(after, len(last.split())))
        pair = (last, _first_words(_ARTICLES.sub("", after), max(2, len(last.split()))))
    else:
        pair = _pair(last, after)
    options = tuple(_ARTICLES.sub("", _LETTERS.sub("", o).strip()) for o in (*listed, *pair))
    return options if all(options) and len({o.lower() for o in options}) == len(options) else ()


def _pair(before: str, after: str) -> tuple[str, str]:
    """The two options around an "or" without a comma, without the words that belong to the rest of the question."""
    left, right = before.split(), after.split()
    if left[-1].lower() in ("with", "without"):
        return " ".join([left[-1], *right[1:2]]), " ".join(right[:2])
    if left[-1] in right[1:] and right[0].lower() not in _NEGATIONS:  # "T1 weighted or T2 weighted MRI": T1, T2
        shared = right.index(left[-1], 1)
        return " ".join(left[-shared - 1 : -1]) or left[-1], " ".join(right[:shared])
    if right[0].lower() in _NEGATIONS:
        first = left[-2:] if left[-2:-1] == ["with"] else left[-1:]
        return " ".join(first), " ".join(right[:2])
    return left[-1], _first_words(_ARTICLES.sub("", after), 2 if _OWN_NOUN.match(after) else 1)


def _first_words(text: str, n: int) -> str:
    """The first n words of a text, so that an option is not longer than the other one."""
    return " ".join(text.split()[:n])
