"""Packing of prefix groups: no group is lost or duplicated, and no pack exceeds the limits."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.core.types import Generation
from evalkit.engines.hf import HfEngine
from evalkit.engines.packing import MAX_TOKENS, MIN_TOKENS, Limits, Packer, bytes_per_token, tokens_that_fit
from evalkit.engines.preprocess import PromptGroup, PromptRow
from evalkit.engines.shared_prefix import PrefixGroup, common_prefix

NEW = 12
LOADED: Any = SimpleNamespace(generation=Generation(max_new_tokens=NEW))


def shared(length: int, suffixes: list[int], shape: int) -> PrefixGroup:
    request: Any = None
    rows = [
        PromptRow(request=request, ids=(0,) * (length + n), sequences={f"kind {shape}": None}, images={})
        for n in suffixes
    ]
    return PrefixGroup(group=PromptGroup(rows=tuple(rows)), length=length, positions=None)


groups = st.builds(
    shared, st.integers(1, 300), st.lists(st.integers(1, 30), min_size=1, max_size=15), shape=st.integers(0, 2)
)


@given(st.lists(groups, max_size=60), st.integers(1, 2000), st.none() | st.integers(1, 40))
def test_every_group_is_in_one_pack_and_no_pack_is_too_large(
    made: list[PrefixGroup], tokens: int, rows: int | None
) -> None:
    packer = Packer(LOADED, Limits(tokens=tokens, rows=rows))
    packs = [pack for group in made for pack in packer.add(group)] + packer.rest()
    assert sorted(id(s) for pack in packs for s in pack) == sorted(map(id, made))
    for pack in packs:
        assert len({s.group.shape for s in pack}) == 1
        if len(pack) > 1:
            assert packer.fits(pack)
            assert packer.at_once(pack) is None
        else:
            at_once = packer.at_once(pack)
            assert at_once is None or 1 <= at_once <= len(pack[0].group.rows)
            if rows is not None:
                assert (at_once or len(pack[0].group.rows)) <= rows


def test_one_question_at_a_time_is_reached_by_halving() -> None:
    group = shared(300, [20] * 10, 0)
    limits = Limits(tokens=1000)
    seen = []
    while limits.tokens > 1:
        seen.append(Packer(LOADED, limits).at_once([group]) or 10)
        limits.tokens //= 2
    assert seen == sorted(seen, reverse=True)
    assert (seen[0], seen[-1]) == (10, 1)


def test_a_prefix_longer_than_a_batch_still_leaves_room_for_several_questions() -> None:
    assert Packer(LOADED, Limits(tokens=1536)).at_once([shared(2900, [25] * 11, 0)]) == 11


def test_the_token_limit_follows_from_free_memory(engine: Callable[..., HfEngine]) -> None:
    loaded = engine().load()
    text = loaded.text_config
    keys_and_values = 2 * text.num_hidden_layers * text.num_key_value_heads * 12 * 4
    assert bytes_per_token(loaded) > 2 * keys_and_values
    limits = Limits(tokens=0)
    limits.from_memory(loaded)
    assert limits.memory >= MIN_TOKENS
    assert limits.forward_limit <= limits.tokens <= MAX_TOKENS["cpu"]
    given_by_user = Limits(tokens=77)
    given_by_user.from_memory(loaded)
    assert given_by_user.forward_limit == given_by_user.memory == 77


def test_half_the_free_memory_halves_the_token_limit(
    engine: Callable[..., HfEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = engine().load()
    budgets = []
    for gib in (8, 4, 0):
        pages = {"SC_AVPHYS_PAGES": gib * 2**30 // 4096, "SC_PAGE_SIZE": 4096}
        monkeypatch.setattr("os.sysconf", pages.__getitem__)
        budgets.append(tokens_that_fit(loaded))
    assert budgets[0] == pytest.approx(4 * 2**30 / bytes_per_token(loaded), rel=1e-3)
    assert budgets[1] == pytest.approx(budgets[0] / 2, rel=1e-3)
    assert budgets[2] == MIN_TOKENS


@pytest.mark.parametrize(
    ("prompts", "length"),
    [
        ([(1,)], 0),
        ([(1, 2, 3)], 2),
        ([(1, 2), (1, 2)], 1),
        ([(1, 2, 3), (1, 2, 4)], 2),
        ([(1, 2, 3), (9, 2, 3)], 0),
        ([(1, 2, 3, 4), (1, 2)], 1),
    ],
)
def test_the_common_prefix_leaves_every_prompt_its_last_token(prompts: list[tuple[int, ...]], length: int) -> None:
    assert common_prefix(prompts) == length
