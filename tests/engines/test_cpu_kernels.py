"""Compiled functions give torch's results, are left out where they do not, and change no answer."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from evalkit.core.errors import ConfigError
from evalkit.engines import cpu_kernels, cpu_tuning, kernel_library
from evalkit.engines.hf import HfEngine
from evalkit.engines.kernel_library import Library
from tests.support import tiny_llava as tiny
from tests.support.engine_answers import answers

torch = pytest.importorskip("torch")
NAMES = {"attention", "silu_product", "quick_gelu", "rms_norm", "rotate"}
COMPILER = kernel_library._compiler()
needs_compiler = pytest.mark.skipif(isinstance(COMPILER, str), reason=str(COMPILER))


@pytest.fixture(scope="module", params=["native", "haswell"])
def made(request: pytest.FixtureRequest) -> Library:
    """The functions for this processor (AVX-512, where it has that) and for one with AVX2."""
    if isinstance(COMPILER, str):
        pytest.skip(COMPILER)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernel_library, "FLAGS", [flag.replace("native", request.param) for flag in kernel_library.FLAGS])
        found = kernel_library._compiled(COMPILER)
    if isinstance(found, str):
        pytest.skip(f"not for this processor: {found}")
    return Library(found.functions, frozenset(NAMES))


def drawn(*shape: int, seed: int = 0, scale: float = 1.0) -> Any:
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def heads(rows: int, n: int, places: int, size: int, seed: int, scale: float = 1.0) -> Any:
    """(rows, heads, places, size) as projections give them: places before heads in memory."""
    return drawn(rows, places, n, size, seed=seed, scale=scale).transpose(1, 2)


def exact_attention(query: Any, key: Any, value: Any, scale: float, causal: bool) -> Any:
    """Attention by its definition, in float64; (rows, places, heads, size)."""
    each = query.shape[1] // key.shape[1]
    query, key, value = (
        query.double(),
        key.double().repeat_interleave(each, 1),
        value.double().repeat_interleave(each, 1),
    )
    scores = query @ key.transpose(2, 3) * scale
    if causal:
        scores = scores.masked_fill(torch.ones(scores.shape[-2:]).triu(1).bool(), float("-inf"))
    return (scores.softmax(-1) @ value).transpose(1, 2)


def torch_attention(query: Any, key: Any, value: Any, scale: float, causal: bool) -> Any:
    found = torch.nn.functional.scaled_dot_product_attention(
        query, key, value, scale=scale, is_causal=causal, enable_gqa=True
    )
    return found.transpose(1, 2)


def off(found: Any, query: Any, key: Any, value: Any, causal: bool) -> float:
    """How far an attention of scale 0.3 is from its definition, at most."""
    return float((found - exact_attention(query, key, value, 0.3, causal)).abs().max())


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize(
    ("rows", "n", "key_heads", "places", "size"),
    [(1, 1, 1, 1, 1), (1, 2, 1, 2, 3), (2, 4, 2, 7, 40), (1, 6, 6, 64, 72), (2, 12, 3, 65, 64), (1, 8, 1, 200, 128)],
)
def test_attention_is_that_of_its_definition(
    made: Library, rows: int, n: int, key_heads: int, places: int, size: int, causal: bool
) -> None:
    query, key, value = heads(rows, n, places, size, 1), *(heads(rows, key_heads, places, size, s) for s in (2, 3))
    found = made.attention(query, key, value, scale=0.3, causal=causal)
    assert found is not None
    assert found.shape == (rows, places, n, size)
    assert off(found, query, key, value, causal) <= 1e-6 + 2 * off(
        torch_attention(query, key, value, 0.3, causal), query, key, value, causal
    )


def test_attention_to_another_number_of_places(made: Library) -> None:
    query, key, value = heads(1, 4, 3, 64, 1), heads(1, 2, 90, 64, 2), heads(1, 2, 90, 64, 3)
    found = made.attention(query, key, value, scale=0.1, causal=False)
    torch.testing.assert_close(
        found.double(), exact_attention(query, key, value, 0.1, causal=False), rtol=1e-5, atol=2e-6
    )


def test_attention_with_scores_far_apart(made: Library) -> None:
    query, key, value = (heads(1, 2, 40, 64, seed, scale=30.0) for seed in (1, 2, 3))
    found = made.attention(query, key, value, scale=1.0, causal=True)
    torch.testing.assert_close(
        found.double(), exact_attention(query, key, value, 1.0, causal=True), rtol=1e-4, atol=1e-3
    )


def test_rows_do_not_depend_on_what_is_beside_them(made: Library) -> None:
    """Prompts of several lengths in one pass have the bits that they have alone: padding is at the end."""
    query, key, value = heads(2, 6, 100, 64, 1), heads(2, 3, 100, 64, 2), heads(2, 3, 100, 64, 3)
    together = made.attention(query, key, value, scale=0.2, causal=True)
    alone = made.attention(
        query[1:, :, :83], key[1:, :, :83].contiguous(), value[1:, :, :83].contiguous(), scale=0.2, causal=True
    )
    assert together is not None
    assert alone is not None
    assert torch.equal(together[1:, :83], alone)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_shows_where_it_is_seen_and_nowhere_else(made: Library, bad: float) -> None:
    query, key, value = (heads(1, 2, 80, 64, seed) for seed in (1, 2, 3))
    key[0, 0, 50, 7] = bad
    found = made.attention(query, key, value, scale=0.2, causal=True)
    assert found is not None
    assert found[0, :50].isfinite().all()
    assert found[0, :, 1].isfinite().all()
    # A positive infinite score gives NaN, a negative one no weight, as in torch.
    expected = torch.nn.functional.scaled_dot_product_attention(query, key, value, scale=0.2, is_causal=True)
    assert torch.equal(found.isfinite(), expected.transpose(1, 2).isfinite())
    x = torch.tensor([1.0, bad, -2.0] + [0.5] * 14)
    ones = torch.ones(17)
    for given in (made.silu_product(x.clone(), ones), made.quick_gelu(x)):
        assert given.isfinite().tolist() == [i != 1 for i in range(17)]
    assert not made.rms_norm(torch.full((1, 16), bad), torch.ones(16), 1e-6).isfinite().any()


@pytest.mark.parametrize("count", [1, 15, 16, 17, 4096, 4097, 12_301])
def test_element_wise_functions_of_any_length(made: Library, count: int) -> None:
    x, up = drawn(count, scale=20.0), drawn(count, seed=1)
    torch.testing.assert_close(
        made.silu_product(x.clone(), up), torch.nn.functional.silu(x) * up, rtol=2e-6, atol=1e-30
    )
    torch.testing.assert_close(made.quick_gelu(x), x * (1.702 * x).sigmoid(), rtol=2e-6, atol=1e-30)


def test_large_gates_are_cut_at_neither_end(made: Library) -> None:
    inf = float("inf")
    x = torch.tensor([-inf, -3e38, -1e30, -1000.0, -89.0, -88.4, -87.0, -0.0, 0.0, 87.0, 89.0, 1000.0, 3e38, inf])
    found = made.silu_product(x.clone(), torch.ones(len(x)))
    torch.testing.assert_close(found, torch.nn.functional.silu(x), rtol=1e-6, atol=1e-35, equal_nan=True)


def test_a_score_far_below_the_largest_has_no_weight(made: Library) -> None:
    """As in torch, it is 0 and not a small number, which a large value would show."""
    query, key, value = torch.zeros(1, 1, 20, 16), torch.zeros(1, 1, 20, 16), torch.ones(1, 1, 20, 16)
    query[..., 0], key[..., 1:, 0], value[..., 1:, :] = 1.0, -100.0, 3e38
    found = made.attention(query, key, value, scale=1.0, causal=True)
    assert torch.equal(found, torch.ones(1, 20, 1, 16))


@needs_compiler
def test_all_functions_agree_with_torch_on_this_machine() -> None:
    found = kernel_library.library()
    assert isinstance(found, Library), found
    assert found.names == NAMES


@pytest.fixture
def fresh_library() -> Iterator[None]:
    kernel_library.library.cache_clear()
    yield
    kernel_library.library.cache_clear()


@needs_compiler
def test_a_function_with_other_results_is_left_out(monkeypatch: pytest.MonkeyPatch, fresh_library: None) -> None:
    right = Library.quick_gelu
    monkeypatch.setattr(Library, "quick_gelu", lambda self, x: right(self, x) * 1.0001)
    found = kernel_library.library()
    assert isinstance(found, Library)
    assert found.names == NAMES - {"quick_gelu"}


@pytest.mark.parametrize(
    ("compiler", "reason"),
    [
        ("no-such-compiler", "the C compiler of the variable CC, no-such-compiler, is not found"),
        ("fails", "could not compile them: kernels.c:1: error: not today"),
        ("makes nothing", "could not be compiled and loaded: kernels.so: cannot open"),
    ],
)
def test_without_a_working_compiler_torch_computes_everything(
    compiler: str,
    reason: str,
    engine: Callable[..., HfEngine],
    folder: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fresh_library: None,
) -> None:
    scripts = {"fails": "echo 'kernels.c:1: error: not today' >&2; exit 1", "makes nothing": "exit 0"}
    if compiler in scripts:
        path = tmp_path / "compiler"
        path.write_text(f"#!/bin/sh\n{scripts[compiler]}\n", encoding="utf-8")
        path.chmod(0o755)
        compiler = str(path)
    monkeypatch.setenv("CC", f"'{compiler}'")
    monkeypatch.setattr("evalkit.engines.hf.is_small", lambda _: False)
    made = engine()
    requests = tiny.requests(tmp_path, [2], tiny.spec(folder).generation)
    assert answers(made, requests) == answers(engine(share_prefix="off"), requests)
    assert reason in made.metadata()["compiled_kernels_not_used"]
    assert "compiled_kernels" not in made.metadata()


@pytest.mark.parametrize(
    ("compiler", "temporary", "reason"),
    [
        ("cc '", None, "the variable CC is no command: No closing quotation"),
        ("false", None, "false could not compile them: its exit code is 1"),
        ("cc", "/proc", "they could not be compiled and loaded: [Errno"),
    ],
)
def test_nothing_of_the_environment_ends_the_run(
    compiler: str, temporary: str | None, reason: str, monkeypatch: pytest.MonkeyPatch, fresh_library: None
) -> None:
    monkeypatch.setenv("CC", compiler)
    monkeypatch.setattr("shutil.which", lambda name: name)
    monkeypatch.setattr("tempfile.tempdir", temporary)
    found = kernel_library.library()
    assert isinstance(found, str)
    assert found.startswith(reason)


def test_a_model_is_not_handed_to_an_engine_that_computes_otherwise(engine: Callable[..., HfEngine]) -> None:
    with pytest.raises(ConfigError, match="compile_kernels"):
        engine(compile_kernels=False).use_model_of(engine())


@needs_compiler
def test_answers_are_those_of_torch_in_every_mode(
    engine: Callable[..., HfEngine], folder: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = tiny.requests(tmp_path, [4, 1, 2, 1, 1], tiny.spec(folder).generation)
    expected = answers(engine(share_prefix="off"), requests)
    monkeypatch.setattr(cpu_tuning, "SMALL_MODEL_PARAMETERS", 0)
    for settings in ({}, {"share_prefix": "off", "batch_size": 2}, {"exact": True}):
        made = engine(**settings)
        assert answers(made, requests) == expected
        assert {"attention", "quick_gelu"} <= set(made.metadata()["compiled_kernels"])
    plain = engine(compile_kernels=False)
    assert answers(plain, requests) == expected
    assert not any(name.startswith("compiled_kernels") for name in plain.metadata())


@needs_compiler
def test_a_wrong_function_is_found_by_the_check_of_sharing(
    engine: Callable[..., HfEngine], folder: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plain pass that a prefill is compared with is torch's alone."""
    requests = tiny.requests(tmp_path, [3, 2], tiny.spec(folder).generation)
    expected = answers(engine(share_prefix="off"), requests)
    monkeypatch.setattr(cpu_tuning, "SMALL_MODEL_PARAMETERS", 0)
    made = engine()
    made.load()
    right = Library.quick_gelu
    monkeypatch.setattr(Library, "quick_gelu", lambda self, x: right(self, x) * 1.5)
    assert answers(made, requests) == expected
    assert not made.metadata()["prefix_shared"]
    assert made.metadata()["prefix_not_shared"]


