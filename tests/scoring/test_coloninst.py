"""The official evaluator: a second implementation written from its description, and evalkit's diagnostics."""

from __future__ import annotations

import itertools
import random
import re
from functools import cache

import pytest

from evalkit.cli.config import build, load_option
from evalkit.core.errors import ConfigError
from evalkit.core.types import Prediction, Sample
from evalkit.scoring.protocols.coloninst import METRICS, ColonInst, normalise_label
from evalkit.scoring.protocols.text_overlap import cumulative_bleu, lcs_length, rouge_l, token_f1
from evalkit.stats.labels import constant_answer, macro_accuracy, macro_f1
from tests.support.coloninst_tree import written

END = "<|endoftext|>"
TAILS = ("", "", "", " ", ".", "\n", END, f" {END}", END.upper(), "</s>", "<eos>", "<|im_end|>", "  .", "!")
FILLERS = ("", "The box is ", "It is {", "I see <b> at ", "category: ")


@cache
def protocol(task: str) -> ColonInst:
    made: ColonInst = build({**load_option("protocol", "coloninst"), "task": task}, "coloninst")
    return made


def score(task: str, reference: str, text: str | None) -> dict[str, float | None]:
    sample = Sample(id="s", image_id="i", question="q", references=(reference,), tags={"task": task})
    prediction = Prediction(sample_id="s", text=text, error=None if text is not None else "no prediction turn")
    return {s.metric: s.value for s in protocol(task).score(sample, prediction)}


# The second implementation: sets of pixels and explicit steps instead of formulas.


def official_equal(reference: str, text: str) -> float:
    predicted = "".join(text.lower().split("<|endoftext|>"))
    return 1.0 if [*predicted] == [*reference.lower()] else 0.0


def official_numbers(text: str) -> list[int]:
    """Runs of digits between < and >, white space allowed."""
    found = []
    for at, char in enumerate(text):
        if char != "<":
            continue
        inside = text[at + 1 :].partition(">")
        if inside[1] and re.fullmatch(r"\s*\d+\s*", inside[0]):
            found.append(int(inside[0].strip()))
    return found


def official_iou(reference: str, text: str) -> float:
    gold, predicted = official_numbers(reference.lower()), official_numbers(text.lower().replace(END, ""))
    if len(gold) != 4 or len(predicted) != 4:
        return 0.0

    def columns(box: list[int]) -> range:
        return range(box[0], box[2] + 1)

    def lines(box: list[int]) -> range:
        return range(box[1], box[3] + 1)

    across = len(set(columns(gold)) & set(columns(predicted)))
    down = len(set(lines(gold)) & set(lines(predicted)))
    union = len(columns(gold)) * len(lines(gold)) + len(columns(predicted)) * len(lines(predicted)) - across * down
    return across * down / union if across and down else 0.0


def near(dice: random.Random, label: str, labels: list[str]) -> str:
    """A label, correct or wrong, or a text that differs slightly from one."""
    other = dice.choice(labels)
    cut = dice.randrange(1, len(label) + 1)
    kinds = (
        label, label, label.upper(), other, label[:cut], label + label[-1], f"a {label}", f"{label} {other}", "",
        label.replace(" ", "  "), label.replace(" ", "_"), f" {label}", label.replace("a", "\u0430"), f"{END}{label}",
        label[:1] + END + label[1:], "\u0130" + label, label.replace("s", "\u017f"),
    )  # fmt: skip
    return dice.choice(kinds) + dice.choice(TAILS)


@pytest.mark.parametrize("task", ["cls", "reg"])
def test_the_second_implementation_agrees_on_ten_thousand_labels(task: str) -> None:
    dice = random.Random(task)
    labels = load_option("protocol", "coloninst")["labels"][task]
    hits = 0.0
    for _ in range(10_000):
        label = dice.choice(labels)
        text = near(dice, label, labels)
        value = score(task, label, text)["accuracy"]
        assert value == official_equal(label, text), (label, text)
        hits += value
    assert 1000 < hits < 9000


