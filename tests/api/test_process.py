"""What a process with evalkit in it keeps: its own Hydra, its environment, its threads, its forks, its event loop."""

from __future__ import annotations

import asyncio
import gc
import io
import os
import subprocess
import sys
import threading
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest

import evalkit
from evalkit.errors import ConfigError
from tests.support.command_line import environment
from tests.support.paths import ROOT
from tests.test_architecture import HEAVY

# Not followed by the type checker, which takes minutes for them.
LARGE = ("torch", "transformers", "pandas", "numpy", "openai", "PIL", "scipy", "sklearn", "pyarrow", "rich", "pydantic")
YES = {"settings": {"model.rule": "yes"}, "limit": 4}


def in_python(code: str, cwd: Path, **more: str) -> str:
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, env=environment() | more, capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_importing_evalkit_imports_next_to_nothing(tmp_path: Path) -> None:
    """What it imports, and not its seconds: those hang on what else the machine does (docs/python.md has them)."""
    code = "import sys; before = set(sys.modules); import evalkit; print(*set(sys.modules) - before)"
    imported = in_python(code, tmp_path).split()
    assert not {name.partition(".")[0] for name in imported} & HEAVY
    assert len(imported) < 40, sorted(imported)


def test_every_name_of_the_interface_is_there_and_no_other_is() -> None:
    for name in evalkit.__all__:
        assert getattr(evalkit, name) is not None
        assert name in dir(evalkit)
    with pytest.raises(AttributeError, match="no attribute 'evaluat'"):
        _ = evalkit.evaluat  # type: ignore[attr-defined]


APP = """
import sys
import hydra, os
from omegaconf import OmegaConf
import evalkit

@hydra.main(version_base=None, config_path="conf", config_name="mine")
def main(cfg):
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.hydra_config import HydraConfig
    from hydra.core.singleton import Singleton
    from hydra.version import getbase
    from omegaconf.basecontainer import BaseContainer
    def state():
        instances = {k.__name__: id(v) for k, v in Singleton._instances.items()}
        return (instances, id(GlobalHydra.instance().hydra), HydraConfig.get().job.name, getbase(), list(sys.argv),
                {k: v for k, v in os.environ.items() if not k.startswith("KMP_")},  # sklearn sets these
                os.getcwd(), {k: id(v) for k, v in BaseContainer._resolvers.items()})
    before = state()
    result = evalkit.evaluate("scripted", settings={"model.rule": "yes"}, limit=cfg.limit)
    try:
        evalkit.evaluate("scripted", limitt=3)
    except evalkit.errors.ConfigError as problem:
        print(str(problem)[:60])
    after = state()
    for one, two in zip(before, after): assert one == two, (one, two)
    assert OmegaConf.create({"a": "${oc.env:HOME}"}).a == os.environ["HOME"]
    print(result.summary.n, cfg.limit, hydra.utils.get_original_cwd() == os.getcwd())
main()
"""


