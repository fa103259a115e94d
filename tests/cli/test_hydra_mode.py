"""A configuration is composed once, and twice only where its mode, one job or a sweep, is a setting."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from evalkit.cli import config
from evalkit.cli.main import main
from tests.support.command_line import SCRIPTED
from tests.support.paths import ROOT

PLAIN = (*SCRIPTED, "task.n_test=2", "task.n_train=2", "leaderboard=null")


@pytest.fixture
def composed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Hydra's compositions, an entry each."""
    from hydra._internal.hydra import Hydra

    calls: list[str] = []
    compose_config = Hydra.compose_config

    def counted(hydra: Any, *args: Any, **named: Any) -> Any:
        calls.append(str(named.get("config_name")))
        return compose_config(hydra, *args, **named)

    monkeypatch.setattr(Hydra, "compose_config", counted)
    return calls


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sweep leaves Hydra's `multirun.yaml` in the working directory."""
    monkeypatch.chdir(tmp_path)


def runs(place: Path, *words: str) -> int:
    """The number of runs that a command makes."""
    assert main([*PLAIN, f"out={place / 'runs'}", *words]) == 0
    return len(list((place / "runs").glob("*/summary.json")))


def test_a_command_of_one_job_is_composed_once(composed: list[str], tmp_path: Path) -> None:
    assert (runs(tmp_path), composed) == (1, ["run"])


def test_a_word_or_a_file_of_the_user_makes_a_sweep(composed: list[str], tmp_path: Path) -> None:
    assert runs(tmp_path / "word", "hydra.mode=MULTIRUN", "limit=4,8") == 2
    assert composed[:2] == ["run", "run"], "not composed for its mode"
    file = tmp_path / "conf" / "experiment" / "sweep.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("# @package _global_\nhydra:\n  mode: MULTIRUN\n", encoding="utf-8")
    mine = ("--config-dir", str(tmp_path / "conf"), "experiment=sweep", "limit=4,8")
    assert main([*mine, *PLAIN, f"out={tmp_path / 'file'}"]) == 0
    assert len(list((tmp_path / "file").glob("*/summary.json"))) == 2


def test_no_yaml_of_evalkit_sets_anything_of_hydra() -> None:
    for file in (ROOT / "conf").rglob("*.yaml"):
        assert "hydra" not in (yaml.safe_load(file.read_text(encoding="utf-8")) or {}), file


def test_a_built_in_file_is_parsed_once_and_nobody_changes_it_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    path = ROOT / "conf" / "task" / "phantom.yaml"
    first = config.read_yaml(path)
    monkeypatch.setattr(config, "_parsed", None)  # not called again
    first["n_test"] = 1
    assert config.read_yaml(path)["n_test"] == 60
