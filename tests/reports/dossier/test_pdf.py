"""The PDF of a dossier: printed, in the hash chain, and what is said where nothing prints."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from evalkit.cli.main import main
from evalkit.core.errors import DataError
from evalkit.reports.dossier import pdf
from evalkit.reports.dossier.chain import verify_chain
from tests.support.made_runs import answered, made_run, made_samples

# A browser that is stood in for: what it does with the file that it is to print.
WEASY = 'printf "%%PDF-1.4 w" > "$2"'
PRINTS = 'for w in "$@"; do case "$w" in --print-to-pdf=*) printf "%%PDF-1.4 x" > "${w#*=}";; esac; done'


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    samples = made_samples(20)
    answers = [answered(s, s.references[0]) for s in samples]
    return made_run(tmp_path_factory.mktemp("runs") / "made-toy", samples, answers, protocols=("strict",))


def only(program: str | None, folder: Path, monkeypatch: pytest.MonkeyPatch, name: str = "chromium") -> None:
    """Let a shell script be the only program that prints, or let there be none."""
    found = folder / name
    if program is not None:
        found.write_text(f"#!/bin/sh\n{program}\n")
        found.chmod(0o755)
    monkeypatch.setattr(pdf.shutil, "which", lambda asked: str(found) if program and asked == name else None)


@pytest.mark.few(1)
@pytest.mark.parametrize(("name", "program"), [("chromium", PRINTS), ("google-chrome", PRINTS), ("weasyprint", WEASY)])
def test_the_pdf_is_in_the_chain(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, program: str
) -> None:
    only(program, tmp_path, monkeypatch, name)
    out = tmp_path / "a new folder" / "d"
    assert main(["dossier", f"run={run}", "pdf=true", f"to={out}"]) == 0
    verify_chain(out)
    (out / pdf.NAME).write_bytes(b"%PDF-1.4 y")
    with pytest.raises(DataError, match=r"dossier\.pdf was changed"):
        verify_chain(out)


@pytest.mark.few(1)
@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ('echo "no display here" >&2; exit 7', "no display here"),
        ("exit 7", "exit code 7"),
        ("exit 0", "exit code 0"),
        (PRINTS.replace("%%PDF-1.4", "half"), "exit code 0"),
        (f"{PRINTS}; exit 1", "exit code 1"),
        ("exec sleep 20", "did not end in 1 s"),
    ],
)
def test_a_print_that_fails_leaves_a_whole_dossier_without_it(
    run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    program: str,
    reason: str,
) -> None:
    only(program, tmp_path, monkeypatch)
    if "sleep" in program:
        monkeypatch.setattr(pdf, "LIMIT", 1)
    out = tmp_path / "d"
    assert main(["dossier", f"run={run}", "pdf=true", f"to={out}"]) == 3
    said = " ".join(capsys.readouterr().err.split())
    assert reason in said and "complete without it" in said and "Traceback" not in said
    assert not (out / pdf.NAME).exists() and (out / "dossier.html").is_file()
    verify_chain(out)


def test_where_nothing_prints_nothing_is_written(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    only(None, tmp_path, monkeypatch)
    assert main(["dossier", f"run={run}", "pdf=true", f"to={tmp_path / 'd'}"]) == 2
    said = capsys.readouterr().err
    assert "apt install chromium" in said and "pip install weasyprint" in said and not (tmp_path / "d").exists()
    assert main(["dossier", f"run={run}", f"to={tmp_path / 'd'}"]) == 0
    assert not (tmp_path / "d" / pdf.NAME).exists()


@pytest.mark.slow
def test_a_browser_prints_the_page(run: Path, tmp_path: Path) -> None:
    if not any(map(shutil.which, pdf.BROWSERS)):
        pytest.skip("no Chromium on this machine (apt install chromium)")
    assert main(["dossier", f"run={run}", "pdf=true", f"to={tmp_path / 'd'}"]) == 0
    content = (tmp_path / "d" / pdf.NAME).read_bytes()
    assert content.startswith(b"%PDF") and content.count(b"/Type /Page\n") >= 3
    verify_chain(tmp_path / "d")
