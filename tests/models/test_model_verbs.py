"""The verbs run, doctor, convert and fetch for models, through the command line."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from evalkit.__main__ import main
from tests.support.hub import FakeHub
from tests.support.model_formats import CASES, conf, hugging_face_form, settings_of
from tests.support.paths import CONF, ROOT
from tests.support.slow import mostly_slow

SHORT = ("model.dtype=float32", "model.presets.greedy.max_new_tokens=6")


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    """Isolate each test: no cache, no environment settings, and its own folder."""
    for name in [n for n in os.environ if n.startswith(("EVALKIT_", "HF_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


def overrides(settings: dict[str, Any]) -> list[str]:
    return [f"++model.{key}={'null' if value is None else value}" for key, value in settings.items()]


def ran(capsys, *arguments: str) -> tuple[dict[str, Any], list[str | None]]:
    """Run a few questions of phantom; return (manifest, answers)."""
    capsys.readouterr()
    code = main(["task=phantom", "limit=6", "leaderboard=null", "engine.device=cpu", *arguments])
    out, err = capsys.readouterr()
    assert code == 0, err
    folder = Path(out.strip().splitlines()[-1])
    lines = (folder / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    return json.loads((folder / "manifest.json").read_text()), [json.loads(line)["text"] for line in lines]


def process(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "evalkit", *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200", **environment},
        capture_output=True,
        text=True,
        timeout=170,
    )


@pytest.mark.parametrize("case", mostly_slow(CASES, ["delta", "lora"]))
@pytest.mark.slow
def test_a_run_gives_the_answers_of_its_conversion_and_of_the_hugging_face_form(case, v15, v10, lora, tmp_path, capsys):
    from evalkit.models.processors import load_processor

    name, settings, known = settings_of(case, v15, v10, lora)
    manifest, actual = ran(capsys, f"model={name}", *SHORT, *overrides(settings))
    assert main(["convert", f"model={name}", "model.dtype=float32", "to=saved", *overrides(settings)]) == 0
    assert main(["convert", f"model={name}", "to=again", "model.source=saved", "model.vision_tower=null"]) == 2
    assert "already in Hugging Face form" in capsys.readouterr().err
    tower = settings.get("vision_tower", conf(name)["vision_tower"])
    again, converted = ran(capsys, f"model={name}", *SHORT, "model.source=saved", f"model.vision_tower={tower}")
    plain = hugging_face_form(known, load_processor("saved", tmp_path / "saved"), tmp_path / "hf")
    _, expected = ran(capsys, f"model={name}", *SHORT, f"model.source={plain}", "model.vision_tower=null")
    assert actual == converted == expected
    assert len(set(actual)) > 1
    assert manifest["checkpoint"] != again["checkpoint"]
    assert manifest["facts"]["model_class"] == "LlavaForConditionalGeneration"
    assert len(manifest["facts"]["weights_sha256"]) == 64


@pytest.mark.slow
def test_a_generation_preset_is_another_run_with_another_signature(v10, capsys):
    arguments = ("model=llava-med-v1.0", "model.dtype=float32", *overrides(settings_of("delta", None, v10, None)[1]))
    short = ("model.presets.paper.max_new_tokens=4", "model.presets.greedy.max_new_tokens=4")
    greedy, _ = ran(capsys, *arguments, *short)
    paper, _ = ran(capsys, *arguments, *short, "generation=paper")
    assert greedy["run_id"] != paper["run_id"]
    assert (greedy["checkpoint"], paper["generation"][:21]) == (paper["checkpoint"], "sample.t0.7.p1.k50.se")
    summaries = [json.loads((Path("runs") / m["run_id"] / "summary.json").read_text()) for m in (greedy, paper)]
    signatures = [{row["signature"] for row in s["metrics"]} for s in summaries]
    assert not signatures[0] & signatures[1]


def test_an_unknown_preset_suggests_the_nearest(v10, capsys):
    settings = overrides(settings_of("delta", None, v10, None)[1])
    assert main(["model=llava-med-v1.0", "task=phantom", "generation=papr", *settings]) == 2
    assert "no generation preset 'papr'. Did you mean 'paper'?" in capsys.readouterr().err
    assert main(["model=scripted", "task=phantom", "generation=paper"]) == 2
    assert "model=scripted is not a checkpoint" in capsys.readouterr().err


@pytest.mark.slow
def test_the_old_kind_scripted_of_a_model_yaml_still_works(capsys):
    new, _ = ran(capsys, "model=scripted")
    assert new["config"]["model"]["kind"] == "engine"
    old, answers = ran(capsys, "model=scripted", "model.kind=scripted")
    assert old["run_id"] == new["run_id"] and len(answers) == 6


def test_the_doctor_names_what_is_missing_and_exits_with_2(capsys):
    assert main(["doctor", "model=llava-med", "task=slake", "device=cpu"]) == 2
    out, err = capsys.readouterr()
    assert "by its YAML; not seen yet" in out
    assert "`python -m evalkit fetch model=llava-med task=slake`" in out + err
    assert main(["doctor", "model=majority"]) == 2
    assert "is not a checkpoint" in capsys.readouterr().err


def test_the_doctor_compares_the_two_towers_if_both_are_present(v15, capsys):
    here = overrides({"source": v15.folder, "vision_tower_source": v15.clip})
    assert main(["doctor", "model=llava-med", "device=cpu", *here]) == 0
    out = capsys.readouterr().out
    assert "llava-full (seen in the files)" in out
    assert "stored and stock differ in 5" in out
    assert "[INST]" in out.splitlines()[-1]
    assert main(["doctor", "model=llava-med", "device=cpu", "generation=paper", *here]) == 0
    assert "temperature=0.2" in capsys.readouterr().out


def test_the_doctor_reports_the_built_in_model_as_ready(capsys):
    assert main(["doctor", "model=phantom-llava", "device=cpu"]) == 0
    assert "hf (seen in the files)" in capsys.readouterr().out


def test_local_folders_are_not_fetched(v15, capsys):
    here = overrides({"source": v15.folder, "vision_tower_source": v15.clip})
    assert main(["fetch", "model=llava-med", *here]) == 0
    assert "nothing to fetch" in capsys.readouterr().err
    assert main(["fetch", "model=llava-med-v1.0-coloninst"]) == 2
    assert "no public weights" in capsys.readouterr().err


@pytest.mark.slow
def test_without_network_and_cache_the_error_says_quickly_what_to_fetch():
    started = time.monotonic()
    # A port where nothing listens, as on a machine without a network.
    result = process("model=llava-med", "task=slake", HF_ENDPOINT="http://127.0.0.1:9")
    assert time.monotonic() - started < 30, "it takes about two seconds on an idle machine"
    assert result.returncode == 2
    assert result.stderr.strip().count("\n") == 0
    assert "`python -m evalkit fetch model=llava-med task=slake`" in result.stderr
    assert "microsoft/llava-med-v1.5-mistral-7b (weights, 91bb16c1)" in result.stderr


@pytest.mark.slow
def test_the_fetch_command_contains_the_local_folders_that_were_given(v10, tmp_path, capsys):
    folder = trained_with_a_local_tower(v10.full, tmp_path / "own")
    assert main(["model=llava-med-v1.0-coloninst", f"model.source={folder}", "task=phantom"]) == 2
    command = f"`python -m evalkit fetch model=llava-med-v1.0-coloninst model.source={folder}`"
    assert command in capsys.readouterr().err
    tower = conf("llava-med-v1.0-coloninst")
    repos = {f"models/{tower['vision_tower_source']}": {tower["vision_tower_revision"]: files_of(v10.clip)}}
    with FakeHub(repos) as hub:
        fetched = process(*command.strip("`").split()[3:], HF_ENDPOINT=hub.url)
    assert fetched.returncode == 0, fetched.stderr
    assert tower["vision_tower_revision"] in fetched.stdout
    ran(capsys, "model=llava-med-v1.0-coloninst", f"model.source={folder}", *SHORT)


def parquet(rows: list[tuple[int, str, str]]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq
    from PIL import Image

    pictures = []
    for colour, _, _ in rows:
        buffer = io.BytesIO()
        Image.new("RGB", (30, 20), (colour, 90, 30)).save(buffer, "PNG")
        pictures.append({"bytes": buffer.getvalue(), "path": None})
    images = pa.array(pictures, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    file = io.BytesIO()
    pq.write_table(pa.table({"image": images, "question": [r[1] for r in rows], "answer": [r[2] for r in rows]}), file)
    return file.getvalue()


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()} | {"README.md": b"# card"}


def trained_with_a_local_tower(folder: Path, to: Path) -> Path:
    """Copy a checkpoint and give its tower a name that is not a hub id, so that a tiny tower can replace the YAML's."""
    shutil.copytree(folder, to)
    config = json.loads((to / "config.json").read_text(encoding="utf-8"))
    (to / "config.json").write_text(json.dumps({**config, "mm_vision_tower": "/its/clip"}), encoding="utf-8")
    return to


