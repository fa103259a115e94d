"""What a prefill leaves out changes no logits that are used, and the check notices where it would."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from evalkit.engines import needed_layers, place_attention, prefix_check, prefix_decode, prefix_prefill, shared_prefix
from evalkit.engines.hf import HfEngine
from evalkit.engines.needed_layers import only_needed
from evalkit.engines.preprocess import Preprocessor, group_by_image
from evalkit.engines.shared_prefix import PrefixGroup
from tests.support import tiny_llava as tiny

torch = pytest.importorskip("torch")


@contextmanager
def rows_of(module: Any) -> Iterator[list[int]]:
    """Numbers of places (rows * places) of each call of a module."""
    found: list[int] = []
    handle = module.register_forward_pre_hook(lambda _, args: found.append(args[0].shape[0] * args[0].shape[1]))
    yield found
    handle.remove()


def groups(made: HfEngine, folder: Path, tmp_path: Path, counts: list[int]) -> list[PrefixGroup]:
    loaded = made.load()
    requests = tiny.requests(tmp_path, counts, tiny.spec(folder).generation)
    prepared = Preprocessor(loaded, workers=0).process_all(group_by_image(requests))
    found = [shared_prefix.find_prefix(loaded, group, exact=False) for group in prepared]
    return [group for group in found if isinstance(group, PrefixGroup)]


@pytest.mark.parametrize("counts", [[1, 1], [4, 3]], ids=["whole prompts", "shared prefixes"])
def test_the_first_logits_are_those_of_a_full_pass(
    engine: Callable[..., HfEngine], folder: Path, tmp_path: Path, counts: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = engine()
    made.load().model.config.vision_feature_layer = -2
    assert len(needed_layers._unread_layers(made.load().model)) == 1
    pack = groups(made, folder, tmp_path, counts)
    logits: dict[str, list[Any]] = {"needed": [], "full": []}
    for name, found in logits.items():
        if name == "full":
            for module in (prefix_prefill, prefix_decode):
                monkeypatch.setattr(module, "only_needed", _everything)
        prefix_decode.answer(made.load(), pack, record=lambda _m, _i, v, found=found: found.append(v.clone()))
    assert len(logits["needed"]) == len(logits["full"]) > 4
    for a, b in zip(logits["needed"], logits["full"], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


@contextmanager
def _everything(*_: Any) -> Iterator[None]:
    yield


def test_a_prefill_computes_the_last_layer_for_the_last_tokens_only(
    engine: Callable[..., HfEngine], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    queries: list[int] = []
    attend = place_attention.attend

    def noted(module: Any, query: Any, *args: Any, **settings: Any) -> Any:
        queries.append(query.shape[0] * query.shape[2])
        return attend(module, query, *args, **settings)

    monkeypatch.setattr(place_attention, "attend", noted)
    made = engine()
    pack = groups(made, folder, tmp_path, [4, 4])
    layers = made.load().model.get_decoder().layers
    with rows_of(layers[0].mlp) as first, rows_of(layers[-1].mlp.gate_proj) as last, torch.inference_mode():
        prefix_decode.answer(made.load(), pack)
    assert first[0] > 20 and last[0] == 2  # the prefixes: nothing of the last layer's output is read but one place
    assert first[1] > last[1] == 8  # the questions: the last token of each
    assert first[2:] == last[2:]
    assert queries == last


# The tower has two layers; -3 reads its embeddings, and -4 is not there.
@pytest.mark.parametrize(("layer", "n"), [(-1, 0), (-2, 1), (-3, 2), (-4, 0), (1, 0), ([-2, -1], 0)])
def test_layers_of_the_tower_that_are_not_read_are_left_out_and_restored(
    engine: Callable[..., HfEngine], layer: Any, n: int
) -> None:
    made = engine()
    model = made.load().model
    model.config.vision_feature_layer = layer
    unread = needed_layers._unread_layers(model)
    encoder = needed_layers._encoder(needed_layers.vision_tower(model))
    assert unread == list(encoder.layers)[2 - n :]
    modules = [*unread, model.get_decoder().layers[-1].mlp]
    with only_needed(made.load(), slice(-1, None)):
        assert all("forward" in vars(module) for module in modules)
    assert not any("forward" in vars(module) for module in modules)


def test_an_mlp_that_mixes_places_fails_the_check(
    engine: Callable[..., HfEngine], folder: Path, tmp_path: Path
) -> None:
    made = engine()
    loaded = made.load()
    mlp = loaded.model.get_decoder().layers[-1].mlp
    own = mlp.forward
    mlp.forward = lambda hidden: own(hidden) + hidden.cumsum(dim=1)  # as no transformer's MLP does
    pack = groups(made, folder, tmp_path, [4, 3])
    assert "logits differ" in str(prefix_check.check(loaded, pack).reason)
    assert mlp.forward(torch.zeros(1, 2, loaded.text_config.hidden_size)) is not None


def test_a_tower_whose_left_out_layer_is_read_fails_the_check(
    engine: Callable[..., HfEngine], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = engine()
    loaded = made.load()
    encoder = needed_layers._encoder(needed_layers.vision_tower(loaded.model))
    monkeypatch.setattr(needed_layers, "_unread_layers", lambda _: [encoder.layers[0]])
    pack = groups(made, folder, tmp_path, [4, 3])
    assert "logits differ" in str(prefix_check.check(loaded, pack).reason)


def test_a_layer_that_views_its_input_as_rows_is_computed_at_places() -> None:
    """As the experts of Qwen3-VL's mixture do, for which a slice of the places is no view."""
    hidden = torch.rand(2, 5, 4)
    found = needed_layers._at_places(lambda h: h.view(-1, 4).mul(2).view(h.shape), slice(3, None))(hidden)
    assert torch.equal(found[:, 3:], hidden[:, 3:] * 2) and not found[:, :3].any()
