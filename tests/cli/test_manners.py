"""What the command line answers to help, to other programs' habits, and to settings and options that do not exist."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

import evalkit
from evalkit.__main__ import main
from evalkit.cli.help import read_settings, verb_help
from evalkit.cli.hydra_app import configuration
from evalkit.cli.typed_settings import setting_names
from evalkit.cli.verbs import find_verbs, split_verb
from evalkit.core.errors import ConfigError

VERBS = {verb.name: verb for verb in find_verbs()}


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(list(words)) == 2
    printed = capsys.readouterr()
    assert not printed.out and printed.err.startswith("evalkit: ") and printed.err.count("\n") == 1
    return printed.err


def test_help_and_version_are_words_too(capsys: pytest.CaptureFixture[str]) -> None:
    for words, flags in (
        (["help"], ["--help"]),
        (["help", "judge", "check"], ["judge", "check", "--help"]),
        (["version"], ["--version"]),
    ):
        assert main(words) == 0
        said = capsys.readouterr().out
        assert main(flags) == 0 and capsys.readouterr().out == said
    assert "'nonsense'" in refused(capsys, "help", "nonsense")
    assert "help" in refused(capsys, "hlep")


@pytest.mark.few(7)
@pytest.mark.parametrize("name", sorted(VERBS))
def test_the_help_of_each_verb_has_a_line_for_each_setting_and_two_examples_or_more(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("DIR", "my-checkpoint"):
        (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path)
    verb, text = VERBS[name], f"{verb_help(name)}\n"
    assert len(verb.examples) >= 2 and all(f"\n  {example}\n" in text for example in verb.examples)
    for line in read_settings(name).lines if verb.has_settings else ():
        key, _, rest = line.strip().partition(":")
        is_parent = not rest.strip()
        assert key.isidentifier() and (is_parent or rest.partition("#")[2].strip()), f"{name}: {line!r} says nothing"
    for example in verb.examples:
        program, *words = shlex.split(example)
        found = split_verb(words)
        assert program == "evalkit" and found.verb == name
        if verb.has_settings and (given := [w for w in found.arguments if "=" in w and w.partition("=")[2] != "RUN"]):
            configuration(name, [*given, *_others(name, given)])


def _others(name: str, given: list[str]) -> list[str]:
    """Words for the mandatory settings that an example gives with a placeholder."""
    keys = {word.partition("=")[0] for word in given}
    return [f"{key}=x" for key in ("run", "predictions") if key in setting_names(name) - keys and name != "judge_check"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--model", "phantom-llava", "--task", "phantom"], "`model=phantom-llava task=phantom`"),
        (["--model=phantom-llava", "--tasks=phantom"], "`model=phantom-llava task=phantom`"),
        (["--limit", "5", "task=phantom"], "`limit=5 task=phantom`"),
        (["--dry-run", "--batch_size", "4"], "`dry_run=true engine.batch_size=4`"),
        (["task=phantom", "--resume", "limit=3"], "`resume=true limit=3`"),
        (["score", "--predictions", "a b.jsonl", "--task", "slake"], "`'predictions=a b.jsonl' task=slake`"),
        (["gate", "--margin", "0.1"], "`margin=0.1`"),
        (["--nothing-of-ours", "1"], "KEY=VALUE, without dashes"),
    ],
)
def test_flags_are_answered_with_the_right_spelling(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said in refused(capsys, *words)


@pytest.mark.slow
def test_an_unknown_setting_lists_those_of_the_chosen_option(capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(capsys, "task=slake", "task.langage=en")
    assert "task slake" in said and "task.language" in said and "task.n_test" not in said
    assert "task.n_test" in refused(capsys, "task.n_tst=3")
    assert "engine.url" in refused(capsys, "engine=server", "engine.urll=x")
    assert "setting of `run`" in refused(capsys, "task=slake", "limmit=3")
    assert "task.n_test" in refused(capsys, "-m", "task=phantom,slake", "task.n_tst=3")


@pytest.mark.parametrize("path", ["questions.csv", "./data/questions.xlsx", "/data/set", "my.jsonl"])
def test_the_path_of_a_table_as_a_task_is_answered_with_the_task_that_reads_it(
    path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert f"task=table task.path={path}." in refused(capsys, "model=scripted", f"task={path}")
    assert "task.path=" not in refused(capsys, "model=scripted", "task=slke")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["task=phantom,slake"], ("-m", "suite=[phantom,slake]")),
        (["task=[phantom,slake]"], ("-m", "suite=[phantom,slake]")),
        (["model=phantom-llava,majority"], ("-m",)),
        (["protocol=strict,llava-med"], ("protocol=[strict,llava-med]",)),
    ],
)
def test_several_options_of_a_group_are_answered_with_how_to_give_them(
    words: list[str], said: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    text = refused(capsys, *words)
    assert all(part in text for part in said)


def test_a_verb_without_suites_names_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert "suite" not in refused(capsys, "score", "predictions=x", "task=phantom,slake")


@pytest.mark.parametrize("name", ["gpt-4o", "claude-opus-4", "llama3.2-vision:11b"])
def test_the_name_of_a_model_on_a_server_is_answered_with_how_to_give_it(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (["engine=server"], ["engine=server", "engine.provider=openai"]):
        said = refused(capsys, f"model={name}", "task=phantom", *words)
        assert f"engine.served_model={name}, with model=OWNER/{name}" in said
    said = refused(capsys, f"model={name}", "task=phantom")
    assert "model=DIR or model=OWNER/NAME" in said and "served_model" not in said


@pytest.mark.few(1)
@pytest.mark.parametrize("word", ["max_pixels=0", "retries=-1", "budget_usd=0", "timeout=-1", "concurrency=0"])
def test_a_number_out_of_its_range_is_answered_with_what_is_possible(
    word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["engine=server", "engine.url=http://127.0.0.1:1/v1", "engine.served_model=x", f"engine.{word}"]
    said = refused(capsys, "model=phantom-llava", "task=phantom", *words)
    assert f"engine.{word}" in said and "is not possible: expected" in said


@pytest.mark.few(1)
@pytest.mark.parametrize("word", ["engine.url=", "engine.served_model=", "engine.url=' '"])
@pytest.mark.parametrize("provider", [[], ["engine.provider=openai"]])
def test_an_empty_address_or_id_is_no_other_one(
    word: str, provider: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-0123456789")
    assert main(["model=phantom-llava", "task=phantom", "engine=server", *provider, word]) == 2
    assert f"evalkit: {word.partition('=')[0]}= is empty: give" in capsys.readouterr().err


def test_quotes_in_the_name_of_a_folder_stay(tmp_path: Path) -> None:
    for name in ("it's", 'a "ckpt"', "'x"):
        with pytest.raises(ConfigError) as raised:
            evalkit.evaluate(str(tmp_path / name), limit=1)
        assert f"/{name}: there is no such folder" in str(raised.value)
