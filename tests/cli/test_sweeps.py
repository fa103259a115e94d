"""A sweep handed to submitit, by its executor that starts processes on this machine: as on SLURM but for the queue."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from tests.support.command_line import SCRIPTED, evalkit

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("submitit") is None, reason="the extra slurm (hydra-submitit-launcher) is not installed"
)
SWEEP = ("-m", "hydra/launcher=submitit_local", *SCRIPTED)


def test_every_job_of_a_sweep_runs_in_a_process_of_its_own(tmp_path: Path) -> None:
    result = evalkit(*SWEEP, "limit=4,8", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert len(list((tmp_path / "runs").glob("scripted-phantom-*/summary.json"))) == 2
    assert len(list((tmp_path / ".submitit").glob("*/*_result.pkl"))) == 2


def test_parts_of_a_run_are_a_sweep_too(tmp_path: Path) -> None:
    result = evalkit(*SWEEP, "limit=60", "engine.shard=1/3,2/3,3/3", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    merged = evalkit("merge", "runs=runs", cwd=tmp_path)
    assert merged.returncode == 0, merged.stderr


def test_a_job_that_fails_elsewhere_fails_the_sweep_and_the_others_are_done(tmp_path: Path) -> None:
    result = evalkit(*SWEEP, "limit=0,8", cwd=tmp_path)
    assert result.returncode == 2
    assert "limit=0" in result.stderr and "Traceback" not in result.stderr
    assert len(list((tmp_path / "runs").glob("scripted-phantom-*/summary.json"))) == 1


def test_failed_samples_elsewhere_are_exit_code_3(tmp_path: Path) -> None:
    result = evalkit(*SWEEP, "limit=8", "model.fail=[0/test/0/0]", cwd=tmp_path)
    assert result.returncode == 3
    assert "1 of 8 samples failed" in result.stderr
