"""Ordinary input, right or wrong, never ends in a traceback, and exit code 1 is the gate's alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from evalkit.__main__ import main
from evalkit.cli import main as command_line

SCRIPTED = ("model=scripted", "model.rule=digest", "task=phantom", "task.n_test=1", "leaderboard=null")

TINY = '''"""A task of the user's, without a train split."""

from evalkit.core.types import ImagePlace, ImageRef, Message, Sample
from evalkit.tasks.base import LoadedTask


class Tiny:
    def __init__(self, *, name: str, ids: str = "a b", path: str | None = None, split: str = "test", fault: str = ""):
        self.name, self.ids, self.split, self.fault = name, ids.split(), split, fault

    def load(self, *, images=True):
        if self.split != "test":
            raise {"key": KeyError, "file": FileNotFoundError}.get(self.fault, NotImplementedError)(self.split)
        samples = tuple(
            Sample(id=i, image_id=f"im{k}", question="Is there a mass?", references=("No",),
                   images=(ImageRef(kind="draw", path="evalkit.tasks.phantom_draw:draw", member=f"0/test/{k}"),),
                   tags={"answer_type": "CLOSED"})
            for k, i in enumerate(self.ids)
        )
        if self.fault == "bug":
            raise RuntimeError("my own mistake")
        rest = {"form": "tiny", "closed_rule": "label", "prompt": "p"}
        return LoadedTask(name=self.name, split=self.split, samples=samples, **rest)

    def messages(self, sample):
        return (Message(role="user", content=(ImagePlace(0), sample.question)),)
