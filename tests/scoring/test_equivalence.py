"""Every protocol against a second implementation, written from the description alone, on 5,500 generated answers.

Each function below takes the raw gold, the raw answer and whether the row is closed by its label, and gives the value
of every metric the row gets.  Nothing is shared with evalkit but the contraction table, which is data.
"""

import collections
import math
import random
import re
import string
from functools import cache

import pytest

from evalkit.core.types import Prediction
from evalkit.scoring.text.normalise import _CONTRACTION_OF
from tests.support.protocols import protocol, row

WORDS = """yes no Yes No YES not No, not yes yes, normal abnormal eyes know cannot left right lung lungs lobe lower
upper the a an none zero one two ten 2 10 1,000 5.5 cm x-ray X ray MRI CT T2-weighted dont don't couldnt've somebody'd
Assistant: a/p left,right is it <answer> </answer> boxed answer: ... . , ; ? ! ( ) （ ）
是 不是 没有 正常 A B b I U.S.A."""
PIECES = [
    *WORDS.split(),
    r"\boxed{yes}",
    r"\boxed{lung}",
    "answer is",
    "final answer is",
    "\n",
    "\t",
    "  ",
    "." * 40,
    "",
]
GOLD_LINE = (
    "yes|no|Yes|No|left|right|left lower lobe|lung, spinal cord|mri|MRI|none|2|two|x-ray|T2|a|the lung|normal|是|不是|"
    "yes.|5.5 cm|lung lung|None of the above|CT (axial)|1,000 ml|no mass|MR-FLAIR|dont know"
)
GOLDS = GOLD_LINE.split("|")
ONE_TO_TEN = "one two three four five six seven eight nine ten"


@cache
def generated(n=5500):
    """(gold, answer, label) of n rows, the same ones every time."""
    rng, rows = random.Random(20230601), []
    for _ in range(n):
        gold = rng.choice(GOLDS)
        pieces = rng.choices(PIECES, k=rng.choice([0, 1, 1, 2, 3, 4, 6, 9]))
        if rng.random() < 0.35:
            pieces.insert(rng.randint(0, len(pieces)), rng.choice([gold, gold.upper(), f"{gold}.", f" {gold} "]))
        rows.append((gold, rng.choice([" ", " ", ""]).join(pieces), rng.choice(["OPEN", "CLOSED"])))
    return tuple(rows)


@cache
def clean(text):
    out = text
    delete = re.search(r"\d,\d", text)
    for mark in ';/[]"{}()=+\\_-><@`,?!':
        near_space = mark + " " in text or " " + mark in text
        out = out.replace(mark, "" if delete or near_space else " ")
    out = re.sub(r"[.](?!\d)", "", out, count=32)
    numbers = {"none": "0", "zero": "0"}
    numbers |= {w: str(i + 1) for i, w in enumerate(ONE_TO_TEN.split())}
    kept = [numbers.get(w, w) for w in out.lower().split()]
    return " ".join(_CONTRACTION_OF.get(w, w) for w in kept if w not in ("a", "an", "the")).replace(",", "")


def counted(predicted, gold):
    """Hits are answer words that the gold has; misses gold words that the answer lacks."""
    predicted, gold = clean(predicted).lower().split(), clean(gold).lower().split()
    tp, fn = sum(w in gold for w in predicted), sum(w not in predicted for w in gold)
    if not predicted or not gold or not tp:
        return 0, 0, 0
    p, r = tp / len(predicted), tp / (tp + fn)
    return p, r, 2 * p * r / (p + r)


def odd_exact(predicted, gold):
    predicted, gold = clean(predicted).split(), clean(gold).split()
    return len({w for w in gold if w in predicted}) / len(predicted) if predicted else 0


def grams(words, n):
    return collections.Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))


