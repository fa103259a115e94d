"""`evalkit env`: what a bug report needs, and no secret."""

from __future__ import annotations

import json

import pytest

from evalkit import __version__
from evalkit.cli.main import main
from evalkit.core.environment import environment, environment_text, installed_packages, normalised


def test_the_environment_has_versions_and_machine() -> None:
    found = environment({})
    assert found["evalkit"] == __version__
    assert found["python"].startswith("CPython 3.") and found["cpus"] >= 1
    assert found["packages"]["numpy"]
    text = environment_text(found)
    assert "numpy" in text and "variables" not in text


@pytest.mark.few(3)
@pytest.mark.parametrize(
    "name", ["HF_TOKEN", "EVALKIT_SHARED", "HF_HUB_OFFLINE", "CUDA_VISIBLE_DEVICES", "VLLM_API_KEY"]
)
@pytest.mark.parametrize("value", ["hf_0123456789abcdef", "sk0123456789", "/home/anna/data"])
def test_a_value_that_may_be_a_secret_or_a_path_is_not_shown(name: str, value: str) -> None:
    text = environment_text(environment({name: value}))
    assert name in text and value not in text


def test_switches_are_shown_and_foreign_variables_are_not_named() -> None:
    found = environment({"HF_HUB_OFFLINE": "1", "MY_PASSWORD": "x", "PATH": "/bin"})
    assert found["variables"] == {"HF_HUB_OFFLINE": "1"}


def test_packages_are_listed_once() -> None:
    names = [normalised(p.name) for p in installed_packages()]
    assert len(names) == len(set(names)) and "pytest" in names


def test_the_verb_prints_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["env", "json=true"]) == 0
    assert json.loads(capsys.readouterr().out)["evalkit"] == __version__
