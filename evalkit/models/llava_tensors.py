"""Placement of LLaVA's tensors in transformers' `LlavaForConditionalGeneration`: plan, check, then read and copy."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from evalkit.core.errors import ModelError
from evalkit.models.delta_lora import IGNORABLE
from evalkit.models.llava_config import OriginalConfig
from evalkit.models.llava_tower import UNREAD, ChosenTower
from evalkit.models.pyramid_adapter import ADAPTER_PARTS, pyramid_adapter
from evalkit.models.tensor_files import Shape, TensorSource

if TYPE_CHECKING:
    import torch
    from transformers import LlavaForConditionalGeneration

# Elements copied in one step: 4 MB in float32.
_BLOCK = 1 << 20

_VOCABULARY = ("model.embed_tokens.weight", "lm_head.weight")
_PROJECTOR = "model.multi_modal_projector."
_IDENTITY = (f"{_PROJECTOR}linear_2.weight", f"{_PROJECTOR}linear_2.bias")
_PROJECTOR_PARTS = {
    "linear": {"weight": "linear_1.weight", "bias": "linear_1.bias"},
    "mlp2x_gelu": {
        "0.weight": "linear_1.weight",
        "0.bias": "linear_1.bias",
        "2.weight": "linear_2.weight",
        "2.bias": "linear_2.bias",
    },
    "pyramid": ADAPTER_PARTS,
}
# phi-1.5's head has a bias, which ColonGPT's class leaves out.
_LEFT_OUT = {"phi": ("lm_head.bias",)}


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """Source of one tensor of the model; rows: number of rows in the model, if the vocabulary may have grown."""

    source: TensorSource
    name: str
    rows: int | None = None


def empty_model(config: Any, pools: tuple[int, ...] = ()) -> LlavaForConditionalGeneration:
    """Make the model without allocating its parameters; buffers such as rotary frequencies are real.

    pools: sides of the grids of a pyramid projector, which replaces LLaVA's two layers; () keeps these.
    """
    from accelerate import init_empty_weights
    from transformers import LlavaForConditionalGeneration

    with init_empty_weights(include_buffers=False):
        model = LlavaForConditionalGeneration(config)
        if pools:
            sizes = config.vision_config.hidden_size, config.text_config.hidden_size
            model.model.multi_modal_projector = pyramid_adapter(*sizes, pools)
        return model


def plan(
    model: Any, original: OriginalConfig, source: TensorSource, tower: ChosenTower
) -> dict[str, StoredTensor | None]:
    """Map each tensor of the model to its source; None for the identity layer after a single linear projector.

    Raises:
        ModelError: a stored tensor has no place in the model.
    """
    targets = model.state_dict()
    level = "model.vision_tower.vision_model." if _has_level(targets) else "model.vision_tower."
    taken = {*tower.names.values(), *tower.skipped} if tower.source is source else set(tower.skipped)
    taken.update(_LEFT_OUT.get(original.text_type, ()))
    tensors: dict[str, StoredTensor | None] = {}
    for name in source.shapes:
        if name in taken or IGNORABLE.search(name) or UNREAD.search(name):
            continue
        target = hf_name(name, original)
        if target is None or target not in targets:
            raise ModelError(
                f"the tensor {name} ({source.where(name)}, shape {source.shapes[name]}) has no place in the model "
                f"that config.json describes ({original.text_type}, {original.text['num_hidden_layers']} layers, "
                f"{original.projector} projector): config and weights do not belong together"
            )
        rows = targets[target].shape[0] if name in _VOCABULARY else None
        tensors[target] = StoredTensor(source, name, rows)
    for bare, name in tower.names.items():
        tensors[f"{level}{bare}"] = StoredTensor(tower.source, name)
    if original.projector == "linear":
        tensors.update(dict.fromkeys(_IDENTITY))
    return tensors


def _has_level(targets: Mapping[str, Any]) -> bool:
    return any(name.startswith("model.vision_tower.vision_model.") for name in targets)


def hf_name(name: str, original: OriginalConfig) -> str | None:
    """Name in transformers' model of a tensor in LLaVA's layout, except the tower's; None if it has no place there."""
    if name == "lm_head.weight":
        return name
    if name.startswith("model.mm_projector."):
        part = _PROJECTOR_PARTS[original.projector].get(name.removeprefix("model.mm_projector."))
        return f"{_PROJECTOR}{part}" if part else None
    if name.startswith(("model.layers.", "model.embed_tokens.", "model.norm.", "model.final_layernorm.")):
        return f"model.language_model.{name.removeprefix('model.')}"
    return None


