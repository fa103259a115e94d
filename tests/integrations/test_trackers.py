"""Every tracker without a network, read back by its own library; skipped where that is not installed."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import evalkit
from tests.support.paths import ROOT

pytestmark = pytest.mark.filterwarnings("ignore")  # those of the trackers' own dependencies

KEY = "phantom/strict/exact_match"
ENDS = ("", "_low", "_high", "_n_unscored")


def tracked(name: str, **settings: Any) -> evalkit.Result:
    result = evalkit.score(
        ["yes"] * 20, limit=20, protocols="strict", name="mine", tracker=name,
        settings={f"tracker.{key}": value for key, value in {"samples": 4, **settings}.items()},
    )  # fmt: skip
    assert not [text for text in result.warnings if "tracker" in text], result.warnings
    return result


def size_of(picture: Path) -> tuple[int, int]:
    with Image.open(picture) as image:
        return image.size


def expected(result: evalkit.Result) -> dict[str, float | None]:
    value = result["strict", "exact_match"]
    return dict(zip(ENDS, (value.value, value.low, value.high, value.n_unscored), strict=True))


def test_tensorboard_files_are_read_back(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="evalkit-medvqa[tracking-tensorboard] is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monkeypatch.chdir(tmp_path)
    result = tracked("tensorboard")
    events = EventAccumulator(f"tensorboard/{result.run_id}", size_guidance={"images": 0, "tensors": 0}).Reload()
    for end, value in expected(result).items():
        assert [s.value for s in events.Scalars(f"{KEY}{end}")] == [pytest.approx(value)]
    texts = {
        tag: events.Tensors(f"{tag}/text_summary")[0].tensor_proto.string_val[0].decode()
        for tag in ("config", "signatures", "metrics", "samples", "page")
    }
    assert "protocol:strict" in texts["signatures"].replace("\\", "") and "| run.n | 20 |" in texts["config"]
    assert texts["samples"].count("\n") == 5 and texts["metrics"].count("exact\\_match") >= 0
    images = events.Tags()["images"]
    assert len(images) == 4 and (events.Images(images[0])[0].width, events.Images(images[0])[0].height) == (72, 80)
    assert result.run_id in Path(f"tensorboard/{result.run_id}/report.html").read_text(encoding="utf-8")


def test_mlflow_on_sqlite_is_read_back(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("mlflow", reason="evalkit-medvqa[tracking-mlflow] is not installed")
    from mlflow import MlflowClient

    monkeypatch.chdir(tmp_path)
    result = tracked("mlflow", uri="sqlite:///m.db", experiment="mine")
    client = MlflowClient("sqlite:///m.db")
    experiment = client.get_experiment_by_name("mine")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert {end: run.data.metrics[f"{KEY}{end}"] for end in ENDS} == expected(result)
    assert run.data.params["run.n"] == "20" and run.data.tags["evalkit.run_id"] == result.run_id
    assert run.data.tags[f"signature.{KEY}"] == result["strict", "exact_match"].signature
    assert run.info.status == "FINISHED" and run.info.run_name == "mine on phantom (test)"
    assert run.info.user_id in (None, "", "unknown") and "mlflow.user" not in run.data.tags
    files = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert {"report.html", "samples.json", "metrics.json", "evalkit.json"} <= files
    page = client.download_artifacts(run.info.run_id, "report.html", str(tmp_path))
    assert result.run_id in Path(page).read_text(encoding="utf-8")
    table = json.loads(Path(client.download_artifacts(run.info.run_id, "samples.json", str(tmp_path))).read_text())
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
    assert len(rows) == 4 and rows[0]["answer"] == "yes"
    picture = client.download_artifacts(run.info.run_id, rows[0]["picture"]["filepath"], str(tmp_path))
    assert size_of(Path(picture)) == (72, 80)
    content = json.loads(Path(client.download_artifacts(run.info.run_id, "evalkit.json", str(tmp_path))).read_text())
    assert content["signatures"][KEY] == result["strict", "exact_match"].signature


def test_samples_without_pictures_have_a_table_of_their_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("mlflow", reason="evalkit-medvqa[tracking-mlflow] is not installed")
    from mlflow import MlflowClient

    monkeypatch.chdir(tmp_path)
    tracked("mlflow", uri="sqlite:///m.db", pictures=False)
    client = MlflowClient("sqlite:///m.db")
    experiment = client.get_experiment_by_name("evalkit")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert "samples_without_pictures.json" in {file.path for file in client.list_artifacts(run.info.run_id)}


def wandb_records(file: Path) -> list[Any]:
    """The records of an offline run: blocks of 32 KiB of a LevelDB log, each record a message of W&B's own."""
    from wandb.proto import wandb_internal_pb2

    content, place, whole, found = file.read_bytes(), 7, b"", []
    while place + 7 <= len(content):
        if 32768 - place % 32768 < 7:
            place += 32768 - place % 32768
            continue
        _, length, kind = struct.unpack_from("<IHB", content, place)
        whole += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last piece
            record = wandb_internal_pb2.Record()
            record.ParseFromString(whole)
            found.append(record)
            whole = b""
    return found


