"""Disagreement of protocols: one cause per difference, causes that add up, groups of protocols that count alike."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.analysis.disagreement import (
    CAUSES,
    COLUMNS,
    OTHER,
    Causes,
    ProtocolComparison,
    compare_protocols,
    features_of,
    render,
    spread,
    to_csv,
    to_json,
)
from evalkit.analysis.disagreement.probe_cases import CASES
from evalkit.analysis.disagreement.probes import probes, sample_for
from evalkit.cli.config import build, load_option, options, protocols_for
from evalkit.core.types import Metric, MetricKey, Prediction, Sample, Score
from evalkit.scoring.aggregate import RunProvenance, score_all, tabulate
from evalkit.tasks.base import LoadedTask
from tests.support.paths import ROOT

NAMES = ("llava-med", "llava-med-run-eval", "strict", "medevalkit", "medevalkit-fixed", "lmms-eval", "exact-match")


def sample(number: int, gold: str, closed: bool) -> Sample:
    kind = "CLOSED" if closed else "OPEN"
    return Sample(
        id=str(number),
        image_id=f"i{number // 3}",
        question="Is it left or right?" if gold.startswith("left") else "Is it normal?",
        references=(gold,),
        tags={"answer_type": kind},
    )


def comparison_of(pairs: list[tuple[str, bool, str]], names: tuple[str, ...] = NAMES) -> ProtocolComparison:
    samples = tuple(sample(k, gold, closed) for k, (gold, closed, _) in enumerate(pairs))
    return comparison_over(samples, [text for _, _, text in pairs], names)


def comparison_over(samples: tuple[Sample, ...], texts: list[str], names: tuple[str, ...]) -> ProtocolComparison:
    predictions = [Prediction(sample_id=s.id, text=text) for s, text in zip(samples, texts, strict=True)]
    protocols = [build(load_option("protocol", n), n) for n in names]
    task = LoadedTask(name="vqa-rad", split="test", form="made", samples=samples, closed_rule="label", prompt="plain@0")
    scores = score_all(samples, predictions, protocols)
    values = tabulate(samples, scores, protocols, RunProvenance(model="m", task=task))
    return compare_protocols(samples, predictions, scores, values, protocols)


def cause_of(gold: str, answer: str, closed: bool, first: tuple[str, str], second: tuple[str, str]) -> str:
    """The cause that the comparison gives for one answer; fails when the two protocols agree on it."""
    agreed = [("yes", True, "yes"), ("qqq", False, "qqq")]  # so that both protocols have rows of every kind
    comparison = comparison_of([(gold, closed, answer), *agreed], names=(first[0], second[0]))
    (found,) = [d for d in comparison.differences if d.n and d.column == first[1]]
    assert found.n == 1
    (cause,) = found.causes
    return cause


CLOSED, RECALL, F1, OVERALL, OPEN = "closed", "open recall", "open F1", "overall", "open accuracy"


@pytest.mark.parametrize(
    ("gold", "answer", "closed", "column", "first", "second", "cause"),
    [
        ("yes", "", True, CLOSED, "cares", "llava-med", "empty answer"),
        ("no", "Normal", True, CLOSED, "llava-med", "exact-match", "no inside another word"),
        ("no", "Normal", True, CLOSED, "llava-med", "strict", "no inside another word"),
        ("yes", "Yes, it is abnormal", True, CLOSED, "llava-med", "medevalkit", "no inside another word"),
        # the same answer, another pair, another cause: equality fails on any sentence
        ("yes", "Yes, it is abnormal", True, CLOSED, "llava-med", "exact-match", "verbose answer"),
        ("no", "No, the eyes", True, CLOSED, "llava-med", "medevalkit", "yes inside another word"),
        ("no", "Yes and no", True, CLOSED, "llava-med", "strict", "both yes and no"),
        ("no", "cannot be determined", True, CLOSED, "llava-med", "exact-match", "cannot tell"),
        ("no", "It does not look so", True, CLOSED, "cares", "exact-match", "a negation other than no"),
        ("no", "No fracture of the bone", True, CLOSED, "llava-med", "strict", "no of something else"),
        ("no", "The lung is clear. No.", True, CLOSED, "llava-med", "cares", "said after the first sentence"),
        ("yes", "It is normal", True, CLOSED, "strict", "lmms-eval", "restates the question"),
        ("yes", "True", True, CLOSED, "lmms-eval", "llava-med", "another word for yes or no"),
        ("yes", "cardiac", True, CLOSED, "cares", "llava-med", "neither yes nor no said"),
        ("yes", "no", True, CLOSED, "llava-med", "llava-med-2023", "a miss that is not counted"),
        ("left", "left", True, CLOSED, "llava-med", "llava-med-run-eval", "a closed row without yes or no"),
        ("left", "left", True, CLOSED, "llava-med", "exact-match", "closed by label against closed by yes or no"),
        ("yes", "Assistant: yes", True, CLOSED, "strict", "exact-match", "role prefix"),
        ("left lung", "### Response: left lung", False, OPEN, "llava-med", "lmms-eval", "role prefix"),
        ("Two", "2", True, CLOSED, "llava-med", "lmms-eval", "number words"),
        ("Both", "both sides", True, CLOSED, "llava-med", "vqa-official", "verbose answer"),
        ("MR-FLAIR", "mr flair", False, OPEN, "llava-med", "exact-match", "punctuation"),
        ("left side", "left", True, CLOSED, "strict", "llava-med", "some of the gold words"),
        ("left", "left and right", True, CLOSED, "llava-med", "strict", "names several options"),
        ("left lung", "in the left lung, I think", False, OPEN, "llava-med", "exact-match", "verbose answer"),
        ("ct", "structure", False, OPEN, "llava-med", "exact-match", "gold inside another word"),
        ("left lung", "left left", False, RECALL, "llava-med", "strict", "repeated words"),
        ("mri", "magnetic resonance", False, RECALL, "strict", "llava-med", "aliases"),
        ("CT", "computed tomography", False, OVERALL, "strict", "lmms-eval", "aliases"),
        ("2", "two", False, RECALL, "llava-med", "medevalkit", "number words"),
        ("lung, heart", "heart, lung", False, OVERALL, "strict", "lmms-eval", "words in another order"),
        ("the lung", "the heart", False, RECALL, "medevalkit", "llava-med", "small words"),
        ("left lung", "left-lung", False, RECALL, "llava-med", "medevalkit", "punctuation"),
        ("left lung", "left lung.", False, OPEN, "llava-med", "medevalkit", "punctuation"),
        ("lung", "lung (both)", False, OPEN, "lmms-eval", "exact-match", "words in parentheses"),
        ("lung", "so the answer is lung", False, OPEN, "medevalkit-fixed", "exact-match", "an introduced answer"),
        ("left lower lung lobe", "left lower lobe", False, OPEN, "multimedeval", "lmms-eval",
         "nearly all of the gold words"),
        ("左肺", "左肺。", False, RECALL, "strict", "medevalkit", "Chinese text"),
    ],
)  # fmt: skip
@pytest.mark.few(7)
def test_the_cause_of_a_difference(
    gold: str, answer: str, closed: bool, column: str, first: str, second: str, cause: str
) -> None:
    assert cause_of(gold, answer, closed, (first, column), (second, column)) == cause
    assert cause_of(gold, answer, closed, (second, column), (first, column)) == cause
    assert cause in CAUSES


def test_a_capital_in_the_gold_answer_is_a_cause_where_it_matters() -> None:
    comparison = comparison_of([("Yes", True, "yes")], names=("medevalkit", "helm"))
    assert not [d for d in comparison.differences if d.column == "closed"]
    assert cause_of("Yes", "Yes, it is", True, ("medevalkit-slake", "closed"), ("llava-med", "closed")) in (
        "letter case",
        "verbose answer",
    )


def test_a_protocol_that_wants_options_counts_rows_with_options_only() -> None:
    comparison = comparison_of([("yes", True, "yes"), ("no", True, "no")], names=("huatuogpt-vision", "llava-med"))
    assert ("huatuogpt-vision", "closed") not in comparison.cells
    samples = tuple(
        Sample(id=str(k), image_id=str(k), question="?", references=("yes",), choices=c, tags={"answer_type": "CLOSED"})
        for k, c in enumerate([("yes", "no"), ()])
    )
    comparison = comparison_over(samples, ["yes", "yes"], ("huatuogpt-vision", "llava-med"))
    (found,) = comparison.differences
    assert found.causes == {"a row that one of them does not count": 1, "the letter of an option": 1}
    assert spread(comparison, "closed") is None, "a protocol that can read none of its rows has no value"


def test_a_plug_in_protocol_is_explained_like_the_published_ones() -> None:
    class Shouting:
        """Right when the answer is in capitals."""

        name, version, unscored = "shouting", 1, "exclude"
        metrics = (Metric(name="accuracy"),)

        def is_closed(self, sample: Sample) -> bool | None:
            return None

        def settings(self) -> dict[str, str]:
            return {}

        def score(self, sample: Sample, prediction: Prediction) -> list[Score]:
            hit = bool(prediction.text) and prediction.text[:1].isupper()
            return [Score(sample_id=sample.id, protocol=self.name, metric="accuracy", value=float(hit))]

    causes = Causes([Shouting(), build(load_option("protocol", "lmms-eval"), "lmms-eval")])
    answer = features_of(sample(0, "left lung", False), "Left lung")
    shouting, lmms_eval = MetricKey("shouting", "accuracy"), MetricKey("lmms-eval", "accuracy")
    assert causes.cause(answer, shouting, lmms_eval, True) == "letter case"
    # An effect in the opposite direction explains nothing.
    assert causes.cause(answer, shouting, lmms_eval, False) == OTHER


def test_an_answer_without_the_line_that_one_wants_and_a_no_before_a_yes_are_explained() -> None:
    names = ("inspect-evals", "evalscope", "llava-med", "medgemma-radharmony")
    causes = Causes([build(load_option("protocol", name), name) for name in names])
    inspect, evalscope, llava_med, radharmony = (MetricKey(name, "closed_accuracy") for name in names)
    bare = features_of(sample(0, "no", True), "No")
    assert causes.cause(bare, evalscope, inspect, True) == "an answer without the mark that one wants"
    both = features_of(sample(0, "yes", True), "No, there is no evidence of yes.")
    assert causes.cause(both, llava_med, radharmony, True) == "both yes and no"


def test_every_cause_of_the_cases_is_explained_to_the_reader() -> None:
    assert {cause for cause, _, _ in CASES} <= set(CAUSES)


def test_every_feature_of_the_cases_can_be_found_in_a_row() -> None:
    found: set[str] = set()
    for probe in probes():
        found |= features_of(sample_for(probe.kind, probe.probe[0]), probe.probe[1]).features
    assert {feature for _, feature, _ in CASES} <= found


ANSWERS = st.sampled_from(
    [
        "",
        "yes",
        "no",
        "Yes, it is abnormal",
        "normal",
        "yes and no",
        "left",
        "left lung",
        *["two", "2", "CT", "a long answer, no"],
    ]
)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["yes", "no", "left", "2", "ct scan"]), st.booleans(), ANSWERS), min_size=1))
@pytest.mark.slow
def test_the_causes_add_up_to_the_rows_that_differ(pairs: list[tuple[str, bool, str]]) -> None:
    comparison = comparison_of(pairs)
    for d in comparison.differences:
        assert sum(d.causes.values()) == d.n > 0
        assert d.n <= len(pairs)
    for column, groups in comparison.alike.items():
        members = [p for g in groups for p in g]
        assert len(members) == len(set(members))
        shown = {frozenset((d.first, d.second)) for d in comparison.differences if d.column == column}
        assert len(shown) == len(groups) * (len(groups) - 1) // 2


def test_the_matrix_the_files_and_the_text_agree() -> None:
    comparison = comparison_of(
        [("yes", True, "Yes, it is abnormal"), ("no", True, "normal"), ("left lung", False, "left left")]
    )
    content = json.loads(json.dumps(to_json(comparison)))
    assert content["columns"] == [c for c in COLUMNS if c in content["columns"]]
    assert len(to_csv(comparison).splitlines()) == len(comparison.cells) + 1
    text = render(comparison, "llava-med")
    assert "closed, counted differently from llava-med" in text
    low, high = spread(comparison, "closed") or (None, None)
    assert low is not None and high is not None
    assert low.value is not None and high.value is not None and low.value <= high.value


@pytest.mark.slow
def test_every_published_protocol_on_generated_answers_adds_up_and_leaves_little_unexplained() -> None:
    rng = random.Random(3)
    words = [
        "left",
        "right",
        "lung",
        "the",
        "CT",
        "x-ray",
        "mri",
        "two",
        "no",
        "yes",
        "not",
        "normal",
        "know",
        "and",
        "is",
    ]
    golds = ["yes", "No", "left lung", "2", "x-ray", "CT, MRI", "right"]
    pairs = []
    for _ in range(400):
        gold = rng.choice(golds)
        filler = " ".join(rng.choices(words, k=rng.randint(0, 7)))
        text = rng.choice(
            [gold, filler, f"{filler} {gold}", f"Assistant: {gold}", f"{gold}.", f"{gold} {gold}", f"The {gold}"]
        )
        pairs.append((gold, rng.random() < 0.5, text))
    names = tuple(n for n in options("protocol") if n != "all" and not n.startswith(("coloninst", "judge")))
    comparison = comparison_of(pairs, names)
    for d in comparison.differences:
        assert sum(d.causes.values()) == d.n
        for cause, examples in d.examples.items():
            assert 0 < len(examples) <= min(3, d.causes[cause])
    every = sum(d.n for d in comparison.differences)
    assert every > 10_000
    assert sum(d.causes.get(OTHER, 0) for d in comparison.differences) < 0.02 * every


def test_a_run_under_every_protocol_shows_the_lens_and_writes_it(tmp_path: Path) -> None:
    from tests.support.command_line import SCRIPTED, folder_of
    from tests.support.command_line import in_this_process as evalkit

    result = evalkit(*SCRIPTED, "protocol=all", "limit=40", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "counted differently from llava-med" in result.stdout
    folder = folder_of(result, tmp_path)
    content = json.loads((folder / "lens.json").read_text(encoding="utf-8"))
    for d in content["differences"]:
        assert sum(c["n"] for c in d["causes"]) == d["n"]
        assert {c["cause"] for c in d["causes"]} <= set(content["causes"])
    assert (folder / "lens.csv").read_text(encoding="utf-8").startswith("protocol,column,metric,value")


def test_the_committed_figure_is_under_ten_seconds_for_pathvqa_and_explains_nearly_everything() -> None:
    measured = json.loads((ROOT / "benchmarks" / "lens.json").read_text(encoding="utf-8"))
    assert (measured["rows"], measured["protocols"]) == (6719, len(protocols_for({"all": {}}, {"name": "pathvqa"})))
    assert measured["total_seconds"]["wall"] < 10
    assert measured["unexplained"] < 0.001 * measured["differences"]


def documented() -> list[tuple[str, str, int, dict[str, int]]]:
    """The table of causes in docs/comparison.md: (column, first protocol of the line, rows, causes)."""
    lines = []
    for line in (ROOT / "docs" / "lens.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 4 and cells[0] in COLUMNS and cells[2].isdigit():
            causes = dict(reversed(part.split(" ", 1)) for part in cells[3].split(", "))
            lines.append((cells[0], cells[1].split(",")[0], int(cells[2]), {c: int(n) for c, n in causes.items()}))
    return lines


def test_the_documented_causes_exist_and_add_up() -> None:
    assert len(documented()) == 24
    for _, _, n, causes in documented():
        assert sum(causes.values()) == n
        assert set(causes) <= set(CAUSES)
    listed = (ROOT / "docs" / "lens.md").read_text(encoding="utf-8")
    assert all(f"| {cause} | {text} |" in listed for cause, text in CAUSES.items())


@pytest.mark.slow
@pytest.mark.data
def test_real_answers_through_the_command_line(shared: Path, tmp_path: Path) -> None:
    from tests.support.command_line import folder_of
    from tests.support.command_line import in_this_process as evalkit

    file = shared / "predictions" / "qwen2-vl-2b-vqa-rad" / "lora_rank4" / "lora_predictions.jsonl"
    result = evalkit(
        "score", f"predictions={file}", "task=vqa-rad", f"task.path={shared / 'vqa-rad' / 'osf'}", "task.order=hf",
        "protocol=all", cwd=tmp_path,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    comparison = json.loads((folder_of(result, tmp_path) / "lens.json").read_text(encoding="utf-8"))
    for column, protocol, n, causes in documented():
        (found,) = [
            d
            for d in comparison["differences"]
            if d["column"] == column and {d["first"], d["second"]} == {protocol, "llava-med"}
        ]
        assert (found["n"], {c["cause"]: c["n"] for c in found["causes"]}) == (n, causes), (column, protocol)
    pair = next(
        d for d in comparison["differences"]
        if d["column"] == "closed" and {d["first"], d["second"]} == {"llava-med", "exact-match"}
    )  # fmt: skip
    # 272 rows are closed by label, 251 by yes or no: nothing else separates the two on these short answers.
    assert [(c["cause"], c["n"]) for c in pair["causes"]] == [("closed by label against closed by yes or no", 21)]


CHOICE_NAMES = tuple(n for n in options("protocol") if n.startswith("choice-"))
OFFERED = ("CT angiography", "MRI", "Pleural effusion", "A small pleural effusion")


def choice_comparison(cases: list[tuple[str, str]], names: tuple[str, ...]) -> ProtocolComparison:
    """Comparison over multiple-choice rows, given as the right option and the answer."""
    samples = tuple(
        Sample(id=str(k), image_id=str(k), question="Which?", references=(gold,), choices=OFFERED,
               tags={"answer_type": "CHOICE"})
        for k, (gold, _) in enumerate(cases)
    )  # fmt: skip
    return comparison_over(samples, [text for _, text in cases], names)


@pytest.mark.parametrize(
    ("gold", "answer", "first", "second", "cause"),
    [
        ("MRI", "", "choice-strict", "choice-mmmu", "empty answer"),
        ("CT angiography", "", "choice-medevalkit", "choice-vlmevalkit", "empty answer"),
        ("MRI", ".", "choice-strict", "choice-evalscope", "an answer of signs alone"),
        ("MRI", "A or B", "choice-strict", "choice-evalscope", "states two options"),
        ("CT angiography", "A, not B", "choice-strict", "choice-lmms-eval-extract", "states two options"),
        ("MRI", "B. CT angiography", "choice-strict", "choice-vlmevalkit", "states two options"),
        ("CT angiography", "A lesion", "choice-strict", "choice-mmmu", "A or I is a word of the sentence"),
        ("Pleural effusion", "A pleural effusion", "choice-lmms-eval-filter", "choice-vlmevalkit",
         "A or I is a word of the sentence"),
        ("MRI", "b", "choice-strict", "choice-vlmevalkit", "a small letter"),
        ("MRI", "答案：B", "choice-strict", "choice-mmmu", "Chinese marks or full-width letters"),
        ("MRI", "**B**", "choice-strict", "choice-mmmu", "a letter in brackets, bold or boxed"),
        ("MRI", "\\boxed{B}", "choice-medevalkit-mmmu", "choice-mmmu", "a letter in brackets, bold or boxed"),
        ("MRI", "B because of the bright fat", "choice-strict", "choice-vlmevalkit", "a letter far from the end"),
        ("MRI", "B. MRI", "choice-strict", "choice-mmmu", "a letter with words around it"),
        ("MRI", "option B", "choice-strict", "choice-lmms-eval-filter", "a letter with words around it"),
        ("MRI", "B", "choice-strict", "choice-lmms-eval-filter", "a letter alone"),
        ("Pleural effusion", "Cannot tell", "choice-evalscope", "choice-strict", "a capital of a word is a letter"),
        ("MRI", "MRI", "choice-strict", "choice-mmmu", "the text of an option"),
        ("MRI", "so this is an mri of the brain", "choice-mmmu", "choice-strict",
         "the text of an option among other words"),
        ("MRI", "no idea", "choice-strict", "choice-mmmu", "states no option"),
    ],
)  # fmt: skip
@pytest.mark.few(4)
def test_the_cause_of_a_difference_between_readings_of_multiple_choice(
    gold: str, answer: str, first: str, second: str, cause: str
) -> None:
    agreed = ("Pleural effusion", "ANSWER: C")
    for names in ((first, second), (second, first)):
        (found,) = choice_comparison([(gold, answer), agreed], names).differences
        assert (found.column, found.n, dict(found.causes)) == ("choice", 1, {cause: 1})
    assert cause in CAUSES


@pytest.mark.slow
def test_differences_of_all_choice_protocols_add_up_and_few_are_unexplained() -> None:
    rng = random.Random(5)
    forms = ["{l}", "({l})", "{l}.", "{l}. {t}", "{t}", "The answer is {l}", "Answer: {t}", "**{l}**", "{f}", "{s}",
             "{f} {t} {f}", "{l} or {m}", "{f} {l}", "", "选{l}", "\\boxed{{{l}}}", "{f}\n\n{l}",
             "ANSWER: {l}, not {m}"]  # fmt: skip
    cases = []
    for _ in range(400):
        k, j = rng.randrange(4), rng.randrange(4)
        filler = rng.choice(["A mass", "it is seen", "DICOM", "I think", "because of the bright fat in it"])
        fields = {"l": "ABCD"[k], "m": "ABCD"[j], "s": "abcd"[k], "t": OFFERED[k], "f": filler}
        cases.append((OFFERED[rng.choice([k, j])], rng.choice(forms).format(**fields)))
    comparison = choice_comparison(cases, CHOICE_NAMES)
    assert comparison.columns == ("choice",) and len(CHOICE_NAMES) == 10
    every = sum(d.n for d in comparison.differences)
    assert every > 3000
    for d in comparison.differences:
        assert sum(d.causes.values()) == d.n
    assert sum(d.causes.get(OTHER, 0) for d in comparison.differences) < 0.02 * every
    assert "choice, counted differently from choice-strict" in render(comparison, "llava-med")


def test_rows_that_a_reading_does_not_count_are_a_difference_with_that_cause() -> None:
    several = Sample(id="0", image_id="0", question="Which?", references=("MRI", "Pleural effusion"), choices=OFFERED,
                     tags={"answer_type": "CHOICE"})  # fmt: skip
    one = Sample(id="1", image_id="1", question="Which?", references=("MRI",), choices=OFFERED,
                 tags={"answer_type": "CHOICE"})  # fmt: skip
    comparison = comparison_over((several, one), ["B, C", "B"], ("choice-strict", "choice-vlmevalkit"))
    (found,) = comparison.differences
    assert dict(found.causes) == {"a row that one of them does not count": 1}


def test_choice_rows_are_in_no_column_of_protocols_that_read_none() -> None:
    comparison = choice_comparison([("MRI", "B")], ("strict", "exact-match", "helm", "choice-strict"))
    assert {cell.protocol for cell in comparison.cells} == {"choice-strict"}
