"""Packed linear layers give the products of torch's own, and layers that must stay as they are do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from evalkit.engines import cpu_tuning
from evalkit.engines.hf import HfEngine
from tests.support import tiny_llava as tiny
from tests.support.engine_answers import answers

torch = pytest.importorskip("torch")
SHAPES = [(64,), (0, 64), (1, 64), (5, 64), (2, 5, 64), (2, 3, 5, 64)]


def linear(bias: bool = True) -> Any:
    torch.manual_seed(3)
    return torch.nn.Linear(64, 96, bias=bias)


@pytest.mark.parametrize("bias", [True, False])
def test_packed_products_equal_those_of_torch_for_every_shape(bias: bool) -> None:
    own, packed = linear(bias), linear(bias)
    assert cpu_tuning.pack_linear_layers(torch.nn.ModuleList([packed])) == 1
    with torch.inference_mode():
        for shape in SHAPES:
            rows = torch.randn(shape)
            torch.testing.assert_close(packed(rows), own(rows), rtol=1e-5, atol=1e-5)
        turned = torch.randn(2, 64, 5).transpose(1, 2)
        torch.testing.assert_close(packed(turned), own(turned), rtol=1e-5, atol=1e-5)
    assert torch.equal(packed.weight, own.weight)


def other_class() -> Any:
    class Scaled(torch.nn.Linear):  # type: ignore[name-defined, misc, unused-ignore]
        def forward(self, rows: Any) -> Any:
            return 2 * super().forward(rows)

    return Scaled(64, 96)


def with_own_forward() -> Any:
    layer = linear()
    layer.forward = lambda rows: rows
    return layer


def not_finite() -> Any:
    layer = linear()
    layer.weight.data[0, 0] = float("nan")
    return layer


@pytest.mark.parametrize(
    "make",
    [other_class, with_own_forward, not_finite, lambda: linear().bfloat16(), lambda: linear().double()],
    ids=["a subclass", "a forward of its own", "NaN", "bfloat16", "float64"],
)
def test_layers_of_other_kinds_stay_as_they_are(make: Callable[[], Any]) -> None:
    layer = make()
    before = vars(layer).get("forward")
    assert cpu_tuning.pack_linear_layers(torch.nn.ModuleList([layer])) == 0
    assert vars(layer).get("forward") is before


def test_a_product_that_is_not_equal_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = linear()
    right = cpu_tuning.packed_forward(layer)
    monkeypatch.setattr(cpu_tuning, "packed_forward", lambda _: lambda rows: right(rows) * 1.001)
    assert cpu_tuning.pack_linear_layers(torch.nn.ModuleList([layer])) == 0
    assert "forward" not in vars(layer)


def test_nothing_is_packed_where_memory_is_short_or_torch_lacks_the_operation(monkeypatch: pytest.MonkeyPatch) -> None:
    layers = torch.nn.ModuleList([linear()])
    size = 64 * 96 * 4
    monkeypatch.setattr(cpu_tuning, "_free_memory", lambda: 2 * size - 1)
    assert cpu_tuning.pack_linear_layers(layers) == 0
    monkeypatch.setattr(cpu_tuning, "_free_memory", lambda: 2 * size)
    monkeypatch.setattr(cpu_tuning, "_has_operation", lambda: False)
    assert cpu_tuning.pack_linear_layers(layers) == 0


def test_a_packed_model_gives_the_answers_of_a_plain_one_in_every_mode(
    engine: Callable[..., HfEngine], folder: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = tiny.requests(tmp_path, [4, 1, 2], tiny.spec(folder).generation)
    expected = answers(engine(share_prefix="off"), requests)
    monkeypatch.setattr(cpu_tuning, "SMALL_MODEL_PARAMETERS", 0)
    for settings in ({}, {"share_prefix": "off", "batch_size": 2}, {"exact": True}):
        packed = engine(**settings)
        assert answers(packed, requests) == expected
        assert packed.metadata()["packed_layers"] > 10
