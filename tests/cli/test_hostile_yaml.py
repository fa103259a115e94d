"""Config folders of someone who wants to run a command or read a secret: nothing runs, nothing leaves, exit 2."""

from __future__ import annotations

import os
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from evalkit.cli.code_settings import check_code_settings
from evalkit.cli.main import main
from evalkit.cli.shared_yaml import check_file
from evalkit.cli.targets import resolve
from evalkit.core.errors import ConfigError
from evalkit.reports.reproduction import parse_paper
from tests.support.coloninst_tree import build
from tests.support.command_line import in_new_process
from tests.support.hostile_yaml import CASES, GLOBAL, HF, LAUGHS, LOCAL, MARK, RUN, SECRET, lay_out

WAYS = ("--config-dir", "EVALKIT_CONF")


def check_nothing_left(place: Path, mark: Path, printed: str) -> None:
    assert not mark.exists(), "the command ran"
    assert SECRET not in printed
    made = [p for p in place.rglob("*") if "own" not in p.relative_to(place).parts]
    assert not [p for p in made if SECRET in str(p) or (p.is_file() and SECRET.encode() in p.read_bytes())]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("API_SECRET", SECRET)
    monkeypatch.setenv("API_FOLDER", str(tmp_path))
    for name in ("EVALKIT_CONF", "EVALKIT_TRUST"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


# By default each case by one way, one of each kind by the other.
FIRST_OF_ITS_KIND = {case.kind: name for name, case in reversed(CASES.items())}.values()
BOTH_WAYS = [(name, WAYS[0]) for name in CASES] + [
    (name, WAYS[1]) if name in FIRST_OF_ITS_KIND else pytest.param(name, WAYS[1], marks=pytest.mark.slow)
    for name in CASES
]


@pytest.mark.parametrize(("name", "way"), BOTH_WAYS)
@pytest.mark.few(20)
def test_it_is_refused_in_one_paragraph_and_nothing_runs(
    name: str, way: str, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    case = CASES[name]
    mark = lay_out(case, place)
    flags = ("--config-dir", "own") if way == "--config-dir" else ()
    if not flags:
        monkeypatch.setenv("EVALKIT_CONF", str(place / "own"))
    words = [w.replace(MARK, str(mark)) for w in (*RUN, *case.words)]
    dashed = [w for w in words if w.startswith("-")] and [w for w in case.words if w not in RUN]
    code = main([*flags, *(dashed or []), *(w for w in words if w not in (dashed or []))])
    out, err = capsys.readouterr()
    check_nothing_left(place, mark, out + err)
    assert code == 2, err
    assert case.says in err
    message = [line for line in err.splitlines() if not line.startswith("note: ")]
    assert len(message) == 1 and message[0].startswith("evalkit: ") and "Traceback" not in err
    assert not (place / "runs").exists() or "experiment=a,b" in case.words  # the first job of a sweep is done


def test_counts(capsys: pytest.CaptureFixture[str]) -> None:
    counts = Counter(case.kind for case in CASES.values())
    with capsys.disabled():
        kinds = ", ".join(f"{n} {kind}" for kind, n in counts.items())
        print(f"\nhostile YAML: {len(CASES)} cases ({kinds}), each by {' and '.join(WAYS)}")
    assert len(CASES) >= 100 and min(counts.values()) >= 4


@pytest.mark.parametrize("kind", ["directory", "fifo"])
def test_an_option_that_is_no_file_is_named(kind: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    option = place / "own" / "task" / "mine.yaml"
    option.parent.mkdir(parents=True)
    option.mkdir() if kind == "directory" else os.mkfifo(option)
    assert main(["--config-dir", "own", "model=scripted", "task=mine"]) == 2
    err = capsys.readouterr().err
    assert "mine.yaml is not a file" in err and err.count("\n") == 1


BROKEN = {
    "tab.yaml": b"about: a\n\tb: 1\n",
    "latin.yaml": "about: é\n".encode("latin-1"),
    "laughs.yaml": LAUGHS.encode(),
}


@pytest.mark.parametrize("words", [("list",), ("list", "tasks"), ("--help",), ("list", "protocols")], ids=" ".join)
def test_lists_and_help_go_on_and_name_the_broken_files(
    words: tuple[str, ...], place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    group = place / "own" / ("protocol" if "protocols" in words else "task")
    group.mkdir(parents=True)
    for name, content in BROKEN.items():
        (group / name).write_bytes(content)
    (group / "folder.yaml").mkdir()
    (group / "good.yaml").write_text("about: works\n", encoding="utf-8")
    monkeypatch.setenv("EVALKIT_CONF", str(place / "own"))
    assert main(list(words)) == 0
    out = capsys.readouterr().out
    for name in (*BROKEN, "folder.yaml"):
        line = next(line for line in out.splitlines() if str(group / name) in line)
        assert "cannot be used" in line
    assert "good" in out and "works" in out and "llava-med" in out


def completed(line: str, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    monkeypatch.setenv("COMP_LINE", line)
    monkeypatch.setenv("EVALKIT_CONF", str(place / "own"))
    assert main(["-sc", "query=bash"]) == 0
    return capsys.readouterr()


@pytest.mark.parametrize("content", [b"a:\n\tb: 1\n", b"\xff", f"{GLOBAL}hydra: {{callbacks: {{x: {HF}}}}}\n".encode()])
def test_completion_goes_on_and_names_the_broken_file(
    content: bytes, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, text in {LOCAL: content, "task/mine.yaml": b"about: x\n", "hydra/launcher/evil.yaml": b"a: 1\n"}.items():
        path = place / "own" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text)
    assert "task=mine" in completed("evalkit task=m", place, monkeypatch, capsys).out
    found = completed("evalkit lim", place, monkeypatch, capsys)
    assert "limit=" in found.out and "default.yaml" in found.err and "Traceback" not in found.err
    assert "evil" not in completed("evalkit hydra/launcher=", place, monkeypatch, capsys).out
    assert not (place / MARK).exists()


def test_a_file_may_say_what_a_cluster_gives_to_a_job(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check_file({"hydra": {"mode": "RUN", "launcher": {"partition": "gpu-a100", "timeout_min": 60, "mem_gb": 32}}}, "f")
    check_file({"model": "hydra-vl", "defaults": ["_self_", {"model": "hydra-vl"}, "optional local: default"]}, "f")
    (place / "own" / "local").mkdir(parents=True)
    (place / "own" / LOCAL).write_text(f"{GLOBAL}hydra: {{mode: RUN}}\nlimit: 3\n", encoding="utf-8")
    assert main(["--config-dir", "own", "model=scripted", "task=phantom", "dry_run=true"]) == 0
    assert "dry run: 3 samples" in capsys.readouterr().out


def test_a_folder_of_the_environment_is_used_and_in_no_file_of_the_run(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = build(place / "secret-place" / "data")
    monkeypatch.setenv("API_FOLDER", str(place / "secret-place"))
    (place / "own" / "local").mkdir(parents=True)
    text = f"{GLOBAL}out: ${{oc.env:API_FOLDER}}/runs\ntask: {{path: '${{oc.env:API_FOLDER}}/data'}}\n"
    (place / "own" / LOCAL).write_text(text, encoding="utf-8")
    words = ("--config-dir", "own", "model=scripted", "task=coloninst-cls", "task.allow_counts=true")
    assert main([*words]) == 0, capsys.readouterr().err
    run = Path(capsys.readouterr().out.strip().splitlines()[-1])
    assert run.parent == place / "secret-place" / "runs" and data.is_dir()
    for file in run.rglob("*"):
        assert not file.is_file() or b"secret-place" not in file.read_bytes(), file
    assert main(["report", f"run={run}"]) == 0
    assert "cannot be read" not in capsys.readouterr().err
    assert b"secret-place" not in (run / "report.html").read_bytes()


@pytest.fixture
def plugin(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package `plug`, whose classes are in a module of their own."""
    (place / "plug").mkdir()
    (place / "plug" / "__init__.py").write_text("from subprocess import run\nfrom plug.impl import Mine, make\n")
    (place / "plug" / "impl.py").write_text(
        "class Mine:\n    def load(self): ...\n    def messages(self): ...\n\n\ndef make(): return Mine()\n\n\n"
        "class Other: ...\n"
    )
    monkeypatch.syspath_prepend(str(place))
    monkeypatch.setenv("EVALKIT_TRUST", "plug")


@pytest.mark.usefixtures("plugin")
def test_a_trusted_package_gives_what_it_defines_itself() -> None:
    assert resolve("plug:Mine", "task x").__name__ == "Mine"
    assert resolve("plug:make", "task x")() is not None
    for target, says in (
        ("plug:run", "is defined in subprocess"),
        ("plug.impl:Other", "expected the methods `load` and `messages`"),
        ("plug:impl", "'module'"),
        ("plugged:Mine", "outside the trusted packages"),
    ):
        with pytest.raises(ConfigError, match=re.escape(says)):
            resolve(target, "task x")


def test_settings_that_become_code_are_the_command_lines_own() -> None:
    config = {"engine": {"inner": {"engine_args": {"enforce_eager": True, "hf_overrides": {"a": 1}}}}}
    place = "engine.inner.engine_args"
    for words in ([], ["limit=2"], [f"{place}.enforce_eager=true"], ["engine.window=hf_overrides"]):
        with pytest.raises(ConfigError, match=f"{place}.hf_overrides"):
            check_code_settings(config, words)
    for word in (f"+{place}.hf_overrides.a=1", f"{place}={{hf_overrides: {{a: 1}}}}"):
        check_code_settings(config, [word])
    with pytest.raises(ConfigError, match="quantization"):
        check_code_settings({"engine_args": {"quantization": {"x": 1}}}, [])


@pytest.mark.parametrize(
    "word",
    [
        "--experimental-rerun=evil.pickle", "-m", "+hydra.callbacks.x._target_=os.system", "hydra/launcher=evil",
        "engine.engine_args.trust_remote_code=true", "engine=ray", "model=lab/evil", "~task", "task=other", "out=/",
        "leaderboard=x",
    ],
)  # fmt: skip
def test_a_papers_runs_get_no_other_words_than_settings_of_the_task(word: str) -> None:
    content = {"published": "coloninst", "settings": {"all": ["task.prompt=short", word]}}
    with pytest.raises(ConfigError, match="paper mine: settings: all"):
        parse_paper(content, "mine")


def test_the_whole_process_is_as_the_function(tmp_path: Path) -> None:
    mark = lay_out(CASES["callbacks, huggingface_hub"], tmp_path)
    result = in_new_process("--config-dir", "own", *RUN, "dry_run=true", cwd=tmp_path)
    assert result.returncode == 2 and not mark.exists()
    assert result.stderr.count("\n") == 1 and "default.yaml: hydra.callbacks.x" not in result.stdout