def second_bleu(predicted, gold, weights, smooth=None):
    if not predicted or not set(predicted) & set(gold):
        return 0
    total = 0.0
    for n, weight in enumerate(weights, 1):
        hits = sum((grams(predicted, n) & grams(gold, n)).values())
        size = max(1, len(predicted) - n + 1)
        p = hits / size if hits else (smooth / size if smooth else 2.2250738585072014e-308)
        total += weight * math.log(p)
    return (1 if len(predicted) > len(gold) else math.exp(1 - len(gold) / len(predicted))) * math.exp(total)


def bleus(predicted, gold, smooth=None):
    predicted, gold = predicted.split(), gold.split()
    values = {"bleu": second_bleu(predicted, gold, [0.25] * 4)}
    return values | {
        f"bleu_{n}": second_bleu(predicted, gold, [float(k == n) for k in range(1, 5)], smooth) for n in (1, 2, 3)
    }


def llava(gold, answer, closed, kind):
    gold, answer = clean(gold.lower()), clean(answer.lower())
    p, r, f = counted(answer, gold)
    if closed:
        either = "yes" in answer or "no" in answer
        hit = gold in answer
        if kind == "batch":
            return {"closed_accuracy": hit, "closed_recall": r}
        if kind == "2023":
            return {"closed_accuracy": 1 if either and hit else None if either else 0}
        return {"closed_accuracy": either and hit}
    values = {"open_precision": p, "open_recall": r, "open_f1": f, "open_exact": odd_exact(answer, gold)}
    return values | bleus(answer, gold) | ({"open_accuracy": gold in answer} if kind == "batch" else {})


def nocandi(gold, answer, closed):
    gold, answer = gold.lower(), answer.lower()
    p, r, f = counted(answer, gold)
    if closed:
        return {"closed_accuracy": gold in answer, "closed_precision": p, "closed_recall": r, "closed_f1": f}
    values = {"open_precision": p, "open_recall": r, "open_f1": f, "open_exact": odd_exact(answer, gold)}
    return values | bleus(answer, gold, 0.1)


def boxed_text(text):
    start = text.rfind(r"\boxed{")
    if start < 0:
        return None
    depth, inner = 1, ""
    for char in text[start + 7 :]:
        depth += (char == "{") - (char == "}")
        if depth == 0:
            return inner.strip()
        inner += char
    return None


def answer_tags(text):
    found = " ".join(m for m in re.findall(r"<answer>(.*?)</answer>", text, re.DOTALL))
    return found.strip() or text


def mek_parse(text):
    text = text.lower()
    if "boxed" in text:
        text = boxed_text(text) or ("" if boxed_text(text) == "" else "None")
    elif "<answer>" in text:
        text = answer_tags(text)
    for mark in ("**answer**:", "**answer**", "*answer*:", "**answer:**", "answer is", "answer:", "答案:",
                 "final answer", "final answer is"):  # fmt: skip
        text = text.split(mark)[-1]
    return text


def mek_outer(text):
    inner = boxed_text(text)
    if inner is not None and inner != "None":
        return inner
    return answer_tags(text) if "<answer>" in text else text


def xor(text, gold):
    text = mek_parse(text).replace("\n", "").replace(".", "")
    return (("yes" in text) ^ ("no" in text)) and gold in text


def sets(predicted, gold):
    predicted, gold = set(predicted.split()), set(gold.split())
    both = len(predicted & gold)
    return (both / len(predicted), both / len(gold), 2 * both / (len(predicted) + len(gold))) if both else (0, 0, 0)


