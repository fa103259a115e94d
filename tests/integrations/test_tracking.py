"""`tracker=`: what is sent of a run, what is not, and what happens where it cannot be sent; no tracker is needed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import evalkit
from evalkit.cli.main import main
from evalkit.cli.sent_settings import check_sent_settings
from evalkit.cli.tracking import tracked_run
from evalkit.errors import ConfigError
from evalkit.integrations.trackers import base
from evalkit.integrations.trackers.tensorboard import TensorboardTracker
from evalkit.integrations.trackers.wandb import WandbTracker
from evalkit.reports.tracking import TrackedRun, sent_config, without_folders

ALL = base.TrackerSettings()
RUN = ("model=scripted", "model.rule=digest", "limit=20", "protocol=strict", "tracker=tensorboard")
TRACKERS = ("wandb", "mlflow", "trackio", "tensorboard")


@pytest.fixture
def tracker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[Callable[[TrackedRun], str]], None]:
    """Makes `tracker=tensorboard` whatever a function does, with the library or without it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(TensorboardTracker, "check", lambda self: None)

    def use(log: Callable[[TrackedRun], str]) -> None:
        monkeypatch.setattr(TensorboardTracker, "log", lambda self, run: log(run))

    return use


def test_a_run_is_sent_with_intervals_signatures_samples_and_page(tracker: Any, capfd: Any) -> None:
    sent: list[tuple[TrackedRun, str]] = []

    def log(run: TrackedRun) -> str:
        print("* a library that talks")
        sent.append((run, run.files[0].read_text(encoding="utf-8")))
        return "there"

    tracker(log)
    assert main(["run", *RUN]) == 0
    out = capfd.readouterr()
    folder = Path(out.out.splitlines()[-1])
    assert "talks" not in out.out and "talks" in out.err and "tracker=tensorboard: there" in out.err
    ((run, page),) = sent
    value = evalkit.read_run(folder)["strict", "exact_match"]
    key = "phantom/strict/exact_match"
    assert run.entries[key] == value.value and run.signatures[key] == value.signature
    assert (run.entries[f"{key}_low"], run.entries[f"{key}_high"]) == (value.low, value.high)
    assert run.entries["phantom/strict/closed_accuracy_n_unscored"] > 0
    assert (
        run.config["model.rule"] == "digest" and run.config["run.n"] == 20 and run.config["choices.task"] == "phantom"
    )
    assert run.run_id in page and len(run.samples) == 20
    answers = list(evalkit.read_run(folder).samples.answer)
    assert [s.answer for s in run.samples] == answers
    assert all(s.picture is not None and s.picture[:3] == b"\xff\xd8\xff" for s in run.samples)


def test_what_is_sent_is_what_was_asked_for(tracker: Any) -> None:
    sent: list[TrackedRun] = []
    tracker(lambda run: sent.append(run) or "there")
    assert main(["run", *RUN, "tracker.samples=3", "tracker.pictures=false", "tracker.page=false"]) == 0
    assert [s.picture for s in sent[0].samples] == [None] * 3 and sent[0].files == ()


@pytest.mark.slow
def test_a_tracker_changes_nothing_of_the_run(tracker: Any) -> None:
    tracker(lambda run: "there")
    for words in (RUN, RUN[:-1]):
        assert main(["run", *words, f"out={len(words)}"]) == 0
    with_it, without = (next(Path(out).glob("scripted*")) for out in ("5", "4"))
    assert with_it.name == without.name
    for name in ("predictions.jsonl", "scores.jsonl", "prompts.json"):
        assert (with_it / name).read_bytes() == (without / name).read_bytes()
    one, two = (json.loads((folder / "manifest.json").read_text()) for folder in (with_it, without))
    assert "tracker" not in one["config"] and "tracker" not in one["config"]["choices"]
    assert {**one["config"], "out": 0, "leaderboard": 0} == {**two["config"], "out": 0, "leaderboard": 0}


def fail(run: TrackedRun) -> str:
    raise RuntimeError(f"no route to the server\n{run.run_id}")


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [("run", *RUN), pytest.param(("run", *RUN, "suite=[phantom]"), marks=pytest.mark.slow)],
    ids=["run", "suite"],
)
def test_a_tracker_that_fails_loses_nothing_and_is_exit_3(words: tuple[str, ...], tracker: Any, capfd: Any) -> None:
    tracker(fail)
    assert main(list(words)) == 3
    out = capfd.readouterr()
    assert "no route to the server" in out.err and "Traceback" not in out.err and "are complete" in out.err
    (folder,) = Path("runs").glob("scripted*")
    assert str(folder) in out.out and evalkit.read_run(folder).summary.n == 20
    tracker(lambda run: "there")
    assert main(list(words)) == 0  # sent without asking the model
    assert "20 of 20 answers are already" in capfd.readouterr().err


@pytest.mark.slow
def test_answers_that_are_scored_are_sent_too(tracker: Any, tmp_path: Path) -> None:
    ids = [s.id for s in evalkit.load_task("phantom", limit=20).samples]
    file = tmp_path / "answers.jsonl"
    file.write_text("".join(json.dumps({"id": i, "prediction": "yes"}) + "\n" for i in ids))
    sent: list[TrackedRun] = []
    tracker(lambda run: sent.append(run) or "there")
    words = [f"predictions={file}", "limit=20", "task.n_test=2", "tracker=tensorboard"]
    assert main(["score", *words]) == 0
    assert sent[0].config["predictions"] == "answers.jsonl" and len(sent[0].samples) == 20
    tracker(fail)
    assert main(["score", *words]) == 3


