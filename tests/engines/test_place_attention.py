"""Attention at chosen places is that of all places there, and layers of other kinds keep their own."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from evalkit.engines import place_attention
from evalkit.engines.grouped_attention import attend
from evalkit.engines.needed_layers import only_needed

torch = pytest.importorskip("torch")
NEW = 7


def layer(places: Any, *, causal: bool = True) -> Any:
    config = SimpleNamespace(_attn_implementation="sdpa", evalkit_places=places)
    return SimpleNamespace(config=config, num_key_value_groups=2, is_causal=causal, q_proj=1, o_proj=1)


def drawn(*shape: int, seed: int = 0) -> Any:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("places", [slice(-1, None), slice(-3, None), torch.tensor([1, 4]), slice(None)], ids=str)
@pytest.mark.parametrize("mask", ["none", "causal", "not causal", "drawn", "past"])
def test_chosen_places_attend_as_they_do_among_all(places: Any, mask: str) -> None:
    width = NEW + (4 if mask in ("drawn", "past") else 0)
    query, key, value = drawn(2, 4, NEW, 8), drawn(2, 2, width, 8, seed=1), drawn(2, 2, width, 8, seed=2)
    given = None
    if mask == "drawn":
        given = drawn(2, 1, NEW, width, seed=3) > 0
        given[..., 0] = True
    module = layer(places, causal=mask != "not causal")
    settings: dict[str, Any] = {"is_causal": True} if mask == "causal" else {}
    expected, _ = attend(module, query, key, value, given, scaling=0.3, **settings)
    found, _ = place_attention._attend_at_places(module, query, key, value, given, scaling=0.3, **settings)
    torch.testing.assert_close(found[:, places], expected[:, places], rtol=1e-5, atol=1e-6)
    other = torch.ones(NEW, dtype=torch.bool)
    other[places] = False
    # Without a mask and with a past, which keys a token sees is transformers' own rule: nothing is left out.
    assert bool((found[:, other] == 0).all()) != (mask == "past" and bool(other.any()))


@pytest.mark.parametrize("lacking", ["q_proj", "o_proj", "config", "sdpa"])
def test_layers_without_the_expected_parts_are_computed_as_always(lacking: str) -> None:
    attention = layer(slice(-1, None))
    assert place_attention.can_choose_places(attention)
    if lacking == "sdpa":
        attention.config._attn_implementation = "eager"
    else:
        delattr(attention, lacking)  # a fused projection of queries, keys and values, for instance
    assert not place_attention.can_choose_places(attention)
    decoder = SimpleNamespace(layers=[SimpleNamespace(self_attn=attention)])
    model = SimpleNamespace(get_decoder=lambda: decoder, config=SimpleNamespace(), named_modules=lambda: [])
    before = dict(vars(attention))
    with only_needed(SimpleNamespace(model=model, device="cpu"), slice(-1, None)):  # type: ignore[arg-type]
        assert vars(attention) == before