def mek(gold, answer, closed, slake=False):
    predicted = mek_outer(answer)
    if not slake:
        predicted, gold = predicted.lower().strip(), gold.lower().strip()
        closed = gold in ("yes", "no")
    if closed:
        if gold in ("yes", "no"):
            hit = xor(predicted, gold)
        else:
            hit = mek_parse(predicted).replace("\n", "").replace(".", "") == gold.lower()
        return {"accuracy": hit, "closed_accuracy": hit}
    predicted, gold = mek_parse(predicted), gold.lower()
    overlaps = [f"open_{kind}{name}" for kind in ("", "printed_") for name in ("precision", "recall", "f1")]
    names = ["accuracy", "open_exact_match", *overlaps, *(f"bleu_{n}" for n in (1, 2, 3, 4))]
    if not predicted.split() or not predicted.replace(".", ""):
        return dict.fromkeys(names, 0)
    p, r, f = sets(predicted.lower(), gold)
    spaced = [text.lower().replace(".", " .").split(" ") for text in (predicted, gold)]
    order = [second_bleu(*spaced, [1 / n] * n) for n in (1, 2, 3, 4)]
    return dict(zip(names, [predicted == gold, predicted == gold, p, r, f, f, p, r, *order], strict=True))


def mek_fixed(gold, answer, closed, by_label=False):
    predicted, gold = mek_outer(answer).lower().strip(), gold.lower().strip()
    if closed if by_label else gold in ("yes", "no"):
        bare = mek_parse(predicted).replace("\n", "").replace(".", "").strip()
        hit = xor(predicted, gold) if gold in ("yes", "no") else bare == gold
        return {"accuracy": hit, "closed_accuracy": hit}
    predicted = mek_parse(predicted).strip()
    p, r, f = sets(predicted.lower(), gold)
    return {
        "accuracy": predicted == gold,
        "open_exact_match": predicted == gold,
        "open_precision": p,
        "open_recall": r,
        "open_f1": f,
    }


def multimedeval(gold, answer, closed):
    gold, answer = clean(gold.lower()), clean(answer.lower())
    g, s = set(gold.split()), set(answer.split())
    r, p = (len(g & s) / len(g) if g else 0), (len(g & s) / len(s) if s else 0)
    values = {"bleu_1": second_bleu(answer.split(), gold.split(), [1.0]), "f1": 2 * p * r / (p + r + 1e-8), "recall": r}
    if gold in ("yes", "no"):
        return values | {"closed_accuracy": bool(s & ({"no", "not"} if gold == "no" else {"yes"}))}
    return values | {"open_recall": r, "open_accuracy": r >= 0.75}


def medvlmbench(gold, answer, closed, by_label=False):
    closed = closed if by_label else gold.strip().lower() in ("yes", "no")
    gold, answer = gold.lower(), answer.lower()
    p, r, f = counted(answer, gold)
    values = {"exact": odd_exact(answer, gold), "precision": p, "recall": r, "f1": f}
    return values | ({"closed_accuracy": gold in answer} if closed else {"open_accuracy": r >= 0.75, "open_recall": r})


def typed(hit, closed):
    return {"accuracy": hit, "closed_accuracy" if closed else "open_accuracy": hit}


def lmms_text(text):
    text = re.sub(r"（[^）]*）", " ", re.sub(r"\([^)]*\)", " ", text.strip().lower()))
    wide = "！？｡。＂＃＄％＆＇（）＊＋，－／：；＜＝＞＠［＼］＾＿｀｛｜｝～、，。；：《》？【】（）"
    text = " ".join("".join(" " if c in string.punctuation + wide else c for c in text).split())
    if text == "x ray":
        text = "xray"
    for word, names in (("yes", "yes yeah yep true 是 是的 有 包含 可以 能 会 正常"),
                        ("no", "no nope false 否 不是 没有 无 不包含 不能 不会 不可以 不正常 异常")):  # fmt: skip
        if text and text in names.split():
            return word
    return text


def official_text(text):
    return clean(text.replace("\n", " ").replace("\t", " ").strip())


def quac_text(text):
    text = "".join(c for c in text.lower() if c not in string.punctuation)
    return " ".join(re.sub(r"\b(?:a|an|the)\b", " ", text).split())


def helm(gold, answer, closed):
    g, s = quac_text(gold), quac_text(answer)
    return {
        "exact_match": answer != "" and gold.strip() == answer.strip(),
        "quasi_exact_match": answer != "" and g == s,
        "f1": sets(s, g)[2],
    }


