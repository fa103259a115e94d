"""Every input of the corpus keeps the promises of its target, and so does every edit of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import TARGETS
from tests.support.fuzzing import EDITS, edited, examples

CORPUS = Path(__file__).parent / "corpus"
FILES = {target: sorted((CORPUS / target).iterdir()) for target in TARGETS}


def test_the_corpus_is_small_and_has_inputs_for_every_target() -> None:
    assert {folder.name for folder in CORPUS.iterdir()} == TARGETS.keys()
    assert all(len(files) >= 5 for files in FILES.values())
    assert sum(file.stat().st_size for files in FILES.values() for file in files) < 200_000


@pytest.mark.parametrize("target", TARGETS)
def test_an_input_of_the_corpus(target: str) -> None:
    for file in FILES[target]:
        TARGETS[target](file.read_bytes())


@pytest.mark.parametrize("target", TARGETS)
@settings(max_examples=examples(60))
@given(st.data())
def test_an_edited_input_of_the_corpus(target: str, data: st.DataObject) -> None:
    content = data.draw(st.sampled_from(FILES[target])).read_bytes()
    TARGETS[target](edited(content, data.draw(EDITS)))
