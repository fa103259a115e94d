"""A checkpoint of the user's as it is: a hub id, fetched from a hub, examined, run and registered."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import yaml

from evalkit.__main__ import main
from tests.support.hub import COMMIT, FakeHub
from tests.support.paths import PACKAGE

PHANTOM = PACKAGE / "models" / "phantom-llava"


@pytest.mark.slow
def test_a_hub_id_is_fetched_examined_run_and_registered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [n for n in os.environ if n.startswith(("EVALKIT_", "HF_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    files = {p.name: p.read_bytes() for p in PHANTOM.iterdir() if p.is_file()}
    with FakeHub({"models/lab/my-llava": {COMMIT: files}}) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        assert main(["fetch", "model=lab/my-llava"]) == 0, capsys.readouterr().err
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        hub.requests.clear()
        assert main(["doctor", "model=lab/my-llava"]) == 0
        assert main(["new", "model", "lab/my-llava"]) == 0
        monkeypatch.setenv("EVALKIT_CONF", "conf")
        rows = []
        for model in ("lab/my-llava", "my-llava", str(PHANTOM)):
            capsys.readouterr()
            words = [f"model={model}", "task=phantom", "limit=2", "generation.max_new_tokens=16", "leaderboard=null"]
            assert main(words) == 0, capsys.readouterr().err
            folder = Path(capsys.readouterr().out.strip().splitlines()[-1])
            rows.append(json.loads((folder / "manifest.json").read_text(encoding="utf-8")))
        assert hub.requests == []
    assert [row["model"] for row in rows][:2] == ["lab/my-llava", "my-llava"]
    assert len({row["checkpoint"] for row in rows}) == 1, "the same files are the same checkpoint"
    written = yaml.safe_load(Path("conf/model/my-llava.yaml").read_text(encoding="utf-8"))
    assert (written["source"], written["revision"]) == ("lab/my-llava", COMMIT)
