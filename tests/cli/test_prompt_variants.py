"""Several prompts in one command, and tasks over the same pictures in a suite: one prefill an image, runs as apart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.test_option_scoring import run, table, values, words
from tests.support.command_line import in_this_process as evalkit

__all__ = ["table"]
# What differs between a run in one pass with others and the run alone.
MEASURED = ("seconds", "timing", "files", "facts", "counters", "digest")


def content(folder: Path) -> dict[str, Any]:
    """Everything in a run's folder but times, counters and digests of files that have times in them."""
    found: dict[str, Any] = {"names": sorted(path.name for path in folder.iterdir())}
    for name in ("manifest.json", "summary.json", "prompts.json"):
        record = json.loads((folder / name).read_text())
        found[name] = {k: v for k, v in record.items() if k not in MEASURED}
    facts = json.loads((folder / "manifest.json").read_text())["facts"]
    left_out = ("counters", "prefix_check", "answered_together_with")
    found["facts"] = {k: v for k, v in facts.items() if k not in left_out}
    found["scores.jsonl"] = (folder / "scores.jsonl").read_bytes()
    lines = [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]
    found["predictions.jsonl"] = sorted(json.dumps({k: v for k, v in x.items() if k != "seconds"}) for x in lines)
    return found


def folders(printed: str, place: Path) -> list[Path]:
    """The folders of the runs of a command, in order."""
    named = [place / line for line in printed.splitlines() if line.startswith("runs/")]
    return [folder for folder in named if (folder / "summary.json").is_file()]


def facts(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "manifest.json").read_text())["facts"]
    return found


@pytest.mark.few(1)
@pytest.mark.parametrize(
    "more",
    [("task.prompt=[plain,short,options]",), ("task.prompt=[plain,short]", "task.choice_prompt=[letters,numbers]")],
    ids=["three", "two by two"],
)
def test_each_prompt_is_the_run_that_it_is_apart(table: Path, tmp_path: Path, more: tuple[str, ...]) -> None:
    done = evalkit(*words(table, *more), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = folders(done.stdout, tmp_path)
    keys = [word.partition("=")[0] for word in more]
    settings = [json.loads((f / "manifest.json").read_text())["config"]["task"] for f in found]
    chosen = [[f"{key}={config[key.removeprefix('task.')]}" for key in keys] for config in settings]
    assert len(found) == len({tuple(c) for c in chosen}) == (3 if len(more) == 1 else 4)
    assert facts(found[0])["counters"]["prefix_prefills"] == 4, "one an image for all prompts"
    assert facts(found[0])["answered_together_with"] == [f.name for f in found[1:]]
    (apart := tmp_path / "apart").mkdir()
    for folder, given in zip(found, chosen, strict=True):
        alone, _ = run(table, apart, *given)
        assert alone.name == folder.name and content(alone) == content(folder)


@pytest.mark.slow
def test_a_command_with_several_prompts_goes_on_from_the_answers_of_each(table: Path, tmp_path: Path) -> None:
    first, _ = run(table, tmp_path, "task.prompt=plain")
    kept = (first / "predictions.jsonl").read_text().splitlines(keepends=True)[:-3]
    (first / "predictions.jsonl").write_text("".join(kept))
    before = values(first)
    done = evalkit(*words(table, "task.prompt=[plain,short]"), cwd=tmp_path)
    assert done.returncode == 0 and "13 of 16 answers are already in" in done.stderr, done.stderr
    found = folders(done.stdout, tmp_path)
    assert found[0] == first and values(first) == before and len(found) == 2


@pytest.mark.few(1)
@pytest.mark.parametrize("given", ["[]", "[plain,plain]", "[plain,brief]"])
def test_a_list_of_prompts_that_cannot_be_is_refused(table: Path, tmp_path: Path, given: str) -> None:
    done = evalkit(*words(table, f"task.prompt={given}"), cwd=tmp_path)
    assert done.returncode == 2 and "task.prompt" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "runs").exists()


def test_a_dry_run_shows_each_prompt(table: Path, tmp_path: Path) -> None:
    done = evalkit(*words(table, "task.prompt=[plain,short]", "dry_run=true"), cwd=tmp_path)
    assert done.returncode == 0 and done.stdout.count("first prompt, user") == 2, done.stderr


# --- tasks of a suite

YAML = """about: a table
target: evalkit.tasks.table.task:TableTask
name: {name}
path: {path}
prompt: {prompt}
protocols: [strict, exact-match, choice-strict]
baseline_protocols: [strict]
"""


@pytest.mark.slow
def test_tasks_over_the_same_pictures_share_their_prefills_and_are_the_runs_that_they_are_alone(
    table: Path, tmp_path: Path
) -> None:
    (tmp_path / "conf" / "task").mkdir(parents=True)
    for name, prompt in (("first", "plain"), ("second", "short")):
        text = YAML.format(name=name, path=table, prompt=prompt)
        (tmp_path / "conf" / "task" / f"{name}.yaml").write_text(text)
    (apart := tmp_path / "apart").mkdir()
    common = ("--config-dir", str(tmp_path / "conf"), "model=phantom-llava", "leaderboard=null")
    done = evalkit(*common, "suite=[first,phantom,second]", "limit=4", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = {f.name.split("-")[2]: f for f in folders(done.stdout, tmp_path)}
    assert set(found) == {"first", "phantom", "second"}
    assert facts(found["first"])["answered_together_with"] == [found["second"].name]
    assert "answered_together_with" not in facts(found["phantom"])
    assert facts(found["first"])["counters"]["prefix_prefills"] == 1
    for name in ("first", "second"):
        alone = evalkit(*common, f"task={name}", "limit=4", cwd=apart)
        assert alone.returncode == 0, alone.stderr
        assert content(apart / alone.stdout.splitlines()[-1]) == content(found[name])
