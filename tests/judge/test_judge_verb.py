"""The verb `judge` as a command: on a finished run, with a server on loopback."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.support import command_line
from tests.support.fake_server import Act, FakeServer, verdict
from tests.support.paths import ROOT


def evalkit(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("EVALKIT_", "OPENAI_"))}
    environment |= {"PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(cwd / "cache")}
    return command_line.in_this_process(*arguments, cwd=cwd, env=environment)


def scripted_run(tmp_path: Path) -> str:
    result = evalkit("model=scripted", "limit=40", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip().splitlines()[-1]


def test_a_run_is_judged_and_judging_it_again_makes_no_call(tmp_path: Path) -> None:
    run = scripted_run(tmp_path)
    with FakeServer(lambda n, body: verdict("correct" if n % 2 else "wrong")) as server:
        judge = ("judge", f"run={run}", "judge=server", f"judge.base_url={server.url}/v1", "judge.model=tiny")
        first = evalkit(*judge, cwd=tmp_path)
        assert first.returncode == 0, first.stderr
        n_calls = len(server.calls)
        again = evalkit(*judge, cwd=tmp_path)
        assert again.returncode == 0, again.stderr
        assert len(server.calls) == n_calls > 0
    assert "judged_accuracy" in first.stdout
    assert first.stdout.splitlines()[-1] == run
    judged = json.loads((tmp_path / run / "judged-server.json").read_text(encoding="utf-8"))
    assert any(m["metric"] == "judged_accuracy" and m["value"] is not None for m in judged["metrics"])


@pytest.mark.slow
def test_an_outage_prints_no_score_and_exits_with_3(tmp_path: Path) -> None:
    run = scripted_run(tmp_path)
    with FakeServer(lambda n, body: Act(status=500)) as server:
        where = (f"judge.base_url={server.url}/v1", "judge.model=tiny", "judge.retries=0")
        result = evalkit("judge", f"run={run}", "judge=server", *where, cwd=tmp_path)
    assert result.returncode == 3, result.stderr
    row = next(line for line in result.stdout.splitlines() if "judged_accuracy" in line)
    assert row.split()[2:4] == ["–", "–"], "no value and no interval"


@pytest.mark.slow
def test_no_judge_is_one_paragraph(tmp_path: Path) -> None:
    run = scripted_run(tmp_path)
    result = evalkit("judge", f"run={run}", cwd=tmp_path)
    assert result.returncode == 2
    assert "Choose a judge with judge=NAME" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.slow
def test_a_checkpoint_in_this_process_can_judge_and_its_invalid_replies_are_unreadable(tmp_path: Path) -> None:
    run = scripted_run(tmp_path)
    result = evalkit(
        "judge", f"run={run}", "judge=local", "judge.model=phantom-llava", "judge.parameters.max_tokens=8", cwd=tmp_path
    )  # fmt: skip
    assert result.returncode == 3, result.stderr  # trained on phantoms only: no verdict, so no value
    assert "unreadable" in result.stderr
    lines = (tmp_path / run / "judgments.jsonl").read_text(encoding="utf-8").splitlines()
    assert any('"raw"' in line or '"text"' in line for line in lines)


@pytest.mark.slow
def test_captions_are_judged_with_rows_all(tmp_path: Path) -> None:
    tree = tmp_path / "cap.json"
    records = [
        {
            "id": f"KUMC/Test/polyp/{k}.png", "image": str(k),
            "conversations": [
                {"from": "human", "value": "<image>\nDescribe what you see in the image."},
                {"from": "gpt", "value": f"A polyp on a fold, number {k}."},
                {"from": "prediction", "value": f"A small polyp, number {k}."},
            ],
        }
        for k in range(6)
    ]  # fmt: skip
    tree.write_text(json.dumps(records), encoding="utf-8")
    scored = evalkit("score", f"predictions={tree}", "task=coloninst-cap", "task.allow_counts=true", cwd=tmp_path)
    assert scored.returncode == 0, scored.stderr
    run = scored.stdout.strip().splitlines()[-1]
    with FakeServer(lambda n, body: verdict("partly")) as server:
        where = (f"judge.base_url={server.url}/v1", "judge.model=tiny", "judge.rows=all", f"data.path={tree}")
        judged = evalkit("judge", f"run={run}", "judge=server", *where, cwd=tmp_path)
    assert judged.returncode == 0, judged.stderr
    assert len(server.calls) == 6
    assert "judged_credit" in judged.stdout