@pytest.mark.slow  # tests/models/test_fetch.py has its parts in one process
def test_a_fetched_model_runs_offline_without_any_request(v15, tmp_path):
    model = conf("llava-med")
    pinned = yaml.safe_load((CONF / "task" / "vqa-rad.yaml").read_text(encoding="utf-8"))["revision"]
    weights = trained_with_a_local_tower(v15.folder, tmp_path / "v15")
    rows = [(10, "is the lung normal?", "yes"), (10, "where is it?", "left"), (200, "is it the heart?", "no")]
    repos = {
        f"models/{model['source']}": {model["revision"]: files_of(weights)},
        f"models/{model['vision_tower_source']}": {model["vision_tower_revision"]: files_of(v15.clip)},
        "datasets/flaviagiammarino/vqa-rad": {
            pinned: {"data/test-00000-of-00001.parquet": parquet(rows), "data/train-0.parquet": parquet(rows)}
        },
    }
    with FakeHub(repos) as hub:
        fetched = process("fetch", "model=llava-med", "task=vqa-rad", HF_ENDPOINT=hub.url)
        assert fetched.returncode == 0, fetched.stderr
        assert len(fetched.stdout.splitlines()) == 3
        assert len(json.loads(Path("fetch.lock.json").read_text())["repos"]) == 3
        assert hub.downloads()
        hub.requests.clear()
        result = process(
            "model=llava-med", "task=vqa-rad", "task.closed_rule=yesno", "task.allow_counts=true", *SHORT,
            "engine.device=cpu", HF_ENDPOINT=hub.url, HF_HUB_OFFLINE="1",
        )  # fmt: skip
        assert result.returncode == 0, result.stderr
        assert hub.requests == []
    folder = Path(result.stdout.strip().splitlines()[-1])
    assert len((folder / "predictions.jsonl").read_text(encoding="utf-8").splitlines()) == 3
    assert json.loads((folder / "manifest.json").read_text())["config"]["model"]["vision_tower"] == "stock"