class Norm(torch.nn.Module):  # type: ignore[name-defined, misc, unused-ignore]
    """An RMS norm of another kind, by name like those that are replaced."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.weight = torch.nn.Parameter(drawn(15 if kind == "15 wide" else 32))
        self.eps = 1e-6

    def forward(self, x: Any, gate: Any = None) -> Any:
        if self.kind == "needs a gate":
            x = x * gate
        if self.kind == "needs rows" and x.ndim != 3:
            raise ValueError(x.shape)
        epsilon = 1e-5 if self.kind == "other epsilon" else self.eps
        norm = torch.nn.functional.rms_norm(x, x.shape[-1:], None, epsilon)
        norm = norm * (self.weight + 1 if self.kind == "weight + 1" else self.weight)
        return (norm, None) if self.kind == "gives a pair" else norm


OtherRMSNorm = type("OtherRMSNorm", (Norm,), {})


@needs_compiler
@pytest.mark.parametrize(
    ("kind", "replaced"),
    [
        ("usual", True),
        *((kind, False) for kind in ("weight + 1", "other epsilon", "needs a gate", "needs rows", "gives a pair")),
        ("15 wide", False),
    ],
)
def test_norms_of_other_kinds_stay_as_they_are(kind: str, replaced: bool) -> None:
    compiled = kernel_library.library()
    assert isinstance(compiled, Library)
    module = OtherRMSNorm(kind)
    with torch.inference_mode():
        found = cpu_kernels._forward_for(compiled, module)
        assert (found is not None) == replaced
        if found is not None:
            x = drawn(3, 5, 32)
            gate = drawn(3, 5, 32, seed=4)
            torch.testing.assert_close(found[1](x), module(x), rtol=1e-5, atol=1e-6)
            turned = drawn(3, 32, 5).transpose(1, 2)
            torch.testing.assert_close(found[1](turned), module(turned), rtol=1e-5, atol=1e-6)
            assert torch.equal(found[1](x, gate), module(x, gate))
            with pytest.raises(RuntimeError):  # and not memory after the weight's
                found[1](drawn(3, 64))
            assert found[1](x.double()).dtype == torch.float64
            module.double()
            torch.testing.assert_close(found[1](x), module(x))


def usual_rotation(query: Any, key: Any, cosine: Any, sine: Any, unsqueeze_dim: int = 1) -> tuple[Any, Any]:
    def turned(x: Any) -> Any:
        half = x.shape[-1] // 2
        return torch.cat([-x[..., half:], x[..., :half]], -1)

    cosine, sine = cosine.unsqueeze(unsqueeze_dim), sine.unsqueeze(unsqueeze_dim)
    return query * cosine + turned(query) * sine, key * cosine + turned(key) * sine


@needs_compiler
def test_rotations_of_other_kinds_stay_as_they_are() -> None:
    compiled = kernel_library.library()
    assert isinstance(compiled, Library)
    asked: list[Any] = []

    def own(*given: Any, **settings: Any) -> tuple[Any, Any]:
        asked.append(settings)
        return usual_rotation(*given, **settings)

    def raises(*_: Any) -> None:
        raise IndexError

    rotated = cpu_kernels._rotation(compiled, own)
    query, key, angles = heads(2, 4, 9, 64, 1), heads(2, 2, 9, 64, 2), drawn(2, 9, 64)
    cosine, sine = angles.cos(), angles.sin()
    assert cpu_kernels._rotates_alike(rotated, usual_rotation)
    assert not cpu_kernels._rotates_alike(rotated, lambda q, k, c, s: usual_rotation(q, k, c, -s))
    assert not cpu_kernels._rotates_alike(rotated, raises)
    with cpu_kernels.Kernels(names=()).in_place():
        torch.testing.assert_close(rotated(query, key, cosine, sine), usual_rotation(query, key, cosine, sine))
        assert not asked
        # One row of angles for all rows, another size, rows without heads, a key of one row, and angles by name.
        others = (
            (query, key, cosine[:1], sine[:1]),
            (query[..., :48], key[..., :48], cosine[..., :48].contiguous(), sine[..., :48].contiguous()),
            (query[0], key[0], cosine[0], sine[0]),
            (query, key[:1], cosine, sine),
        )
        for given in others:
            settings = {"unsqueeze_dim": 0} if given[0].ndim == 3 else {}
            torch.testing.assert_close(rotated(*given, **settings), usual_rotation(*given, **settings))
        rotated(query, key, cosine=cosine, sine=sine)
        assert len(asked) == len(others) + 1
    asked.clear()
    rotated(query, key, cosine, sine)
    assert asked, "outside a prefill, as in a thread that trains a model of the class, it is the model's own"


def test_two_prefills_in_threads_restore_what_both_found() -> None:
    """The first one would otherwise restore while the second is under way, which then restores the first one's."""
    code = SimpleNamespace(apply=usual_rotation)
    began, other_began, ended = threading.Event(), threading.Event(), threading.Event()

    def prefill(number: int, started: threading.Event, until: threading.Event, seconds: float) -> None:
        with cpu_kernels.Kernels(names=(), parts=((code, "apply", number),)).in_place():
            started.set()
            until.wait(seconds)

    first = threading.Thread(target=prefill, args=(1, began, other_began, 0.1))
    first.start()
    began.wait(10)
    second = threading.Thread(target=prefill, args=(2, other_began, ended, 10))
    second.start()
    first.join()
    ended.set()
    second.join()
    assert code.apply is usual_rotation


