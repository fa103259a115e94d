"""Reading yes or no out of a Chinese answer: by its first word, else by the verbs that it affirms or denies."""

from __future__ import annotations

import re

from evalkit.scoring.text.restatement import NO_ANSWER, REPEATS, Polarity, Restated

# longest first, so that a word is not read as a shorter word that it contains
_ZH_NO = (
    *("不是的", "不包含", "不包括", "不存在", "不可以", "不属于", "不正常", "不健康", "未发现"),
    *("不正确", "没有", "不是", "不能", "不会", "不对", "未见", "阴性", "排除", "除外", "缺乏", "消失", "错误"),
    *("否", "无", "没", "不", "未"),
)
_ZH_YES = (
    "是的",
    "都是",
    "有的",
    "对的",
    "包含",
    "包括",
    "存在",
    "可以",
    "属于",
    "阳性",
    "正确",
    "是",
    "有",
    "能",
    "会",
    "对",
)
_ZH_ECHO = ("正常", "健康")
_ZH_DOUBT = re.compile("不确定|不知道|无法|不清楚|可能|(?:不能?|未|无法)(?:完全)?(?:被)?(?:排除|除外)")
_ZH_QUESTION = re.compile("[?？]|[吗么呢][。.]*$|是否|有没有|是不是|能否|可否")
_ZH_ASKING = re.compile("[吗么呢]$")
ZH_EDGE = re.compile(r"[\s。，,.!！?？；;：:的]*")
_PART = re.compile(r"[\s。，,.!！?？；;：:、\n()\[\]{}【】「」『』“”\"'`*_~/|-]")
# Words before a verdict: "答案是", "根据图像", "我认为", "图中"; and the letter of an option.
_BEFORE = re.compile(
    r"(?:最终答案|正确答案|答案|回答|答|结论|我认为|我觉得|应该|根据(?:图像|图片|这张图)|图像?中|这张图[像片]?中?|嗯|好的|因此|所以"
    r"|\\?boxed)(?:应该)?(?:是(?![\s的啊。，,.!！)\]】]|$|否\w)|为)?[\s：:，,{]*|[a-z][.、)：:]\s*"
)
_TAG = re.compile(r"<[|/]?\s?[a-z][^<>\n]{0,30}>")
_SENTENCE = re.compile(r"(?<=[。.!！?？；;\n])")
HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff]")


def chinese_word(word: str, question: str) -> Polarity | None:
    """The polarity of a Chinese yes or no word; 正常 (normal) and 健康 (healthy) only where the question asks for them."""  # noqa: E501
    bare = word.rstrip("的啊呀哦了")
    if bare in _ZH_ECHO:
        return "yes" if bare in question else None
    if bare.removeprefix("不") in _ZH_ECHO:
        return "no" if bare.removeprefix("不") in question else None
    if word in _ZH_NO or bare in _ZH_NO:
        return "no"
    return "yes" if word in _ZH_YES or bare in _ZH_YES else None


def read_chinese(text: str, question: str) -> Restated:
    """Read the first clause as a single word, else the only polarity that the verbs of the answer show.

    Both texts folded.  Questions in the answer are left out: an echo of the question is neither yes nor no.
    """
    text = _TAG.sub("\n", text)
    told = "".join(part for part in map(_without_lead, _SENTENCE.split(text)) if not _asks(part, question)).strip()
    if not told:
        return Restated(None, REPEATS)
    words = {chinese_word(_without_lead(part.strip()), question) for part in _PART.split(told)} - {None}
    if len(words) == 2:
        return Restated(None, "says both yes and no")
    if _ZH_DOUBT.search(told):
        return Restated(None, "says that it cannot tell")
    if words:
        return Restated(words.pop(), rule="verdict word")
    return _read_verbs(told, question)


def _read_verbs(told: str, question: str) -> Restated:
    """The only polarity that the verbs of a text show, or that it states as the question has it."""
    remaining = told
    for word in _ZH_ECHO:
        if word not in question:
            remaining = remaining.replace(f"不{word}", " ")
    before = remaining
    for word in _ZH_NO:
        # 否 alone is a verdict, not a negation inside of a sentence.
        remaining = remaining if word == "否" else remaining.replace(word, " ")
    denies = remaining != before
    affirms = any(word in remaining for word in _ZH_YES if len(word) > 1 or word == "有")
    affirms = affirms or any(word in question and word in remaining for word in _ZH_ECHO)
    statement = _ZH_ASKING.sub("", ZH_EDGE.sub("", question))
    affirms = affirms or (not denies and len(statement) > 2 and statement in ZH_EDGE.sub("", told))
    if denies and affirms:
        return Restated(None, "says both yes and no")
    if denies or affirms:
        return Restated("no" if denies else "yes", rule="the verb's polarity")
    return Restated(None, NO_ANSWER)


def _without_lead(part: str) -> str:
    """A part of an answer without the words and marks before its verdict."""
    rest = part.lstrip(" \t\"'“‘「『(（[【*_`~{<>-")
    while (lead := _BEFORE.match(rest)) is not None:
        rest = rest[lead.end() :].lstrip(" \t\"'“‘「『(（[【*_`~{<>-")
    return rest


def _asks(sentence: str, question: str) -> bool:
    bare = ZH_EDGE.sub("", sentence)
    return bool(bare) and (bool(_ZH_QUESTION.search(sentence.strip())) or bare == ZH_EDGE.sub("", question))
