"""compare through the command line: differences, slices, refusals, directions."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evalkit.analysis.compare import check_perturbed, compare, render
from evalkit.analysis.run_scores import read_run_scores
from evalkit.core.errors import ConfigError, DataError
from evalkit.tasks.draws import draws_of
from tests.support.command_line import environment, evalkit, folder_of, in_this_process, lines
from tests.support.made_runs import answered, made_run, made_samples

RUN = ("model=scripted", "task=phantom", "limit=60")


def test_two_runs_are_compared_overall_and_by_slice(tmp_path: Path) -> None:
    first = folder_of(in_this_process(*RUN, "model.rule=yes", cwd=tmp_path), tmp_path)
    second = folder_of(in_this_process(*RUN, "model.rule=question", cwd=tmp_path), tmp_path)
    metric = "metrics=['strict closed_accuracy']"
    result = in_this_process("compare", f"runs=[{first},{second}]", metric, "slices=true", "flips=2", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "strict closed_accuracy" in result.stdout
    assert "organ=Lung" in result.stdout
    assert "modality=CT" not in result.stdout, "all of the first 60 rows: no part of the set"
    same = in_this_process("compare", f"runs=[{first},{first}]", metric, cwd=tmp_path)
    assert "no sample changed its score" in same.stdout


@pytest.mark.slow
def test_runs_over_different_samples_are_refused_with_the_difference(tmp_path: Path) -> None:
    first = folder_of(evalkit(*RUN, cwd=tmp_path), tmp_path)
    second = folder_of(evalkit("model=scripted", "task=phantom", "limit=50", cwd=tmp_path), tmp_path)
    result = evalkit("compare", f"runs=[{first},{second}]", cwd=tmp_path)
    assert result.returncode == 2
    assert "Runs are not comparable" in result.stderr and "n: 60 against 50" in result.stderr


PLUG_IN = """
from evalkit.core.types import Metric, Score


class ErrorRate:
    unscored = "exclude"
    metrics = (Metric(name="error_rate", higher_is_better=False),)

    def __init__(self, *, name, version, **common):
        self.name, self.version, self.card = name, version, {}

    def is_closed(self, sample):
        return None

    def settings(self):
        return {}

    def score(self, sample, prediction):
        value = None if prediction.text is None else float(prediction.text.lower() != sample.references[0].lower())
        reason = "no answer" if value is None else ""
        return [Score(sample_id=sample.id, protocol=self.name, metric="error_rate", value=value, reason=reason)]
"""
PLUGGED = tuple(f"+protocol.plugged.{setting}" for setting in ("target=plugged:ErrorRate", "name=plugged", "version=1"))
METRIC = "metrics=['plugged error_rate']"


def scored(place: Path, name: str, answers: list[dict[str, Any]]) -> Path:
    """The run of answers that were scored under the plug-in protocol."""
    (place / "plugged.py").write_text(PLUG_IN, encoding="utf-8")
    file = place / f"{name}.jsonl"
    file.write_text("".join(json.dumps(a) + "\n" for a in answers), encoding="utf-8")
    command = ("score", f"predictions={file}", "task=phantom", f"name={name}", *PLUGGED)
    result = evalkit(*command, cwd=place, env=environment() | {"EVALKIT_TRUST": "plugged"})
    assert result.returncode == 0, result.stderr
    return folder_of(result, place)


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The right answer to every sample of phantom, in the form of predictions.jsonl."""
    place = tmp_path_factory.mktemp("answers")
    folder = folder_of(evalkit("model=scripted", "task=phantom", cwd=place), place)
    found = lines(folder / "predictions.jsonl")
    return [{"sample_id": a["sample_id"], "text": a["references"][0]} for a in found]