@needs_compiler
@pytest.mark.parametrize("settings", [{"softcap": 30.0}, {"dropout": 0.5}], ids=str)
def test_attention_by_another_rule_is_transformers_own(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(
        "transformers.integrations.sdpa_attention.sdpa_attention_forward",
        lambda *_, **s: asked.append(s) or ("own", None),
    )
    module = SimpleNamespace(is_causal=True)
    x = heads(1, 2, 32, 64, 1)
    assert cpu_kernels.attend(module, x, x, x, None, **settings) == ("own", None)
    assert cpu_kernels.attend(module, x, x, x, torch.ones(1, 1, 32, 32) > 0) == ("own", None)
    assert cpu_kernels.attend(module, x, heads(1, 2, 40, 64, 2), heads(1, 2, 40, 64, 3), None) == ("own", None)
    assert cpu_kernels.attend(module, x.double(), x.double(), x.double(), None) == ("own", None)
    for other in (heads(1, 3, 32, 64, 2), x[..., :32], x.expand(2, -1, -1, -1)):  # no form of attention: torch says so
        assert cpu_kernels.attend(module, x, other, other, None) == ("own", None)
    assert cpu_kernels.attend(module, x, x, x, None)[0] != "own"
    assert len(asked) == 7


@needs_compiler
def test_a_model_is_left_as_it_was(
    folder: Any, engine: Callable[..., HfEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = engine().load()
    kernels = cpu_kernels.kernels_for(loaded.model)
    assert isinstance(kernels, cpu_kernels.Kernels)

    def state() -> list[Any]:
        return [
            [vars(owner).get(name) for owner, name, _ in kernels.parts],
            [config._attn_implementation for config in kernels.configs],
        ]

    before = state()
    with pytest.raises(KeyError), kernels.in_place():
        assert state() != before
        raise KeyError
    assert state() == before
    assert len(kernels.configs) == 2


def test_the_file_is_installed_with_the_package() -> None:
    assert kernel_library.SOURCE.is_file()
    assert shutil.which("cc") is None or kernel_library._compiler() in (["gcc"], ["cc"])
