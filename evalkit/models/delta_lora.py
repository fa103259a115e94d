"""Merged weights of two published parts: base + delta, and base + LoRA adapter.

Both classes check names and shapes on creation, before any tensor is read, and merge one tensor at a time.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from evalkit.core.errors import ModelError
from evalkit.core.json_text import finite_number
from evalkit.models.tensor_files import ALL, Shape, Shards

if TYPE_CHECKING:
    import torch

# Tensors that are not weights: tables that every version of the code computes itself.
IGNORABLE = re.compile(r"\.rotary_emb\.inv_freq$|\.embeddings\.position_ids$")
_GROWS = ("model.embed_tokens.weight", "lm_head.weight")
_NEW_IN_DELTA = "model.mm_projector."

# Settings of adapter_config.json that a plain merge respects or that do not affect a finished adapter.  All others must
# be off, so that unknown variants of LoRA are refused instead of being merged as plain LoRA.
_ADAPTER_KNOWN = {
    *("auto_mapping", "base_model_name_or_path", "ensure_weight_tying", "exclude_modules", "inference_mode"),
    *("layers_pattern", "layers_to_transform", "lora_alpha", "lora_dropout", "megatron_config", "megatron_core"),
    *("peft_version", "qalora_group_size", "r", "revision", "target_modules", "task_type", "use_rslora"),
}
_ADAPTER_PLAIN: dict[str, tuple[Any, ...]] = {
    "peft_type": ("LORA",),
    "bias": ("none",),
    "init_lora_weights": (True, False, "gaussian"),
}


class LoraPair(NamedTuple):
    """Names of the two adapter tensors that change one weight."""

    a: str
    b: str


@dataclass(slots=True)
class DeltaWeights:
    """base + delta, the form of LLaVA's first releases: equal shapes are added, a grown vocabulary block-wise.

    Sums are computed in the delta's dtype, as in the released script, so that the merged weights equal the authors'.
    """

    base: Shards
    delta: Shards
    shapes: dict[str, Shape] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, shape in self.delta.shapes.items():
            if not _adds_up(name, shape, self.base.shapes.get(name)):
                raise ModelError(_delta_mismatch(name, shape, self))
            self.shapes[name] = shape
        absent = [n for n in self.base.shapes if n not in self.delta.shapes and not IGNORABLE.search(n)]
        if absent:
            raise ModelError(
                f"the delta lacks {len(absent)} tensors of the base, first {absent[0]} "
                f"({self.base.where(absent[0])}): this delta was made against another base"
            )

    def check_values(self) -> None:
        """Refuse a delta of zeros: the base would be evaluated under its name.  Small tensors are read first.

        Raises:
            ModelError: every difference to the base is zero.
        """
        names = [n for n in self.shapes if n in self.base.shapes and not IGNORABLE.search(n)]
        if not any(self.delta.read(n).any() for n in sorted(names, key=lambda n: math.prod(self.shapes[n]))):
            raise ModelError(
                f"all {len(names)} differences to the base are zero ({self.delta.where(names[0])}): added, they would "
                "change nothing and the base would be evaluated under the delta's name; make the delta again"
            )

    def read(self, name: str, rows: slice = ALL) -> torch.Tensor:
        """Read rows of base[name] + delta[name]; of delta[name] alone for the projector."""
        delta = self.delta.read(name, rows)
        if name not in self.base.shapes:
            return delta
        base = self.base.read(name, rows).to(delta.dtype)
        total = delta.clone()
        total[: base.shape[0]] += base
        return total

    def where(self, name: str) -> str:
        """Path of the delta's file with the tensor."""
        return self.delta.where(name)


def _adds_up(name: str, shape: Shape, base: Shape | None) -> bool:
    if base is None:
        return name.startswith(_NEW_IN_DELTA) or bool(IGNORABLE.search(name))
    if name.startswith(_NEW_IN_DELTA):
        return False
    return base == shape or (name in _GROWS and base[0] < shape[0] and base[1:] == shape[1:])


