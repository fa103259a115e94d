"""Options of a row and its right answer, whatever form the table gives them in."""

from __future__ import annotations

from typing import Any

import pytest

from evalkit.core.errors import DataError
from evalkit.tasks.table.options import columns_as_written, letters_off, options_as_written, right_options

CT = ("CT", "MRI", "X-ray")


def options_of(value: Any, where: str) -> tuple[str, ...]:
    return letters_off(options_as_written(value, where), where)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (None, ()),
        ("", ()),
        ("  ", ()),
        ([], ()),
        ("[]", ()),
        ([None, ""], ()),
        (["CT", "MRI"], ("CT", "MRI")),
        ("['CT', 'MRI']", ("CT", "MRI")),
        ('["CT", "it\'s MRI"]', ("CT", "it's MRI")),
        ({"A": "CT", "B": "MRI", "C": None}, ("CT", "MRI")),
        (["A. CT", "B. MRI"], ("CT", "MRI")),
        ([" A:CT ", " B:MRI "], ("CT", "MRI")),
        (["(A) CT", "(B) MRI"], ("CT", "MRI")),
        (["B. CT", "A. MRI"], ("MRI", "CT")),
        (["A. CT", "MRI"], ("A. CT", "MRI")),
        ("A. CT\nB. MRI\nC. X-ray", CT),
        ("A) CT B) MRI", None),
        ("(A) CT; (B) MRI; (C) X-ray", CT),
        ("A. CT  B. MRI  C. X-ray", CT),
        ("CT|MRI|X-ray", CT),
        ("CT\nMRI", ("CT", "MRI")),
        ("CT; MRI", ("CT", "MRI")),
        ("A. Vitamin A. B. Vitamin B.", ("Vitamin A.", "Vitamin B.")),
        ([1, 2.0, 3.5], ("1", "2", "3.5")),
    ],
    ids=repr,
)
def test_options_in_one_field(value: Any, found: tuple[str, ...] | None) -> None:
    if found is None:
        with pytest.raises(DataError, match="does not list options"):
            options_of(value, "row 1")
    else:
        assert options_of(value, "row 1") == found


@pytest.mark.parametrize("value", ["CT", "CT or MRI", 5, "A. CT"])
def test_a_field_that_lists_no_options_is_refused(value: Any) -> None:
    with pytest.raises(DataError, match=r"row 1.*does not list options"):
        options_of(value, "row 1")


def test_blank_options_at_the_end_are_none_and_in_between_an_error() -> None:
    assert columns_as_written(["CT", "MRI", "", None], "row 1") == ("CT", "MRI")
    assert columns_as_written(["", None], "row 1") == ()
    with pytest.raises(DataError, match="row 1: option B is empty"):
        columns_as_written(["CT", "", "MRI"], "row 1")


@pytest.mark.parametrize(
    ("answer", "options", "base", "right"),
    [
        ("A", CT, None, ("CT",)),
        ("c", CT, None, ("X-ray",)),
        ("(B)", CT, None, ("MRI",)),
        ("B.", CT, None, ("MRI",)),
        ("B: MRI", CT, None, ("MRI",)),
        ("B. mri", CT, None, ("MRI",)),
        ("MRI", CT, None, ("MRI",)),
        (" x-ray. ", CT, None, ("X-ray",)),
        (["A", "C"], CT, None, ("CT", "X-ray")),
        ("['A', 'C']", CT, None, ("CT", "X-ray")),
        (0, CT, 0, ("CT",)),
        (1, CT, 1, ("CT",)),
        (2.0, CT, 0, ("X-ray",)),
        ("2", ("1", "2", "3"), None, ("2",)),
        ("2", ("1", "2", "3"), 1, ("2",)),
        ("B", ("A", "B", "C"), None, ("B",)),
    ],
    ids=repr,
)
def test_the_right_option(answer: Any, options: tuple[str, ...], base: int | None, right: tuple[str, ...]) -> None:
    assert right_options(answer, options, base, "row 1") == right


@pytest.mark.parametrize(
    ("answer", "options", "base", "problem"),
    [
        ("D", CT, None, "none of the options"),
        ("PET", CT, None, "none of the options"),
        ("B. CT", CT, None, "none of the options"),
        ("", CT, None, "answer is empty"),
        (None, CT, None, "answer is empty"),
        ([], CT, None, "answer is empty"),
        ("2", CT, None, "task.first_option"),
        ("3", CT, 0, "none of the options"),
        ("0", CT, 1, "none of the options"),
        ("A", ("B", "A"), None, "could name 'A' or 'B'"),
        ("1", ("2", "1"), 1, "could name '1' or '2'"),
        ("A", ("CT",), None, "only 1 option"),
        ("A", ("CT", "CT"), None, "two options are equal"),
        ("A", tuple(map(str, range(27))), None, "27 options"),
        (["A", "D"], CT, None, "none of the options"),
    ],
    ids=repr,
)
def test_an_answer_that_names_no_option_or_two_is_refused(
    answer: Any, options: tuple[str, ...], base: int | None, problem: str
) -> None:
    with pytest.raises(DataError, match=problem) as caught:
        right_options(answer, options, base, "t.csv: row 7")
    assert "t.csv: row 7" in str(caught.value)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ({"B": "MRI", "A": "CT"}, ("CT", "MRI")),
        (["B. MRI", "A. CT"], ("CT", "MRI")),
        ("B. MRI\nA. CT", ("CT", "MRI")),
        (["C. difficile", "E. coli"], ("C. difficile", "E. coli")),
        ([], ()),
        ("[]", ()),
    ],
    ids=repr,
)
def test_options_are_in_the_order_of_their_own_letters(value: Any, found: tuple[str, ...]) -> None:
    assert options_of(value, "row 1") == found


@pytest.mark.parametrize("value", [{"A": "CT", "C": "MRI"}, {"x": "CT", "y": "MRI"}, "A. CT\nB. MRI\nD. US"], ids=repr)
def test_letters_with_gaps_are_refused(value: Any) -> None:
    with pytest.raises(DataError, match="without gaps"):
        options_of(value, "row 1")


@pytest.mark.parametrize(
    ("answer", "options"),
    [("A", ("B. MRI", "A. CT", "C. US", "E. x")), ("E", ("C. difficile", "E. coli")), ("A", ("A. CT", "A. MRI"))],
    ids=repr,
)
def test_a_letter_that_an_option_carries_elsewhere_is_unclear(answer: str, options: tuple[str, ...]) -> None:
    if answer == "E":
        assert right_options(answer, options, None, "row 1") == ("E. coli",)
        return
    with pytest.raises(DataError, match="could name"):
        right_options(answer, options, None, "row 1")


def test_a_number_with_a_decimal_of_zero_is_a_number() -> None:
    assert right_options("1.0", CT, 0, "row 1") == ("MRI",)
