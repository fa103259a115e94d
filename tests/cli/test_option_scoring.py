"""scoring=loglikelihood and choices.shuffle through the command line: what is refused first, then runs and resuming."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import evalkit as evalkit_package
from evalkit.cli.main import main
from tests.support.command_line import in_this_process as evalkit
from tests.support.tiny_llava import draw

QUESTIONS = (("Which modality is it?", "CT", "MRI", "X-ray"), ("Which plane is it?", "axial", "coronal", "sagittal"))


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of four images, each with two multiple-choice questions, a yes/no question and an open one."""
    folder = tmp_path_factory.mktemp("table")
    lines = ["image,question,answer,A,B,C"]
    for k in range(4):
        draw(folder / f"{k}.png", k)
        for question, *options in QUESTIONS:
            lines.append(f"{k}.png,{question},{'ABC'[k % 3]},{','.join(options)}")
        lines += [f"{k}.png,Is there a lesion?,{('yes', 'no')[k % 2]},,,", f"{k}.png,What is seen?,a disc,,,"]
    (folder / "quiz.csv").write_text("\n".join(lines) + "\n")
    return folder / "quiz.csv"


def words(table: Path, *more: str) -> tuple[str, ...]:
    return ("task=table", f"task.path={table}", "model=phantom-llava", "leaderboard=null", *more)


def run(table: Path, cwd: Path, *more: str) -> tuple[Path, str]:
    done = evalkit(*words(table, *more), cwd=cwd)
    assert done.returncode == 0, done.stderr
    return cwd / done.stdout.splitlines()[-1], done.stdout + done.stderr


def summary(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return found


def values(folder: Path) -> dict[tuple[str, str, str], tuple[float | None, int]]:
    return {(m["protocol"], m["metric"], m["slice"]): (m["value"], m["n"]) for m in summary(folder)["metrics"]}


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]


def answers(folder: Path) -> dict[str, dict[str, Any]]:
    """The lines of a run by sample, without times."""
    return {line["sample_id"]: {k: v for k, v in line.items() if k != "seconds"} for line in lines(folder)}


def same(found: dict[str, dict[str, Any]], expected: dict[str, dict[str, Any]]) -> bool:
    """Whether answers are equal, log-probabilities up to what another batch may move them by."""

    def plain(line: dict[str, Any]) -> dict[str, Any]:
        return {**line, "options": [{**o, "logprob": 0} for o in line.get("options", ())]}

    def logprobs(lines: dict[str, dict[str, Any]]) -> list[float]:
        return [o["logprob"] for i in sorted(lines) for o in lines[i].get("options", ())]

    assert {i: plain(line) for i, line in found.items()} == {i: plain(line) for i, line in expected.items()}
    return logprobs(found) == pytest.approx(logprobs(expected), abs=1e-5)


@pytest.mark.few(2)
@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["scoring=probability"], "scoring=probability"),
        (["scoring=loglikelihood", "protocol=choice-strict"], "protocol=choice-strict reads a text"),
        (["protocol=loglikelihood-sum"], "a run with scoring=loglikelihood stores"),
        (["scoring=loglikelihood", "task.choice_prompt=plain"], "loglikelihood.continuation=text"),
        (["scoring=loglikelihood", "loglikelihood.continuation=both"], "loglikelihood.continuation=both"),
        (["scoring=loglikelihood", "task.where.answer_type=OPEN"], "4 of 4 rows have no options to rank"),
        (["choices.shuffle=1"], "choices.shuffle=1"),
        (["choices.shuffle=two"], "choices.shuffle"),
        (["choices.shuffle=3", "task.where.answer_type=OPEN"], "no multiple-choice row"),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else "",
)
def test_settings_that_cannot_be_are_refused_in_one_paragraph(
    table: Path, tmp_path: Path, given: list[str], said: str
) -> None:
    done = evalkit(*words(table, *given), cwd=tmp_path)
    assert done.returncode == 2 and said in done.stderr and "Traceback" not in done.stderr, done.stderr


@pytest.mark.slow
def test_a_model_without_log_probabilities_is_refused_by_name(table: Path, tmp_path: Path) -> None:
    more = ("model=majority", f"task.train={table}", "scoring=loglikelihood")
    done = evalkit(*words(table), *more, cwd=tmp_path)
    assert done.returncode == 2 and "gives no log-probabilities of options" in done.stderr