'''
YAML = """about: tiny
target: mytasks:Tiny
name: tiny
ids: a b
path: null
split: test
fault: ''
protocols: [strict]
"""


class Result:
    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def last_line(self) -> str:
        return self.out.strip().splitlines()[-1]

    @property
    def message(self) -> str:
        """The paragraph of the error."""
        lines = [line for line in self.err.splitlines() if line.startswith("evalkit: ")]
        assert len(lines) == 1, self.err
        return lines[0]


@pytest.fixture
def evalkit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """The command line in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def run(*arguments: str) -> Result:
        capsys.readouterr()
        code = main(list(arguments))
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return Result(code, out, err)

    return run


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "mytasks.py").write_text(TINY, encoding="utf-8")
    (tmp_path / "conf" / "task").mkdir(parents=True)
    (tmp_path / "conf" / "task" / "tiny.yaml").write_text(YAML, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path / "lib"))
    monkeypatch.setenv("EVALKIT_CONF", str(tmp_path / "conf"))
    monkeypatch.setenv("EVALKIT_TRUST", "mytasks")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("engine.batch_size=auto",), ("engine.batch_size=auto", "a whole number or null")),
        (("engine.exact=maybe",), ("engine.exact=maybe", "true or false")),
        (("engine.timeout=soon", "engine=server"), ("engine.timeout=soon", "a number")),
        (("limit=10%",), ("limit=10%", "a whole number or null")),
        (("limit=2.5",), ("limit=2.5",)),
        (("limit=true",), ("limit=true",)),
        (("limit=[1",), ("limit=[1",)),
        (("resume=maybe",), ("resume=maybe", "true or false")),
        (("image=2",), ("image=2 is not possible",)),
        (("task=null",), ("task=null", "give task=NAME")),
        (("task=7",), ("no task named '7'",)),
        (("model=[a,b]",), ("model takes one option",)),
        (("model=./nothing",), ("no such folder",)),
        (("task=slake", "task.path=7", "model=scripted"), ("task.path=7",)),
        (("task=slake", "task.path=[a,b]", "model=scripted"), ("task.path=[a,b]", "a text", "two pairs of quotes")),
        (("task=slake", "task.allow_counts=2", "model=scripted"), ("task.allow_counts=2", "true or false")),
        (("task.n_test=many", "model=scripted"), ("task.n_test=many", "a whole number")),
        (("model.presets.greedy.max_new_tokens=many",), ("model.presets.greedy.max_new_tokens=many",)),
        (("protocol=strict", "protocol.strict.version=one", "model=scripted"), ("protocol.strict.version=one",)),
        (("regime=trained", "model=scripted"), ("regime=trained", "trained-on-this-split")),
        (("out=a,b",), ("two pairs of quotes",)),
        (("protocol=5", "model=scripted"), ("no protocol named '5'",)),
        (("protocol=true", "model=scripted"), ("no protocol named 'true'",)),
        (("protocol=[strict,5]", "model=scripted"), ("no protocol named '5'",)),
        (("protocol={a: 1}", "model=scripted"), ("protocol={a: 1} is not possible",)),
        (("gate", "baseline=3", "candidate=4"), ("candidate=4 does not exist",)),
        (("gate", "baseline=3", "candidate=4", "out=o"), ("3 does not exist",)),
        (("gate", "margin=small", "baseline=a", "candidate=b"), ("margin=small", "a number")),
        (("export", "run=[A,B]", "format=latex"), ("run=[A,B]", "a text")),
        (("export", "run=5", "format=latex"), ("5",)),
        (("export", "run=", "format=latex"), ("run= is empty",)),
        (("report", "run=5", "images=some"), ("images=some",)),
        (("judge", "run=5", "judge=server", "judge.model=1", "judge.timeout=x"), ("judge.timeout=x", "a number")),
        (("compare", "runs=nothing"), ("nothing does not exist",)),
        (("compare", "runs='no*thing'"), ("matches no file",)),
        (("compare", "runs=3", "flips=few"), ("flips=few",)),
        (("merge", "runs=7"), ("7 is not a part",)),
        (("score", "predictions=7"), ("7",)),
        (("score", "predictions=x", "max_unmatched=all"), ("max_unmatched=all", "a number")),
        (("audit", "task.path=7", "task=slake"), ("task.path=7",)),
        (("bench", "batch_sizes=8",), ("batch_sizes=8", "a list, each a whole number")),
        (("bench", "batch_sizes=[8,x]",), ("batch_sizes=[8,x]",)),
        (("paper", "paper.run=perhaps"), ("paper.run=perhaps",)),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)  # fmt: skip
@pytest.mark.few(8)
def test_wrong_input_is_one_paragraph_and_exit_code_2(evalkit: Any, arguments: tuple[str, ...], words: Any) -> None:
    result = evalkit(*arguments)
    assert result.code == 2
    for word in words:
        assert word in result.message


@pytest.mark.parametrize(
    ("setting", "folder"),
    [
        ("out=1234567", "1234567"),
        ("out=1.10", "1.10"),
        ("out=true", "true"),
        ("out=a=b", "a=b"),
        ("out=a[1]", "a[1]"),
        ("out=größe", "größe"),
        ("out=結果", "結果"),
        ("out=it's", "it's"),
        ("out=a (1)", "a (1)"),
        ("out={a", "{a"),
    ],
)
@pytest.mark.few(3)
def test_a_path_is_text_whatever_it_looks_like(evalkit: Any, setting: str, folder: str, tmp_path: Path) -> None:
    result = evalkit(*SCRIPTED, "limit=2", setting)
    assert result.code == 0, result.err
    assert result.last_line.startswith(f"{folder}/") and (tmp_path / result.last_line).is_dir()


@pytest.mark.parametrize("name", ["2024", "true", "1.10", "1e5", "no", "007"])
@pytest.mark.few(2)
def test_a_name_is_text_as_it_was_typed(evalkit: Any, name: str, tmp_path: Path) -> None:
    result = evalkit(*SCRIPTED, "limit=2", f"name={name}")
    assert result.code == 0, result.err
    assert json.loads((tmp_path / result.last_line / "summary.json").read_text("utf-8"))["model"] == name


def test_the_home_folder_is_expanded(evalkit: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    result = evalkit(*SCRIPTED, "limit=2", "out=~/runs")
    assert result.code == 0 and list((tmp_path / "home" / "runs").iterdir())
    assert evalkit("export", f"run=~/runs/{Path(result.last_line).name}", "format=latex").code == 0
    assert evalkit("task=slake", "task.path=~no-such-user/slake", "model=scripted").code == 2


def test_what_hydra_cannot_read_is_taken_as_text_and_the_way_to_write_it_is_shown(evalkit: Any) -> None:
    result = evalkit(*SCRIPTED, "limit=2", "out=a=b")
    assert "\"out='a=b'\"" in result.err
    again = evalkit(*SCRIPTED, "limit=2", "out='a=b'")
    assert "note:" not in again.err and again.last_line == result.last_line


def test_a_run_in_a_folder_that_is_a_number_is_read_by_every_verb(evalkit: Any, tmp_path: Path) -> None:
    run = tmp_path / evalkit(*SCRIPTED, "limit=2").last_line
    run.rename(tmp_path / "5")
    assert evalkit("export", "run=5", "format=latex").code == 0
    assert evalkit("report", "run=5").code == 0
    assert evalkit("compare", "runs=[5,5]").code == 0


@pytest.mark.slow
def test_a_folder_of_runs_and_a_pattern_are_compared(evalkit: Any) -> None:
    for rule in ("digest", "yes"):
        assert evalkit(*SCRIPTED, f"model.rule={rule}", f"name={rule}").code == 0
    assert evalkit(*SCRIPTED, "engine.shard=1/1").code == 0  # a part has no summary: left out, and said
    folder = evalkit("compare", "runs=runs")
    pattern = evalkit("compare", "runs=runs/*-phantom-*")
    assert folder.code == pattern.code == 0, folder.err
    assert "yes (yes-phantom-" in folder.out and "against digest" in folder.out
    assert folder.out == pattern.out
    assert "is left out: it has no summary.json" in folder.err
    alone = evalkit("compare", "runs='runs/yes-*'")
    assert alone.code == 2 and "at least two runs" in alone.message


def test_repeated_ids_are_refused_before_anything_is_generated(evalkit: Any, tiny: None, tmp_path: Path) -> None:
    result = evalkit("task=tiny", "task.ids='a b a'", "model=scripted")
    assert result.code == 2 and "2 of 3 samples share an id" in result.message and "'a'" in result.message
    assert not (tmp_path / "runs").exists()
    (tmp_path / "answers.csv").write_text("id,prediction\na,no\nb,no\n", encoding="utf-8")
    scored = evalkit("score", "predictions=answers.csv", "task=tiny", "task.ids='a b a'")
    assert scored.code == 2 and "share an id" in scored.message
    audited = evalkit("audit", "task=tiny", "task.ids='a b a'", "images=false")
    assert audited.code == 0 and "rows without an id of their own" in audited.out


@pytest.mark.few(1)
@pytest.mark.parametrize("fault", ["", "key", "file"])
def test_a_task_without_a_train_split_runs_and_is_audited(evalkit: Any, tiny: None, fault: str) -> None:
    run = evalkit("task=tiny", f"task.fault='{fault}'", "model=scripted", "model.rule=yes")
    assert run.code == 0, run.err
    audit = evalkit("audit", "task=tiny", f"task.fault='{fault}'", "images=false")
    assert audit.code == 0 and "not checked" in audit.out, audit.err
    baseline = evalkit("task=tiny", f"task.fault='{fault}'", "model=majority")
    assert baseline.code == 2 and "no train split" in baseline.message


def test_a_fault_in_a_package_of_the_users_names_its_line(evalkit: Any, tiny: None) -> None:
    result = evalkit("task=tiny", "task.fault=bug", "model=scripted")
    assert result.code == 2
    assert "mytasks.py:" in result.message and "my own mistake" in result.message


def test_a_bug_of_evalkit_never_exits_with_the_code_of_the_gate(
    evalkit: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(_: object) -> int:
        raise ZeroDivisionError("x / 0")

    monkeypatch.setattr(command_line, "run_command", fail)
    result = evalkit("gate", "baseline=a", "candidate=b")
    assert result.code == 70
    assert "a bug in evalkit: ZeroDivisionError: x / 0" in result.message
    (file,) = tmp_path.glob("evalkit-bug-*.txt")
    assert "Traceback" in file.read_text("utf-8") and "gate baseline=a candidate=b" in file.read_text("utf-8")


def test_with_debug_the_traceback_is_printed_and_the_exit_code_is_the_same(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["compare", "runs=nothing", "debug=true"]) == 2
    assert "Traceback" in capsys.readouterr().err
