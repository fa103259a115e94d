"""evalkit from Python and from the command line: one path, the same bytes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import openai
import pytest

import evalkit
from tests.support.command_line import environment, folder_of, lines
from tests.support.command_line import evalkit as command
from tests.support.fake_server import FakeServer
from tests.support.server_engine import MODEL, serving

SEED = {"settings": {"model.rule": "digest"}, "limit": 30}


def command_run(folder: Path, *words: str) -> Path:
    result = command("run", *words, "out=cli", cwd=folder)
    assert result.returncode == 0, result.stderr
    return folder_of(result, folder)


def same(one: Path, two: Path) -> None:
    """Compare everything but times, and the order in which answers came."""
    assert one.name == two.name
    for name in ("scores.jsonl", "prompts.json"):
        assert (one / name).read_bytes() == (two / name).read_bytes(), name
    answers = [
        sorted((line | {"seconds": None} for line in lines(folder / "predictions.jsonl")), key=lambda a: a["sample_id"])
        for folder in (one, two)
    ]
    assert answers[0] == answers[1]
    summaries = [json.loads((folder / "summary.json").read_text()) for folder in (one, two)]
    for summary in summaries:
        del summary["timing"], summary["files"], summary["digest"]  # of bytes with times
    assert summaries[0] == summaries[1]


def test_a_run_without_times_is_the_same_to_the_byte(tmp_path: Path) -> None:
    theirs = command_run(tmp_path, "model=scripted", "model.rule=digest", "limit=30")
    ours = evalkit.evaluate("scripted", "phantom", out=tmp_path / "api", **SEED).folder
    for name in ("predictions.jsonl", "scores.jsonl", "prompts.json"):
        assert (ours / name).read_bytes() == (theirs / name).read_bytes(), name
    same(theirs, ours)


@pytest.mark.slow
def test_a_run_of_a_checkpoint_is_the_same_but_for_its_times(tmp_path: Path) -> None:
    theirs = command_run(tmp_path, "limit=20", "image=blank", "protocol=[strict,llava-med]", "engine.batch_size=3")
    ours = evalkit.evaluate(
        "phantom-llava", limit=20, image="blank", protocols=["strict", "llava-med"], batch_size=3, out=tmp_path / "api"
    )
    same(theirs, ours.folder)


@pytest.mark.slow
def test_the_settings_reach_the_manifest_as_from_the_command_line(tmp_path: Path) -> None:
    theirs = command_run(tmp_path, "model=scripted", "model.rule=yes", "limit=3", "name=1.10", "regime=zero-shot")
    ours = evalkit.evaluate(
        "scripted", limit=3, name="1.10", regime="zero-shot", settings={"model": {"rule": "yes"}}, out=tmp_path / "api"
    )
    configs = [json.loads((folder / "manifest.json").read_text())["config"] for folder in (theirs, ours.folder)]
    for config in configs:
        del config["out"], config["leaderboard"]
        config["choices"] = {k: v for k, v in config["choices"].items() if not k.startswith("hydra/")}
    assert configs[0] == configs[1]
    assert ours.summary.model == "1.10"


@pytest.mark.slow
def test_each_goes_on_where_the_other_stopped(tmp_path: Path) -> None:
    whole = command_run(tmp_path, "model=scripted", "model.rule=digest", "limit=30")
    answers = (whole / "predictions.jsonl").read_bytes()
    rows = answers.splitlines(keepends=True)
    (whole / "predictions.jsonl").write_bytes(b"".join(rows[:11]))
    result = evalkit.evaluate("scripted", out=tmp_path / "cli", **SEED)
    assert result.folder == whole and (whole / "predictions.jsonl").read_bytes() == answers
    assert any("11 of 30 answers are already in" in note for note in result.notes)


@pytest.mark.slow
def test_the_leaderboard_row_is_written_where_the_command_line_writes_it(tmp_path: Path) -> None:
    evalkit.evaluate("scripted", settings={"model.rule": "yes"}, out=tmp_path / "api")
    theirs = command("run", "model=scripted", "model.rule=yes", "out=cli", cwd=tmp_path)
    assert theirs.returncode == 0
    places = [
        sorted(p.relative_to(tmp_path / top).as_posix() for p in (tmp_path / top / "leaderboards").rglob("*"))
        for top in ("api", "cli")
    ]
    assert places[0] == places[1] != []


@pytest.mark.slow
@pytest.mark.data
def test_scores_of_slake_are_the_same_to_the_byte(tmp_path: Path, shared: Path) -> None:
    data = shared / "slake"
    task = evalkit.load_task("slake", path=data)
    answers = [s.references[0] if k % 3 else "no" for k, s in enumerate(task.samples)]
    file = tmp_path / "model.jsonl"
    file.write_text(
        "".join(json.dumps({"id": s.id, "prediction": a}) + "\n" for s, a in zip(task.samples, answers, strict=True))
    )
    words = ("score", f"predictions={file}", "task=slake", f"task.path={data}", "out=cli")
    theirs = command(*words, cwd=tmp_path)
    assert theirs.returncode == 0, theirs.stderr
    folder = folder_of(theirs, tmp_path)
    ours = evalkit.score(file, "slake", path=data)
    in_memory = evalkit.score(answers, "slake", path=data, name="model")
    by_id = evalkit.score(
        {s.id: a for s, a in reversed(list(zip(task.samples, answers, strict=True)))}, task, name="model"
    )
    for result in (ours, in_memory, by_id):
        assert result.folder.name == folder.name
        for name in ("predictions.jsonl", "scores.jsonl"):
            assert (result.folder / name).read_bytes() == (folder / name).read_bytes()
    assert ours["llava-med", "closed_accuracy"].n == 416


@pytest.fixture
def server() -> Any:
    with serving() as running:
        yield running


@pytest.mark.slow
@pytest.mark.parametrize("kind", [openai.OpenAI, openai.AsyncOpenAI])
def test_a_client_is_asked_as_engine_server_asks(tmp_path: Path, server: FakeServer, kind: type) -> None:
    env = environment() | {"KEY_OF_TEST": "secret-key-4711"}
    words = ("run", f"model={MODEL}", "engine=server", f"engine.url={server.url}", "engine.api_key_env=KEY_OF_TEST")
    theirs = command(*words, "limit=6", "out=cli", cwd=tmp_path, env=env)
    assert theirs.returncode == 0, theirs.stderr
    client = kind(base_url=server.url, api_key="secret-key-4711")
    ours = evalkit.evaluate((client, MODEL), limit=6, out=tmp_path / "api")
    same(folder_of(theirs, tmp_path), ours.folder)
    asked = [h for h in server.headers if h.get("authorization") == "Bearer secret-key-4711"]
    assert len(asked) == len(server.headers) >= 12
    for file in (tmp_path / "api").rglob("*"):
        assert not file.is_file() or b"secret-key" not in file.read_bytes(), file
    assert "secret-key" not in repr(ours) + ours._repr_html_()
