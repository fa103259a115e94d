"""The command line as a user meets it: every test starts a process of its own."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.command_line import SCRIPTED, environment, evalkit, folder_of, lines
from tests.support.paths import ROOT


def test_a_run_prints_a_table_then_its_folder_and_writes_the_row(tmp_path: Path) -> None:
    result = evalkit(*SCRIPTED, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "closed_accuracy" in result.stdout
    folder = folder_of(result, tmp_path)
    assert {p.name for p in folder.iterdir()} >= {"manifest.json", "predictions.jsonl", "scores.jsonl", "summary.json"}
    assert "scripted" in (tmp_path / "runs" / "leaderboards" / "phantom.md").read_text(encoding="utf-8")
    assert {p.name for p in tmp_path.iterdir()} == {"runs"}, "Hydra must leave no folders of its own"


@pytest.mark.slow
def test_a_limited_run_enters_no_leaderboard(tmp_path: Path) -> None:
    result = evalkit(*SCRIPTED, "limit=5", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert not (tmp_path / "runs" / "leaderboards").exists()
    assert json.loads((folder_of(result, tmp_path) / "summary.json").read_text(encoding="utf-8"))["n"] == 5


def test_failed_samples_are_shown_and_the_exit_code_is_3(tmp_path: Path) -> None:
    whole = evalkit(*SCRIPTED, "limit=6", cwd=tmp_path)
    first = lines(folder_of(whole, tmp_path) / "predictions.jsonl")[0]["sample_id"]
    result = evalkit(*SCRIPTED, "limit=6", f"model.fail=['{first}']", "out=other", cwd=tmp_path)
    assert result.returncode == 3
    assert "1 of 6 samples failed" in result.stderr
    assert "scripted failure" in result.stderr


@pytest.mark.few(3)
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("tsk=phantom",), ("'tsk' is not a setting", "'task'")),
        (("task=fantom",), ("no task named 'fantom'", "'phantom'")),
        (("model=llava_med",), ("no model named 'llava_med'", "'llava-med'")),
        (("engine.batchsize=2",), ("'engine.batchsize' is not a setting", "'engine.batch_size'")),
        (("image=blnk",), ("image=blnk is not possible", "'blank'")),
        (("limit=0", *SCRIPTED), ("limit=0",)),
        (("protocol=strickt",), ("no protocol named 'strickt'", "'strict'")),
        (("protocol=strict,llava-med",), ("key=[a,b]",)),
        (("rnu",), ("no verb 'rnu'", "'run'")),
        (("score", "task=phantom"), ("predictions",)),
        (("score", "task=phantom", "predictions=nothing.jsonl"), ("nothing.jsonl",)),
        (("board", "leaderboard=empty", "board.chek=true"), ("'board.chek' is not a setting", "'board.check'")),
        (("model.source=/no/such/folder",), ("/no/such/folder",)),
        (("paper", "paper.run=true", "data.coloninst-cl=x"), ("data.coloninst-cl", "'coloninst-cls'")),
        (("gate", "margins.x=1"), ("'margins.x' is not a setting of `gate`",)),
    ],
)  # fmt: skip
def test_bad_input_gets_one_paragraph_and_exit_code_2(
    arguments: tuple[str, ...], words: tuple[str, ...], tmp_path: Path
) -> None:
    result = evalkit(*arguments, cwd=tmp_path)
    assert result.returncode == 2, result.stderr
    assert "Traceback" not in result.stderr
    for word in words:
        assert word in result.stderr


@pytest.mark.slow
def test_a_place_that_cannot_be_written_is_one_paragraph(tmp_path: Path) -> None:
    (tmp_path / "afile").write_text("x", encoding="utf-8")
    result = evalkit(*SCRIPTED, "limit=4", "out=afile", cwd=tmp_path)
    assert result.returncode == 2
    assert "afile" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.slow
def test_an_interrupt_says_how_to_go_on_and_exits_with_130(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "evalkit", *SCRIPTED, "model.seconds=0.2"], cwd=tmp_path, env=environment(),
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not list(tmp_path.rglob("predictions.jsonl")):
        time.sleep(0.02)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "goes on from there" in errors
    assert "Traceback" not in errors


@pytest.mark.slow
def test_own_yamls_are_found_in_a_folder_of_the_user(tmp_path: Path) -> None:
    folder = tmp_path / "mine" / "task"
    folder.mkdir(parents=True)
    text = (ROOT / "conf" / "task" / "phantom.yaml").read_text(encoding="utf-8")
    (folder / "my-phantom.yaml").write_text(text.replace("n_test: 60", "n_test: 2"), encoding="utf-8")
    result = evalkit("--config-dir", "mine", "task=my-phantom", "model=scripted", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert json.loads((folder_of(result, tmp_path) / "summary.json").read_text(encoding="utf-8"))["n"] == 20


def test_the_configuration_can_be_printed(tmp_path: Path) -> None:
    result = evalkit("task=slake", "--cfg", "job", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "name: slake" in result.stdout


@pytest.mark.slow
def test_a_sweep_runs_each_job_and_returns_the_worst_code(tmp_path: Path) -> None:
    result = evalkit("-m", "model=scripted", "task=phantom", "limit=4,0,8", cwd=tmp_path)
    assert result.returncode == 2
    assert "limit=0" in result.stderr
    assert len(list((tmp_path / "runs").glob("scripted-phantom-*"))) == 2


def test_a_dry_run_asks_nothing(tmp_path: Path) -> None:
    result = evalkit("dry_run=true", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "nothing was loaded" in result.stdout
    assert not list(tmp_path.rglob("predictions.jsonl"))


def test_own_answers_score_to_the_same_numbers_again(tmp_path: Path) -> None:
    first = folder_of(evalkit(*SCRIPTED, cwd=tmp_path), tmp_path)
    result = evalkit("score", f"predictions={first / 'predictions.jsonl'}", "task=phantom", "out=again", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    before, after = (
        json.loads((folder / "summary.json").read_text(encoding="utf-8"))["metrics"]
        for folder in (first, folder_of(result, tmp_path))
    )
    assert before == after


@pytest.mark.slow
def test_protocol_choice_and_its_settings(tmp_path: Path) -> None:
    result = evalkit(*SCRIPTED, "limit=8", "protocol=[exact-match,strict]", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    summary = json.loads((folder_of(result, tmp_path) / "summary.json").read_text(encoding="utf-8"))
    assert {m["protocol"] for m in summary["metrics"]} == {"exact-match", "strict"}


@pytest.mark.slow
def test_a_run_is_exported_into_its_own_folder_and_another_form_is_refused(tmp_path: Path) -> None:
    run = folder_of(evalkit(*SCRIPTED, "limit=6", cwd=tmp_path), tmp_path)
    result = evalkit("export", f"run={run}", "format=latex", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == str(run / "export" / "latex" / f"{run.name}.tex")
    refused = evalkit("export", f"run={run}", "format=latx", cwd=tmp_path)
    assert refused.returncode == 2
    assert "format=latx is not possible" in refused.stderr and "'latex'" in refused.stderr


@pytest.mark.slow
def test_the_page_of_a_blank_run_shows_what_the_model_saw_and_of_a_limited_run_only_its_samples(tmp_path: Path) -> None:
    shown = {}
    for image in ("original", "blank"):
        run = folder_of(evalkit(*SCRIPTED, "limit=30", f"image={image}", cwd=tmp_path), tmp_path)
        result = evalkit("report", f"run={run}", cwd=tmp_path)
        assert result.returncode == 0, result.stderr
        page = (run / "report.html").read_text(encoding="utf-8")
        data = json.loads(page.partition('id="data">')[2].partition("</script>")[0])
        shown[image] = [p["addresses"][0] for p in data["pictures"]]
        assert len(data["ids"]) == 30 and max(data["picture"]) == len(data["pictures"]) - 1 == 2
    assert len(set(shown["original"])) == 3 and not set(shown["original"]) & set(shown["blank"])


def test_an_empty_mapping_in_a_yaml_takes_any_key(tmp_path: Path) -> None:
    result = evalkit("paper", "data.slake=DIR", "+data.vqa-rad=DIR2", "--cfg", "job", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "data:\n  slake: DIR\n  vqa-rad: DIR2\n" in result.stdout


def test_a_label_file_of_several_models_names_one_of_them(tmp_path: Path) -> None:
    """The setting's name must not be that of a group of configurations: it could not be given then."""
    labels = tmp_path / "labels.csv"
    rows = [f"{k},{model},{'correct' if k else 'wrong'},wrong" for k in range(2) for model in ("a", "b")]
    labels.write_text("\n".join(["sample_id,model,label,judge", *rows]), encoding="utf-8")
    result = evalkit("judge", "check", f"labels={labels}", "answers_of=a", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["groups"]


def test_a_run_without_any_scored_metric_enters_the_leaderboard(tmp_path: Path) -> None:
    """Chat answers have no score before a judge gives one."""
    result = evalkit("model=scripted", "model.rule=yes", "task=phantom", "task.protocols=[]", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "runs" / "leaderboards" / "results").is_dir()


@pytest.mark.slow
def test_a_limit_of_score_is_recorded(tmp_path: Path) -> None:
    whole = evalkit(*SCRIPTED, "leaderboard=null", cwd=tmp_path)
    run = folder_of(whole, tmp_path)
    result = evalkit("score", f"predictions={run}", "task=phantom", "limit=20", "out=again", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    folder = folder_of(result, tmp_path)
    assert json.loads((folder / "summary.json").read_text(encoding="utf-8"))["limit"] == 20
    assert json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["limit"] == 20
    assert not (tmp_path / "again" / "leaderboards").exists()


def test_output_into_a_closed_pipe_ends_without_a_traceback(tmp_path: Path) -> None:
    command = f'"{sys.executable}" -m evalkit list | head -n 1'
    result = subprocess.run(command, shell=True, cwd=tmp_path, env=environment(), capture_output=True, text=True)
    assert "Traceback" not in result.stderr
    assert "BrokenPipe" not in result.stderr


def test_two_protocols_of_one_name_are_refused(tmp_path: Path) -> None:
    """Their scores would be mixed under one name."""
    folder = tmp_path / "conf" / "protocol"
    folder.mkdir(parents=True)
    for option in ("pa", "pb"):
        (folder / f"{option}.yaml").write_text(
            "about: a\ntarget: evalkit.scoring.protocols.strict:Strict\nname: same\nversion: 1\nunscored: exclude\n",
            encoding="utf-8",
        )
    result = evalkit(*SCRIPTED, "limit=5", "protocol=[pa,pb]", "--config-dir", str(tmp_path / "conf"), cwd=tmp_path)
    assert result.returncode == 2
    assert "another chosen protocol has the name 'same' too" in result.stderr


@pytest.mark.slow
def test_a_damaged_neighbour_does_not_end_a_run(tmp_path: Path) -> None:
    first = folder_of(evalkit(*SCRIPTED, "limit=5", cwd=tmp_path), tmp_path)
    (first / "manifest.json").write_text('{"schema"', encoding="utf-8")
    assert evalkit(*SCRIPTED, "limit=6", cwd=tmp_path).returncode == 0
