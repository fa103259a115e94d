"""Recipes in packaging/: they name what exists, ask for what pyproject.toml asks for, and their shell runs."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

import evalkit
from tests.support.command_line import environment
from tests.support.paths import ROOT
from tests.support.supply_chain import checks

PLACE = ROOT / "packaging"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
# Names of conda packages that differ, and what an extra of a requirement brings.
CONDA_NAMES = {"huggingface-hub": "huggingface_hub", "torch": "pytorch"}
CONDA_EXTRAS = {("openai", "aiohttp"): {"aiohttp", "httpx-aiohttp"}}
INSTRUCTIONS = {"FROM", "ENV", "WORKDIR", "COPY", "RUN", "USER", "ENTRYPOINT", "ARG"}
SECTIONS = {"files", "post", "environment", "runscript", "test", "labels", "help"}


def instructions() -> list[tuple[str, str]]:
    """The instructions of the Dockerfile with their arguments; comments left out, continued lines joined."""
    text = (PLACE / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(line.split()[0], line.split(maxsplit=1)[1]) for line in lines]


def sections() -> dict[str, list[str]]:
    """The sections of the Apptainer definition; "" is its head."""
    found: dict[str, list[str]] = {"": []}
    for line in (PLACE / "evalkit.def").read_text(encoding="utf-8").splitlines():
        if line.startswith("%"):
            found[line[1:].strip()] = []
        elif line.strip() and not line.startswith("#"):
            found[[*found][-1]].append(line.strip())
    return found


def copied_by_docker() -> set[str]:
    return {source for name, words in instructions() if name == "COPY" for source in words.split()[:-1]}


def copied_by_apptainer() -> set[str]:
    return {line.split()[0] for line in sections()["files"]}


def needed_by_a_build() -> set[str]:
    """Paths that hatchling reads to build the wheel, and the pins."""
    hatch = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]
    wheel = hatch["build"]["targets"]["wheel"]
    return {*wheel["only-include"], PROJECT["readme"], *PROJECT["license-files"], "pyproject.toml", "constraints.txt"}


def installs(text: str) -> list[str]:
    """The extras, or "" for none, of each `pip install` of the clone in a text of shell."""
    found = re.findall(r"pip install [^&|;\n]*", text)
    assert found and all("-c constraints.txt" in command for command in found)
    return [
        word[1:].strip("[]") for command in found for word in shlex.split(command) if re.fullmatch(r"\.(\[.*\])?", word)
    ]


def conda_requirements() -> list[dict[str, str]]:
    outputs = yaml.safe_load((PLACE / "recipe.yaml").read_text(encoding="utf-8"))["outputs"]
    runs = [output["requirements"]["run"] for output in outputs]
    return [{line.split()[0]: line.partition(" ")[2] for line in run if not line.startswith("$")} for run in runs]


def as_conda(requirements: list[str]) -> dict[str, SpecifierSet]:
    found: dict[str, SpecifierSet] = {}
    for requirement in map(Requirement, requirements):
        found[CONDA_NAMES.get(requirement.name, requirement.name)] = requirement.specifier
        for extra in requirement.extras:
            found |= {name: SpecifierSet() for name in CONDA_EXTRAS[requirement.name, extra]}
    return found


def test_the_dockerfile_has_known_instructions_and_a_stage_for_each_use() -> None:
    stages = re.findall(r"^FROM (\S+) AS (\w+)$", (PLACE / "Dockerfile").read_text(encoding="utf-8"), flags=re.M)
    assert [name for _, name in stages] == ["core", "cpu", "cuda"]
    assert {name for name, _ in instructions()} <= INSTRUCTIONS
    assert all(base == "core" for base, name in stages if name != "core")
    assert SpecifierSet(PROJECT["requires-python"]).contains(stages[0][0].split(":")[1].removesuffix("-slim"))


def test_the_containers_copy_exactly_what_a_build_needs() -> None:
    assert copied_by_docker() == copied_by_apptainer() == needed_by_a_build()
    assert all((ROOT / path).exists() for path in copied_by_docker())
    ignored = (PLACE / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    assert {line[1:] for line in ignored if line.startswith("!")} == copied_by_docker()


def test_the_containers_install_extras_that_exist_and_do_not_run_as_root() -> None:
    text = "\n".join(words for name, words in instructions() if name == "RUN")
    assert installs(text) == ["", "hf", "hf"] and installs("\n".join(sections()["post"])) == ["hf"]
    last: dict[str, str] = {}
    for name, words in instructions():
        if name == "FROM":
            stage = words.split()[-1]
        elif name == "USER":
            last[stage] = words
    assert last == dict.fromkeys(("core", "cpu", "cuda"), "evalkit")


def test_the_containers_start_evalkit_with_the_words_that_they_are_given() -> None:
    entry = [words for name, words in instructions() if name == "ENTRYPOINT"]
    assert entry == ['["python", "-m", "evalkit"]'] and yaml.safe_load(entry[0])[-1] == evalkit.__name__
    assert sections()["runscript"] == ['exec python -m evalkit "$@"']


def test_the_definition_has_known_sections_and_the_base_of_the_dockerfile() -> None:
    head = dict(line.split(": ") for line in sections()[""])
    assert sections().keys() - {""} == SECTIONS
    assert head == {"Bootstrap": "docker", "From": instructions()[0][1].split()[0]}


@pytest.mark.parametrize("name", ["docker", "post", "environment", "runscript", "test", "array.sh", "submit.sh"])
def test_shell_of_a_recipe_parses(name: str) -> None:
    if name.endswith(".sh"):
        text = (PLACE / "slurm" / name).read_text(encoding="utf-8")
        assert os.access(PLACE / "slurm" / name, os.X_OK) and "set -euo pipefail" in text
    elif name == "docker":
        text = "\n".join(words for instruction, words in instructions() if instruction == "RUN")
    else:
        text = "\n".join(sections()[name])
    done = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_conda_recipe_asks_for_what_pyproject_asks_for() -> None:
    core, hf = conda_requirements()
    assert SpecifierSet(core.pop("python")) == SpecifierSet(PROJECT["requires-python"])
    for found, wanted in ((core, PROJECT["dependencies"]), (hf, EXTRAS["hf"])):
        assert {name: SpecifierSet(text) for name, text in found.items()} == as_conda(wanted)


def test_the_conda_recipe_is_of_this_version_and_starts_the_same_program() -> None:
    recipe: Any = yaml.safe_load((PLACE / "recipe.yaml").read_text(encoding="utf-8"))
    assert (recipe["schema_version"], recipe["context"]["version"]) == (1, evalkit.__version__)
    assert recipe["recipe"]["name"] == recipe["outputs"][0]["package"]["name"] == PROJECT["name"]
    points = [f"{name} = {target}" for name, target in PROJECT["scripts"].items()]
    assert recipe["outputs"][0]["build"]["python"]["entry_points"] == points
    assert (ROOT / recipe["about"]["license_file"]).is_file() and recipe["about"]["license"] == PROJECT["license"]


def test_the_page_names_every_extra() -> None:
    text = (PLACE / "README.md").read_text(encoding="utf-8")
    tracking = {name for name in EXTRAS if name.startswith("tracking-")}
    assert {name for name in EXTRAS.keys() - tracking if f"`{name}`" not in text} == set()
    assert len(checks().declared("hf")) == len(EXTRAS["hf"])


SBATCH = """#!/bin/bash
# Runs what is submitted at once: an array job task by task, a wrapped command as it is.
args=("$@")
for ((i = 0; i < ${#args[@]}; i++)); do
    case "${args[i]}" in
        --wrap) bash -c "${args[i + 1]}" >&2; exit ;;
        *.sh) break ;;
    esac
done
for task in 1 2; do
    SLURM_ARRAY_TASK_ID=$task SLURM_ARRAY_TASK_COUNT=2 bash "${args[@]:i}" >&2
done
echo 17
"""


@pytest.mark.slow
def test_the_array_job_answers_its_parts_and_the_second_job_joins_them(tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    python = f'#!/bin/bash\nexec {shlex.quote(sys.executable)} "$@"\n'
    for name, text in (("sbatch", SBATCH), ("srun", '#!/bin/bash\nexec "$@"\n'), ("python", python)):
        (programs / name).write_text(text, encoding="utf-8")
        (programs / name).chmod(0o755)
    found = environment() | {"RUNS": str(tmp_path / "parts"), "PATH": f"{programs}:{os.environ['PATH']}"}
    words = ["model=scripted", "model.rule=yes", "task=phantom", "limit=40"]
    done = subprocess.run(
        [PLACE / "slurm" / "submit.sh", *words], cwd=tmp_path, env=found, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert len([*(tmp_path / "parts").glob("*part-*-of-2")]) == 2
    (summary,) = (tmp_path / "runs").glob("*/summary.json")
    assert '"n": 40' in summary.read_text(encoding="utf-8")