def _delta_mismatch(name: str, shape: Shape, parts: DeltaWeights) -> str:
    base = parts.base.shapes.get(name)
    if base is None:
        return (
            f"the delta's tensor {name} ({parts.delta.where(name)}) is not in the base weights, and only the projector "
            "may be new in a delta: this is not the base that the delta was made against"
        )
    if name.startswith(_NEW_IN_DELTA):
        return (
            f"the delta's tensor {name} is also in the base ({parts.base.where(name)}): that base is itself a LLaVA, "
            "but released deltas are relative to the plain language model; give the plain language model as the base"
        )
    return (
        f"the tensor {name} has shape {shape} in the delta ({parts.delta.where(name)}) and {base} in the base "
        f"({parts.base.where(name)}): this is not the base that the delta was made against"
    )


@dataclass(slots=True)
class LoraWeights:
    """base + LoRA adapter + fully trained tensors (`non_lora_trainables.bin`), LLaVA's LoRA form.

    W + scale * B @ A with scale = lora_alpha / r (or / sqrt(r) with use_rslora): Hu et al. 2022, arXiv 2106.09685.
    The base is cast to the run's `dtype` first (None: its own), product and sum are computed in float32 and rounded
    once to that dtype, as by the authors' loader, which loads the base in the run's dtype, and peft's
    `merge_and_unload`.
    """

    base: Shards
    adapter: Shards
    extra: Shards
    config: dict[str, Any]
    dtype: torch.dtype | None = None
    shapes: dict[str, Shape] = field(default_factory=dict)
    _pairs: dict[str, LoraPair] = field(default_factory=dict)
    _extra: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_adapter(self.config)
        self._extra = {plain_name(name): name for name in self.extra.shapes}
        self.shapes = dict(self.base.shapes)
        self.shapes.update({name: self.extra.shapes[stored] for name, stored in self._extra.items()})
        self._pairs = lora_pairs(self.adapter)
        for target, pair in self._pairs.items():
            self._check_pair(target, pair)

    def check_values(self) -> None:
        """Read the adapter's and the trained tensors, and refuse what would change nothing or give noise.

        Raises:
            ModelError: values are NaN or infinite, each pair has a factor of zeros, or trained tensors are absent or 0.
        """
        check_finite(self.adapter)
        check_finite(self.extra)
        blind = [n for n, shape in self.extra.shapes.items() if len(shape) > 1 and not self.extra.read(n).any()]
        if blind:
            raise ModelError(
                f"the tensor {blind[0]} ({self.extra.where(blind[0])}) is all zeros: no image would reach the language "
                "model; save the checkpoint again"
            )
        check_moves(self.adapter, self._pairs)
        if not self._extra:
            raise ModelError(
                f"{self.extra.files[0]} contains no tensors: the projector that was trained with the adapter is "
                "missing, and the base's would be used in its place; save the checkpoint again (or, if nothing but "
                "the adapter was trained, merge it into its base with peft and use the merged folder)"
            )

    def _check_pair(self, target: str, pair: LoraPair) -> None:
        a, b = pair
        rank = self.config["r"]
        shape_a, shape_b = self.adapter.shapes[a], self.adapter.shapes[b]
        found = self.base.shapes.get(target)
        if found is None or target in self._extra:
            raise ModelError(
                f"the adapter's {a} changes {target}, which is not in the base weights (or is also among the fully "
                "trained tensors): this adapter was trained on another base"
            )
        if shape_a != (rank, found[-1]) or shape_b != (found[0], rank):
            raise ModelError(
                f"the adapter's {a} {shape_a} and {b} {shape_b} do not fit {target} {found} at rank {rank}: this "
                "adapter was trained on another base, or its adapter_config.json belongs to another adapter"
            )

    @property
    def changed(self) -> frozenset[str]:
        """Names of the tensors that differ from the base."""
        return frozenset((*self._pairs, *self._extra))

    def read(self, name: str, rows: slice = ALL) -> torch.Tensor:
        """Read rows of the merged tensor."""
        if name in self._extra:
            return self.extra.read(self._extra[name], rows)
        weight = self.base.read(name, rows)
        if name not in self._pairs:
            return weight
        weight = weight if self.dtype is None else weight.to(self.dtype)
        a, b = self._pairs[name]
        return self._merged(weight, self.adapter.read(b, rows).float(), self.adapter.read(a).float())

    def _merged(self, weight: torch.Tensor, b: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
        return (weight.float() + (b @ a) * lora_scale(self.config)).to(weight.dtype)

    def where(self, name: str) -> str:
        """Path of the file with the tensor: the fully trained one, else the base's."""
        return self.extra.where(self._extra[name]) if name in self._extra else self.base.where(name)


def check_finite(source: Shards) -> None:
    """Read all tensors of an adapter; raise ModelError if one holds NaN or infinite values."""
    for name in source.shapes:
        if (reason := not_finite(source.read(name))) is not None:
            raise ModelError(
                f"the tensor {name} ({source.where(name)}) holds {reason}: the training of this adapter "
                "failed, or its file is damaged; use another of its checkpoints, or fetch it again"
            )


def check_moves(adapter: Shards, pairs: Mapping[str, LoraPair]) -> None:
    """Raise ModelError if an adapter changes nothing, because each pair has a factor of zeros."""
    still = [pair for pair in pairs.values() if not all(adapter.read(n).any() for n in pair)]
    if len(still) == len(pairs):
        raise ModelError(
            f"all {len(still)} pairs of the adapter ({adapter.where(still[0].b)}) have a factor of zeros, as "
            "before the first step of training: merged, it would change nothing and the base would be evaluated "
            "under its name; check which checkpoint of the training was saved"
        )


def not_finite(tensor: torch.Tensor) -> str | None:
    """Say that a tensor holds NaN or infinite values; None if it holds neither, as every usable weight."""
    import torch

    if tensor.numel() == 0:
        return None
    low, high = torch.aminmax(tensor)  # one pass, in which NaN wins over every number
    if bool(torch.isfinite(low)) and bool(torch.isfinite(high)):
        return None
    return "NaN" if bool(torch.isnan(low)) else "infinite values"


def plain_name(name: str) -> str:
    """Remove the prefix of peft's wrappers from a tensor's name.

    >>> plain_name("base_model.model.model.mm_projector.0.weight")
    'model.mm_projector.0.weight'
    """
    return name.removeprefix("base_model.model.")


def lora_scale(config: dict[str, Any]) -> float:
    """Compute the scale of an adapter: lora_alpha / r, or lora_alpha / sqrt(r) with use_rslora."""
    rank = config["r"]
    return float(config["lora_alpha"] / (math.sqrt(rank) if config.get("use_rslora") else rank))


def adapter_obstacle(config: Mapping[str, Any]) -> str | None:
    """The first setting of an adapter_config.json that is not of plain LoRA, in words; None where there is none."""
    for key, value in config.items():
        if key not in _ADAPTER_KNOWN and value and value not in _ADAPTER_PLAIN.get(key, ()):
            return f"adapter_config.json sets {key} to {value!r}"
    return None


def check_adapter(config: dict[str, Any]) -> None:
    """Raise ModelError for the first setting of an adapter_config.json that a plain merge does not support."""
    if obstacle := adapter_obstacle(config):
        raise ModelError(
            f"{obstacle}, but evalkit merges plain LoRA only: merge the adapter into its base with peft and use the "
            "merged folder"
        )
    rank, alpha = config.get("r"), config.get("lora_alpha")
    whole = isinstance(rank, int) and rank >= 1 and finite_number(rank) is not None
    if not whole or not alpha or finite_number(alpha) is None:
        raise ModelError(
            f"adapter_config.json has r {rank!r} and lora_alpha {alpha!r}: expected an integer r >= 1 and a number "
            "other than 0, at which the adapter would change nothing"
        )


def lora_pairs(adapter: Shards) -> dict[str, LoraPair]:
    halves: dict[str, dict[str, str]] = {}
    for name in adapter.shapes:
        match = re.fullmatch(r"(.+)\.lora_([AB])(?:\.default)?\.weight", name)
        if match is None:
            raise ModelError(
                f"the adapter's tensor {name} ({adapter.where(name)}) is neither a lora_A nor a lora_B weight and "
                "would be ignored; merge the adapter with peft and use the merged folder"
            )
        halves.setdefault(f"{plain_name(match[1])}.weight", {})[match[2]] = name
    for target, parts in halves.items():
        if len(parts) != 2:
            raise ModelError(f"the adapter has only lora_{next(iter(parts))} for {target}: the other half is missing")
    if not halves:
        raise ModelError("the adapter file contains no LoRA weights: it would change nothing; fetch it again")
    return {target: LoraPair(parts["A"], parts["B"]) for target, parts in halves.items()}
