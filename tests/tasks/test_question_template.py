"""Templates of questions for any task: fields, braces, options, system messages, names for signatures."""

from __future__ import annotations

from pathlib import Path

import pytest

from evalkit.core.errors import ConfigError
from evalkit.core.types import ImagePlace, Message
from evalkit.tasks.phantom import Phantom
from evalkit.tasks.question_template import QuestionTemplate, WordedTask, names_file, read_question_template


def phantom() -> Phantom:
    return Phantom(name="phantom", split="test", prompt="short", closed_rule="label", n_train=1, n_test=1, seed=0)


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("{question}", "Which?"),
        ("Q: {question}\nA:", "Q: Which?\nA:"),
        ("{question}\n{choices}", "Which?\nA. CT\nB. MRI"),
        ("{question}\n{options}", "Which?\nA. CT\nB. MRI"),
        ("{choices:(A)}\n{question}", "(A) CT\n(B) MRI\nWhich?"),
        ('{question} {{"answer": ...}}', 'Which? {"answer": ...}'),
    ],
)
def test_a_template_is_filled(text: str, filled: str) -> None:
    assert QuestionTemplate(text).fill("Which?", ("CT", "MRI")) == filled


def test_a_question_with_braces_is_text() -> None:
    assert QuestionTemplate("{question}").fill("Is {choices} {here}?", ()) == "Is {choices} {here}?"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Answer briefly {choices}", "has no field {question}"),
        ("{question} {answer}", "unknown field {answer}"),
        ('{question} {"answer": 1}', "doubled"),
        ("{question} {}", "unknown field {}"),
        ("{question.text}", "unknown field {question.text}"),
        ("{question!r}", "its name alone"),
        ("{question:>10}", "its name alone"),
        ("{question} {", "Write {{ for a brace"),
        ("{question} }", "Write {{ for a brace"),
    ],
)
def test_a_template_that_would_ask_something_else_is_refused(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        QuestionTemplate(text)
    assert said in str(refused.value)


def test_a_template_may_be_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "template.txt"
    file.write_bytes("\ufeff{question}\r\nAntwort: größer\r\n".encode())
    assert read_question_template(str(file)) == "{question}\nAntwort: größer"
    assert read_question_template("{question}") == "{question}"
    assert not names_file("{question}") and not names_file("a\nb")
    for name in ("no-such-file.txt", str(tmp_path), "just words"):
        with pytest.raises(ConfigError):
            read_question_template(name)


def test_any_task_is_asked_in_the_words_of_a_template() -> None:
    plain = phantom()
    sample = plain.load().samples[0]
    worded = WordedTask(plain, template="{question} Briefly.", system=None)
    assert worded.messages(sample) == (Message(role="user", content=(ImagePlace(0), f"{sample.question} Briefly.")),)
    both = WordedTask(plain, template="{question}", system="You are a radiologist.")
    assert [m.role for m in both.messages(sample)] == ["system", "user"]
    alone = WordedTask(plain, template=None, system="You are a radiologist.")
    assert alone.messages(sample)[1:] == plain.messages(sample)
    assert worded.load_train().samples == plain.load_train().samples


def test_each_wording_has_a_name_of_its_own_and_the_rows_stay_the_same() -> None:
    plain = phantom()
    settings = [("{question}", None), ("{question}.", None), ("{question}", "S"), (None, "S"), (None, "T")]
    loaded = [WordedTask(plain, template=t, system=s).load() for t, s in settings]
    names = [plain.load().prompt, *(one.prompt for one in loaded)]
    assert len(set(names)) == len(names)
    assert [n.partition("@")[0] for n in names] == ["short", *["template"] * 3, "short", "short"]
    assert {one.data_sha256 for one in loaded} == {plain.load().data_sha256}


def test_options_are_those_of_the_row_and_their_absence_is_noted() -> None:
    worded = WordedTask(phantom(), template="{question}\n{choices}", system=None)
    loaded = worded.load()
    texts = {s.question: worded.messages(s)[0].content[1] for s in loaded.samples}
    assert any("\na. yes\nb. no" in str(text).lower() for text in texts.values())
    assert any("{choices} is empty for" in note for note in loaded.notes)