def check(model: Any, tensors: Mapping[str, StoredTensor | None]) -> None:
    """Raise ModelError for the first tensor that is missing, unexpected or of the wrong shape.  Reads no tensor."""
    targets = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    for name, shape in targets.items():
        if name not in tensors:
            raise ModelError(
                f"no tensor for {name} {shape}: the checkpoint does not contain it under any name of LLaVA's layout; "
                f"{sum(n not in tensors for n in targets)} of {len(targets)} tensors are missing in total, and evalkit "
                "initialises none at random; fetch the checkpoint again"
            )
    for target, stored in tensors.items():
        if target not in targets:
            assert stored is not None
            raise ModelError(f"the tensor {stored.name} ({stored.source.where(stored.name)}) has no place in the model")
        if stored is not None and not _fits(stored, targets[target]):
            raise ModelError(
                f"the tensor {stored.name} ({stored.source.where(stored.name)}) has shape "
                f"{stored.source.shapes[stored.name]}, but the model that config.json describes needs "
                f"{targets[target]}: config and weights do not belong together"
            )


def _fits(tensor: StoredTensor, shape: Shape) -> bool:
    stored = tensor.source.shapes[tensor.name]
    if tensor.rows is None:
        return stored == shape
    return len(stored) == len(shape) and stored[1:] == shape[1:] and 0 <= shape[0] - stored[0] <= 2


def float_dtype(name: str) -> torch.dtype:
    """Look up a floating-point torch dtype by name.  Raises ModelError for any other name."""
    import torch

    found = getattr(torch, name.removeprefix("torch."), None)
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise ModelError(f"{name!r} is not a floating-point dtype of torch: expected float32, bfloat16 or float16")
    return found


def fill(model: Any, tensors: Mapping[str, StoredTensor | None], dtype: torch.dtype, device: str) -> None:
    """Read every tensor into the model, in the order of the files."""
    import torch

    for target, stored in tensors.items():
        path, _, leaf = target.rpartition(".")
        module = model.get_submodule(path)
        shape = getattr(module, leaf).shape
        if stored is None:
            values = torch.eye(*shape) if leaf == "weight" else torch.zeros(shape)
            tensor = values.to(device=device, dtype=dtype)
        else:
            tensor = torch.empty(shape, dtype=dtype, device=device)
            _copy(stored, tensor)
        setattr(module, leaf, torch.nn.Parameter(tensor, requires_grad=False))
    model.to(device)
    model.config.dtype = dtype
    model.eval()


def _copy(tensor: StoredTensor, into: torch.Tensor) -> None:
    """Fill `into` a few rows at a time; additional rows copy row 0.

    Merged weights are computed in temporaries.  Small ones leave no gaps in the heap between tensors that stay.

    Raises:
        ModelError: a value is no number, or too large for the dtype of `into`.
    """
    import torch

    largest = torch.finfo(into.dtype).max
    stored = tensor.source.shapes[tensor.name]
    step = max(1, _BLOCK // max(1, math.prod(stored[1:])))
    for start in range(0, stored[0], step):
        rows = slice(start, min(start + step, stored[0]))
        values = tensor.source.read(tensor.name, rows)
        low, high = (float(v) for v in torch.aminmax(values)) if values.numel() else (0.0, 0.0)
        if not -largest <= low <= high <= largest:  # false for NaN
            raise ModelError(
                f"the tensor {tensor.name} ({tensor.source.where(tensor.name)}) has values from {low:.3g} to "
                f"{high:.3g}, and {str(into.dtype).removeprefix('torch.')} holds numbers up to {largest:.3g}: every "
                "answer would be empty or noise; fetch the checkpoint again, or choose another engine.dtype"
            )
        into[rows] = values
    into[stored[0] :] = into[0]
