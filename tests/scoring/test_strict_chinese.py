"""Chinese answers under strict: yes and no are read in the same places, and only of what was asked."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.scoring.text.medical import fold
from evalkit.scoring.text.traditional_chinese import SIMPLIFIED
from evalkit.scoring.text.yes_no import read_yes_no

EFFUSION = "图中有胸腔积液吗?"
PAIRS = [
    ("是", "否"), ("是", "不是"), ("是的", "不是的"), ("有", "没有"), ("有", "無"), ("有的", "没有的"),
    ("能", "不能"),
    ("对", "不对"), ("對", "不對"), ("会", "不会"), ("會", "不會"), ("正确", "不正确"), ("正確", "錯誤"),
    ("正確", "不正確"),
    ("可以", "不可以"), ("存在", "不存在"), ("包含", "不包含"), ("属于", "不属于"), ("屬於", "不屬於"),
    ("阳性", "阴性"),
    ("陽性", "陰性"), ("正常", "不正常"), ("健康", "不健康"),
]  # fmt: skip
FORMS = (
    "{}", "{}。", "{}！", "答案：{}", "答案是{}", "答案是：{}", "答案为{}。", "回答：{}", "答：{}", "最终答案：{}",
    "{}，如图所示",
    "{}，图中可见", "{} ({})", "「{}」", "“{}”", "**{}**", "({})", "（{}）", "[{}]", "【{}】",
    "<answer>{}</answer>", "{}</s>",
    "\\boxed{{{}}}", "我认为{}", "我認為{}", "{}\n", "{}<|im_end|>", "{}呢", "结论：{}", "結論：{}", "A. {}",
    "A：{}", "{}、", "{}；",
    "{}？", "`{}`", "- {}", "这张图{}", "圖中{}", "{}{}", "根据图像，{}", "根據圖像，答案是{}。", "是否：{}",
    "{}（轻度）", "{}/轻度",
    "{} 轻度", "轻度，{}", "{}, mild", "{} mild", "嗯，{}", "{}啊", "{}了", "{}，{}", "图中肝脏{}", "{}胸腔积液",
    "圖中{}胸腔積液",
)  # fmt: skip
QUESTIONS = (
    EFFUSION, "圖中有胸腔積液嗎?", "肺是正常的吗?", "肺看起来不正常吗?", "这是CT图像吗?", "肝脏是健康的吗?",
    "图片中包含肝脏吗?",
    "图中是否有可以感知事物的器官?", "能用来检查吗?", "图像中的器官是否存在于头部?",
)  # fmt: skip
OTHER = {"yes": "no", "no": "yes", None: None}


@pytest.mark.few(14)
@pytest.mark.parametrize("form", FORMS)
def test_swapping_a_chinese_yes_for_its_no_swaps_the_reading(form):
    for question in QUESTIONS:
        for yes, no in PAIRS:
            readings = [read_yes_no(form.format(word, word), question).polarity for word in (yes, no)]
            assert readings[1] == OTHER[readings[0]], (question, yes, no)


@settings(max_examples=300, deadline=None)
@given(
    before=st.sampled_from(
        ["", "嗯，", "肺炎，", "答案是：", "图中", "结论：", "我认为", "**", "（", "mild ", "根据图片，"]
    ),
    pair=st.sampled_from(PAIRS),
    after=st.sampled_from(
        ["", "。", "，图中可见", "胸腔积液", "</s>", "**", "）", "的", "，有气胸", "，肺炎", "!", "（大量）"]
    ),
    question=st.sampled_from(QUESTIONS),
)
def test_the_swap_holds_for_any_surroundings(before, pair, after, question):
    readings = [read_yes_no(f"{before}{word}{after}", question).polarity for word in pair]
    assert readings[1] == OTHER[readings[0]]


@pytest.mark.parametrize("form", ["答案：{}", "回答：{}", "**{}**", "“{}”", "（{}）", "<answer>{}</answer>",
"{}</s>", "A. {}",
                                  "结论：{}", "答案是{}", "\\boxed{{{}}}"])  # fmt: skip
@pytest.mark.parametrize(("yes", "no"), PAIRS[:18])
def test_a_chinese_yes_or_no_is_read_in_every_form(form, yes, no):
    assert read_yes_no(form.format(yes), EFFUSION).polarity == "yes"
    assert read_yes_no(form.format(no), EFFUSION).polarity == "no"


@pytest.mark.parametrize(
    ("question", "answer", "polarity"),
    [
        *((EFFUSION, answer, "yes") for answer in (
            "有胸腔积液", "没有气胸,有胸腔积液", "是的,图中有胸腔积液", "有的,但是没有气胸", "圖中可見胸腔積液",
        )),
        *((EFFUSION, answer, "no") for answer in (
            "有气胸,没有胸腔积液", "没有气胸、胸腔积液", "未见明显胸腔积液", "胸腔积液阴性", "没有看到", "胸腔无积液",
            "胸腔积液不存在", "排除胸腔积液", "未見氣胸或胸腔積液",
        )),
        *((EFFUSION, answer, None) for answer in (
            "没有气胸", "未见气胸", "有气胸", "胸腔积液已消失", "可能有胸腔积液", "不能排除胸腔积液",
            "胸腔积液待排", "曾有胸腔积液",
            "是的,没有胸腔积液", "答案是否有胸腔积液", "图中是否有胸腔积液", "不是没有胸腔积液", "疑似有胸腔积液",
            "不明显", "图中有没有",
        )),
        ("肺看起来不正常吗?", "不正常", "yes"), ("肺看起来不正常吗?", "正常", "no"), ("肺看起来不正常吗?", "是的",
        "yes"),
        ("肺是正常的吗?", "肺是正常的", "yes"), ("肺是正常的吗?", "肺不正常", "no"), ("肺是正常的吗?", "肝脏正常",
        None),
        ("这是CT图像吗?", "这不是CT", "no"), ("这是CT图像吗?", "这是MRI", None), ("圖中有鼻竇炎嗎?", "沒有鼻竇炎",
        "no"),
    ],
)  # fmt: skip
def test_a_chinese_statement_is_read_only_of_what_was_asked(question, answer, polarity):
    assert read_yes_no(answer, question).polarity == polarity


def test_traditional_medical_words_become_simplified():
    words = {
        "膠質瘤": "胶质瘤", "鼻竇": "鼻窦", "闌尾": "阑尾", "瀰漫": "弥漫", "彌散": "弥散", "鄰近": "邻近",
        "脛骨": "胫骨",
        "橈骨": "桡骨", "臍": "脐", "眼瞼": "眼睑", "下頷": "下颔", "紊亂": "紊乱", "牙齦": "牙龈", "瘺管": "瘘管",
        "瘻": "瘘",
        "顴骨": "颧骨", "繫帶": "系带", "動脈粥樣硬化": "动脉粥样硬化", "甲狀腺": "甲状腺", "膽囊結石": "胆囊结石",
        "腦積水": "脑积水", "肺氣腫": "肺气肿", "脊柱側彎": "脊柱侧弯", "徵象": "征象", "麻痺": "麻痹",
        "視網膜": "视网膜",
        "鎖骨": "锁骨", "髖關節": "髋关节", "縱隔": "纵隔", "轉移": "转移", "壓迫": "压迫", "纖維化": "纤维化",
        "鈣化": "钙化",
        "齲齒": "龋齿", "黴菌": "霉菌", "鱗狀": "鳞状", "潰瘍": "溃疡", "膿腫": "脓肿", "穿孔": "穿孔",
    }  # fmt: skip
    assert {word: fold(word) for word in words} == words


def test_the_table_leads_to_simplified_characters_alone():
    assert len(SIMPLIFIED) > 2000
    assert not set(map(ord, SIMPLIFIED.values())) & set(SIMPLIFIED)
    for simplified in SIMPLIFIED.values():
        simplified.encode("gb2312")
