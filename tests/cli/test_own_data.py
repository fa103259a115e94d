"""A table of the user's own through the command line: run, part of the rows, compare, gate, report, new, score."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from evalkit.cli.main import main
from evalkit.tasks import selection
from tests.support.command_line import environment, folder_of, lines
from tests.support.command_line import in_this_process as evalkit

MODALITIES = ("CT", "MRI", "X-ray")


def write_table(folder: Path, patients: int = 4) -> Path:
    """Two images a patient, five questions an image, one of them multiple choice; a comma in a question."""
    from PIL import Image

    (folder / "img").mkdir(parents=True)
    rows: list[dict[str, Any]] = []
    for n in range(2 * patients):
        path, kind = f"img/{n}.png", MODALITIES[n % 3]
        Image.new("RGB", (40, 40), (20 * n, 90, 200 - 20 * n)).save(folder / path)
        shared = {"image": path, "modality": kind, "patient_id": f"P{n // 2}"}
        for question, answer in (("Is it large, or not?", "yes" if n % 2 else "no"), ("Is it small?", "no")):
            rows.append({**shared, "question": question, "answer": answer})
        for question, answer in (("What is it?", "a disc"), ("How big is it?", "small")):
            rows.append({**shared, "question": question, "answer": answer})
        options = dict(zip("ABCD", (*MODALITIES, ""), strict=True))
        rows.append({**shared, "question": "Which modality is it?", "answer": "ABC"[n % 3], **options})
    names = ["image", "modality", "patient_id", "question", "answer", *"ABCD"]
    with (folder / "hospital.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)
    return folder / "hospital.csv"


def values(run: Path) -> dict[str, tuple[Any, ...]]:
    summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    keys = ("value", "low", "high", "n", "n_unscored", "n_clusters")
    return {
        f"{m['protocol']} {m['metric']}": tuple(m[k] for k in keys) for m in summary["metrics"] if m["slice"] == "all"
    }


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("own")


@pytest.fixture(scope="module")
def table(place: Path) -> Path:
    return write_table(place / "data")


@pytest.fixture(scope="module")
def words(table: Path, place: Path) -> list[str]:
    return [
        "task=table", f"task.path={table}", "task.cluster=patient_id", "task.tags=[modality]",
        "model=scripted", "model.rule=digest", f"out={place / 'runs'}",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def run(words: list[str], place: Path) -> Path:
    result = evalkit(*words, cwd=place)
    assert result.returncode == 0, result.stderr
    return folder_of(result, place)


def test_each_kind_of_row_has_its_own_metric_and_patients_are_the_clusters(run: Path) -> None:
    summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    assert (summary["n"], summary["n_images"], summary["cluster"], summary["n_clusters"]) == (40, 8, "patient_id", 4)
    found = values(run)
    assert {name: v[3] for name, v in found.items()} == {
        "strict closed_accuracy": 16, "strict open_recall": 16, "strict open_precision": 16, "strict open_f1": 16,
        "strict exact_match": 32, "exact-match exact_match": 32, "exact-match closed_exact_match": 16,
        "exact-match open_exact_match": 16, "choice-strict choice_accuracy": 8,
    }  # fmt: skip
    assert {m["slice"] for m in summary["metrics"]} >= {f"modality={m}" for m in MODALITIES}
    choice = next(m for m in summary["metrics"] if m["metric"] == "choice_accuracy")
    assert "cluster:patient_id" in choice["signature"]
    assert "prompt:short+letters@" in choice["signature"]


@pytest.mark.slow
def test_each_letter_is_right_for_its_own_row_alone(run: Path, words: list[str], table: Path, place: Path) -> None:
    """Answers that are the letters of the file score 1; the next letter scores 0."""
    answers = lines(run / "predictions.jsonl")
    with table.open(encoding="utf-8", newline="") as file:
        gold = {str(k): row for k, row in enumerate(csv.DictReader(file), 2)}
    for shift, value in ((0, 1.0), (1, 0.0)):
        rows = [
            {"id": a["sample_id"], "answer": "ABCD"[("ABC".index(row["answer"]) + shift) % 4] if row["A"] else "no"}
            for a in answers
            for row in [gold[a["sample_id"]]]
        ]
        file_ = place / f"letters{shift}.jsonl"
        file_.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
        scored = evalkit(
            "score", f"predictions={file_}", "id=id", "prediction=answer", *words[:4], f"out={place / f's{shift}'}",
            f"name=letters{shift}", cwd=place,
        )  # fmt: skip
        assert scored.returncode == 0, scored.stderr
        assert values(folder_of(scored, place))["choice-strict choice_accuracy"][0] == value


def test_a_dry_run_shows_how_columns_and_rows_are_read(words: list[str], place: Path) -> None:
    shown = evalkit(*words, "dry_run=true", f"out={place / 'dry'}", cwd=place)
    assert "question = question, answer = answer, image = image, choices = A, B, C, D" in shown.stderr
    assert shown.stdout.count("\nrow ") == 5
    assert "row 6, CHOICE: 'Which modality is it?'; options A CT, B MRI, C X-ray; gold 'CT' (A)" in shown.stdout


@pytest.mark.slow
def test_a_part_of_the_rows_has_a_name_of_its_own_and_no_row_on_a_board(words: list[str], place: Path) -> None:
    part = evalkit(*words[:-1], "task.where.modality=CT", "sample=10", f"out={place / 'part'}", cwd=place)
    assert part.returncode == 0, part.stderr
    summary = json.loads((folder_of(part, place) / "summary.json").read_text(encoding="utf-8"))
    assert summary["task"] == "hospital[modality=CT,sample=10]"
    assert summary["n"] == 10
    assert not (place / "part" / "leaderboards").exists()
    wrong = evalkit(*words, "task.where.modality=CTT", cwd=place)
    assert wrong.returncode == 2
    assert "task.where.modality=CTT" in wrong.stderr and "CT" in wrong.stderr
    unknown = evalkit(*words, "task.where.modalty=CT", cwd=place)
    assert unknown.returncode == 2 and "modality" in unknown.stderr


def test_compare_gate_and_report_work_on_it(run: Path, words: list[str], place: Path) -> None:
    other = evalkit(*words, "model.rule=yes", "name=other", cwd=place)
    assert other.returncode == 0, other.stderr
    second = folder_of(other, place)
    compared = evalkit("compare", f"runs=[{run},{second}]", cwd=place)
    assert compared.returncode == 0, compared.stderr
    assert "choice_accuracy" in compared.stdout
    assert "clustered by patient_id" in compared.stdout and "(patient_id P" in compared.stdout
    assert "image P" not in compared.stdout
    gate = evalkit("gate", f"baseline={run}", f"candidate={second}", "margin=0.9", f"out={place / 'gate'}", cwd=place)
    assert gate.returncode in (0, 4), gate.stderr
    assert "on 4 clusters of patient_id" in gate.stdout and "images" not in gate.stdout
    shown = (place / "gate" / "gate.md").read_text(encoding="utf-8")
    assert "| clusters of patient_id |" in shown and "| sample | patient_id |" in shown
    report = evalkit("report", f"run={run}", cwd=place)
    assert report.returncode == 0, report.stderr
    assert (run / "report.html").is_file()


@pytest.mark.slow
def test_new_task_writes_a_yaml_that_gives_the_same_numbers(
    run: Path, table: Path, words: list[str], place: Path
) -> None:
    made = evalkit("new", "task", str(table), *words[2:4], "task.name=ward", cwd=place)
    assert made.returncode == 0, made.stderr
    assert made.stdout.strip().splitlines()[-1] == "conf/task/ward.yaml"
    again = evalkit("--config-dir", "conf", "task=ward", *words[4:], cwd=place)
    assert again.returncode == 0, again.stderr
    assert values(folder_of(again, place)) == values(run)
    twice = evalkit("new", "task", str(table), "task.name=ward", cwd=place)
    assert twice.returncode == 2 and "force=true" in twice.stderr


@pytest.mark.slow
def test_columns_and_names_may_have_any_letters(tmp_path: Path) -> None:
    text = "question,answer,Gerät,Scan type\nIs it?,yes,CT,ax 1\nIs it big?,no,MRT,cor\nIs it red?,no,MRT,ax 1\n"
    (tmp_path / "t.csv").write_text(text, encoding="utf-8")
    table = ("task=table", "task.path=t.csv", "task.tags=[Gerät,Scan type]", "model=scripted", "leaderboard=null")
    for word, name, n in (
        ("task.where.Gerät=MRT", "t[Gerät=MRT]", 2),
        ("task.where.Gerät=[CT,MRT]", "t[Gerät=CT+MRT]", 3),
        ("task.where.Scan type=ax 1", "t[Scan type=ax 1]", 2),
        ("+task.keep.Gerät=CT", "t", 1),
    ):
        result = evalkit(*table, word, cwd=tmp_path)
        assert result.returncode == 0, result.stderr
        found = json.loads((folder_of(result, tmp_path) / "summary.json").read_text(encoding="utf-8"))
        assert (found["task"], found["n"]) == (name, n)
    wrong = evalkit(*table, "task.where.Geraet=CT", cwd=tmp_path)
    assert wrong.returncode == 2 and "Did you mean 'Gerät'?" in wrong.stderr


def test_a_name_with_a_space_is_a_task(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("question,answer\nIs it?,yes\n", encoding="utf-8")
    made = evalkit("new", "task", "t.csv", "task.name=my data", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    assert "--config-dir conf 'task=my data' model=NAME" in made.stderr
    again = evalkit("--config-dir", "conf", "task=my data", "model=scripted", "leaderboard=null", cwd=tmp_path)
    assert again.returncode == 0, again.stderr


def test_the_file_of_ids_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "t.csv").write_text("question,answer\nIs it?,yes\nIs it big?,no\n", encoding="utf-8")
    (tmp_path / "ids.txt").write_text("3\n", encoding="utf-8")
    seen = []
    monkeypatch.setattr(selection, "read_ids", lambda path: seen.append(path) or ["3"])
    monkeypatch.chdir(tmp_path)
    words = ["task=table", "task.path=t.csv", "task.where.ids=ids.txt", "model=scripted", "protocol=strict"]
    assert main(words) == 0
    assert len(seen) == 1
    assert not (tmp_path / "runs" / "leaderboards").exists(), "a part of the rows is on a board"


def test_without_a_path_the_task_says_what_it_needs(place: Path) -> None:
    result = evalkit("task=table", "model=scripted", cwd=place)
    assert result.returncode == 2
    assert "task.path" in result.stderr and "Traceback" not in result.stderr


def test_images_inside_the_table_give_the_same_numbers(run: Path, table: Path, words: list[str], place: Path) -> None:
    import base64

    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row["image"] = base64.b64encode((table.parent / row["image"]).read_bytes()).decode()
    encoded = place / "encoded" / "hospital.tsv"
    encoded.parent.mkdir()
    with encoded.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter="\t")
        writer.writeheader()
        writer.writerows(rows)
    env = environment() | {"XDG_CACHE_HOME": str(place / "cache")}
    result = evalkit(words[0], f"task.path={encoded}", *words[2:6], f"out={place / 'enc'}", cwd=place, env=env)
    assert result.returncode == 0, result.stderr
    found, expected = values(folder_of(result, place)), values(run)
    assert {name: v[3:] for name, v in found.items()} == {name: v[3:] for name, v in expected.items()}


@pytest.mark.parametrize("where", ["CT", "3", "true"])
def test_a_selection_without_a_tag_is_refused(tmp_path: Path, where: str, capsys: pytest.CaptureFixture[str]) -> None:
    table = write_table(tmp_path)
    words = ["task=table", f"task.path={table}", "model=scripted", f"task.where={where}", f"out={tmp_path / 'runs'}"]
    assert main(words) == 2
    assert "expected task.where.TAG=VALUE" in capsys.readouterr().err