def boxes(dice: random.Random) -> tuple[str, str]:
    """A reference and a prediction: moved, touching at an edge or a corner, inverted, one pixel, not a box."""
    x, y = dice.randrange(60), dice.randrange(60)
    w, h = dice.choice((1, 1, 2, 7, 40)), dice.choice((1, 1, 2, 7, 40))
    gold = (x, y, x + w - 1, y + h - 1)
    shift = dice.choice((0, 0, 1, -1, w, w - 1, w + 1, h, dice.randrange(-30, 30)))
    moved = [max(0, v + (shift if k % 2 == dice.randrange(2) else 0)) for k, v in enumerate(gold)]
    predicted = dice.choice(
        (moved, moved, list(gold), [gold[2], gold[1], gold[0], gold[3]], [gold[2], gold[3], *gold[:2]])
    )
    predicted = dice.choice((predicted, predicted, predicted, predicted[:3], [*predicted, 7], [predicted[0]] * 4))
    form = dice.choice(
        ("<{}>", "<{}>", "<{}>", "< {} >", "<{}\n>", "[{}]", "<{}.5>", "<-{}>", "<0{}>", "({})", "<<{}>>")
    )
    text = dice.choice(FILLERS) + "{" + dice.choice(("", "", ",", " "))
    text += dice.choice(("", " and ")).join(form.format(v) for v in predicted) + "}" + dice.choice(TAILS)
    return written(gold), dice.choice((text, text, text, "", "none", "<1><2>"))


def test_the_second_implementation_agrees_on_ten_thousand_boxes() -> None:
    dice = random.Random("rec")
    total, expected = [], []
    for _ in range(10_000):
        reference, text = boxes(dice)
        found = score("rec", reference, text)
        assert found["mean_iou"] == official_iou(reference, text), (reference, text)
        assert found["accuracy_at_iou_0.5"] == float(official_iou(reference, text) > 0.5)
        total.append(found["mean_iou"])
        expected.append(official_iou(reference, text))
    assert sum(total) == sum(expected)
    assert 500 < sum(v == 0 for v in total) < 9500
    assert sum(v == 1 for v in total) > 500


@pytest.mark.parametrize("task", ["cls", "reg", "rec", "cap"])
def test_a_missing_prediction_turn_is_unscored_and_never_a_miss(task: str) -> None:
    found = score(task, "{<1><2><3><4>}" if task == "rec" else "polyp", None)
    assert set(found) == {m.name for m in METRICS[task] if not m.of}
    assert set(found.values()) == {None}


@pytest.mark.parametrize(
    ("text", "accuracy", "stripped", "unparsable"),
    [
        ("", 0, 0, 1),
        ("polyp", 1, 1, 0),
        ("POLYP", 1, 1, 0),
        ("polyp<|endoftext|>", 1, 1, 0),
        ("po<|EndOfText|>lyp", 1, 1, 0),
        ("polyp ", 0, 1, 0),
        ("polyp.", 0, 1, 0),
        ("polyp</s>", 0, 1, 0),
        ("polyp<|im_end|>", 0, 1, 0),
        ("a polyp", 0, 0, 1),
        ("ulcer", 0, 0, 0),
        ("polyps", 0, 0, 1),
    ],
)
def test_golden_labels(text: str, accuracy: int, stripped: int, unparsable: int) -> None:
    assert score("cls", "polyp", text) == {
        "accuracy": accuracy,
        "stripped_accuracy": stripped,
        "unparsable_rate": unparsable,
    }


@pytest.mark.parametrize(
    ("predicted", "iou", "hit", "unparsable"),
    [
        ("", 0, 0, 1),
        ("{<10><10><20><20>}", 1, 1, 0),
        ("at {< 10 ><10><20><20>}.", 1, 1, 0),
        ("{<20><20><30><30>}", 1 / 241, 0, 0),
        ("{<20><10><10><20>}", 0, 0, 0),
        ("{<10><10><20><31>}", 0.5, 0, 0),
        ("[10, 10, 20, 20]", 0, 0, 1),
        ("{<10.0><10><20><20>}", 0, 0, 1),
        ("{<10><10><20><20><20>}", 0, 0, 1),
    ],
)
def test_golden_boxes(predicted: str, iou: float, hit: int, unparsable: int) -> None:
    assert score("rec", "{<10><10><20><20>}", predicted) == {
        "mean_iou": iou,
        "accuracy_at_iou_0.5": hit,
        "unparsable_rate": unparsable,
    }


def test_the_published_recall_is_not_a_metric() -> None:
    assert not [m for metrics in METRICS.values() for m in metrics if "recall" in m.name]


def test_samples_of_another_task_are_refused() -> None:
    sample = Sample(id="s", image_id="i", question="q", references=("yes",), tags={"task": "reg"})
    with pytest.raises(ConfigError, match=r"set to ColonINST's task cls.*'reg'"):
        protocol("cls").score(sample, Prediction(sample_id="s", text="yes"))
    with pytest.raises(ConfigError, match="task="):
        build(load_option("protocol", "coloninst"), "coloninst")


def test_normalising_a_label_only_lower_cases_it_and_keeps_labels_distinct() -> None:
    for labels in load_option("protocol", "coloninst")["labels"].values():
        assert len({normalise_label(label) for label in labels}) == len(labels)
        assert all(normalise_label(label) == label.lower() for label in labels)


