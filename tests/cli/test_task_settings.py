"""What belongs to a task is in its YAML: the baselines' protocols, the reference, and files given out by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from evalkit.__main__ import main
from evalkit.cli.config import load_option, options
from evalkit.cli.task_settings import baseline_protocols, manual_download, reference_protocol
from evalkit.core.errors import ConfigError

THREE = ("llava-med", "strict", "exact-match")


@pytest.mark.parametrize("name", sorted(options("task")))
def test_every_registered_task_names_its_protocols(name: str) -> None:
    task = load_option("task", name)
    if name in ("table", "coloneval"):  # questions of several kinds
        assert baseline_protocols(task) == ("strict", "exact-match", "choice-strict")
        assert reference_protocol(task) == "strict"
        return
    if task["target"].endswith(":TableTask"):  # sets of multiple-choice questions
        open_rows = ("exact-match",) if name == "mmmu-med" else ()
        assert baseline_protocols(task) == ("choice-strict", *open_rows)
        assert reference_protocol(task) == "choice-strict"
        return
    assert baseline_protocols(task) == (() if name.startswith("coloninst") else THREE)
    assert reference_protocol(task) == ("coloninst" if name.startswith("coloninst") else "llava-med")


def test_a_task_without_these_keys_gets_its_own_protocols() -> None:
    assert baseline_protocols({"name": "t", "protocols": ["strict", "helm"]}) == ("strict", "helm")
    assert reference_protocol({"name": "t", "protocols": ["strict", "helm"]}) == "strict"
    assert baseline_protocols({"name": "t", "protocols": []}) == ()
    assert reference_protocol({"name": "t"}) == "llava-med"
    assert manual_download({"name": "t"}) == ""


@pytest.mark.parametrize(
    ("task", "words"),
    [
        ({"baseline_protocols": "strict"}, "baseline_protocols='strict' must be a list"),
        ({"baseline_protocols": ["strickt"]}, "names 'strickt'.*Did you mean 'strict'"),
        ({"baseline_protocols": ["all"]}, "names 'all', and there is no such protocol"),
        ({"baseline_protocols": {"strict": 1}}, "must be a list"),
    ],
)
def test_wrong_baseline_protocols_are_refused(task: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=f"task t: .*{words}"):
        baseline_protocols({"name": "t", **task})


def test_a_wrong_reference_or_note_is_refused() -> None:
    with pytest.raises(ConfigError, match="reference_protocol names 'strickt'"):
        reference_protocol({"name": "t", "reference_protocol": "strickt"})
    with pytest.raises(ConfigError, match=r"manual_download=\['x'\] must be a text"):
        manual_download({"name": "t", "manual_download": ["x"]})


@pytest.mark.parametrize("name", ["coloninst-cls", "coloninst-cap", "llava-med-chat"])
def test_fetch_says_where_files_that_only_their_authors_give_out_are_and_where_to_put_them(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["fetch", f"task={name}", f"task.path={tmp_path}"]) == 0
    notes = capsys.readouterr().err
    assert "DIR/" in notes and "task.path=DIR" in notes and "images." in notes


def test_a_wrong_key_in_a_task_stops_a_run_in_one_paragraph(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    run = ("model=scripted", "task=phantom", "limit=4", "leaderboard=null")
    assert main([*run, "task.baseline_protocols=[strickt]"]) == 2
    assert "task phantom: baseline_protocols names 'strickt'" in capsys.readouterr().err
    assert main([*run, "task.reference_protocol=nothing"]) == 2
    assert not (tmp_path / "runs").exists(), "the settings are checked before the model answers anything"


@pytest.mark.slow
def test_the_baselines_are_scored_under_the_protocols_that_the_task_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    run = ("model=scripted", "task=phantom", "leaderboard=null")
    assert main([*run, "task.baseline_protocols=[strict]"]) == 0
    assert "majority (no image) strict " in " ".join(capsys.readouterr().out.split())
    assert main([*run, "task.baseline_protocols=[]"]) == 0
    assert "majority" not in capsys.readouterr().out
