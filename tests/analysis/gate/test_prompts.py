"""`gate prompts=true`: the prompts of two configurations or runs, compared without a model."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evalkit.__main__ import main
from evalkit.analysis.gate.prompt_diff import compare, describe
from evalkit.core.errors import StoreError
from evalkit.core.files import key_a_line
from evalkit.runs.codec import encode
from evalkit.runs.prompt_record import as_file, read_prompt_record
from tests.support.paths import ROOT

SMALL = ("task=phantom", "task.n_test=4")
NOW = ("prompts=true", "model=phantom-llava", *SMALL)


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The prompt record of phantom-llava, as a file that a repository would keep."""
    file = tmp_path_factory.mktemp("prompts") / "prompts.json"
    assert main(["gate", *NOW, f"save={file}"]) == 0
    return file


@pytest.fixture
def change(record: Path, tmp_path: Path) -> Callable[[Callable[[dict[str, Any]], Any]], Path]:
    def changed(how: Callable[[dict[str, Any]], Any]) -> Path:
        found = json.loads(record.read_text(encoding="utf-8"))
        how(found)
        path = tmp_path / "changed.json"
        path.write_text(json.dumps(found), encoding="utf-8")
        return path

    return changed


def test_the_record_holds_the_rendered_prompt_of_every_sample_and_the_digest_of_every_image(record: Path) -> None:
    prompts = read_prompt_record(record)
    assert (len(prompts.ids), prompts.rendered) == (40, True)
    assert prompts.texts[0].count("<image>") == 1
    assert "Which imaging modality is this?" in prompts.texts[0]
    assert prompts.images is not None
    assert len(set(prompts.images)) == 4
    assert key_a_line(encode(as_file(prompts))) == record.read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_same_prompts_exit_with_0_and_no_model_library_is_loaded(record: Path) -> None:
    code = (
        "import sys; from evalkit.__main__ import main; "
        f"code = main(['gate', 'baseline={record}', *{NOW!r}]); "
        "print([m for m in ('torch', 'transformers', 'safetensors') if m in sys.modules]); sys.exit(code)"
    )
    root = ROOT
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=False)
    assert done.returncode == 0, done.stderr
    assert "all 40 samples have the same prompts and images" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (("task.prompt=plain",), "40 samples have a different prompt"),
        (("image=blank",), "40 samples have different images"),
        (("image=shuffled",), "40 samples have different images"),
        (("model.presets.greedy.max_new_tokens=5",), "changed: generation"),
        (("task.seed=1",), "40 samples were removed"),
        (("task.n_test=5",), "10 samples were added"),
        (("task.n_test=3",), "10 samples were removed"),
        (("model.chat_template='{% for m in messages %}{{ m.content[0].text }}{% endfor %}'",), "chat template:"),
    ],
)
@pytest.mark.few(3)
def test_a_change_of_a_prompt_an_image_or_a_setting_is_detected(
    settings: tuple[str, ...], words: str, record: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["gate", f"baseline={record}", *NOW, *settings, f"out={tmp_path}"]) == 1
    assert words in capsys.readouterr().out
    assert json.loads((tmp_path / "gate-prompts.json").read_text(encoding="utf-8"))["changed"] is True


def test_a_changed_prompt_is_shown_with_both_wordings(record: Path) -> None:
    before = read_prompt_record(record)
    found = json.loads(record.read_text(encoding="utf-8"))
    assert main(["gate", *NOW, "task.prompt=plain", f"save={record.parent / 'plain.json'}"]) == 0
    now = read_prompt_record(record.parent / "plain.json")
    text = describe(before, now, compare(before, now), 2)
    assert f"- {before.texts[0].splitlines()[0]}" in text or f"- {before.texts[0].splitlines()[-1]}" in text
    assert text.count("    + ") >= 2
    assert found["ids"][0] in text


def test_a_run_writes_its_prompt_record_and_two_runs_are_compared(tmp_path: Path) -> None:
    folders = []
    for style in ("short", "plain"):
        run = ("model=scripted", *SMALL, f"task.prompt={style}", "leaderboard=null", f"out={tmp_path / style}")
        assert main([*run]) == 0
        folders += [p for p in (tmp_path / style).iterdir() if p.is_dir()]
    assert all((f / "prompts.json").is_file() for f in folders)
    one, two = folders
    assert main(["gate", "prompts=true", f"baseline={one}", f"candidate={one}"]) == 0
    assert main(["gate", "prompts=true", f"baseline={one}", f"candidate={two}"]) == 1


