"""Reading yes or no out of a Chinese answer: by the clauses that are a yes or no, or restate the question.

A yes and its no (是 and 否, 有 and 没有, 正确 and 不正确) are read in the same places, so that swapping them swaps the
reading.
"""

from __future__ import annotations

import re
from itertools import groupby
from typing import NamedTuple

from evalkit.core.remembered import remembered
from evalkit.scoring.text.restatement import CANNOT_TELL, NO_ANSWER, REPEATS, Polarity, Restated

_ZH_NO = (
    *("不是的", "不包含", "不包括", "不存在", "不可以", "不属于", "不正常", "不健康", "不正确", "不对", "未发现"),
    *("没有", "不是", "不能", "不会", "未见", "阴性", "错误", "否", "无", "没", "不", "未"),
)
_ZH_YES = (
    *(
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
    ),
)
_ZH_ECHO = ("正常", "健康")
_ZH_DOUBT = re.compile("不确定|不知道|无法|不清楚|可能|疑似|(?:不能?|未|无法)(?:完全)?(?:被)?(?:排除|除外)")
# "是否" and "是不是" at the end may be an answer behind its lead: "答案是" and "否".
_ZH_QUESTION = re.compile(
    "[?]|[吗么呢][。.]*$|能否|可否|(?<!没)有没有|(?<!不)(?:能不能|会不会|对不对)|(?:是否|(?<!不)是不是)(?!的?\\s*(?:$|[。.,!;:]))"
)
_OPEN_QUESTION = re.compile("是否|(?<!不)是不是")
# "答案是:", "结论:", "A.": what stands before an answer
_LEAD = re.compile(
    r"^(?:(?:最终|正确|我的)?(?:答案|回答|结论|结果|答)(?:应该|应)?(?:是|为)?|我(?:认为|觉得)(?:是这样)?|[a-e](?=[.:、)]))"
    r"\s*[:.、)]?\s*(?=.)"
)
ZH_EDGE = re.compile(r"[\s。，,.!！?？；;：:的]*")
_MARKS = re.compile(r"\\boxed|[\"'“”「」『』【】\[\]{}<>*_`~·-]")
_SENTENCE = re.compile(r"(?<=[。.!?;\n])")
_CLAUSE = re.compile(r"[。,.!;:()/|\n]")
_LIST = re.compile("[、和或及与]")
# Words that a question and its answer share without naming what is asked for.
_FRAME = re.compile(
    "图片|图像|影像|照片|扫描|图|这张|这幅|这个|这|该|此|那么|张|幅|个|患者|病人|看起来|起来|一些|任何|关于|用于|通过|拍摄"
    "|中|里|上|内|的|了|吗|么|呢|啊|吧|呀|都|也|还|在|于|所|其|它|患|被|嗯|哦|到|来|哪些|成像|[\\s。,.!?;:、]"
)
_EMPHASIS = re.compile("(?<=[有无见现到])(?:明显|明确|确切|任何)的?")
_NEGATION = "不|没有|没|未|无|非"
_VERB = (
    "是的|有的|对的|是|有|存在|包含|包括|可以|能够|能|会|对|属于|正确|显示|可见|发现|看到|看见|观察到|观察|见|出现|阳性"
)
_DENIES = "没有|否|无|没|未|不|阴性|错误|排除|消失|缺乏"
HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff]")
_UNIT = re.compile("[\u3400-\u4dbf\u4e00-\u9fff]|[^\\W\u3400-\u4dbf\u4e00-\u9fff]+")


def chinese_word(word: str, question: str) -> Polarity | None:
    """The polarity of a Chinese yes or no word; 正常 (normal) and 健康 (healthy) only where the question asks for them."""  # noqa: E501
    bare = word.rstrip("的")
    if (echo := bare.removeprefix("不")) in _ZH_ECHO:
        # "不正常" affirms "肺不正常吗?"
        return None if echo not in question else "yes" if (bare != echo) == (f"不{echo}" in question) else "no"
    if word in _ZH_NO or bare in _ZH_NO:
        return "no"
    return "yes" if word in _ZH_YES or bare in _ZH_YES else None


