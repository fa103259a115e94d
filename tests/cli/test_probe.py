"""`probe=image` as a user meets it: one command, five runs, one table."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from evalkit.cli.commands.run import answer_task
from evalkit.cli.probe import CONTROLS, probe_of
from evalkit.core.errors import ConfigError
from tests.support.command_line import SCRIPTED, folder_of
from tests.support.command_line import in_this_process as evalkit

COMMAND = ("model=phantom-llava", "task=phantom", "protocol=exact-match", "limit=12", "probe=image")


def test_one_command_makes_five_runs_a_table_and_a_file(tmp_path: Path) -> None:
    result = evalkit(*COMMAND, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    folder = folder_of(result, tmp_path)
    found = json.loads((folder / "probe.json").read_text(encoding="utf-8"))
    assert tuple(found["runs"]) == ("original", *CONTROLS)
    summaries = {
        image: json.loads((tmp_path / "runs" / run / "summary.json").read_text(encoding="utf-8"))
        for image, run in found["runs"].items()
    }
    assert all(summary["image"] == image for image, summary in summaries.items())
    for effect in found["effects"]:
        values = [
            m["value"]
            for m in summaries[effect["image"]]["metrics"]
            if (m["metric"], m["slice"]) == (effect["metric"], "all")
        ]
        assert values == [effect["value"]]
    blank = next(e for e in found["effects"] if e["image"] == "blank")
    assert blank["difference"]["value"] < 0 < blank["n_worse"] and blank["right_without"]["value"] < 1
    assert sum(found["similar"].values()) == 12
    table = result.stdout[result.stdout.index("the same questions with other images") :]
    assert all(control in table for control in CONTROLS)
    # The similar images are the split's own: their questions share the prefixes of the original run.
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["timing"]["image_prefills"] == 4 * summaries["original"]["n_images"]
    assert "probe" not in manifest["config"]
    assert found["runs"]["blank"] in json.dumps(summaries["original"]["sanity_checks"]["blank"])


def test_one_run_that_is_asked_for_is_never_silently_without_its_probe() -> None:
    """From Python and for a paper's table a command makes one run."""
    with pytest.raises(ConfigError, match="probe=image makes several runs"):
        answer_task({"probe": "image"}, lambda engine: engine)


def test_a_model_without_images_a_suite_and_other_images_are_refused(tmp_path: Path) -> None:
    result = evalkit(*SCRIPTED, "probe=image", cwd=tmp_path)
    assert result.returncode == 2 and "is given no images" in result.stderr
    with pytest.raises(ConfigError, match="image=blank cannot"):
        probe_of({"probe": "image", "image": "blank"})
    with pytest.raises(ConfigError, match="suite has several"):
        probe_of({"probe": "image", "image": "original", "suite": "medvqa"})
    with pytest.raises(ConfigError, match="probe=picture is not possible"):
        probe_of({"probe": "picture", "image": "original"})
    assert probe_of({"probe": None, "image": "blank"}) is None
