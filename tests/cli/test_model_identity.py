"""A row bears its own name: nothing of a registered model is inherited by other weights."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from evalkit.__main__ import main
from evalkit.cli.command_words import is_model_location, readable
from evalkit.cli.config import load_option, options
from evalkit.cli.model_identity import location_name, own_identity, unregistered_model, with_own_name
from evalkit.core.errors import ConfigError
from tests.support.paths import PACKAGE
from tests.support.server_engine import MODEL, serving

REGISTERED, HUB_ID = "llava-med", "microsoft/llava-med-v1.5-mistral-7b"
SERVER = {"served_model": None, "url": "http://host/v1"}
SNAPSHOT = "models--lab--my-llava/snapshots/0123456789abcdef0123456789abcdef01234567"


def config(option: str = REGISTERED, overrides: tuple[str, ...] = (), **more: Any) -> dict[str, Any]:
    """A verb's configuration as Hydra composes it, with `model.KEY=VALUE` words applied."""
    model = unregistered_model(option) or load_option("model", option)
    for word in overrides:
        key, _, value = word.partition("=")
        model[key.removeprefix("model.")] = None if value == "null" else value
    given = {"model": model, "engine": {}, "name": None, "choices": {"model": option}} | more
    return with_own_name(given, overrides)


def test_a_registered_model_is_itself() -> None:
    assert config()["model"] == load_option("model", REGISTERED)


@pytest.mark.parametrize(
    ("overrides", "engine", "name"),
    [
        (("model.source=/data/my-llava",), {}, "my-llava"),
        (("model.source=/data/my-llava/",), {}, "my-llava"),
        (("model.source=./checkpoint-500",), {}, "checkpoint-500"),
        (("model.source=~/my-llava",), {}, "my-llava"),
        (("model.source=lab/my-llava",), {}, "lab/my-llava"),
        ((f"model.source=/cache/{SNAPSHOT}",), {}, "lab/my-llava"),
        ((f"model.source=/data/copy/{REGISTERED}",), {}, f"copy/{REGISTERED}"),
        ((f"model.revision={'abcdef01' * 5}",), {}, f"{HUB_ID}@abcdef01"),
        (("model.revision=null",), {}, HUB_ID),
        ((), SERVER | {"served_model": "lab/other"}, "lab/other"),
        ((), SERVER | {"served_model": "/weights/other"}, "other"),
        ((), SERVER | {"served_model": REGISTERED}, f"server/{REGISTERED}"),
        ((), SERVER, HUB_ID),
        (("model.source=lab/mine",), SERVER, "lab/mine"),
        ((), {"inner": SERVER | {"served_model": "lab/other"}}, "lab/other"),
    ],
)  # fmt: skip
def test_other_weights_have_their_own_name_and_nothing_else_of_the_registered_model(
    overrides: tuple[str, ...], engine: dict[str, Any], name: str
) -> None:
    model = config(overrides=overrides, engine=engine)["model"]
    assert model["name"] == name
    assert name not in options("model")
    stated = {word.split("=")[0].removeprefix("model.") for word in overrides}
    for key in {"trained_on", "digests", "licence", "about", "notes", "revision"} - stated:
        assert key not in model, key
    registered = load_option("model", REGISTERED)
    for key in ("chat_template", "presets", "generation", "dtype", "vision_tower"):  # the recipe stays
        assert model[key] == registered[key]


def test_a_stated_name_and_a_stated_exposure_stay(capsys: pytest.CaptureFixture[str]) -> None:
    other = ("model.source=/data/x",)
    assert config(overrides=other, name="mine")["model"]["name"] == "mine"
    assert not capsys.readouterr().err
    named = config(overrides=other, name=REGISTERED)["model"]
    assert named["name"] == REGISTERED and "trained_on" not in named
    assert "like the registered model" in capsys.readouterr().err
    assert config(overrides=(*other, "model.trained_on=same"))["model"]["trained_on"] == "same"
    assert config(overrides=(*other, "model.licence=MIT"))["model"]["licence"] == "MIT"


def test_a_model_that_is_no_checkpoint_takes_a_name_and_keeps_its_settings() -> None:
    model = config("scripted", name="rules")["model"]
    assert model == load_option("model", "scripted") | {"name": "rules"}
    assert own_identity(load_option("model", "majority"), {}, SERVER) is None