@pytest.mark.slow
def test_a_plug_in_protocol_of_which_lower_is_better_is_compared_and_gated_by_its_direction(
    answers: list[dict[str, Any]], tmp_path: Path
) -> None:
    wrong = [a | {"text": "zzz"} if k % 4 == 0 else a for k, a in enumerate(answers)]
    good, bad = scored(tmp_path, "good", answers), scored(tmp_path, "bad", wrong)
    result = evalkit("compare", f"runs=[{good},{bad}]", METRIC, cwd=tmp_path)
    assert "worse 150, better 0 of 600, lower is better" in result.stdout
    result = evalkit("gate", f"baseline={good}", f"candidate={bad}", METRIC, "out=gate", cwd=tmp_path)
    assert result.returncode == 1, result.stderr
    (metric,) = json.loads((tmp_path / "gate" / "gate.json").read_text(encoding="utf-8"))["comparisons"][0]["metrics"]
    assert (metric["verdict"], metric["higher_is_better"]) == ("fail", False)
    result = evalkit("gate", f"baseline={bad}", f"candidate={good}", METRIC, "out=gate", cwd=tmp_path)
    assert result.returncode == 0
    assert "plugged error_rate: improved" in result.stdout


def test_a_changed_draw_is_one_changed_answer(tmp_path: Path) -> None:
    samples = [draw for sample in made_samples(20) for draw in draws_of(sample, 3)]
    right = [answered(s, s.references[0]) for s in samples]
    changed = [answered(s, "?") if s.id.endswith("#draw=2") and k < 6 else right[k] for k, s in enumerate(samples)]
    first, second = (
        read_run_scores(made_run(tmp_path / name, samples, answers, model=name))
        for name, answers in (("a-toy-00000001", right), ("b-toy-00000002", changed))
    )
    text = render(compare([first, second], None), first, 10)
    assert "2 samples changed their score" in text
    listed = [row for row in text.splitlines() if " -> '?'" in row]
    assert len(listed) == 2 and all("#draw=2" in row for row in listed)


def perturbed_pair(place: Path, *, right: int = 0) -> list[Path]:
    """An original and its perturbed copy, of which the first three rows become wrong; `right` rows have other golds."""
    original = made_samples(20)
    copies = [
        replace(s, question=f"I am afraid. {s.question}", references=("other",) if k < right else s.references)
        for k, s in enumerate(original)
    ]
    given = [answered(s, s.references[0] if k >= 3 else "?") for k, s in enumerate(copies)]
    return [
        made_run(place / "a-toy-00000001", original, [answered(s, s.references[0]) for s in original]),
        made_run(place / "b-toy-00000002", copies, given),
    ]


def test_perturbed_copies_are_paired_by_id_and_refused_without_the_setting(tmp_path: Path) -> None:
    folders = perturbed_pair(tmp_path)
    runs = [read_run_scores(folder) for folder in folders]
    with pytest.raises(DataError, match="data_sha256"):
        compare(runs, ["exact-match exact_match"])
    check_perturbed(runs, folders)
    ((pair,),) = (result.pairs for result in compare(runs, ["exact-match exact_match"], perturbed=True))
    assert (pair.first, pair.second, pair.n, pair.n_worse, pair.n_better) == (1.0, 0.85, 20, 3, 0)
    assert pair.difference == pytest.approx(-0.15) and pair.interval.low < -0.15 < pair.interval.high


def test_rows_with_other_golds_or_other_ids_and_files_without_golds_are_no_pairs(tmp_path: Path) -> None:
    folders = perturbed_pair(tmp_path, right=2)
    runs = [read_run_scores(folder) for folder in folders]
    with pytest.raises(DataError, match="2 samples have other reference answers, such as 'q0'"):
        check_perturbed(runs, folders)
    with pytest.raises(ConfigError, match=r"has no predictions\.jsonl"):
        check_perturbed(runs, [folders[0], tmp_path / "baseline.json"])
    with pytest.raises(ConfigError, match="over the same ones"):
        check_perturbed([runs[0], runs[0]], [folders[0], folders[0]])
    fewer = made_samples(18)
    short = made_run(tmp_path / "c-toy-00000003", fewer, [answered(s, "x") for s in fewer])
    with pytest.raises(DataError, match="2 only in the first"):
        compare([runs[0], read_run_scores(short)], ["exact-match exact_match"], perturbed=True)
