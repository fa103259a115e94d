"""Memory with room and grouped heads give the keys, values and attention of transformers' own."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from evalkit.engines import decode_memory, grouped_attention

torch = pytest.importorskip("torch")


def drawn(*shape: int, seed: int = 0) -> Any:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_memory_with_room_holds_what_a_concatenating_cache_holds() -> None:
    from transformers import DynamicCache

    first = [(drawn(3, 2, 5, 4, seed=i), drawn(3, 2, 5, 4, seed=i + 9)) for i in range(2)]
    own = DynamicCache([(k.clone(), v.clone()) for k, v in first])
    roomy = decode_memory.with_room(DynamicCache([(k.clone(), v.clone()) for k, v in first]))

    def extend(rows: int, width: int, seed: int) -> None:
        for layer in range(2):
            new = drawn(rows, 2, width, 4, seed=seed + layer), drawn(rows, 2, width, 4, seed=seed + layer + 5)
            for x, y in zip(own.update(*new, layer), roomy.update(*new, layer), strict=True):
                assert torch.equal(x, y)
        assert own.get_seq_length() == roomy.get_seq_length()

    extend(3, 1, 20)
    extend(3, 100, 30)  # more than the room
    kept = torch.tensor([0, 2])
    for cache in (own, roomy):
        cache.batch_select_indices(kept)
    extend(2, 1, 40)
    for cache in (own, roomy):
        cache.crop(-50)
    extend(2, 7, 50)  # over places that are no longer used
    extend(2, 1, 60)


def test_joined_caches_are_padded_with_zeros_and_extended_without_a_copy() -> None:
    from transformers import DynamicCache

    sizes = [(1, 5), (2, 3)]
    parts = [DynamicCache([(drawn(n, 2, w, 4, seed=w + i), drawn(n, 2, w, 4, seed=w + i + 20)) for i in range(2)])
             for n, w in sizes]  # fmt: skip
    expected = [
        [torch.cat([torch.nn.functional.pad(getattr(p.layers[i], name), (0, 0, 0, 6 - w)) for p, (_, w) in
                    zip(parts, sizes, strict=True)]) for name in ("keys", "values")]
        for i in range(2)
    ]  # fmt: skip
    cache = decode_memory.with_room(decode_memory.joined(parts, 6))
    assert cache.get_seq_length() == 6
    for layer, (keys, values) in zip(cache.layers, expected, strict=True):
        assert torch.equal(layer.keys, keys) and torch.equal(layer.values, values)
    before = cache.layers[1].keys.data_ptr()
    new = drawn(3, 2, 1, 4), drawn(3, 2, 1, 4, seed=1)
    keys, values = cache.update(*new, 1)
    assert keys.data_ptr() == before
    for found, old, added in zip((keys, values), expected[1], new, strict=True):
        assert torch.equal(found, torch.cat([old, added], dim=2))


def test_a_step_within_the_room_copies_no_earlier_place() -> None:
    from transformers import DynamicCache

    cache = decode_memory.with_room(DynamicCache([(drawn(1, 2, 5, 4), drawn(1, 2, 5, 4))]))
    first, _ = cache.update(drawn(1, 2, 1, 4), drawn(1, 2, 1, 4), 0)
    second, _ = cache.update(drawn(1, 2, 1, 4), drawn(1, 2, 1, 4), 0)
    assert second.shape[-2] == first.shape[-2] + 1 and second.data_ptr() == first.data_ptr()


@pytest.mark.parametrize(("heads", "key_heads"), [(6, 2), (4, 1), (3, 3)])
@pytest.mark.parametrize("new", [1, 5])
@pytest.mark.parametrize("mask_heads", [1, None, "all"])
def test_grouped_heads_attend_as_transformers_does(heads: int, key_heads: int, new: int, mask_heads: Any) -> None:
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    module = SimpleNamespace(num_key_value_groups=heads // key_heads, is_causal=True)
    query, key, value = drawn(2, heads, new, 8), drawn(2, key_heads, 9, 8, seed=1), drawn(2, key_heads, 9, 8, seed=2)
    mask = None
    if mask_heads is not None:
        mask = drawn(2, heads if mask_heads == "all" else 1, new, 9, seed=3) > 0
        mask[..., 0] = True
    expected, _ = sdpa_attention_forward(module, query, key, value, mask, scaling=0.3)
    found, _ = grouped_attention.attend(module, query, key, value, mask, scaling=0.3)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("device", "before", "during"), [
    ("cpu", "sdpa", "evalkit_grouped_heads"), ("cpu", "eager", "eager"), ("cuda:0", "sdpa", "sdpa"),
])  # fmt: skip
def test_only_sdpa_on_a_cpu_is_grouped_and_the_setting_is_restored(device: str, before: str, during: str) -> None:
    config = SimpleNamespace(_attn_implementation=before)
    loaded: Any = SimpleNamespace(text_config=config, device=device)
    with pytest.raises(KeyError), grouped_attention.grouped_heads(loaded):
        assert config._attn_implementation == during
        raise KeyError
    assert config._attn_implementation == before
