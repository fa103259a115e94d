"""Prefills in float32 on a CPU with the compiled functions of cpu_kernels.c in place of some of torch's.

They are in place during the forward pass over prefixes only.  The plain forward pass that the check of prefix sharing
compares with is torch's, so that check covers them, too.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from evalkit.engines.grouped_attention import has_other_rule, registered
from evalkit.engines.kernel_library import LANES, Library, agrees, library
from evalkit.engines.place_attention import COMPILED
from evalkit.engines.profiling import vision_tower
from evalkit.engines.replacement import attending_by, replaced

# For fewer new tokens torch's attention is as fast.
FEWEST_QUERIES = 16
ROTATION = "apply_rotary_pos_emb"
# A rotation is replaced for all models of a class: one prefill at a time does that, so that what one restores is not
# the replacement of another, and only the thread of the prefill uses it, so that nothing else computes or trains by it.
_ONE_PREFILL = threading.RLock()
_THREAD = threading.local()


@dataclass(frozen=True, slots=True)
class Kernels:
    """What is replaced in a model during a prefill.

    names: the compiled functions in use.  parts: (object, attribute, replacement).  configs: configurations whose
    layers attend by the compiled attention.
    """

    names: tuple[str, ...]
    parts: tuple[tuple[Any, str, Any], ...] = ()
    configs: tuple[Any, ...] = ()

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Replace the parts, and restore what was there; a second thread waits."""
        with _ONE_PREFILL, replaced(_THREAD, "prefills", True), ExitStack() as stack:
            for owner, name, replacement in self.parts:
                stack.enter_context(replaced(owner, name, replacement))
            for config in self.configs:
                stack.enter_context(attending_by(config, registered(COMPILED, attend)))
            yield


def kernels_for(model: Any) -> Kernels | str:
    """What can be replaced in a float32 model on the CPU; a string is the reason why nothing can."""
    import torch

    compiled = library()
    if isinstance(compiled, str):
        return compiled
    with torch.inference_mode():
        found = [(module, *made) for module in model.modules() if (made := _forward_for(compiled, module))]
        rotations = _rotations(compiled, model)
    configs = _configs(model) if "attention" in compiled.names else ()
    names = {name for _, name, _ in found}
    names |= {name for name, parts in (("rotate", rotations), ("attention", configs)) if parts}
    if not names:
        return "the model has none of the parts that they replace"
    parts = [(module, "forward", forward) for module, _, forward in found]
    return Kernels(tuple(sorted(names)), (*parts, *rotations), configs)


def attend(module: Any, query: Any, key: Any, value: Any, attention_mask: Any, **settings: Any) -> tuple[Any, None]:
    """Attention without a mask by the compiled function, in the form of transformers; any other by torch's."""
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    causal = settings.get("is_causal")
    causal = bool(getattr(module, "is_causal", True) if causal is None else causal)
    queries, places, size = query.shape[2], key.shape[2], query.shape[3]
    fits = queries >= FEWEST_QUERIES and (queries == places or not causal) and value.shape == key.shape
    fits = fits and (key.shape[0], key.shape[3]) == (query.shape[0], size) and query.shape[1] % key.shape[1] == 0
    compiled = library()
    if attention_mask is None and fits and not has_other_rule(settings) and _are_rows(query, key, value):
        assert isinstance(compiled, Library), "its name is registered only where the library is"
        scale = settings.get("scaling") or size**-0.5
        if (found := compiled.attention(query, key, value, scale=scale, causal=causal)) is not None:
            return found, None
    own: tuple[Any, None] = sdpa_attention_forward(module, query, key, value, attention_mask, **settings)
    return own


def _are_rows(*tensors: Any) -> bool:
    """Whether the compiled functions can read the tensors: float32 on the CPU with a contiguous last dimension."""
    import torch

    return all(t.dtype == torch.float32 and t.device.type == "cpu" and t.stride(-1) == 1 for t in tensors)


def _configs(model: Any) -> tuple[Any, ...]:
    """Configurations of the language model and the vision tower, where they attend by `sdpa`."""
    tower = getattr(vision_tower(model), "config", None)
    found = [model.config.get_text_config(decoder=True), *([] if tower is None else [tower])]
    return tuple(config for config in found if getattr(config, "_attn_implementation", None) == "sdpa")


def _forward_for(compiled: Library, module: Any) -> tuple[str, Callable[..., Any]] | None:
    """Name of the function that a module can use, and its forward with it; None if there is none of equal results."""
    import torch

    for name, fits, make in _MODULES:
        if name in compiled.names and "forward" not in vars(module) and (size := fits(module)):
            rows = 3 * torch.randn((4, size), generator=torch.Generator().manual_seed(0))
            forward = make(compiled, module)
            try:  # rows of small values as well, which show the epsilon of a norm
                equal = all(agrees(forward(x), module(x)) for x in (rows, 1e-3 * rows))
            except Exception:  # noqa: BLE001 - any code of a model: it may take more than hidden states, or give others
                return None
            return (name, forward) if equal else None
    return None