def drawn(seed: int, n: int = 400) -> tuple[list[float], list[tuple[str, str]], list[str]]:
    dice = random.Random(seed)
    names = [f"c{k}" for k in range(6)]
    labels = []
    for _ in range(n):
        gold = names[min(5, int(dice.expovariate(0.7)))]
        labels.append((gold, gold if dice.random() < 0.6 else dice.choice([*names, "other"])))
    return [float(g == s) for g, s in labels], labels, [f"k{dice.randrange(80)}" for _ in range(n)]


@pytest.mark.parametrize("seed", range(5))
def test_macro_metrics_agree_with_scikit_learn(seed: int) -> None:
    from sklearn.metrics import f1_score, recall_score

    values, labels, clusters = drawn(seed)
    gold, predicted = [g for g, _ in labels], [s for _, s in labels]
    classes = sorted(set(gold))
    options = {"labels": classes, "average": "macro", "zero_division": 0}
    assert macro_accuracy(values, labels, clusters)[0] == pytest.approx(recall_score(gold, predicted, **options))
    assert macro_f1(values, labels, clusters)[0] == pytest.approx(f1_score(gold, predicted, **options))
    assert constant_answer(values, labels, clusters)[0] == max(gold.count(c) for c in classes) / len(gold)


@pytest.mark.parametrize("aggregate", [macro_accuracy, macro_f1])
@pytest.mark.slow
def test_macro_intervals_are_those_of_a_cluster_bootstrap(aggregate) -> None:  # type: ignore[no-untyped-def]
    values, labels, clusters = drawn(3, n=3000)
    rows: dict[str, list[int]] = {}
    for index, cluster in enumerate(clusters):
        rows.setdefault(cluster, []).append(index)
    dice = random.Random(0)
    means = []
    for _ in range(300):
        chosen = [i for c in dice.choices(list(rows), k=len(rows)) for i in rows[c]]
        means.append(
            aggregate([values[i] for i in chosen], [labels[i] for i in chosen], [clusters[i] for i in chosen])[0]
        )
    middle = sum(means) / len(means)
    spread = (sum((m - middle) ** 2 for m in means) / (len(means) - 1)) ** 0.5
    _, interval = aggregate(values, labels, clusters)
    assert (interval.high - interval.low) / 2 == pytest.approx(1.99 * spread, rel=0.15)


@pytest.mark.parametrize("aggregate", [macro_accuracy, macro_f1, constant_answer])
def test_macro_metrics_of_no_rows_one_cluster_and_all_hits(aggregate) -> None:  # type: ignore[no-untyped-def]
    assert aggregate([], [], []) == (None, None)
    value, interval = aggregate([1.0, 0.0], [("a", "a"), ("a", "b")], ["k", "k"])
    assert value is not None
    assert (interval.low, interval.high) == (None, None)
    value, interval = aggregate([1.0] * 10, [("A", "a")] * 10, range(10))
    assert value == 1.0
    assert interval.low < 1.0 == interval.high


def test_caption_metrics_agree_with_plain_implementations() -> None:
    from nltk.translate.bleu_score import sentence_bleu

    dice = random.Random(5)
    words = ["a", "red", "polyp", "is", "seen", "in", "the", "image"]
    for _ in range(400):
        predicted, gold = (dice.choices(words, k=dice.randrange(4, 14)) for _ in range(2))
        table = [[0] * (len(gold) + 1) for _ in range(len(predicted) + 1)]
        for i, j in itertools.product(range(len(predicted)), range(len(gold))):
            same = table[i][j] + 1 if predicted[i] == gold[j] else 0
            table[i + 1][j + 1] = max(same, table[i][j + 1], table[i + 1][j])
        assert lcs_length(predicted, gold) == table[-1][-1]
        ours = cumulative_bleu(predicted, gold)
        if ours[3] > 0:
            expected = [sentence_bleu([gold], predicted, weights=[1 / n] * n) for n in range(1, 5)]
            assert ours == pytest.approx(expected)


def test_degenerate_captions() -> None:
    polyp = ["a", "red", "polyp"]
    assert cumulative_bleu([], polyp) == cumulative_bleu(polyp, []) == (0, 0, 0, 0)
    assert rouge_l([], polyp) == token_f1([], polyp) == rouge_l(["x"], polyp) == 0
    assert cumulative_bleu(polyp, polyp) == (1, 1, 1, 0)
    assert rouge_l(polyp, polyp) == token_f1(polyp, polyp) == 1
    assert score("cap", "A red polyp.", "a RED polyp</s>")["rouge_l"] == 1
