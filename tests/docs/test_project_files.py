"""Files at the root that must agree with each other."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import pytest
import yaml

import evalkit
from tests.support.paths import PACKAGE, ROOT
from tests.test_architecture import FLOOR


def read_yaml(path: str) -> Any:
    return yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def pinned(lines: list[str]) -> dict[str, str]:
    pairs = (line.split("==") for line in lines if "==" in line)
    return {name.lower().replace("_", "-"): version.strip() for name, version in pairs}


def test_pre_commit_runs_the_versions_of_the_constraints() -> None:
    constraints = pinned((ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines())
    hooks = [hook for repo in read_yaml(".pre-commit-config.yaml")["repos"] for hook in repo["hooks"]]
    assert [hook["id"] for hook in hooks] == ["ruff", "ruff-format", "mypy"]
    for hook in hooks:
        versions = pinned(hook["additional_dependencies"])
        assert versions and versions.items() <= constraints.items()


def test_the_citation_names_the_version_and_the_licence_of_the_package() -> None:
    citation, package = read_yaml("CITATION.cff"), project()["project"]
    assert citation["version"] == evalkit.__version__
    assert citation["license"] == package["license"] == "Apache-2.0"
    assert citation["authors"] == package["authors"]
    assert citation["repository-code"] == package["urls"]["Homepage"]


def test_the_workflows_test_every_python_that_the_package_claims() -> None:
    claimed = re.findall(r"Python :: (3\.\d+)", " ".join(project()["project"]["classifiers"]))
    assert read_yaml(".github/workflows/tests.yml")["jobs"]["tests"]["strategy"]["matrix"]["python"] == claimed


def test_a_release_is_published_without_a_stored_token() -> None:
    publish = read_yaml(".github/workflows/release.yml")["jobs"]["publish"]
    assert publish["permissions"] == {"id-token": "write"}
    assert publish["needs"] == ["tests", "wheel"]
    assert "secrets." not in (ROOT / ".github/workflows/release.yml").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", project()["tool"]["hatch"]["build"]["targets"]["sdist"]["include"])
def test_what_the_sdist_names_exists(path: str) -> None:
    assert (ROOT / path.lstrip("/")).exists()


def test_contributing_describes_every_room_on_its_floor() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    described = {room: int(floor) for floor, room in re.findall(r"^\| (\d) \| `(\w+)` \|", text, flags=re.M)}
    rooms = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert rooms <= described.keys()
    assert {room: FLOOR[room] for room in rooms} == {room: described[room] for room in rooms}


def test_the_readme_installs_what_its_commands_run() -> None:
    """The first command runs a checkpoint, the second the tests; CI reads both from there."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    found = re.search(r"<!-- two-commands -->\n```console\n(?P<first>.*)\n(?P<second>.*)\n```\n", text)
    assert found and "'.[hf]' && .venv/bin/python -m evalkit" in found["first"]
    assert "'.[dev]' && .venv/bin/python -m pytest" in found["second"]
    assert "<!-- two-commands -->" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