@pytest.mark.slow
def test_from_python_a_failure_is_a_warning_of_the_result(tracker: Any) -> None:
    tracker(fail)
    for result in (
        evalkit.evaluate("majority", limit=20, protocols="strict", tracker="tensorboard"),
        evalkit.score(["yes"] * 20, limit=20, protocols="strict", tracker="tensorboard"),
    ):
        assert any("no route" in text for text in result.warnings) and result.summary.n == 20
    sent: list[TrackedRun] = []
    tracker(lambda run: sent.append(run) or "there")
    settings = {"tracker.samples": 1}
    result = evalkit.evaluate("majority", limit=20, protocols="strict", tracker="tensorboard", settings=settings)
    assert len(sent[0].samples) == 1 and "tracker=tensorboard: there" in result.notes


@pytest.mark.few(2)
@pytest.mark.parametrize("name", TRACKERS)
def test_a_missing_library_is_one_paragraph_before_anything_runs(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).mkdir()  # where a tracker keeps its files: not its library
    monkeypatch.setattr(base, "find_spec", lambda library: None)
    assert main(["run", *RUN[:-1], f"tracker={name}"]) == 2
    err = capfd.readouterr().err
    assert f"evalkit-medvqa[tracking-{name}]" in err and err.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_a_folder_with_the_name_of_a_library_is_no_library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "no_such_tracker").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(TensorboardTracker, "library", "no_such_tracker")
    with pytest.raises(ConfigError, match="not installed"):
        TensorboardTracker().check()


def test_invalid_settings_are_refused_before_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "find_spec", lambda library: type("Spec", (), {"origin": "x"}))
    with pytest.raises(ConfigError, match=r"tracker\.samples=-1"):
        TensorboardTracker(samples=-1).check()
    with pytest.raises(ConfigError, match="offline"):
        WandbTracker(mode="offlin").check()


@pytest.mark.parametrize("key", ["uri", "space_id", "entity"])
def test_a_config_file_cannot_choose_who_gets_answers_and_pictures(key: str) -> None:
    config = {"tracker": {key: "there"}, "choices": {"tracker": "mlflow"}}
    with pytest.raises(ConfigError, match=f"tracker.{key}=there"):
        check_sent_settings(config, ["limit=3"])
    check_sent_settings(config, [f"tracker.{key}=there"])


def test_names_of_folders_keys_and_code_are_not_sent() -> None:
    config = {
        "task": {"path": "data/smith", "where": {"organ": "Lung"}, "split": "test"},
        "model": {"source": "lab/model", "base": "/home/anna/base", "chat_template": "~/anna/x.jinja"},
        "engine": {
            "api_key_env": "ANNA_KEY", "extra_body": {"a": "sk-1"}, "engine_args": {"hf_token": "hf_1"},
            "url": "https://anna:pw@host:1/v1?key=sk-1", "max_new_tokens": 4, "max_batch_tokens": None,
        },
        "predictions": "anna/answers.csv", "names": ["C:\\Users\\anna\\x", "b"],
    }  # fmt: skip
    sent = sent_config(config)
    assert sent == {
        "task.path": "smith", "task.where.organ": "Lung", "task.split": "test", "model.source": "lab/model",
        "model.base": "base", "model.chat_template": "x.jinja", "engine.url": "https://host:1",
        "engine.max_new_tokens": 4, "predictions": "answers.csv", "names": ["x", "b"],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("/home/anna/a.png is missing", "a.png is missing"),
        ("cannot read '~/anna/b c.png'", "cannot read 'b c.png'"),
        (r"C:\Users\anna\x.dcm: bad", "x.dcm: bad"),
        ("3/4 of and/or", "3/4 of and/or"),
        ("a/b", "a/b"),
    ],
)
def test_a_reason_is_sent_without_folders(text: str, left: str) -> None:
    assert without_folders(text) == left


def test_nothing_of_a_file_but_its_pixels_is_sent(tmp_path: Path) -> None:
    pydicom = pytest.importorskip("pydicom")
    from tests.support.dicom_files import ramp, write

    names = ["scan.dcm", "photo.jpg", "drawing.png"]
    write(tmp_path / names[0], ramp(), PatientName="Smith^Anna", PatientID="Smith-77", InstitutionName="Smith Hospital")
    assert "Smith" in str(pydicom.dcmread(tmp_path / names[0]).PatientName)
    grey = Image.new("RGB", (32, 32), (90, 90, 90))
    exif = Image.Exif()
    exif[0x010E] = "Smith, Anna"
    grey.save(tmp_path / names[1], comment=b"Smith, Anna", exif=exif, icc_profile=b"Smith")
    from PIL.PngImagePlugin import PngInfo

    text = PngInfo()
    text.add_text("Comment", "Smith, Anna")
    grey.save(tmp_path / names[2], pnginfo=text)
    rows = [f"{k},{name},Is it normal?,yes" for k, name in enumerate(names)]
    (tmp_path / "t.csv").write_text("\n".join(["id,image,question,answer", *rows]))
    result = evalkit.evaluate(lambda image, question: "yes", task=tmp_path / "t.csv", protocols="strict")
    page = tmp_path / "sent"
    page.mkdir()
    run = tracked_run(result.folder, ALL, page)
    assert [s.picture is not None for s in run.samples] == [True] * 3
    everything = repr(run).encode() + b"".join(s.picture or b"" for s in run.samples)
    for path in page.rglob("*"):
        everything += path.read_bytes() if path.is_file() else b""
    assert b"Smith" not in everything
    for sample in run.samples:
        seen = base.picture(sample.picture or b"")
        assert seen.mode == "RGB" and not seen.getexif()
    assert str(tmp_path).encode() not in repr(run).replace(str(page), "").encode()
