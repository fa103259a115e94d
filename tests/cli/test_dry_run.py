"""A dry run only reads: a run that another process is writing keeps every byte."""

from __future__ import annotations

from pathlib import Path

import pytest

from evalkit.__main__ import main


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("tail", [b"", b'{"sample_id": "0/test/0/9", "image'], ids=["whole", "torn"])
@pytest.mark.few(1)
def test_a_dry_run_changes_nothing_in_a_run_that_is_being_written(
    tail: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    command = ["model=scripted", "model.rule=digest", "task=phantom", "limit=8"]
    assert main(command) == 0
    run = Path(capsys.readouterr().out.strip().splitlines()[-1])
    lines = (run / "predictions.jsonl").read_bytes().splitlines(keepends=True)
    (run / "predictions.jsonl").write_bytes(b"".join(lines[:5]) + tail)
    before = files_in(tmp_path)
    assert main([*command, "dry_run=true"]) == 0
    assert "3 still to ask" in capsys.readouterr().out
    assert files_in(tmp_path) == before
    assert main(command) == 0  # the run itself, which holds the lock, repairs and completes the file
    assert (run / "predictions.jsonl").read_bytes().count(b"\n") == 8