@pytest.mark.slow
def test_the_prompts_of_a_run_are_those_of_the_record_made_without_a_model(record: Path, tmp_path: Path) -> None:
    assert main(["model=phantom-llava", *SMALL, "leaderboard=null", f"out={tmp_path}"]) == 0
    (run,) = [p for p in tmp_path.iterdir() if p.is_dir()]
    assert main(["gate", "prompts=true", f"baseline={record}", f"candidate={run}"]) == 0
    assert read_prompt_record(run).texts == read_prompt_record(record).texts


def test_a_template_known_on_one_side_only_is_a_change_and_never_a_pass(
    record: Path, change: Callable[[Callable[[dict[str, Any]], Any]], Path]
) -> None:
    without = change(lambda c: c["header"].update(template=None, tokens=None, files=None))
    before, now = read_prompt_record(record), read_prompt_record(without)
    assert "known on one side only" in " ".join(compare(before, now).settings)
    assert compare(now, before).any


def test_the_recorded_prompt_is_the_one_that_the_engine_gives_the_model(record: Path) -> None:
    from transformers import AutoProcessor

    import evalkit
    from evalkit.engines.preprocess import render
    from evalkit.tasks.phantom import Phantom

    processor = AutoProcessor.from_pretrained(Path(evalkit.__file__).parent / "models" / "phantom-llava")
    task = Phantom(name="phantom", split="test", prompt="short", n_test=4)
    prompts = read_prompt_record(record)
    samples = task.load(images=False).samples
    assert prompts.ids == tuple(s.id for s in samples)
    assert prompts.texts == tuple(render(processor, task.messages(s)) for s in samples)


@pytest.mark.slow
def test_a_template_that_cannot_be_rendered_here_is_reported_and_a_change_of_its_file_still_detected(
    record: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = "model.chat_template='{{ messages[0].content + bos_token }}'"
    file = tmp_path / "odd.json"
    assert main(["gate", *NOW, odd, f"save={file}"]) == 0
    assert "recorded without the chat template" in capsys.readouterr().err
    assert main(["gate", f"baseline={file}", *NOW, odd]) == 0
    assert main(["gate", f"baseline={file}", *NOW]) == 1
    found = json.loads(file.read_text(encoding="utf-8"))
    name = next(iter(found["header"]["files"]))
    found["header"]["files"][name] = "0" * 16
    file.write_text(json.dumps(found), encoding="utf-8")
    assert main(["gate", f"baseline={file}", *NOW, odd]) == 1


@pytest.mark.slow
def test_a_limited_record_is_refused(record: Path, tmp_path: Path) -> None:
    file = tmp_path / "limited.json"
    assert main(["gate", *NOW, "limit=5", f"save={file}"]) == 0
    assert main(["gate", f"baseline={file}", *NOW]) == 2
    assert main(["gate", f"baseline={record}", *NOW, "limit=5"]) == 2


DAMAGE: dict[str, Callable[[dict[str, Any]], Any]] = {
    "another kind": lambda c: c.update(kind="evalkit gate baseline"),
    "another schema": lambda c: c.update(schema=0),
    "no header": lambda c: c.pop("header"),
    "a setting less": lambda c: c["header"].pop("generation"),
    "a sample less": lambda c: c["ids"].pop(),
    "an id twice": lambda c: c["ids"].__setitem__(1, c["ids"][0]),
    "no samples": lambda c: c.update(ids=[], image_ids=[], text_of=[], messages=[], images_of=[]),
    "a text less": lambda c: c["texts"].pop(),
    "a text from the end": lambda c: c["text_of"].__setitem__(0, -1),
    "a place that is a truth value": lambda c: c["text_of"].__setitem__(0, True),
    "an image less": lambda c: c["images"].pop(),
    "another image": lambda c: c["images"].__setitem__(0, ["0" * 16]),
    "no images": lambda c: c.update(images_of=None),
    "another digest of a message": lambda c: c["messages"].__setitem__(0, "0" * 16),
    "a digest that is no text": lambda c: c["messages"].__setitem__(0, 1),
}


@pytest.mark.parametrize("kind", sorted(DAMAGE))
def test_a_damaged_record_is_refused(kind: str, change: Callable[[Callable[[dict[str, Any]], Any]], Path]) -> None:
    path = change(DAMAGE[kind])
    with pytest.raises(StoreError):
        read_prompt_record(path)


def test_a_damaged_record_exits_with_2(change: Callable[[Callable[[dict[str, Any]], Any]], Path]) -> None:
    assert main(["gate", f"baseline={change(DAMAGE['a sample less'])}", *NOW]) == 2
