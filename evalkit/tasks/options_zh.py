"""The answers that a Chinese question offers, by its grammar: a Chinese yes or no repeats the verb of the question."""

from __future__ import annotations

import re

YES_NO_ZH = ("是的", "不是")

_END = "？?。. "
# 什么, 怎么 ... end in the same character as the question particle 么 but are not yes/no questions.
_YES_NO_QUESTION = re.compile(r"(?:吗|(?<![什怎多那这])么)[？?。. ]*$|吗|是否|有没有|是不是|能否|可否")
# The verb that the answer repeats: the one after 是否, else the first one in the question.
_VERB = re.compile(r"包含|包括|含有|存在(?!于)|可以|能够|是|有")
_ANSWERS = {
    "有": ("有", "没有"),
    "是": YES_NO_ZH,
    **{verb: (verb, f"不{verb}") for verb in ("包含", "包括", "含有", "存在", "可以", "能够")},
}
_PLACE = re.compile(r"^在?(?:这个|这张|这幅)?(?:图像|图片|图)[中里]?的?[,，]?")
_JOINED = re.compile(r"[、,，]|和|与|或者|或|还是")


def chinese_options(question: str) -> tuple[str, ...]:
    """`evalkit.tasks.prompts.options_in` for a Chinese question.

    >>> chinese_options("图片中包含肝脏吗?"), chinese_options("图中最大的器官是什么?")
    (('包含', '不包含'), ())
    >>> chinese_options("图中肺、心脏和肝脏哪个更大?")
    ('肺', '心脏', '肝脏')
    """
    text = question.rstrip(_END)
    if "还是" in text:
        return _either(text)
    if listed := re.match(r"(.+?(?:和|与|或者|或).+?)(?:哪一?个|谁)", text):
        return _distinct(_JOINED.split(_PLACE.sub("", listed[1])))
    return _yes_no(text) if _YES_NO_QUESTION.search(text) else ()


def _either(text: str) -> tuple[str, ...]:
    """Options of "A、B还是C": A starts after a comma, 是, 在 or 为, and C ends before 的."""
    before, after = text.split("还是", 1)
    pieces = re.split(r"[,，:：是在为]", before.rstrip(",，"))[-1].split("、")
    options = [piece.split("的", 1)[0] for piece in (*pieces, after)]
    # In T1加权还是T2加权 the shared ending is dropped; 左侧 and 右侧 are kept whole.
    bare = [re.sub(r"[^A-Za-z0-9-]+$", "", option) for option in options]
    return _distinct(bare if all(bare) else options)


def _yes_no(text: str) -> tuple[str, ...]:
    if "有没有" in text:
        return _ANSWERS["有"]
    if whether := re.search(r"是否|是不是|能否|可否", text):
        verb = _VERB.match(text, whether.end())
        return _ANSWERS[verb[0]] if verb else YES_NO_ZH
    if text.endswith("了吗"):  # a completed action is denied with 没有
        return ("是的", "没有")
    verb = _VERB.search(text)
    return _ANSWERS[verb[0]] if verb else YES_NO_ZH


def _distinct(options: list[str]) -> tuple[str, ...]:
    stripped = [option.strip() for option in options]
    return tuple(stripped) if all(stripped) and len(set(stripped)) == len(stripped) > 1 else ()
