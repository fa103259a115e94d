"""Names that mean something to a file system, a shell, LaTeX, a spreadsheet, a browser or a terminal: only names."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from evalkit.cli.command_words import quoted
from evalkit.cli.main import main
from tests.support.command_line import SCRIPTED, environment, evalkit, folder_of
from tests.support.slow import mostly_slow

NAMES = [
    "../../../outside", "/etc/passwd", "..", "~/x", "a\\b", "a}\\input{/etc/passwd}", "%\\write18{x}", "$x^2_y&z#",
    "=1+1", "+1+1", "-2+3", "@SUM(A1)", "=cmd|' /C calc'!A0", "<script>alert(1)</script>", '"><img src=x onerror=a()>',
    "a|b", "`rm -rf x`", "$(touch x)", "[red]x[/]", "[/closing]", ":smile:", "[a](javascript:x)", "{{7*7}}", "--help",
    "a b", "模型", "x" * 5000, "é" * 300, "null", "1.10", "con", "a:b*?", "&amp;", "]]>", "<!--",
]  # fmt: skip
# All kinds in one name.
EVERY = "=../../x}\\input{/etc/passwd}<script>alert(1)</script>|$(touch x)"
# A kind each: paths, LaTeX, spreadsheets, HTML.
QUICK = [
    "../../../outside",
    "a}\\input{/etc/passwd}",
    "=cmd|' /C calc'!A0",
    "<script>alert(1)</script>",
]
REFUSED = ["a\nb", "a\rb", "a\x1b[31mb", "a\u202eb", "a\x07", "a\u2066b", "\udcff"]
HERE = ("task.n_test=2", "limit=20")


def files_below(place: Path) -> list[Path]:
    return [p for p in place.rglob("*") if p.is_file()]


def texts_of(place: Path, suffix: str) -> list[str]:
    return [p.read_text(encoding="utf-8") for p in files_below(place) if p.suffix == suffix]


def check_latex(text: str, name: str) -> None:
    assert "\\input{" not in text and "\\write18" not in text.replace("\\textbackslash{}write18", "")
    assert name == "" or not re.search(r"\\label\{[^}]*[^A-Za-z0-9:._}-]", text)
    depth = 0
    for mark in re.findall(r"(?<!\\)[{}]", text.replace("\\\\", "")):
        depth += 1 if mark == "{" else -1
        assert depth >= 0
    assert depth == 0


def check_csv(text: str) -> None:
    for row in csv.reader(io.StringIO(text)):
        for cell in row:
            if cell[:1] in ("=", "+", "-", "@"):
                float(cell)


def check_html(text: str) -> None:
    # The data of a page is in one element, which no text in it ends.
    assert text.count("<script") == text.count("</script>") <= 2
    assert "<img src=x" not in text and "alert(1)</script>" not in text.replace("alert(1)\\u003c", "")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    inside = tmp_path / "a" / "b" / "c" / "work"
    inside.mkdir(parents=True)
    monkeypatch.chdir(inside)
    return inside


def run(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    found = main([*words])
    printed = capsys.readouterr()
    assert found == code, printed.err
    assert "Traceback" not in printed.err
    return printed.out


@pytest.mark.slow
@pytest.mark.parametrize("name", mostly_slow([EVERY, *NAMES], [EVERY]), ids=lambda n: ascii(n[:20]))
def test_every_verb_that_writes_keeps_a_name_a_name(
    name: str, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = run(capsys, "run", *SCRIPTED, *HERE[:1], f"name={quoted(name)}")
    folder = Path(out.strip().splitlines()[-1])
    assert folder.parent == Path("runs") and len(folder.name) < 200
    summary = json.loads((folder / "summary.json").read_text("utf-8"))
    assert summary["model"] == name
    again = run(capsys, "score", f"predictions={folder}", "task=phantom", "task.n_test=2", f"name={quoted(name)}")
    run(capsys, "compare", f"runs=[{folder},{folder}]")
    run(capsys, "gate", f"baseline={folder}", f"candidate={folder}", "out=gate", "margin=0.2")
    run(capsys, "gate", f"candidate={folder}", "save=base.json")
    run(capsys, "report", f"run={folder}", "images=false")
    for form in ("every-eval-ever", "hf-model-index", "latex", "lm-eval"):
        run(capsys, "export", f"run={folder}", f"format={form}")
    run(capsys, "board", "leaderboard=runs/leaderboards")
    for suffix in ("md", "csv", "tex"):
        own = f"own=[{quoted(name)}]"
        run(capsys, "paper", "paper=llava-med-vqa", "runs=[runs]", own, f"file=paper.{suffix}")
    assert again and not [p for p in files_below(tmp_path) if not p.is_relative_to(place)]
    for text in texts_of(place, ".tex"):
        check_latex(text, name)
    for text in texts_of(place, ".csv"):
        check_csv(text)
    for text in texts_of(place, ".html"):
        check_html(text)
    for text in texts_of(place, ".xml"):
        ElementTree.fromstring(text)
    for text in texts_of(place, ".md"):
        assert "<script" not in text and "<img" not in text


@pytest.mark.parametrize(
    "name",
    mostly_slow([n for n in NAMES if n != "null"], [*QUICK, "..", "a b", "模型", "x" * 5000]),
    ids=lambda n: ascii(n[:20]),
)
@pytest.mark.few(2)
def test_a_task_of_any_name_stays_in_its_folder_or_is_refused_before_anything_is_asked(
    name: str, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (*SCRIPTED, "task.n_test=1", f"task.name={quoted(name)}", "leaderboard=null")
    code = main(["run", *words])
    printed = capsys.readouterr()
    assert code in (0, 2) and "Traceback" not in printed.err
    assert (place / "runs").exists() == (code == 0)
    assert not [p for p in files_below(tmp_path) if not p.is_relative_to(place)]
    if code == 0:
        folder = Path(printed.out.strip().splitlines()[-1])
        assert folder.parent == Path("runs") and (folder / "summary.json").is_file()


@pytest.mark.slow
def test_a_task_that_cannot_have_a_table_is_refused_before_anything_is_asked_and_harms_no_board(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", *SCRIPTED, "task.n_test=1", "task.name='my task'"]) == 2
    assert "'my task' cannot name a file" in capsys.readouterr().err
    assert not (place / "runs").exists()
    run(capsys, "run", *SCRIPTED, "task.n_test=1")


@pytest.mark.parametrize("name", mostly_slow(REFUSED, ["a\nb", "a\x1b[31mb", "\udcff"]), ids=ascii)
@pytest.mark.parametrize("setting", ["name", "task.name", "+model.name", "protocol.strict.name"])
@pytest.mark.few(4)
def test_a_name_of_characters_that_act_is_refused(
    name: str, setting: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", *SCRIPTED, "task.n_test=1", "protocol=[strict]", f"{setting}={quoted(name)}"]) == 2
    err = capsys.readouterr().err
    assert setting.rpartition(".")[2] in err and "is not possible" in err
    assert not set(err) & {"\x1b", "\u202e", "\x07", "\r"} and not (place / "runs").exists()


@pytest.mark.parametrize(
    "words",
    [
        ("run", *SCRIPTED, "out="), ("run", *SCRIPTED, "out=' '"), ("run", *SCRIPTED, "out=null"),
        ("run", *SCRIPTED, "leaderboard="), ("audit", "task=slake", "task.path="), ("score", "predictions=x", "out="),
        ("merge", "runs=x", "out="), ("merge", "runs=x", "out=null"), ("gate", "baseline=x", "candidate=y", "out="),
        ("gate", "candidate=y", "save="), ("export", "run=x", "format=latex", "out="), ("report", "run=x", "file="),
        ("report", "run="), ("compare", "runs="), ("paper", "paper=llava-med-vqa", "file="), ("board", "leaderboard="),
        ("bench", "out="), ("judge", "run=", "judge=server"), ("convert", "model=phantom-llava", "to="),
        ("fetch", "model=phantom-llava", "lock="),
    ],
    ids=" ".join,
)  # fmt: skip
@pytest.mark.few(4)
def test_an_empty_path_is_refused_and_nothing_is_written(
    words: tuple[str, ...], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words]) == 2
    err = capsys.readouterr().err
    assert "is empty" in err or "is not possible" in err or "needs" in err
    assert not files_below(place)


PLAIN_C = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
STREAMS = [{"LC_ALL": "C"}, PLAIN_C, *({"PYTHONIOENCODING": e} for e in ("ascii", "latin-1", "ascii:strict", "cp1252"))]


@pytest.mark.parametrize(
    "variables", mostly_slow(STREAMS, [PLAIN_C]), ids=lambda v: ",".join(f"{k}={x}" for k, x in v.items())
)
@pytest.mark.slow
def test_a_terminal_that_is_not_utf8_prints(variables: dict[str, str], tmp_path: Path) -> None:
    env = environment() | variables
    env.pop("COLUMNS")

    def printed(*words: str) -> str:
        result = subprocess.run([sys.executable, "-m", "evalkit", *words], cwd=tmp_path, env=env, capture_output=True)
        assert result.returncode == 0, result.stderr
        assert b"Traceback" not in result.stderr
        return result.stdout.decode("latin-1")

    # Without UTF-8 in arguments and names of files, a name is of ASCII.
    name = "x" if variables == PLAIN_C else "模型–x"
    table = printed(*SCRIPTED, "task.n_test=2", f"name='{name}'", "protocol=all")
    assert name == "x" or "\\u6a21\\u578b" in table or "模型–x".encode() in table.encode("latin-1")
    folder = next(p.parent.relative_to(tmp_path) for p in (tmp_path / "runs").glob("*/summary.json"))
    for words in (("list",), ("--help",), ("compare", f"runs=[{folder},{folder}]"), ("paper", "paper=coloninst")):
        assert printed(*words)


WORDS = [("list",), ("--help",), (*SCRIPTED, "task.n_test=1", "leaderboard=null")]


@pytest.mark.slow
@pytest.mark.parametrize("words", mostly_slow(WORDS, WORDS[:1]), ids=len)
def test_output_that_nobody_reads_or_that_cannot_be_written_is_no_traceback(
    words: tuple[str, ...], tmp_path: Path
) -> None:
    command = f'"{sys.executable}" -m evalkit {" ".join(words)}'
    for shell, codes in ((f"{command} | true; exit ${{PIPESTATUS[0]}}", (0, 141)), (f"{command} >&-", (0,)),
                         (f"{command} > /dev/full", (2,)), (f"{command} 2>&-", (0,))):  # fmt: skip
        result = subprocess.run(["bash", "-c", shell], cwd=tmp_path, env=environment(), capture_output=True, text=True)
        assert result.returncode in codes, (shell, result.stderr)
        assert "Traceback" not in result.stderr and "Exception ignored" not in result.stderr, shell
        if "full" in shell:
            assert "standard output cannot be written" in result.stderr


@pytest.mark.slow
def test_what_a_closed_stream_would_print_goes_into_no_file(tmp_path: Path) -> None:
    shell = f'"{sys.executable}" -m evalkit {" ".join(SCRIPTED)} task.n_test=1 leaderboard=null >&- 2>&-'
    assert subprocess.run(["bash", "-c", shell], cwd=tmp_path, env=environment()).returncode == 0
    for path in files_below(tmp_path / "runs"):
        if path.suffix == ".jsonl":
            assert all(json.loads(line) for line in path.read_text("utf-8").splitlines())


def test_a_folder_whose_name_is_no_utf8_is_refused_in_one_paragraph(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"\xff")
    folder.mkdir()
    command = [sys.executable, "-m", "evalkit", "model=scripted", "task=slake", f"task.path={folder}"]
    result = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True)
    assert result.returncode == 2 and "is not UTF-8" in result.stderr and result.stderr.count("\n") <= 2


@pytest.mark.slow
def test_a_run_of_someone_else_whose_id_is_a_path_writes_nowhere(tmp_path: Path) -> None:
    done = evalkit(*SCRIPTED, "task.n_test=1", "leaderboard=null", cwd=tmp_path)
    folder = folder_of(done, tmp_path)
    for name in ("summary.json", "manifest.json"):
        content: dict[str, Any] = json.loads((folder / name).read_text("utf-8"))
        content["run_id"] = "../../escaped"
        (folder / name).write_text(json.dumps(content), encoding="utf-8")
    before = set(files_below(tmp_path))
    for form in ("hf-model-index", "latex"):
        result = evalkit("export", f"run={folder}", f"format={form}", cwd=tmp_path)
        assert result.returncode == 2 and "Traceback" not in result.stderr
    assert set(files_below(tmp_path)) == before