@pytest.mark.slow
def test_protocol_all_of_generated_answers_has_none_that_reads_log_probabilities(table: Path, tmp_path: Path) -> None:
    folder, _ = run(table, tmp_path, "protocol=all", "limit=2")
    assert not any("loglikelihood" in protocol for protocol, _, _ in values(folder))


def test_a_run_ranks_the_options_and_goes_on_from_the_answers_that_it_has(table: Path, tmp_path: Path) -> None:
    folder, text = run(table, tmp_path, "scoring=loglikelihood")
    assert "8 of 16 rows have no options to rank (4 closed, first 4, 4 open, first 5)" in text
    manifest = json.loads((folder / "manifest.json").read_text())
    assert (manifest["scoring"], manifest["continuation"], manifest["generation"]) == (
        "loglikelihood",
        "letter",
        "none",
    )
    found = summary(folder)
    shown = next(m for m in found["metrics"] if m["metric"] == "choice_accuracy" and m["slice"] == "all")
    assert "|scoring:loglikelihood|continuation:letter|" in shown["signature"] and shown["n"] == 8
    assert manifest["timing"]["image_prefills"] == 4, "one an image, for two questions of three options"
    first = answers(folder)
    assert len(first) == 8
    for line in lines(folder):
        assert [option["text"] for option in line["options"]] == ["A", "B", "C"]
        assert all(option["logprob"] < 0 and option["n_tokens"] >= 1 for option in line["options"])
        assert line["text"] == max(line["options"], key=lambda option: option["logprob"])["text"]
    kept = (folder / "predictions.jsonl").read_text().splitlines(keepends=True)[:5]
    (folder / "predictions.jsonl").write_text("".join(kept))
    again, text = run(table, tmp_path, "scoring=loglikelihood")
    assert again == folder and "5 of 8 answers are already in" in text and same(answers(folder), first)
    assert found["metrics"] == summary(folder)["metrics"]
    baselines = found["sanity_checks"]["baselines"]["metrics"]
    assert {b["baseline"] for b in baselines} == {"chance", "majority letter"}
    scored = evalkit(
        "score", f"predictions={folder}", "task=table", f"task.path={table}", "out=scored", "leaderboard=null",
        cwd=tmp_path,
    )  # fmt: skip
    assert scored.returncode == 0, scored.stderr
    assert values(tmp_path / scored.stdout.splitlines()[-1]) == values(folder)


@pytest.mark.slow
def test_texts_and_yes_no_rows_are_ranked_where_that_is_asked_for(table: Path, tmp_path: Path) -> None:
    more = ("scoring=loglikelihood", "loglikelihood.continuation=text", "loglikelihood.yes_no=true")
    folder, text = run(table, tmp_path, *more, "task.choice_prompt=plain")
    assert "4 of 16 rows have no options to rank (4 open, first 5)" in text
    options = {tuple(option["text"] for option in line["options"]) for line in lines(folder)}
    assert options == {("CT", "MRI", "X-ray"), ("axial", "coronal", "sagittal"), ("Yes", "No")}
    found = values(folder)
    for name in ("sum", "token", "byte"):
        assert found[f"loglikelihood-{name}", "closed_accuracy", "all"][1] == 4
        assert found[f"loglikelihood-{name}", "choice_accuracy", "all"][1] == 8


