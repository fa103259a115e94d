"""Orders of options: few options first, then golds that follow their order, and the rows that have options."""

from __future__ import annotations

import pytest

from evalkit.core.errors import ConfigError, DataError
from evalkit.core.types import CHOICE, CLOSED, OPEN, Sample
from evalkit.tasks.base import LoadedTask
from evalkit.tasks.choice_orders import ORDER_TAG, ChoiceOrdersTask, in_orders, question_of
from evalkit.tasks.option_rows import OptionRowsTask, continuations, yes_no_answer


def choice(name: str, *choices: str, right: str) -> Sample:
    return Sample(
        id=name, image_id="i", question="Which?", references=(right,), choices=choices, tags={"answer_type": CHOICE}
    )


def other(name: str, kind: str, gold: str) -> Sample:
    return Sample(id=name, image_id="i", question="Is it?", references=(gold,), tags={"answer_type": kind})


class Fixed:
    """A task of given samples."""

    def __init__(self, *samples: Sample, name: str = "quiz") -> None:
        self.samples, self.name = samples, name

    def load(self, *, images: bool = True) -> LoadedTask:
        return LoadedTask(
            name=self.name, split="test", form="quiz", samples=self.samples, closed_rule="label", prompt="letters@0"
        )


@pytest.mark.parametrize(("n", "orders", "expected"), [(2, 2, 2), (2, 5, 2), (3, 5, 5), (3, 24, 6), (26, 4, 4)])
def test_a_question_is_asked_in_different_orders_as_far_as_there_are_any(n: int, orders: int, expected: int) -> None:
    sample = choice("q", *map(str, range(n)), right="1")
    made = list(in_orders(sample, orders, 0))
    assert len({s.choices for s in made}) == len(made) == len({s.id for s in made}) == expected
    assert made[0].choices == sample.choices and made[0].id == "q"
    assert all(s.choices[ord(s.letters[0]) - ord("A")] == "1" for s in made)
    assert {question_of(s) for s in made} == {"q"}


def test_orders_hang_on_id_and_seed_and_stay_when_more_are_asked() -> None:
    def orders(name: str, n: int, seed: int) -> list[tuple[str, ...]]:
        return [s.choices for s in in_orders(choice(name, *"abcde", right="a"), n, seed)]

    assert orders("q", 3, 0) == orders("q", 6, 0)[:3]
    assert len({tuple(orders(name, 4, seed)) for name in ("q", "r") for seed in (0, 1)}) == 4


def test_only_multiple_choice_rows_are_asked_several_times() -> None:
    rows = (choice("a", "CT", "MRI", "PET", right="PET"), other("b", CLOSED, "yes"), other("c", OPEN, "lung"))
    loaded = ChoiceOrdersTask(Fixed(*rows), 3, 7).load()
    assert loaded.name == "quiz[orders=3.7]"
    assert [s.id for s in loaded.samples] == ["a", "a#order=1", "a#order=2", "b", "c"]
    assert [s.tags.get(ORDER_TAG) for s in loaded.samples] == ["0", "1", "2", None, None]
    assert "1 multiple-choice questions are asked in 3 orders" in loaded.notes[-1]


def test_a_question_with_too_few_options_is_noted() -> None:
    loaded = ChoiceOrdersTask(Fixed(choice("a", "CT", "MRI", right="CT")), 4).load()
    assert len(loaded.samples) == 2 and "1 have fewer orders than that" in loaded.notes[-1]


@pytest.mark.parametrize("orders", [-1, 0, 1, 25])
def test_a_number_of_orders_that_means_nothing_is_refused(orders: int) -> None:
    with pytest.raises(ConfigError, match=r"choices\.shuffle"):
        ChoiceOrdersTask(Fixed(), orders)


def test_a_task_without_options_is_refused() -> None:
    with pytest.raises(ConfigError, match="no multiple-choice row"):
        ChoiceOrdersTask(Fixed(other("b", CLOSED, "yes")), 2).load()


# --- rows with options


@pytest.mark.parametrize(
    ("gold", "kind", "expected"),
    [("yes", CLOSED, "Yes"), ("No.", CLOSED, "No"), (" NO ", CLOSED, "No"), ("left", CLOSED, ""), ("yes", OPEN, "")],
)
def test_a_yes_no_row_is_one_whose_every_answer_is_the_same_of_both(gold: str, kind: str, expected: str) -> None:
    assert yes_no_answer(other("b", kind, gold)) == expected


@pytest.mark.parametrize(
    ("rows", "kept", "name"),
    [("choice", ["a"], "quiz[answer_type=CHOICE]"), ("choice+yes-no", ["a", "b"], "quiz[answer_type=CHOICE+CLOSED]")],
)
def test_rows_without_options_are_counted_by_kind_and_left_out(rows: str, kept: list[str], name: str) -> None:
    samples = (
        choice("a", "CT", "MRI", right="CT"), other("b", CLOSED, "yes"), other("c", OPEN, "lung"),
        other("d", CLOSED, "left"),
    )  # fmt: skip
    loaded = OptionRowsTask(Fixed(*samples), rows).load()
    assert [s.id for s in loaded.samples] == kept and loaded.name == name
    assert f"{4 - len(kept)} of 4 rows have no options" in loaded.notes[-1] and "1 open, first c" in loaded.notes[-1]


def test_a_task_of_options_alone_keeps_its_name_and_one_without_any_is_refused() -> None:
    whole = OptionRowsTask(Fixed(choice("a", "CT", "MRI", right="CT")), "choice").load()
    assert (whole.name, whole.notes) == ("quiz", ())
    with pytest.raises(DataError, match=r"1 of 1 rows have no options to rank \(1 open, first c\)"):
        OptionRowsTask(Fixed(other("c", OPEN, "lung")), "choice").load()


def test_continuations_are_labels_or_texts_and_an_empty_text_is_refused() -> None:
    sample = choice("a", "CT", " MRI ", right="CT")
    assert continuations(sample, "letter") == ("A", "B")
    assert continuations(sample, "number") == ("1", "2")
    assert continuations(sample, "text") == ("CT", "MRI")
    assert continuations(other("b", CLOSED, "yes"), "letter") == ("Yes", "No")
    empty = choice("e", "CT", "", right="CT")
    assert continuations(empty, "letter") == ("A", "B")
    with pytest.raises(DataError, match="option B is empty"):
        continuations(empty, "text")