def cares(gold, answer, closed):
    if gold.strip().lower() not in ("yes", "no"):
        return {}
    says = [
        any(w in ("No", "no", "not") for w in re.sub(",", "", t.partition(".")[0]).split(" ")) for t in (gold, answer)
    ]
    return {"closed_accuracy": says[0] == says[1]}


def exact(gold, answer, closed):
    bare = ["".join(c for c in t.lower() if c not in string.punctuation).strip() for t in (gold, answer)]
    kind = "closed" if gold.strip().lower() in ("yes", "no") else "open"
    return dict.fromkeys(("exact_match", f"{kind}_exact_match"), bare[0] == bare[1])


SECOND = {
    "llava-med": lambda g, a, c: llava(g, a, c, "batch"),
    "llava-med-run-eval": lambda g, a, c: llava(g, a, c, "run-eval"),
    "llava-med-2023": lambda g, a, c: llava(g, a, c, "2023"),
    "nocandi": nocandi,
    "medevalkit": mek,
    "medevalkit-slake": lambda g, a, c: mek(g, a, c, slake=True),
    "medevalkit-fixed": mek_fixed,
    "medevalkit-fixed-slake": lambda g, a, c: mek_fixed(g, a, c, by_label=True),
    "multimedeval": multimedeval,
    "medvlmbench": medvlmbench,
    "medvlmbench-slake": lambda g, a, c: medvlmbench(g, a, c, by_label=True),
    "lmms-eval": lambda g, a, c: typed(lmms_text(g) == lmms_text(a), c),
    "vqa-official": lambda g, a, c: typed(official_text(g) == official_text(a), c),
    "helm": helm,
    "cares": cares,
    "exact-match": exact,
}


@pytest.mark.parametrize("name", SECOND)
@pytest.mark.few(4)
def test_a_protocol_equals_its_second_implementation_on_5500_answers(name):
    chosen, differing = protocol(name), []
    for gold, answer, kind in generated():
        found = {s.metric: s.value for s in chosen.score(row(gold, kind), Prediction(sample_id="1", text=answer))}
        expected = {k: v if v is None else float(v) for k, v in SECOND[name](gold, answer, kind == "CLOSED").items()}
        if found.keys() != expected.keys() or any(not same(found[k], expected[k]) for k in found):
            differing.append((gold, answer, kind, found, expected))
    assert not differing, f"{len(differing)} differ, the first: {differing[0]}"


def same(one, other):
    return one is other is None or (None not in (one, other) and math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-12))


def test_huatuogpt_vision_equals_its_second_implementation():
    """The letter rule by hand: a letter a to n that follows no word character, or 是 or 为, and precedes none."""
    options = ("CT", "MRI", "X-ray")
    for _, answer, _ in generated():
        letters = [
            char
            for at, char in enumerate(answer)
            if char.lower() in "abcdefghijklmn"
            and (at == 0 or answer[at - 1] in "是为'\"#*(" or not re.match(r"\w", answer[at - 1]))
            and not (char in "aA" and answer[at + 1 : at + 2] == " ")
            and (at + 1 == len(answer) or not re.match(r"\w", answer[at + 1]))
        ]
        found = protocol("huatuogpt-vision").score(
            row("MRI", "CLOSED", choices=options), Prediction(sample_id="1", text=answer)
        )
        assert found[0].value == (float(letters[0] == "B") if letters else None), answer


def test_the_answers_include_every_quirk():
    """Otherwise the comparison above would be weak."""
    rows = generated()
    texts = " ".join(answer for _, answer, _ in rows)
    assert all(
        piece in texts for piece in ("." * 33, "couldnt've", "<answer>", r"\boxed{", "1,000", "是", "somebody'd")
    )
    assert sum(not answer.strip() for _, answer, _ in rows) > 100
    assert sum(gold == answer for gold, answer, _ in rows) > 20
