"""The templates of docs/ci are valid, and their commands, run unchanged, gate."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from evalkit.__main__ import main
from tests.support.paths import ROOT

CI = ROOT / "docs" / "ci"


def github() -> tuple[dict[str, str], list[str]]:
    """Variables and shell commands of the GitHub workflow."""
    content: dict[Any, Any] = yaml.safe_load((CI / "github-actions.yml").read_text(encoding="utf-8"))
    assert set(content) == {"name", True, "permissions", "jobs"}  # YAML 1.1 reads the key `on` as true
    (job,) = content["jobs"].values()
    assert all(("run" in step) != ("uses" in step) for step in job["steps"])
    assert all("@v" in step["uses"] for step in job["steps"] if "uses" in step)
    return job["env"], [step["run"] for step in job["steps"] if "run" in step]


def gitlab() -> tuple[dict[str, str], list[str]]:
    """Variables and shell commands of the GitLab job."""
    content: dict[str, Any] = yaml.safe_load((CI / "gitlab-ci.yml").read_text(encoding="utf-8"))
    (job,) = content.values()
    assert job["artifacts"]["when"] == "always"
    assert job["artifacts"]["reports"]["junit"] == "gate-result/gate.xml"
    return job["variables"], job["script"]


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's repository with a baseline and a prompt record, and `python` on the path."""
    place = tmp_path_factory.mktemp("repository")
    made = ("model=scripted", "model.rule=yes", "task=phantom", f"out={place / 'old'}", "leaderboard=null")
    assert main([*made]) == 0
    assert main(["gate", f"candidate={place / 'old'}", f"save={place / 'gate' / 'scores'}"]) == 0
    (run,) = [p for p in (place / "old").iterdir() if p.is_dir()]
    assert main(["gate", "prompts=true", f"candidate={run}", f"save={place / 'gate' / 'prompts' / 'p.json'}"]) == 0
    shim = place / "bin" / "python"
    shim.parent.mkdir()
    shim.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n', encoding="utf-8")
    shim.chmod(0o755)
    return place


def execute(commands: list[str], variables: dict[str, str], place: Path, repository: Path) -> list[int]:
    """Exit codes of the commands up to the first that is not 0, and of those for the summary, which run always."""
    environment = os.environ | {
        **{k: str(v) for k, v in variables.items()},
        "PATH": f"{repository / 'bin'}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "GITHUB_STEP_SUMMARY": str(place / "summary.md"),
    }
    codes: list[int] = []
    for command in commands:
        if command.startswith("pip install") or (any(codes) and "SUMMARY" not in command):
            continue
        codes.append(subprocess.run(["bash", "-e", "-c", command], cwd=place, env=environment, check=False).returncode)
    return codes


@pytest.mark.parametrize(
    ("template", "rule", "verdict"),
    [(github, "digest", "fail"), pytest.param(gitlab, "yes", "pass", marks=pytest.mark.slow)],
)
@pytest.mark.slow
def test_the_commands_of_a_template_gate(
    template: Any, rule: str, verdict: str, repository: Path, tmp_path: Path
) -> None:
    variables, commands = template()
    assert variables["BASELINE"] == "gate/scores"
    (tmp_path / "gate").symlink_to(repository / "gate")
    # A model that answers by rule instead of one that needs minutes; the commands stay as they are.
    stand_in = {"MODEL": "scripted", "PROMPTS": "gate/prompts/p.json", "MARGIN": "0.08"}
    named = [c.replace('model="$MODEL"', f'model="$MODEL" model.rule={rule}') for c in commands]
    codes = execute(named, {**variables, **stand_in}, tmp_path, repository)
    content = json.loads((tmp_path / "gate-result" / "gate.json").read_text(encoding="utf-8"))
    assert content["verdict"] == verdict
    assert (1 in codes) == (verdict == "fail")
    assert (tmp_path / "gate-result" / "gate.xml").is_file()
    if template is github:
        assert f"evalkit gate: {verdict}" in (tmp_path / "summary.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("template", [github, gitlab])
def test_the_variables_of_a_template_name_existing_configurations(template: Any) -> None:
    variables, commands = template()
    assert (ROOT / "conf" / "model" / f"{variables['MODEL']}.yaml").is_file()
    assert (ROOT / "conf" / "task" / f"{variables['TASK']}.yaml").is_file()
    assert 0 < float(variables["MARGIN"]) < 1
    assert sum("evalkit gate" in c for c in commands) == 3