@pytest.mark.slow
def test_it_works_inside_an_application_with_its_own_hydra(tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "mine.yaml").write_text("limit: 3\nhydra: {run: {dir: .}, output_subdir: null}\n")
    (tmp_path / "app.py").write_text(APP)
    result = subprocess.run(
        [sys.executable, "app.py", "limit=5", "hydra.job.chdir=false"],
        cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == ["'limitt' is not a setting of `run`. Did you mean 'limit'? Kn", "5 5 True"]


COMPOSED = """
import evalkit
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
evalkit.evaluate("scripted", settings={"model.rule": "yes"}, limit=2)
assert not GlobalHydra.instance().is_initialized()
with initialize_config_dir(%r, version_base="1.3"):
    evalkit.evaluate("scripted", settings={"model.rule": "yes"}, limit=2)
    cfg = compose("mine", overrides=["limit=7"], return_hydra_config=True)
    print(cfg.limit, [s.path for s in cfg.hydra.runtime.config_sources if s.provider == "main"][0])
"""


@pytest.mark.slow
def test_another_composition_is_read_from_its_own_folder(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("limit: 3\n")
    assert in_python(COMPOSED % str(tmp_path), tmp_path).split() == ["7", str(tmp_path)]


@pytest.mark.slow
def test_threads_have_results_notes_and_settings_of_their_own() -> None:
    found: dict[int, evalkit.Result] = {}
    problems: list[Exception] = []

    def once(k: int) -> None:
        try:
            found[k] = evalkit.evaluate("scripted", settings={"model.rule": "yes"}, limit=3 + k, name=f"row-{k}")
            with pytest.raises(ConfigError, match=f"rule-{k}"):
                evalkit.evaluate("scripted", settings={"model.rule": f"rule-{k}"}, limit=3)
        except BaseException as problem:  # noqa: BLE001
            problems.append(problem)  # type: ignore[arg-type]

    threads = [threading.Thread(target=once, args=(k,)) for k in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems
    assert [(found[k].summary.n, found[k].summary.model) for k in range(3)] == [(3 + k, f"row-{k}") for k in range(3)]


FORKED = """
import os, sys, threading, time
import evalkit
stop = False
def busy():
    while not stop:
        evalkit.load_task(limit=2)
        time.sleep(0.01)
threads = [threading.Thread(target=busy, daemon=True) for _ in range(1)]
for t in threads: t.start()
result = evalkit.evaluate("scripted", settings={"model.rule": "yes"}, limit=3)
codes = []
for _ in range(2):
    time.sleep(0.05)
    child = os.fork()
    if not child:
        inner = evalkit.evaluate("scripted", settings={"model.rule": "yes"}, limit=2)
        assert inner.summary.n == 2 and inner.folder.exists()
        sys.exit(0)  # with its handlers at exit
    codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
stop = True
assert codes == [0] * 2, codes
assert len(result.samples) == 9 and result.folder.exists()
print(result.folder)
"""


@pytest.mark.slow
def test_forks_work_while_other_threads_compose_and_remove_nothing_of_their_parent(tmp_path: Path) -> None:
    folder = Path(in_python(FORKED, tmp_path, TMPDIR=str(tmp_path)).strip())
    assert folder.is_relative_to(tmp_path) and not folder.exists()  # at the end of the process it is
    assert not list(tmp_path.glob("evalkit-*"))


def test_a_temporary_run_lives_as_long_as_its_result() -> None:
    result = evalkit.evaluate("scripted", **YES)
    folder = result.folder
    assert folder.is_dir()
    del result
    gc.collect()
    assert not folder.parent.exists()


@pytest.mark.few(1)
@pytest.mark.parametrize("progress", [False, True])
def test_nothing_is_printed_but_progress_where_it_is_asked_for(progress: bool) -> None:
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        result = evalkit.evaluate(lambda image, question: "yes", limit=20, progress=progress, protocols="strict")
        evalkit.score(["yes"] * 20, limit=20, progress=progress)
    assert out.getvalue() == ""
    assert ("answering: 20/20 samples" in err.getvalue()) is progress
    assert bool(err.getvalue()) is progress
    assert any("all 20 answers are the same" in text for text in result.warnings)


def test_it_runs_where_an_event_loop_runs_as_in_a_notebook() -> None:
    async def ask(image: Any, question: str) -> str:
        await asyncio.sleep(0)
        return "yes"

    async def cell() -> tuple[int, str]:
        result = evalkit.evaluate(ask, limit=4)
        with pytest.raises(ConfigError, match="There is no model"):
            evalkit.evaluate("nope", limit=4)
        return result.summary.n, threading.current_thread().name

    assert asyncio.run(cell()) == (4, "MainThread")


def test_an_interrupt_of_a_notebook_ends_the_run_after_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []

    def slow(image: Any, question: str) -> str:
        asked.append(time.monotonic())
        time.sleep(0.02)
        return "yes"

    join = threading.Thread.join

    def interrupted(thread: threading.Thread, timeout: float | None = None) -> None:
        if thread.name == "evalkit" and not interrupts:
            interrupts.append(1)
            time.sleep(0.5)
            raise KeyboardInterrupt
        join(thread, timeout)

    interrupts: list[int] = []
    monkeypatch.setattr(threading.Thread, "join", interrupted)

    async def cell() -> None:
        evalkit.evaluate(slow)

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(cell())
    time.sleep(0.2)
    n = len(asked)
    time.sleep(0.2)
    assert n == len(asked) < 200


def test_the_environment_and_the_arguments_of_the_process_stay(tmp_path: Path) -> None:
    before = dict(os.environ), list(sys.argv), Path.cwd()
    evalkit.evaluate("scripted", out=tmp_path, **YES)
    with pytest.raises(ConfigError):
        evalkit.evaluate("scripted", image="nope", **YES)
    assert (dict(os.environ), list(sys.argv), Path.cwd()) == before


@pytest.mark.slow
def test_the_interface_is_typed_for_its_users(tmp_path: Path) -> None:
    (tmp_path / "use.py").write_text(
        "import evalkit\n"
        "from evalkit.errors import DataError\n"
        "result = evalkit.evaluate(lambda image, question: 'yes', limit=3)\n"
        "value: float | None = result['strict', 'closed_accuracy'].value\n"
        "passed: bool = result.gate('runs/x', margin=0.02).passed\n"
        "first: str = evalkit.load_task('phantom')[0]['prompt']\n"
        "wrong: int = result.run_id\n"
        "evalkit.evaluat\n"
    )
    skipped = "".join(f"[mypy-{name}.*]\nfollow_imports = skip\nignore_missing_imports = true\n" for name in LARGE)
    (tmp_path / "mypy.ini").write_text(f"[mypy]\nstrict = true\nfollow_imports = silent\n{skipped}")
    command = [sys.executable, "-m", "mypy", "--cache-dir", str(tmp_path / "cache"), "use.py"]
    env = environment() | {"MYPYPATH": str(ROOT)}
    result = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300)
    errors = [line for line in result.stdout.splitlines() if line.startswith("use.py")]
    assert len(errors) == 2 and ":7:" in errors[0] and ":8:" in errors[1], result.stdout


UNFOLDS = {
    "interpolations": (
        {"local/default.yaml": "x0: x\n" + "".join(f"x{k}: '${{x{k - 1}}}${{x{k - 1}}}'\n" for k in range(1, 40))},
        r"\$\{\.\.\.\}",
    ),
    "defaults": ({"local/default.yaml": "defaults: [default]\n"}, "lead back to that file"),
    "files": (
        {
            f"local/{a}.yaml": f"defaults: [a{k}@x, a{k}@y]\n"
            for k, a in enumerate(["default", *(f"a{k}" for k in range(20))])
        }
        | {"local/a20.yaml": "x: 1\n"},
        "files in all",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", UNFOLDS)
def test_configurations_from_python_are_limited_as_on_the_command_line(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, says = UNFOLDS[name]
    for file, text in files.items():
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text(f"# @package _global_\n{text}")
    monkeypatch.setenv("EVALKIT_CONF", str(tmp_path))
    with pytest.raises(ConfigError, match=says):
        evalkit.evaluate("scripted", **YES)
    with pytest.raises(ConfigError, match=says):
        evalkit.score(["yes"] * 4, limit=4)


UNLIMITED = """
import sys
import evalkit
from pathlib import Path
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
evalkit.evaluate("scripted", settings={"model.rule": "yes"}, limit=2)
folder = Path(sys.argv[1])
for k in range(11):
    (folder / f"a{k}.yaml").write_text(f"defaults: [a{k + 1}@x, a{k + 1}@y]\\n" if k < 10 else "z: 1\\n")
with initialize_config_dir(str(folder), version_base="1.3"):
    compose("a0")
node = OmegaConf.create({"a": 1, **{f"b{k}": "${a}" for k in range(3000)}})
print(sum(OmegaConf.to_container(node, resolve=True).values()))
"""


@pytest.mark.slow
def test_the_limits_are_those_of_evalkits_configurations_alone(tmp_path: Path) -> None:
    code = UNLIMITED.replace("sys.argv[1]", repr(str(tmp_path)))
    assert in_python(code, tmp_path).split() == ["3001"]


@pytest.mark.slow
def test_threads_count_references_each_for_themselves() -> None:
    from omegaconf import OmegaConf

    from evalkit.cli.config import plain
    from evalkit.cli.expansion import MAX_REFERENCES

    node = {"a": 1, **{f"b{k}": "${a}" for k in range(MAX_REFERENCES)}}
    problems: list[Exception] = []

    def once() -> None:
        try:
            for _ in range(3):
                plain(OmegaConf.create(node))
        except ConfigError as problem:
            problems.append(problem)

    threads = [threading.Thread(target=once) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"suite": "medvqa"}, "once a task"),
        ({"task.prompt": ["plain", "short"]}, "list of 2 prompts"),
        ({"task.prompt": ["plain", "plain"]}, "different prompt variants"),
    ],
)
def test_settings_that_ask_for_several_runs_are_refused(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        evalkit.evaluate("scripted", limit=2, settings={"model.rule": "yes", **settings})