def test_an_offline_run_of_wandb_is_read_back(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("wandb", reason="evalkit-medvqa[tracking-wandb] is not installed")
    monkeypatch.chdir(tmp_path)
    for name in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_ARTIFACT_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "data"))
    result = tracked("wandb", mode="offline")
    (file,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    records = wandb_records(file)
    by_kind: dict[str, list[Any]] = {}
    for record in records:
        by_kind.setdefault(record.WhichOneof("record_type"), []).append(record)
    history = {
        (item.key or "/".join(item.nested_key)): json.loads(item.value_json)
        for record in by_kind["history"]
        for item in record.history.item
    }
    assert {end: history[f"{KEY}{end}"] for end in ENDS} == expected(result)
    assert history["phantom/samples/nrows"] == 4 and history["phantom/samples/_type"] == "table-file"
    config = {
        (item.key or "/".join(item.nested_key)): json.loads(item.value_json)
        for kind, of in (("run", lambda r: r.run.config), ("config", lambda r: r.config))
        for record in by_kind.get(kind, ())
        for item in of(record).update
    }
    assert config["run.n"] == 20 and config["signatures"][KEY] == result["strict", "exact_match"].signature
    names = {
        entry.path
        for record in records
        for artifact in (record.artifact, record.request.log_artifact.artifact)
        for entry in artifact.manifest.contents
    }
    assert "report.html" in names and any(name.endswith((".png", ".jpg")) for name in names)
    raw = b"".join(path.read_bytes() for path in tmp_path.glob("wandb/offline-run-*/*.wandb"))
    assert b"pytest" not in raw.replace(str(tmp_path).encode(), b"")  # neither command line nor program
    assert os.uname().nodename.encode() not in raw or len(os.uname().nodename) < 4


# Trackio reads its folder from the environment when it is imported.
TRACKIO = """
import json, sys
import evalkit
result = evalkit.score(["yes"] * 20, limit=20, protocols="strict", name="mine", tracker="trackio",
                       settings={"tracker.samples": 4, "tracker.project": "mine"})
assert not [t for t in result.warnings if "tracker" in t], result.warnings
from trackio.sqlite_storage import SQLiteStorage
(run,) = SQLiteStorage.get_runs("mine")
value = result["strict", "exact_match"]
json.dump({
    "logs": SQLiteStorage.get_logs("mine", run), "config": SQLiteStorage.get_run_config("mine", run), "run": run,
    "run_id": result.run_id, "value": [value.value, value.low, value.high, value.n_unscored],
    "signature": value.signature,
}, open("found.json", "w"))
"""


def test_a_run_of_trackio_is_read_back(tmp_path: Path) -> None:
    pytest.importorskip("trackio", reason="evalkit-medvqa[tracking-trackio] is not installed")
    environment = {**os.environ, "TRACKIO_DIR": str(tmp_path / "trackio"), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", TRACKIO], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads((tmp_path / "found.json").read_text())
    logs: dict[str, Any] = {key: value for entry in found["logs"] for key, value in entry.items()}
    assert [logs[f"{KEY}{end}"] for end in ENDS] == found["value"]
    assert found["config"]["signatures"][KEY] == found["signature"] and found["config"]["run.n"] == 20
    rows = logs["samples"]["_value"]
    assert len(rows) == 4 and rows[0]["answer"] == "yes"
    assert size_of(tmp_path / "trackio" / "media" / rows[0]["picture"]["file_path"]) == (72, 80)
    blobs = [path.read_bytes() for path in (tmp_path / "trackio" / "artifacts").rglob("*") if path.is_file()]
    assert any(found["run_id"].encode() in blob and b"<html" in blob.lower() for blob in blobs)