def _gated_size(module: Any) -> int:
    """Size of the hidden states of an MLP whose gate goes through SiLU; 0 if a module is none."""
    import torch

    layers: list[Any] = [getattr(module, name, None) for name in ("gate_proj", "up_proj", "down_proj")]
    silu = type(getattr(module, "act_fn", None)).__name__ in ("SiLU", "SiLUActivation")
    # The gate's output is written over, so it has to be a tensor of its own, as that of torch's linear layer is.
    return int(layers[0].in_features) if silu and all(type(layer) is torch.nn.Linear for layer in layers) else 0


def _gated(compiled: Library, module: Any) -> Callable[..., Any]:
    own = module.forward

    def forward(hidden: Any) -> Any:
        if not _are_rows(hidden):
            return own(hidden)
        gate, up = module.gate_proj(hidden), module.up_proj(hidden)
        return module.down_proj(compiled.silu_product(gate.contiguous(), up.contiguous()))

    return forward


def _norm_size(module: Any) -> int:
    """Length of the rows of an RMS norm with a weight; 0 if a module is none, or rows do not fill vectors."""
    weight: Any = getattr(module, "weight", None)
    if not type(module).__name__.endswith("RMSNorm") or getattr(weight, "ndim", 0) != 1 or not _are_rows(weight):
        return 0
    return len(weight) if len(weight) % LANES == 0 else 0


def _norm(compiled: Library, module: Any) -> Callable[..., Any]:
    own, epsilon = module.forward, getattr(module, "variance_epsilon", getattr(module, "eps", None))

    def forward(hidden: Any, *others: Any, **settings: Any) -> Any:
        weight = module.weight
        fits = _are_rows(hidden, weight) and hidden.is_contiguous() and hidden.shape[-1:] == weight.shape
        if others or settings or epsilon is None or not fits:
            return own(hidden, *others, **settings)
        return compiled.rms_norm(hidden, weight, epsilon)

    return forward


def _gelu_size(module: Any) -> int:
    return LANES if type(module).__name__ == "QuickGELUActivation" else 0


def _gelu(compiled: Library, module: Any) -> Callable[..., Any]:
    own = module.forward

    def forward(hidden: Any) -> Any:
        return compiled.quick_gelu(hidden) if _are_rows(hidden) and hidden.is_contiguous() else own(hidden)

    return forward


_MODULES: tuple[tuple[str, Callable[[Any], int], Callable[[Library, Any], Callable[..., Any]]], ...] = (
    ("silu_product", _gated_size, _gated),
    ("rms_norm", _norm_size, _norm),
    ("quick_gelu", _gelu_size, _gelu),
)


def _rotations(compiled: Library, model: Any) -> list[tuple[Any, str, Callable[..., Any]]]:
    """Where the code of the language model's attention has transformers' usual rotation, that rotation, compiled."""
    layers = getattr(getattr(model, "get_decoder", lambda: None)(), "layers", ())
    names = {type(layer.self_attn).__module__ for layer in layers if hasattr(layer, "self_attn")}
    found = []
    for code in [sys.modules[name] for name in sorted(names)] if "rotate" in compiled.names else []:
        own = getattr(code, ROTATION, None)
        if own is not None and _rotates_alike(forward := _rotation(compiled, own), own):
            found.append((code, ROTATION, forward))
    return found


def _rotation(compiled: Library, own: Callable[..., Any]) -> Callable[..., Any]:
    def rotated(*given: Any, **settings: Any) -> Any:
        if not hasattr(_THREAD, "prefills") or settings or len(given) != 4 or not _rotates(*given):
            return own(*given, **settings)
        query, key, cosine, sine = given
        return tuple(compiled.rotate(x, cosine, sine) for x in (query, key))

    return rotated


def _rotates(query: Any, key: Any, cosine: Any, sine: Any) -> bool:
    """Whether the compiled rotation takes query and key (rows, heads, places, size) with these angles."""
    if not _are_rows(query, key, cosine, sine) or not query.ndim == key.ndim == 4:
        return False
    rows, _, places, size = query.shape
    alike = key.shape[0] == rows and key.shape[2:] == query.shape[2:] and size % (2 * LANES) == 0
    return alike and all(x.shape == (rows, places, size) and x.is_contiguous() for x in (cosine, sine))


def _rotates_alike(rotated: Callable[..., Any], own: Callable[..., Any]) -> bool:
    """Whether a rotation gives the results of the one that it replaces."""
    import torch

    generator = torch.Generator().manual_seed(0)
    size = 4 * LANES
    sizes = ((2, 3, 5, size), (2, 1, 5, size), (2, 5, size), (2, 5, size))
    values = [torch.randn(shape, generator=generator) for shape in sizes]
    try:
        with replaced(_THREAD, "prefills", True):
            found = rotated(*values)
        return all(agrees(a, b) for a, b in zip(found, own(*values), strict=True))
    except Exception:  # noqa: BLE001 - any code of a model: another rotation of this name
        return False
