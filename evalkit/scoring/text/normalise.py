"""Text normalisers of the published protocols, each exactly as its authors' code behaves, quirks included.

Pure functions from text to text or tokens.  evalkit's own corrected reading is in `evalkit.scoring.text.medical`.
"""

from __future__ import annotations

import re
import string
from collections.abc import Mapping

from evalkit.core.remembered import remembered

_VQA_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_VQA_ANY = re.compile("[" + re.escape(_VQA_PUNCTUATION) + "]")
_DIGIT_COMMA_DIGIT = re.compile(r"\d,\d")
_PERIOD = re.compile(r"\.(?!\d)")
_PERIOD_LIMIT = 32
ARTICLES = frozenset({"a", "an", "the"})


def word_set(words: str) -> frozenset[str]:
    """The words of a list that is written as one string."""
    return frozenset(words.split())


ZERO_TO_TEN = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_VQA_NUMBERS = {"none": "0"} | {word: str(value) for value, word in enumerate(ZERO_TO_TEN)}

# The contractions that the VQA code restores; its table lists each with exactly one apostrophe left out.
_CONTRACTIONS = """
ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd he'd've he's
how'd how'll how's isn't it'd it'd've it'll ma'am mightn't mightn't've might've mustn't must've needn't not've o'clock
oughtn't 'ow's'at shan't she'd've should've shouldn't shouldn't've somebody'd've somebody'll somebody's someone'd
someone'd've someone'll someone's something'd something'd've something'll that's there'd there'd've there're there's
they'd they'd've they'll they're they've 'twas wasn't we'd've we've weren't what'll what're what's what've when's
where'd where's where've who'd who'd've who'll who's who've why'll why're why's won't would've wouldn't wouldn't've
y'all y'all'll y'all'd've you'd you'd've you'll you're you've
"""


def _contraction_table() -> dict[str, str]:
    table = {
        word[:place] + word[place + 1 :]: word
        for word in _CONTRACTIONS.split()
        for place, char in enumerate(word)
        if char == "'"
    }
    table["somebody'd"] = "somebodyd"  # reversed by mistake in the VQA code, and therefore in every copy of it
    return table


_CONTRACTION_OF = _contraction_table()


@remembered
def vqa2(text: str) -> str:
    """The VQA-v2 cleaning that LLaVA-Med, MultiMedEval, M2I2, MUMC and PubMedCLIP share.

    Whether a punctuation mark is deleted or becomes a space is decided once for the whole text: it is deleted
    everywhere if it is adjacent to a space anywhere, or if the text contains digit-comma-digit.  At most 32 full
    stops are removed (the authors passed a flag as the count), and none before a digit.  "none" and zero to ten become
    digits, a/an/the are removed, and the apostrophes of contractions are restored.

    >>> vqa2("T2-weighted"), vqa2("left,right"), vqa2("1,000-ml"), vqa2("U.S.A.")
    ('t2 weighted', 'left right', '1000ml', 'usa')
    >>> vqa2("x-ray, left - right"), vqa2("None of the above"), vqa2("A"), vqa2("dont know")
    ('xray left right', '0 of above', '', "don't know")
    """
    cleaned = text
    if _VQA_ANY.search(text):
        delete_all = _DIGIT_COMMA_DIGIT.search(text) is not None
        for mark in set(_VQA_ANY.findall(text)):
            delete = delete_all or f"{mark} " in text or f" {mark}" in text
            cleaned = cleaned.replace(mark, "" if delete else " ")
    cleaned = _PERIOD.sub("", cleaned, count=_PERIOD_LIMIT)
    words = (_VQA_NUMBERS.get(word, word) for word in cleaned.lower().split())
    return " ".join(_CONTRACTION_OF.get(word, word) for word in words if word not in ARTICLES)


_ROLE = re.compile(r"\s*(?:#{2,}\s*)?(?:assistant|human|user|gpt|model|response)\s*:\s*", re.IGNORECASE)


# A model that repeats line breaks up to its limit.
_LONG_BLANK = re.compile(r"\s{20,}")


def short_blanks(text: str) -> str:
    """The text with long runs of white space as one space or one blank line; patterns that begin with white space would
    take quadratic time on these."""
    return _LONG_BLANK.sub(lambda m: "\n\n" if "\n" in m[0] else " ", text)


def strip_role(text: str) -> str:
    """The text without the role prefix ("Assistant:") that some models print before their answer.

    >>> strip_role("Assistant: yes"), strip_role("### Response:\\nno"), strip_role("model-free")
    ('yes', 'no', 'model-free')
    """
    found = _ROLE.match(text)
    return text[found.end() :] if found else text


_ASCII_PUNCTUATION = str.maketrans("", "", string.punctuation)


@remembered
def quac(text: str) -> str:
    """HELM's quasi-exact-match form (from QuAC): lower case, no ASCII punctuation, no articles, single spaces.

    >>> quac("The  X-ray."), quac("A.")
    ('xray', '')
    """
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", quac_words(text)).split())


def quac_words(text: str) -> str:
    """HELM's form that leaves the articles: lower case, no ASCII punctuation, single spaces.

    >>> quac_words("The  X-ray.")
    'the xray'
    """
    return " ".join(text.lower().translate(_ASCII_PUNCTUATION).split())


def without_enclosed(text: str, pairs: Mapping[str, str]) -> str:
    """The text with a space for each opening mark up to its closing one, in time proportional to the text.

    pairs: opening mark -> closing mark.

    >>> without_enclosed("CT (axial (left)) a", {"(": ")"}), without_enclosed("((", {"(": ")"})
    ('CT  ) a', '((')
    """
    last = {opening: text.rfind(closing) for opening, closing in pairs.items()}
    kept, done = [], 0
    for mark in re.finditer(f"[{re.escape(''.join(pairs))}]", text):
        if done <= mark.start() < last[mark[0]]:
            kept += [text[done : mark.start()], " "]
            done = text.index(pairs[mark[0]], mark.start()) + 1
    return "".join((*kept, text[done:]))


# The marks of lmms-eval's table that are not ASCII; EvalScope's table has the same but the half-width full stop.
LMMS_WIDE_PUNCTUATION = "！？。＂＃＄％＆＇（）＊＋，－／：；＜＝＞＠［＼］＾＿｀｛｜｝～、《》【】"
_LMMS_PUNCTUATION = str.maketrans(dict.fromkeys(string.punctuation + LMMS_WIDE_PUNCTUATION + "｡", " "))
_LMMS_YES = word_set("yes yeah yep true 是 是的 有 包含 可以 能 会 正常")
_LMMS_NO = word_set("no nope false 否 不是 没有 无 不包含 不能 不会 不可以 不正常 异常")


@remembered
def lmms(text: str) -> str:
    """lmms-eval's SLAKE form: parentheses removed, punctuation to spaces, whole-text synonyms of yes and no, x-ray.

    >>> lmms("Yes."), lmms("X-Ray"), lmms("CT (axial)"), lmms("没有"), lmms("正常")
    ('yes', 'xray', 'ct', 'no', 'yes')
    """
    bare = without_enclosed(without_enclosed(text.strip().lower(), {"(": ")"}), {"（": "）"})
    bare = " ".join(bare.translate(_LMMS_PUNCTUATION).split())
    if bare in {"x ray", "xray"}:
        return "xray"
    if bare in _LMMS_YES:
        return "yes"
    return "no" if bare in _LMMS_NO else bare