def read_chinese(text: str, question: str) -> Restated:
    """Read the clauses that say only yes or no, or that hold all that the question names.  Both texts folded.

    Questions in the answer are left out: an echo of the question is neither yes nor no.

    >>> read_chinese("没有气胸,有积液", "图中有积液吗?").polarity, read_chinese("答案:否", "图中有积液吗?").polarity
    ('yes', 'no')
    """
    told = [part for part in _SENTENCE.split(text) if ZH_EDGE.sub("", part) and not _asks(part, question)]
    if not told:
        return Restated(None, REPEATS)
    clauses = [_bare(clause) for part in told for clause in _CLAUSE.split(_bare(part))]
    whole = {polarity for clause in clauses if (polarity := chinese_word(clause, question))}
    readings = [reading for clause in clauses for reading in _read_clause(clause, question)]
    stated = {reading.polarity for reading in readings if reading.names_it}
    # "没有看到" answers only where nothing else is said: behind another clause it may be about that
    alone = len(readings) == 1 and not any(_named(clause, _asked(question)[0]) for clause in clauses)
    found = whole | stated or {reading.polarity for reading in readings if alone}
    if len(found) > 1:
        return Restated(None, "says both yes and no")
    for polarity in found:
        return Restated(polarity, rule="verdict word" if whole else "the verb's polarity")
    return Restated(None, CANNOT_TELL if _ZH_DOUBT.search(text) else NO_ANSWER)


def _bare(text: str) -> str:
    """A sentence or clause without marks and without what leads to its answer."""
    return _LEAD.sub("", ZH_EDGE.sub("", _MARKS.sub(" ", text), count=1).strip())


def _asks(sentence: str, question: str) -> bool:
    bare = ZH_EDGE.sub("", sentence)
    return bool(_ZH_QUESTION.search(_MARKS.sub(" ", sentence).strip())) or bare == ZH_EDGE.sub("", question)


@remembered
def _asked(question: str) -> tuple[re.Pattern[str], frozenset[str], bool]:
    """The words that affirm or deny here, what the question names, and whether it is a negative question."""
    echo = [word for word in _ZH_ECHO if word in question]
    words = re.compile(f"(?:{_NEGATION})?(?:{'|'.join([*echo, _VERB])})|{_DENIES}")
    plain = _ZH_QUESTION.sub(" ", question)
    return words, frozenset(_named(plain, words)), any(_is_no(word) for word in words.findall(plain))


def _named(text: str, words: re.Pattern[str]) -> set[str]:
    return set(_UNIT.findall(_FRAME.sub(" ", words.sub(" ", _EMPHASIS.sub("", text)))))


def _is_no(word: str) -> bool:
    return bool(re.match(f"(?:{_NEGATION}|{_DENIES})", word))


class _Reading(NamedTuple):
    """The polarity of a clause that names all that was asked for, or nothing at all (`names_it` is False)."""

    polarity: Polarity
    names_it: bool


def _read_clause(clause: str, question: str) -> list[_Reading]:
    """The readings of a clause; none where it says nothing plain of what was asked.

    The items of a list share the verb before them: "没有气胸、积液" denies both.
    """
    words, named, negative = _asked(question)
    found: list[_Reading] = []
    verb: Polarity | None = None
    for item in filter(str.strip, _LIST.split(clause)):
        if _OPEN_QUESTION.search(item):
            continue
        if chains := _chains(item, words):
            verb = chains[0] if len(chains) == 1 else None
        about = _named(item, words)
        if verb and about == named and about and not negative:
            found.append(_Reading(verb, names_it=True))
        elif verb and not about:
            found.append(_Reading(verb, names_it=False))
    return found


def _chains(text: str, words: re.Pattern[str]) -> list[Polarity | None]:
    """The polarity of each run of adjoining verbs (不能看到 is one); None for two negations."""
    runs: list[list[str]] = []
    end = -1
    for match in words.finditer(text):
        if match.start() != end:
            runs.append([])
        runs[-1].append(match[0])
        end = match.end()
    denials = [sum(_is_no(word) for word, _ in groupby(run)) for run in runs]
    return [None if count > 1 else "no" if count else "yes" for count in denials]
