"""Sanity checks for a run: baselines, yes/no answers, rewordings, rates."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from evalkit.analysis.sanity_checks import check_run, consistency, rates, render, yes_no
from evalkit.cli.config import build, load_option
from evalkit.core.types import Metric, Prediction, Sample, Score
from evalkit.models.text_only_baselines import Majority
from evalkit.scoring.aggregate import RunProvenance, score_all, tabulate
from evalkit.tasks.base import LoadedTask


def sample(number: int, gold: str, **tags: str) -> Sample:
    kind = "CLOSED" if gold in ("yes", "no") else "OPEN"
    return Sample(
        id=str(number), image_id=f"i{number // 2}", question=f"Is it {number % 3}?", references=(gold,),
        tags={"answer_type": kind} | tags,
    )  # fmt: skip


def answer(number: int, text: str | None) -> Prediction:
    return Prediction(sample_id=str(number), text=text, error=None if text is not None else "boom")


def test_yes_no_answers_are_read_as_a_diagnostic_test() -> None:
    golds = ["yes", "yes", "yes", "no", "no", "left"]
    texts = ["yes", "Yes, it is", "no", "no", "yes", "yes"]
    read = yes_no([sample(k, g) for k, g in enumerate(golds)], [answer(k, t) for k, t in enumerate(texts)])
    assert read is not None
    assert (read["n"], read["n_read"]) == (5, 5)
    assert read["sensitivity"] == pytest.approx(2 / 3)
    assert read["specificity"] == pytest.approx(1 / 2)
    assert read["balanced_accuracy"] == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert (read["yes_said"], read["yes_gold"]) == (0.6, 0.6)


@pytest.mark.parametrize("text", ["", "normal", "yes and no", None])
def test_an_answer_without_a_verdict_is_not_read(text: str | None) -> None:
    assert yes_no([sample(0, "yes")], [answer(0, text)]) == {"n": 1, "n_read": 0}


def test_a_set_without_yes_no_questions_has_no_such_block() -> None:
    assert yes_no([sample(0, "lung")], [answer(0, "yes")]) is None


def test_rewordings_count_pairs_of_one_image() -> None:
    samples = [
        sample(0, "yes", pair="a"),
        sample(1, "yes", pair="a"),
        sample(2, "no", pair="b"),
        sample(3, "no", pair="b"),
    ]
    same = consistency(samples, [answer(0, "Yes."), answer(1, "yes"), answer(2, "no"), answer(3, "yes")])
    assert same is not None
    assert (same["n_pairs"], same["n_other_gold"], same["same_answer"], same["both_right"]) == (2, 0, 0.5, 0.5)
    assert consistency(samples[:1], [answer(0, "yes")]) is None


def test_linked_questions_with_different_answers_are_not_rewordings() -> None:
    samples = [
        sample(0, "yes", pair="a"),
        sample(1, "no", pair="a"),
        sample(2, "MRI", pair="b"),
        sample(3, "mr imaging", pair="b"),
    ]
    found = consistency(
        samples, [answer(0, "yes"), answer(1, "no"), answer(2, "Magnetic resonance"), answer(3, "MRI.")]
    )
    assert found is not None
    assert (found["n_pairs"], found["n_other_gold"], found["same_answer"], found["both_right"]) == (1, 1, 1.0, 1.0)
    only = consistency(samples[:2], [answer(0, "yes"), answer(1, "no")])
    assert only is not None and (only["n_pairs"], only["same_answer"]) == (0, None)


def test_verdicts_are_compared_and_not_their_wording() -> None:
    samples = [sample(0, "yes", pair="a"), sample(1, "yes", pair="a")]
    found = consistency(samples, [answer(0, "Yes, it is"), answer(1, "yes")])
    assert found is not None and found["same_answer"] == 1.0


def test_the_rate_of_truncated_answers_is_unknown_for_files_of_other_tools() -> None:
    samples = [sample(0, "yes"), sample(1, "no")]
    assert rates(samples, [answer(0, "yes"), answer(1, "no")], [])["truncated"] is None
    cut = Prediction(sample_id="1", text="no", finish_reason="length")
    assert rates(samples, [answer(0, "yes"), cut], [])["truncated"] == 0.5


def test_sensitivity_and_specificity_have_intervals_clustered_by_image() -> None:
    golds = ["yes", "no"] * 10
    found = yes_no([sample(k, g) for k, g in enumerate(golds)], [answer(k, "yes") for k in range(20)])
    assert found is not None
    assert (found["sensitivity"], found["specificity"]) == (1.0, 0.0)
    low, high = found["sensitivity_interval"]
    assert 0.5 < low < high == 1.0
    assert found["specificity_interval"] == pytest.approx([0.0, 1 - low])


@pytest.mark.slow
def test_a_run_on_blank_images_in_the_same_folder_is_found_and_compared_sample_by_sample(tmp_path: Path) -> None:
    from tests.support.command_line import SCRIPTED, folder_of
    from tests.support.command_line import in_this_process as evalkit

    blank = evalkit(*SCRIPTED, "image=blank", "model.rule=yes", cwd=tmp_path)
    assert "this is the run with blank images" in blank.stdout, blank.stderr
    result = evalkit(*SCRIPTED, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    summary = json.loads((folder_of(result, tmp_path) / "summary.json").read_text(encoding="utf-8"))
    block = summary["sanity_checks"]["blank"]
    assert block["run_id"] == folder_of(blank, tmp_path).name
    values = {(m["protocol"], m["metric"]): m["value_worst_case"] for m in summary["metrics"] if m["slice"] == "all"}
    for m in block["metrics"]:
        assert m["lift"] == pytest.approx(values[m["protocol"], m["metric"]] - m["value"])
    assert "blank image" in result.stdout and "lift" in result.stdout


def test_nothing_is_downloaded_to_fit_a_baseline() -> None:
    from evalkit.pipeline.train_split import TrainSplit

    task = build(load_option("task", "vqa-rad"), "vqa-rad")
    assert "would have to be downloaded" in str(TrainSplit(task).load_or_reason())


def test_rates_count_failures_empties_and_refusals() -> None:
    samples = [sample(k, "yes") for k in range(4)]
    predictions = [answer(0, None), answer(1, " "), answer(2, "I'm sorry, I cannot tell"), answer(3, "yes")]
    scores = score_all(samples, predictions, [build(load_option("protocol", "strict"), "strict")])
    found = rates(samples, predictions, scores)
    assert (found["failed"], found["empty"], found["refusal"]) == (0.25, 0.25, 0.25)
    assert found["unparsable"] == 0.5


def test_a_model_that_is_the_baseline_has_no_lift_over_it_and_a_missing_train_split_is_reported(tmp_path: Path) -> None:
    samples = tuple(sample(k, "yes" if k % 3 else "no") for k in range(12))
    task = LoadedTask(name="t", split="test", form="made", samples=samples, closed_rule="label", prompt="p")
    protocols = [build(load_option("protocol", n), n) for n in ("llava-med", "strict")]
    fitted = Majority().fit(samples)
    predictions = [answer(k, fitted.answer(s.question, s.answer_type)) for k, s in enumerate(samples)]
    scores = score_all(samples, predictions, protocols)
    provenance = RunProvenance(model="m", task=task)
    values = tabulate(samples, scores, protocols, provenance)
    block = check_run(samples, predictions, scores, values, protocols, provenance, task, tmp_path)
    lifts = [m["lift"] for m in block["baselines"]["metrics"] if m["baseline"] == "majority"]
    assert lifts and set(lifts) == {0.0}
    assert "lift +0.0" in render(block, "llava-med")
    unknown = check_run(samples, predictions, scores, values, protocols, provenance, "no train file", tmp_path)
    assert "not known: no train file" in render(unknown, "llava-med")


class ErrorRate:
    """A plug-in protocol that counts wrong answers under the name of a headline metric."""

    name, version, unscored = "errors", 1, "exclude"
    metrics = (Metric(name="exact_match", higher_is_better=False),)

    def is_closed(self, sample: Sample) -> bool | None:
        return None

    def settings(self) -> dict[str, str]:
        return {}

    def score(self, sample: Sample, prediction: Prediction) -> list[Score]:
        value = None if prediction.text is None else float(prediction.text != sample.references[0])
        reason = "no answer" if value is None else ""
        return [Score(sample_id=sample.id, protocol=self.name, metric="exact_match", value=value, reason=reason)]


@pytest.mark.parametrize(("text", "lift"), [("yes", 1 / 3), ("zzz", -2 / 3), (None, -2 / 3)])
def test_the_lift_of_an_error_rate_is_positive_where_the_run_makes_fewer_errors(
    text: str | None, lift: float, tmp_path: Path
) -> None:
    samples = tuple(sample(k, "yes") for k in range(12))
    train = tuple(sample(k, "yes" if k % 3 else "no") for k in range(12))
    task, other = (
        LoadedTask(name="t", split="test", form="made", samples=s, closed_rule="label", prompt="p")
        for s in (samples, train)
    )
    # The lookup baseline answers "no" to every third question and errs there.
    predictions = [answer(k, text) for k in range(12)]
    provenance, protocols = RunProvenance(model="m", task=task), [ErrorRate()]
    scores = score_all(samples, predictions, protocols)
    values = tabulate(samples, scores, protocols, provenance)
    block = check_run(samples, predictions, scores, values, protocols, provenance, other, tmp_path)
    (lookup,) = [m for m in block["baselines"]["metrics"] if m["baseline"] == "lookup"]
    assert (lookup["value"], lookup["lift"]) == pytest.approx((1 / 3, lift))
    assert lookup["low"] <= lookup["lift"] <= lookup["high"]


@pytest.mark.slow
@pytest.mark.data
def test_the_leak_tags_of_the_real_sets(shared: Path) -> None:
    slake = build(load_option("task", "slake") | {"path": str(shared / "slake")}, "slake").load(images=False)
    leaked = {s.image_id for s in slake.samples if s.tags["leak"] == "zh-train"}
    assert (len(leaked), len({s.image_id for s in slake.samples})) == (72, 96)
    path = build(load_option("task", "pathvqa") | {"path": str(shared / "pathvqa" / "hf")}, "pathvqa").load(
        images=False
    )
    assert sum(s.tags["repeats"] == "conflicting" for s in path.samples) == 951


@pytest.mark.data
def test_the_sanity_checks_of_real_answers(shared: Path, tmp_path: Path) -> None:
    from tests.support.command_line import folder_of
    from tests.support.command_line import in_this_process as evalkit

    file = shared / "predictions" / "qwen2-vl-2b-vqa-rad" / "lora_rank4" / "lora_predictions.jsonl"
    result = evalkit(
        "score", f"predictions={file}", "task=vqa-rad", f"task.path={shared / 'vqa-rad' / 'osf'}", "task.order=hf",
        "protocol=all", cwd=tmp_path,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    summary = json.loads((folder_of(result, tmp_path) / "summary.json").read_text(encoding="utf-8"))
    block = summary["sanity_checks"]
    lookup = {
        m["metric"]: round(100 * m["value"], 1)
        for m in block["baselines"]["metrics"]
        if (m["baseline"], m["protocol"]) == ("lookup", "llava-med")
    }
    assert (lookup["closed_accuracy"], lookup["open_recall"]) == (52.2, 17.7)
    assert block["rates"]["truncated"] is None
    assert block["consistency"]["n_pairs"] + block["consistency"]["n_other_gold"] == 164
    closed = {
        p["part"]: p["n"] for p in block["parts"] if (p["protocol"], p["metric"]) == ("llava-med", "closed_accuracy")
    }
    assert closed == {"leak=frame": 182, "leak=none": 90}
    # No answer has the line with ANSWER that this rule reads.
    assert block["spread"]["closed"]["lowest"]["protocol"] == "inspect-evals"
    assert block["spread"]["closed"]["highest"]["protocol"] == "llava-med-2023"
    assert not any(m["slice"].startswith("pair=") for m in summary["metrics"])


def choice(number: int, gold: str, options: tuple[str, ...]) -> Sample:
    return Sample(
        id=str(number), image_id=f"i{number // 2}", question="Which?", references=(gold,), choices=options,
        tags={"answer_type": "CHOICE"},
    )  # fmt: skip


CHOICES = tuple(choice(k, "b" if k % 3 else "a", ("a", "b") if k % 2 else ("a", "b", "c", "d")) for k in range(12))


def choice_block(train: LoadedTask | str, texts: list[str], folder: Path) -> dict[str, object]:
    samples = (*CHOICES, sample(12, "yes"), sample(13, "lung"))
    task = LoadedTask(name="t", split="test", form="made", samples=samples, closed_rule="label", prompt="p")
    protocols = [build(load_option("protocol", n), n) for n in ("strict", "choice-strict", "choice-mmmu")]
    predictions = [answer(k, text) for k, text in enumerate([*texts, "yes", "lung"])]
    scores = score_all(samples, predictions, protocols)
    provenance = RunProvenance(model="m", task=task)
    values = tabulate(samples, scores, protocols, provenance)
    return check_run(samples, predictions, scores, values, protocols, provenance, train, folder)


def test_chance_and_the_majority_letter_stand_beside_every_choice_number_without_a_train_split(tmp_path: Path) -> None:
    block = choice_block("no train file", ["A", *["B"] * 10, "no idea"], tmp_path)
    found = {(m["baseline"], m["protocol"]): m for m in block["baselines"]["metrics"]}  # type: ignore[index]
    assert set(found) == {(b, p) for b in ("chance", "majority letter") for p in ("choice-strict", "choice-mmmu")}
    assert {m["metric"] for m in found.values()} == {"choice_accuracy"}
    chance, letter = found["chance", "choice-strict"], found["majority letter", "choice-strict"]
    assert chance["value"] == pytest.approx((1 / 2 + 1 / 4) / 2)
    assert (letter["value"], letter["answer"]) == (pytest.approx(8 / 12), "B")
    # eight right letters of twelve (one of four golds "a", seven of eight golds "b"); the unread answer counts as wrong
    assert chance["lift"] == pytest.approx(8 / 12 - 3 / 8)
    assert letter["lift"] == pytest.approx(0)
    assert letter["low"] <= 0 <= letter["high"]
    text = render(block, "strict")
    assert "chance              choice-strict choice_accuracy 37.5 (lift +29.2" in text
    assert "majority letter     always B: choice-strict choice_accuracy 66.7 (lift +0.0" in text
    assert "; the 1 unscored count as the worst case)" in text
    assert "not known: no train file" in text


def test_the_letter_of_the_train_split_is_a_baseline_too(tmp_path: Path) -> None:
    train = LoadedTask(
        name="t", split="train", form="made", samples=(choice(0, "a", ("a", "b")),), closed_rule="label", prompt="p"
    )
    block = choice_block(train, ["A"] * 12, tmp_path)
    (majority,) = [
        m
        for m in block["baselines"]["metrics"]  # type: ignore[index]
        if (m["baseline"], m["protocol"]) == ("majority", "choice-strict")
    ]
    assert (majority["value"], majority["lift"]) == (pytest.approx(4 / 12), pytest.approx(0))
    assert "majority (no image)" in render(block, "strict")


def test_a_run_without_multiple_choice_has_no_such_baselines(tmp_path: Path) -> None:
    samples = (sample(0, "yes"),)
    task = LoadedTask(name="t", split="test", form="made", samples=samples, closed_rule="label", prompt="p")
    provenance = RunProvenance(model="m", task=task)
    protocols = [build(load_option("protocol", n), n) for n in ("strict", "choice-strict")]
    predictions = [answer(0, "yes")]
    scores = score_all(samples, predictions, protocols)
    values = tabulate(samples, scores, protocols, provenance)
    block = check_run(samples, predictions, scores, values, protocols, provenance, "none", tmp_path)
    assert block["baselines"] == {"unknown": "none"}
    assert "chance" not in render(block, "strict")
