"""The servers of a run: in its manifest, refused with offline=true, and in its dossier."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from evalkit.cli.main import main
from evalkit.reports.dossier.read import hosts_of
from evalkit.reports.export.run import read_run
from tests.support.server_engine import MODEL, serving

RUN = ("model=phantom-llava", "task=phantom", "limit=4", "engine=server", f"engine.served_model={MODEL}")


def test_a_served_run_records_its_server_and_the_dossier_names_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving() as server:
        assert main([*RUN, f"engine.url={server.url}", f"out={tmp_path}", "offline=local"]) == 0
    run = Path(capsys.readouterr().out.strip().splitlines()[-1])
    address = server.url.split("/")[2]
    assert json.loads((run / "manifest.json").read_text(encoding="utf-8"))["facts"]["hosts"] == [address]
    found = hosts_of(read_run(run))
    assert found is not None and address in found


def test_offline_refuses_a_served_model_before_anything_is_sent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving() as server:
        assert main([*RUN, f"engine.url={server.url}", f"out={tmp_path}", "offline=true"]) == 2
        assert not server.calls
    said = capsys.readouterr().err
    assert "offline=true does not allow" in said and "Traceback" not in said
    assert main([*RUN, "engine.url=https://api.example.org/v1", f"out={tmp_path}", "offline=local"]) == 2
    assert "api.example.org:443" in capsys.readouterr().err


def test_a_run_on_this_machine_records_that_it_spoke_to_nobody(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["model=majority", "task=phantom", "limit=4", f"out={tmp_path}", "offline=true"]) == 0
    run = Path(capsys.readouterr().out.strip().splitlines()[-1])
    assert hosts_of(read_run(run)) == ()


@pytest.mark.parametrize("words", [("engine=ray", "offline=true"), ("offline=never",)])
def test_a_promise_that_cannot_be_kept_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    assert main(["model=majority", "task=phantom", "limit=4", f"out={tmp_path}", *words]) == 2
    assert "offline=" in capsys.readouterr().err
