"""A light install: what needs no checkpoint works without the packages that run them, all else says what to install."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from evalkit.cli import factories
from evalkit.core import extras
from evalkit.core.errors import ConfigError
from evalkit.core.types import Generation
from evalkit.judge.local import local_complete
from evalkit.models.checkpoint import CheckpointSpec
from tests.support.command_line import environment

# A Python in which the packages of the extra cannot be found, as after `pip install evalkit-medvqa`.
WITHOUT = """
import sys, importlib.util
from evalkit.core.extras import HF
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in HF:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Missing())
from evalkit.core import extras
extras.find_spec = lambda name: None
from evalkit.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


def light(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", WITHOUT, *arguments]
    return subprocess.run(command, cwd=cwd, env=environment(), capture_output=True, text=True, timeout=170)


@pytest.fixture
def missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name == "torch" else object())


@pytest.mark.slow
def test_a_light_install_answers_with_a_baseline_and_scores(tmp_path: Path) -> None:
    done = light("model=majority", "limit=20", cwd=tmp_path)
    assert (done.returncode, done.stderr.count("Error")) == (0, 0), done.stderr
    assert (tmp_path / done.stdout.strip().splitlines()[-1] / "summary.json").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("verb", [("limit=2",), ("doctor", "model=phantom-llava"), ("bench", "limit=2")])
def test_what_needs_a_checkpoint_names_the_extra_in_one_paragraph(verb: tuple[str, ...], tmp_path: Path) -> None:
    done = light(*verb, cwd=tmp_path)
    assert done.returncode == 2
    assert "evalkit-medvqa[hf]" in done.stderr and "Traceback" not in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize(("engine", "extra"), [("hf", "hf"), ("vllm", "vllm"), ("ray", "ray"), (None, "hf")])
def test_the_message_names_the_extra_of_the_engine(missing: None, engine: str | None, extra: str) -> None:
    config = {
        "choices": {"engine": engine},
        "engine": {"target": "evalkit.engines.hf:HfEngine"},
        "model": {"kind": "checkpoint"},
        "task": {},
    }
    with pytest.raises(ConfigError, match=rf"needs the package torch, .*evalkit-medvqa\[{extra}\]"):
        factories.require_weights(config, "m")


def test_a_model_behind_a_server_needs_nothing_of_it(missing: None) -> None:
    config = {
        "choices": {"engine": "server"},
        "engine": {"target": "evalkit.engines.server:ServerEngine"},
        "model": {"kind": "checkpoint"},
        "task": {},
    }
    factories.require_weights(config, "m")


def test_a_judge_in_this_process_names_the_extra_before_it_looks_for_weights(missing: None) -> None:
    spec = CheckpointSpec(name="judge", config={"kind": "checkpoint", "source": "/nowhere"}, generation=Generation())
    with pytest.raises(ConfigError, match=r"the judge judge.*evalkit-medvqa\[hf\]"):
        local_complete(spec, device="cpu", dtype="float32", max_tokens=1)


@pytest.mark.parametrize("name", extras.HF)
def test_an_import_that_fails_elsewhere_names_the_extra_as_well(name: str) -> None:
    problem = extras.without_hf(ModuleNotFoundError(f"No module named {name!r}", name=name))
    assert problem is not None and problem.exit_code == 2 and f"needs the package {name}," in str(problem)


@pytest.mark.parametrize("problem", [ModuleNotFoundError("x", name="scipy"), ImportError("torch"), ValueError("torch")])
def test_another_error_is_not_taken_for_a_light_install(problem: Exception) -> None:
    assert extras.without_hf(problem) is None