@pytest.mark.few(1)
@pytest.mark.parametrize("more", [(), ("scoring=loglikelihood",)], ids=["generation", "loglikelihood"])
def test_every_question_is_asked_in_each_order_and_resumed_by_order(
    table: Path, tmp_path: Path, more: tuple[str, ...]
) -> None:
    folder, text = run(table, tmp_path, "choices.shuffle=3", *more)
    assert "8 multiple-choice questions are asked in 3 orders of their options" in text
    n = 24 + (0 if more else 8)
    first, found = answers(folder), values(folder)
    assert len(first) == n and sum("#order=" in i for i in first) == 16
    protocol = "loglikelihood-sum" if more else "choice-strict"
    assert found[protocol, "choice_accuracy", "all"][1] == 24
    by_order = [found[protocol, "choice_accuracy", f"choice_order={k}"] for k in range(3)]
    assert [count for _, count in by_order] == [8, 8, 8]
    assert found[protocol, "position_dependence", "all"][1] == 8
    if more:
        mean = sum(value or 0.0 for value, _ in by_order) / 3
        assert found[protocol, "choice_accuracy", "all"][0] == pytest.approx(mean)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["timing"]["image_prefills"] == 4, "all orders of all questions behind one prefix an image"
    assert "shuffle" not in manifest["config"]["choices"] and manifest["config"]["task"]["orders"] == 3
    kept = (folder / "predictions.jsonl").read_text().splitlines(keepends=True)
    dropped = [line for line in kept if "#order=1" in line][:3]
    rest = [line for line in kept if line not in dropped]
    (folder / "predictions.jsonl").write_text("".join(rest))
    again, text = run(table, tmp_path, "choices.shuffle=3", *more)
    assert again == folder and f"{n - 3} of {n} answers are already in" in text
    assert same(answers(folder), first) and values(folder) == found
    scored = evalkit(
        "score", f"predictions={folder}", "task=table", f"task.path={table}", "out=scored", "leaderboard=null",
        cwd=tmp_path,
    )  # fmt: skip
    assert scored.returncode == 0, scored.stderr
    assert values(tmp_path / scored.stdout.splitlines()[-1]) == found


def test_such_runs_are_compared_reported_and_kept_off_a_leaderboard(table: Path, tmp_path: Path) -> None:
    given = ("scoring=loglikelihood", "choices.shuffle=2", "leaderboard=board")
    folder, _ = run(table, tmp_path, *given)
    other, _ = run(table, tmp_path, *given, "image=blank")
    assert not (tmp_path / "board").exists()
    compared = evalkit("compare", f"runs=[{folder},{other}]", cwd=tmp_path)
    assert compared.returncode == 0 and "loglikelihood-byte position_dependence" in compared.stdout, compared.stderr
    report = evalkit("report", f"run={folder}", cwd=tmp_path)
    assert report.returncode == 0 and (folder / "report.html").is_file(), report.stderr


SWITCH = "{% if enable_thinking is not defined or enable_thinking %}<think>{% else %}<think></think>{% endif %}"


@pytest.mark.slow
def test_options_are_not_ranked_inside_a_thought_that_the_switch_can_close(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = Path(shutil.copytree(Path(evalkit_package.__file__).parent / "models/phantom-llava", tmp_path / "thinker"))
    plain = (model / "chat_template.jinja").read_text(encoding="utf-8")
    (model / "chat_template.jinja").write_text(plain + SWITCH, encoding="utf-8")
    common = ["task=table", f"task.path={table}", f"model={model}", "scoring=loglikelihood", "leaderboard=null"]
    common += [f"out={tmp_path / 'runs'}", "loglikelihood.continuation=text", "limit=2"]
    assert main([*common, "generation.reasoning=auto"]) == 2
    refusal = capsys.readouterr().err
    assert "2 of 2 prompts" in refusal and "Set generation.reasoning=off" in refusal
    scored = {}
    for switch in ("off", "none at all"):
        if switch == "none at all":
            (model / "chat_template.jinja").write_text(plain + "<think>", encoding="utf-8")
        assert main([*common, f"generation.reasoning={'off' if switch == 'off' else 'auto'}"]) == 0
        printed = capsys.readouterr()
        assert ("no switch that closes it" in printed.err) is (switch != "off")
        folder = Path(printed.out.splitlines()[-1])
        text = "none.think-off" if switch == "off" else "none"
        assert summary(folder)["generation"] == text
        assert all(f":{text}|" in m["signature"] for m in summary(folder)["metrics"])
        scored[switch] = [line["options"] for line in lines(folder)]
    assert scored["off"] != scored["none at all"], "the switch is not in the prompt"
    (model / "chat_template.jinja").write_text(plain + SWITCH, encoding="utf-8")
    for setting in ("reasoning=on", "reasoning_budget=4"):
        assert main([*common, f"generation.{setting}"]) == 2
        assert "ranks the options right after the prompt" in capsys.readouterr().err
