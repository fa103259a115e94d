"""Length of a thought in tokens."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from evalkit.core.thought_tokens import thought_tokens


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        (["<think>", "MRI", " or", " CT?", "</think>", "\n", "CT"], 5),
        (["<think>", "MRI", " or", " CT?", "</", "think", ">", "\n", "CT"], 7),
        (["MRI", " or", " CT?", "</think>", "CT"], 4),  # the template opened the thought
        (["Well. ", "<think>", "MRI", "</think>", "CT"], 4),
        (["<think>", "MRI", "</think>", "It ", "is ", "<think>", "CT?", "</think>", "CT"], 8),
        (["[THINK]", "MRI", "[/THINK]", "CT"], 3),
        (["<unused94>", "thought\n", "MRI", "<unused95>", "CT"], 4),
        (["<think>", "MRI", "</think>"], 3),
        (["<think>", "MRI", " or"], None),  # cut: all its tokens are the thought's
        (["CT", " of", " the", " lung"], None),
        ([], None),
    ],
)
def test_a_thought_ends_with_the_token_that_completes_its_last_mark(pieces: list[str], expected: int | None) -> None:
    def decode(ids: Sequence[int]) -> str:
        return "".join(pieces[i] for i in ids)

    ids = range(len(pieces))
    assert thought_tokens(ids, decode(ids), decode) == expected
