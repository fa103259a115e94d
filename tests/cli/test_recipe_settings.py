"""How a model is asked: decoding on top of a preset, chat template, wording; files beside YAMLs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from evalkit.__main__ import main
from evalkit.cli.config import load_option
from evalkit.cli.factories import make_spec, make_task
from evalkit.cli.hydra_app import configuration
from evalkit.core.errors import ConfigError
from evalkit.core.types import Generation

JINJA = "{% for m in messages %}{{ m['role'] }}{% endfor %}"


def configured(*words: str, verb: str = "run") -> dict[str, Any]:
    return configuration(verb, words)


def decoding(*words: str) -> Generation:
    return make_spec(configured(*words), "m").generation


@pytest.mark.slow
def test_decoding_settings_go_on_top_of_a_preset() -> None:
    greedy = decoding()
    assert greedy == decoding("generation=greedy") == Generation(max_new_tokens=16)
    assert decoding("generation.max_new_tokens=64") == Generation(max_new_tokens=64)
    words = ("generation=greedy", "generation.max_new_tokens=64")
    assert decoding(*words) == decoding(*reversed(words)) == Generation(max_new_tokens=64)
    paper = decoding("model=llava-med", "generation=paper")
    assert paper.temperature > 0
    changed = decoding("model=llava-med", "generation=paper", "generation.top_p=0.5", "generation.seed=3")
    assert (changed.temperature, changed.top_p, changed.seed) == (paper.temperature, 0.5, 3)
    every = "{temperature: 0.5, top_p: 0.9, top_k: 5, num_beams: 2, repetition_penalty: 1.1, stop: ['#'], seed: 1}"
    assert decoding(f"generation={every}") == Generation(
        max_new_tokens=16, temperature=0.5, top_p=0.9, top_k=5, num_beams=2, repetition_penalty=1.1, stop=("#",), seed=1
    )
    assert decoding("generation.stop=END").stop == ("END",)


def test_what_is_not_given_is_not_in_the_configuration_of_a_run() -> None:
    plain = configured()
    assert plain["generation"] is None and plain["chat_template"] is None
    assert not {"template", "system"} & plain["task"].keys()
    assert not {"adapter", "adapter_revision", "quantization"} & plain["model"].keys()
    assert configured("generation.seed=2")["generation"] == {"seed": 2}
    assert configured("generation=greedy", "generation.seed=2")["generation"] == {"preset": "greedy", "seed": 2}


def test_an_experiment_chooses_a_preset_and_the_command_line_adds_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "experiment").mkdir()
    text = "# @package _global_\ngeneration: paper\n"
    (tmp_path / "experiment" / "mine.yaml").write_text(text, encoding="utf-8")
    monkeypatch.setenv("EVALKIT_CONF", str(tmp_path))
    words = ("experiment=mine", "model=llava-med")
    assert configured(*words)["generation"] == "paper"
    assert decoding(*words, "generation.max_new_tokens=3").max_new_tokens == 3
    assert decoding(*words, "generation.max_new_tokens=3").temperature > 0


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("generation.temprature=1", "'temperature'"),
        ("generation.top_p=high", "expected a number"),
        ("generation.max_new_tokens=1.5", "expected a whole number"),
        ("chat_template=none.jinja", "none.jinja cannot be read"),
        ("model.chat_template=none.json", "none.json cannot be read"),
        ("task.template=none.txt", "no file of that name"),
        ("task.template={q}", "unknown field {q}"),
        ("task.template=", "no field {question}"),
    ],
)
@pytest.mark.few(3)
def test_what_cannot_be_is_refused_before_anything_is_loaded(
    word: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([word]) == 2
    printed = capsys.readouterr()
    assert said in printed.err and printed.err.count("\n") == 1 and not printed.out


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("mine.jinja", JINJA),
        ("template.txt", JINJA),
        ("tokenizer_config.json", json.dumps({"chat_template": JINJA})),
        ("chat_template.json", json.dumps({"chat_template": [{"name": "default", "template": JINJA}]})),
    ],
)
@pytest.mark.few(1)
def test_a_chat_template_comes_from_any_file(name: str, content: str, tmp_path: Path) -> None:
    file = tmp_path / "a, b" / name
    file.parent.mkdir()
    file.write_text(content, encoding="utf-8")
    for word in (f"chat_template={file}", f"model.chat_template={file}", f"chat_template={JINJA}"):
        assert configured(word)["model"]["chat_template"] == JINJA
        assert configured(word, verb="doctor")["model"]["chat_template"] == JINJA
    assert make_spec(configured(f"chat_template={file}"), "m").chat_template == JINJA


@pytest.mark.parametrize(("name", "content"), [("a.json", "{}"), ("b.json", "[1]"), ("c.json", "{"), ("d.jinja", " ")])
def test_a_file_without_a_chat_template_is_refused(name: str, content: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"chat_template: .*"):
        configured(f"chat_template={tmp_path / name}")


def test_a_model_without_a_template_of_its_own_takes_none() -> None:
    with pytest.raises(ConfigError, match="not a checkpoint"):
        configured("model=majority", f"chat_template={JINJA}")


def test_every_task_takes_a_template_and_a_system_message(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("{question} Go, on.\n", encoding="utf-8")
    config = configured(f"task.template={tmp_path / 't.txt'}", "task.system=You are brief, and {kind}: a=b.")
    assert config["task"]["template"] == "{question} Go, on."
    task = make_task(config)
    system, user = task.messages(task.load().samples[0])
    assert system.content == ("You are brief, and {kind}: a=b.",) and str(user.content[-1]).endswith(" Go, on.")


def test_a_system_message_is_a_text_or_a_file(tmp_path: Path) -> None:
    (tmp_path / "s.txt").write_text("You are brief.\n", encoding="utf-8")
    assert configured(f"task.system={tmp_path / 's.txt'}")["task"]["system"] == "You are brief."
    assert configured("task.system=Read a.txt")["task"]["system"] == "Read a.txt"
    for word in ("nope.txt", "nope.md"):
        with pytest.raises(ConfigError, match=r"task\.system: .*nope"):
            configured(f"task.system={word}")


def test_a_yaml_names_folders_and_files_beside_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    conf, elsewhere = tmp_path / "conf", tmp_path / "elsewhere"
    (conf / "model" / "weights").mkdir(parents=True)
    (conf / "task").mkdir()
    elsewhere.mkdir()
    (conf / "model" / "chat.jinja").write_text(JINJA, encoding="utf-8")
    (conf / "task" / "words.txt").write_text("{question}?", encoding="utf-8")
    (conf / "task" / "role.md").write_text("You are brief.", encoding="utf-8")
    model = "kind: checkpoint\nsource: ./weights\nrevision: null\ngeneration: greedy\npresets: {greedy: {}}\n"
    (conf / "model" / "mine.yaml").write_text(f"{model}chat_template: chat.jinja\n", encoding="utf-8")
    task = (Path(__file__).parents[2] / "conf" / "task" / "phantom.yaml").read_text(encoding="utf-8")
    (conf / "task" / "own.yaml").write_text(f"{task}template: words.txt\nsystem: role.md\n", encoding="utf-8")
    monkeypatch.setenv("EVALKIT_CONF", str(conf))
    monkeypatch.chdir(elsewhere)
    config = configured("model=mine", "task=own")
    assert config["model"]["source"] == str(conf / "model" / "weights")
    assert config["model"]["chat_template"] == JINJA and config["task"]["template"] == "{question}?"
    assert config["task"]["system"] == "You are brief."
    assert config["model"].get("name", "mine") == "mine", "the weights of the YAML are the registered model's own"
    assert load_option("model", "mine")["source"] == config["model"]["source"]


@pytest.mark.parametrize("place", ["../secret.jinja", "ABSOLUTE"])
def test_a_yaml_cannot_choose_another_file_of_the_machine(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "conf" / "model").mkdir(parents=True)
    secret = tmp_path / "conf" / "secret.jinja"
    secret.write_text(JINJA, encoding="utf-8")
    name = str(secret) if place == "ABSOLUTE" else place
    text = f"kind: checkpoint\nsource: a/b\nchat_template: {name}\n"
    (tmp_path / "conf" / "model" / "mine.yaml").write_text(text, encoding="utf-8")
    monkeypatch.setenv("EVALKIT_CONF", str(tmp_path / "conf"))
    with pytest.raises(ConfigError, match="not below the folder of the YAML"):
        configured("model=mine")
