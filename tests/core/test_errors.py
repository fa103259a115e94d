"""Messages stay a paragraph that every file and terminal can hold, whatever they quote."""

from __future__ import annotations

from evalkit.core.errors import DataError, StoreError, did_you_mean


def test_a_message_that_quotes_a_whole_file_keeps_its_beginning_and_its_end() -> None:
    text = str(DataError(f"FILE: found {'x' * 10**6}. Write it again."))
    assert len(text) < 3100 and text.startswith("FILE: found x") and text.endswith("x. Write it again.")
    assert "characters left out" in text


def test_half_a_surrogate_pair_in_a_message_is_shown_as_its_escape() -> None:
    assert str(StoreError("the key 'a\ud83d' is unknown")) == r"the key 'a\ud83d' is unknown"


def test_names_with_line_breaks_stay_in_the_paragraph() -> None:
    assert "\n" not in did_you_mean("label", ["a\nb", "labels"])
    assert did_you_mean("sample", ["a\nb", "samples"]) == "Did you mean 'samples'? Known: a b, samples."
