"""engine=vllm through the command line with the fake vLLM: records, a kill, a resumed run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.engines.test_server_cli import command, records
from tests.support.command_line import environment, folder_of, in_new_process
from tests.support.paths import ROOT

FAKE = ROOT / "tests" / "support" / "fake_vllm"
VLLM = ("engine=vllm", "engine.dtype=float32", "limit=20")


def settings(**more: str) -> dict[str, str]:
    return environment() | {"PYTHONPATH": os.pathsep.join([str(FAKE), str(ROOT)])} | more


def evalkit(*arguments: str, cwd: Path, **more: str) -> subprocess.CompletedProcess[str]:
    # In a new process: this one imports no vllm from the folder of the fake one.
    return in_new_process(*command(*arguments)[3:], cwd=cwd, env=settings(**more))


@pytest.mark.slow
def test_a_run_has_the_same_records_answers_and_files_as_engine_hf(tmp_path: Path) -> None:
    result = evalkit(*VLLM, "engine.engine_args={enforce_eager: true}", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    there = folder_of(result, tmp_path)
    here = folder_of(evalkit("engine=hf", "engine.device=cpu", "limit=20", cwd=tmp_path), tmp_path)
    own = ("seconds", "fingerprint")
    assert [{k: v for k, v in r.items() if k not in own} for r in records(there)] == [
        {k: v for k, v in r.items() if k not in own} for r in records(here)
    ]
    assert [list(r) for r in records(there)] == [list(r) for r in records(here)]
    assert {p.name for p in there.iterdir()} == {p.name for p in here.iterdir()}
    record, hf = (json.loads((f / "manifest.json").read_text(encoding="utf-8"))["facts"] for f in (there, here))
    assert record["engine"] == "vllm" and record["weights_sha256"] == hf["weights_sha256"]
    assert record["prompts_checked"] >= 1 and record["engine_args"] == {"enforce_eager": True}


@pytest.mark.slow
def test_a_killed_run_resumes_without_repeating_saved_answers(tmp_path: Path) -> None:
    arguments = (*VLLM, "engine.window=3")
    slow = settings(FAKE_VLLM="seconds=0.2")
    process = subprocess.Popen(
        command(*arguments), cwd=tmp_path, env=slow, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    path = tmp_path / "none"
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and (not path.exists() or path.read_bytes().count(b"\n") < 5):
        path = next(iter(tmp_path.rglob("predictions.jsonl")), path)
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    landed = [json.loads(line) for line in path.read_bytes().splitlines() if line.endswith(b"}")]
    assert 5 <= len(landed) < 20
    result = evalkit(*arguments, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert f"{len(landed)} of 20 answers are already in" in result.stderr
    final = records(folder_of(result, tmp_path))
    assert len({r["sample_id"] for r in final}) == len(final) == 20
    kept = {r["sample_id"]: r for r in final}
    assert [kept[r["sample_id"]] for r in landed] == landed, "saved answers are unchanged, including their seconds"


@pytest.mark.slow
def test_without_the_package_the_error_says_what_to_do(tmp_path: Path) -> None:
    blocked = tmp_path / "blocked"
    blocked.mkdir()
    # A finder without vllm, whatever the environment of the tests.
    (blocked / "sitecustomize.py").write_text(
        "import importlib.util\nfind = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *a: None if name == 'vllm' else find(name, *a)\n"
    )
    path = os.pathsep.join([str(blocked), str(ROOT)])
    result = in_new_process(*command(*VLLM)[3:], cwd=tmp_path, env=settings(PYTHONPATH=path))
    assert result.returncode == 2 and "Traceback" not in result.stderr
    assert "pip install 'evalkit-medvqa[vllm]'" in result.stderr and "engine=server" in result.stderr