@pytest.mark.parametrize(
    ("option", "name"),
    [("lab%2Fmy-llava", "lab/my-llava"), ("lab%2Fmy.llava_2", "lab/my.llava_2")],
)
def test_a_hub_id_is_a_model(option: str, name: str) -> None:
    found = config(option)
    assert found["model"]["name"] == found["model"]["source"] == name == found["choices"]["model"]
    assert found["model"]["trained_on"] is None


def test_a_folder_is_a_model_whatever_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    groups = {"model": "phantom-llava", "protocol": None}
    for name in ("my-llava", "größe", "a=b", "a[1]", "~x", "it's", "7"):
        (tmp_path / name).mkdir()
        for given in (name, f"./{name}", str(tmp_path / name)):
            (word,) = readable([f"model={given}"], groups)
            option = word.removeprefix("model=")
            assert option.isascii() and location_name(config(option)["model"]["source"]) == name
    (tmp_path / "llava-med").mkdir()
    assert readable(["model=llava-med"], groups) == ["model=llava-med"]  # a registered name comes first
    assert readable(["-m", "model=llava-med,./7"], groups) == ["-m", "model=llava-med,.%2F7"]
    assert not is_model_location("nothing")


@pytest.mark.parametrize("given", ["./nothing", "/no/such/folder", "a/b/c", "file.bin"])
def test_what_is_no_folder_and_no_hub_id_is_refused(
    given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file.bin").write_bytes(b"x")
    option = given.replace("/", "%2F") if "/" in given else f".%2F{given}"
    with pytest.raises(ConfigError, match="folder"):
        unregistered_model(option)


def ran(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """(summary, manifest, leaderboard result) of a small run."""
    capsys.readouterr()
    code = main(["task=phantom", "task.n_test=1", "engine.shard=null", *arguments])
    out, err = capsys.readouterr()
    assert code == 0, err
    folder = Path(out.strip().splitlines()[-1])
    result = Path("runs/leaderboards/results") / f"{folder.name}.json"
    read = [json.loads(p.read_text("utf-8")) for p in (folder / "summary.json", folder / "manifest.json", result)]
    return read[0], read[1], read[2]


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [n for n in os.environ if n.startswith(("EVALKIT_", "HF_"))]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("alone")
@pytest.mark.slow
def test_a_copy_of_a_checkpoint_is_a_row_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(PACKAGE / "models" / "phantom-llava", tmp_path / "größe [1]=x" / "my-copy")
    folder = "größe [1]=x/my-copy"
    summary, manifest, result = ran(capsys, f"model.source={folder}")
    assert (summary["model"], result["regime"], result["train"]) == ("my-copy", "unknown", "")
    assert manifest["config"]["model"]["source"] == folder and summary["run_id"].startswith("my-copy-phantom-")
    by_path, path_manifest, stated = ran(capsys, f"model={folder}", "name=2024", "regime=fine-tuned")
    assert (by_path["model"], stated["regime"]) == ("2024", "fine-tuned")
    assert path_manifest["checkpoint"] == manifest["checkpoint"]
    registered, _, own = ran(capsys, "model=phantom-llava")
    assert (registered["model"], own["regime"]) == ("phantom-llava", "fine-tuned")


@pytest.mark.slow
@pytest.mark.usefixtures("alone")
def test_a_served_model_is_a_row_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serving() as server:
        served = ("engine=server", f"engine.url={server.url}", f"engine.served_model={MODEL}")
        summary, manifest, result = ran(capsys, "model=llava-med", *served)
        assert (summary["model"], result["regime"]) == (MODEL, "unknown")
        assert summary["run_id"].startswith(f"{MODEL.replace('/', '-')}-phantom-")
        assert manifest["config"]["model"]["source"] == MODEL
        assert main(["export", f"run=runs/{summary['run_id']}", "format=every-eval-ever"]) == 0
    written = [p.read_text("utf-8") for p in tmp_path.rglob("export/**/*.json")]
    assert written and not any("llava-med-v1.5" in text or "91bb16c1" in text for text in written)
