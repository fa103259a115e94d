"""PEFT adapters on a checkpoint: a folder with adapter_config.json and the tensors that training changed.

Plain LoRA is merged here, whether or not peft is installed, so that a number does not depend on it: product and sum in
float32, rounded once to the dtype of the run, as `evalkit.models.delta_lora` merges LLaVA's LoRA form.  Every other
kind (DoRA, trained modules, patterns of ranks …), and every adapter on a quantised base, goes through peft.
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evalkit.core.errors import ModelError, first_line
from evalkit.core.types import digest_json
from evalkit.models.delta_lora import (
    LoraPair,
    adapter_obstacle,
    check_adapter,
    check_finite,
    check_moves,
    lora_pairs,
    lora_scale,
)
from evalkit.models.formats import is_original
from evalkit.models.lora_base import check_base
from evalkit.models.tensor_files import ADAPTER_FILES, Shards, read_json

CONFIG = "adapter_config.json"
_PLAIN_NAME = re.compile(r".+\.lora_[AB](?:\.default)?\.weight")


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds a PEFT adapter, and neither a whole checkpoint nor LLaVA's own LoRA form."""
    if not (folder / CONFIG).is_file() or (folder / "non_lora_trainables.bin").is_file():
        return False
    config = folder / "config.json"
    return not (config.is_file() and is_original(read_json(config)))


def stated_base(folder: Path) -> str:
    """The folder or hub id of the base that an adapter names; "" for none."""
    return str(read_json(folder / CONFIG).get("base_model_name_or_path") or "").strip()


def adapter_file(folder: Path) -> Path:
    """The file with an adapter's tensors.

    Raises:
        ModelError: the folder is no adapter, or has no tensors.
    """
    if not (folder / CONFIG).is_file():
        raise ModelError(f"{folder} has no {CONFIG}: model.adapter must be the folder that peft saved an adapter in.")
    for name in ADAPTER_FILES:
        if (folder / name).is_file():
            return folder / name
    raise ModelError(f"{folder} has an {CONFIG} but none of {', '.join(ADAPTER_FILES)}: save or fetch it again.")


def adapter_digest(folder: Path) -> str:
    """sha256 over the configuration and the tensors of an adapter, and over nothing else in its folder."""
    names = (folder / CONFIG, adapter_file(folder))
    return digest_json([[p.name, hashlib.sha256(p.read_bytes()).hexdigest()] for p in names])


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """An adapter that is ready to be applied.

    source: as the user named it.  obstacle: why it is not plain LoRA; None where it is.  is_merged: its change becomes
    part of the weights; else it is computed beside them (a quantised base).
    """

    source: str
    folder: Path
    config: Mapping[str, Any]
    tensors: Shards
    obstacle: str | None
    is_merged: bool
    warning: str | None

    @property
    def by(self) -> str:
        """What applies it: evalkit, or peft with its version."""
        if self.obstacle is None and self.is_merged:
            return "evalkit"
        from importlib.metadata import version

        return f"peft {version('peft')}"

    def record(self) -> dict[str, Any]:
        """What is recorded of it with a run."""
        kind = str(self.config.get("peft_type"))
        return {"source": self.source, "sha256": adapter_digest(self.folder), "kind": kind, "merged": self.is_merged,
                "by": self.by}  # fmt: skip

    def text(self, base: str) -> str:
        """One line about what is done with it."""
        how = "merged into" if self.is_merged else "computed beside, not merged into,"
        return f"the adapter {self.source} ({self.config.get('peft_type')}) is {how} {base}, by {self.by}"


def open_adapter(name: str, source: str, folder: Path, base: Path, *, is_merged: bool) -> Adapter:
    """Read an adapter's configuration and headers, and check what can be checked without the model.

    Args:
        name: of the model, for messages.
        base: folder of the weights that it changes.

    Raises:
        ModelError: it is not whole, names another base, changes nothing, or needs peft, which is not installed.
    """
    path = adapter_file(folder)
    config = read_json(folder / CONFIG)
    warning = check_base(config, base, setting="model.source")
    tensors = Shards((path,))
    obstacle = adapter_obstacle(config) or _other_tensors(tensors)
    check_finite(tensors)
    if obstacle is None:
        check_adapter(dict(config))
        check_moves(tensors, lora_pairs(tensors))
    if (obstacle or not is_merged) and importlib.util.find_spec("peft") is None:
        why = obstacle or "its base is quantised"
        raise ModelError(
            f"{name}: the adapter {folder} needs the package peft ({why}; evalkit itself merges plain LoRA). Install "
            "it with `pip install 'evalkit-medvqa[peft]'`, or merge the adapter into its base where it was trained."
        )
    return Adapter(
        source=source, folder=folder, config=config, tensors=tensors, obstacle=obstacle, is_merged=is_merged,
        warning=warning,
    )  # fmt: skip


def _other_tensors(tensors: Shards) -> str | None:
    """The first tensor that is no factor of a matrix, as a reason; None where all are."""
    for name, shape in tensors.shapes.items():
        if _PLAIN_NAME.fullmatch(name) is None or len(shape) != 2:
            return f"the tensor {name} of shape {shape} is not a factor of plain LoRA"
    return None


def check_on(name: str, adapter: Adapter, model: Any) -> None:
    """Check the names and shapes of a plain adapter against a model, which may be on the device `meta`.

    Raises:
        ModelError: the adapter changes a weight that the model does not have, or one of another shape.
    """
    if adapter.obstacle is None:
        weights = dict(model.named_parameters())
        for target, pair in lora_pairs(adapter.tensors).items():
            _check_pair(name, adapter, target, pair, weights)


def _check_pair(name: str, adapter: Adapter, target: str, pair: LoraPair, weights: Mapping[str, Any]) -> None:
    weight, rank = weights.get(target), adapter.config["r"]
    if weight is None:
        raise ModelError(
            f"{name}: the adapter's {pair.a} changes {target}, which the model does not have ({len(weights)} weights, "
            f"such as {next(iter(weights), 'none')}): it was trained on another base, or under a version of "
            "transformers with other names. Merge it into its base where it was trained, and use the merged folder."
        )
    shapes = (adapter.tensors.shapes[pair.a], adapter.tensors.shapes[pair.b])
    found = tuple(weight.shape)
    if len(found) != 2 or shapes != ((rank, found[1]), (found[0], rank)):
        raise ModelError(
            f"{name}: the adapter's {pair.a} {shapes[0]} and {pair.b} {shapes[1]} do not fit {target} {found} at rank "
            f"{rank}: it was trained on another base, or its {CONFIG} belongs to another adapter."
        )


def apply_adapter(name: str, adapter: Adapter, model: Any) -> Any:
    """The model with the adapter; a plain one is merged in place.

    Raises:
        ModelError: the adapter does not fit the model, or peft cannot apply it.
    """
    if adapter.obstacle is None and adapter.is_merged:
        check_on(name, adapter, model)
        _merge(adapter, model)
        return model
    return _apply_by_peft(name, adapter, model)


def _merge(adapter: Adapter, model: Any) -> None:
    import torch

    weights, scale = dict(model.named_parameters()), lora_scale(dict(adapter.config))
    with torch.no_grad():
        for target, (a, b) in lora_pairs(adapter.tensors).items():
            weight = weights[target]
            factors = [adapter.tensors.read(part).float().to(weight.device) for part in (b, a)]
            weight.copy_((weight.float() + (factors[0] @ factors[1]) * scale).to(weight.dtype))


def _apply_by_peft(name: str, adapter: Adapter, model: Any) -> Any:
    import peft

    # peft only warns about tensors that it does not find or use; they are compared below.
    try:
        with warnings.catch_warnings(action="ignore"):
            wrapped = peft.PeftModel.from_pretrained(model, str(adapter.folder), is_trainable=False)
            if wrapped.active_peft_config.is_prompt_learning:
                raise ValueError("it adds tokens to the prompt, which evalkit does not support")
            loaded = set(peft.get_peft_model_state_dict(wrapped))
            made = wrapped.merge_and_unload(safe_merge=True) if adapter.is_merged else wrapped.get_base_model()
    except Exception as problem:  # peft fails anywhere on a configuration or tensors that do not fit
        raise ModelError(
            f"{name}: peft cannot apply the adapter {adapter.folder}: {first_line(problem)}. Merge it into its base "
            "where it was trained, and use the merged folder."
        ) from problem
    stored = set(adapter.tensors.shapes)
    if odd := sorted(stored ^ loaded):
        raise ModelError(
            f"{name}: {len(odd)} tensors of the adapter {adapter.folder} and of the model do not correspond, first "
            f"{odd[0]} ({'not used' if odd[0] in stored else 'not in the file'}): the adapter was trained on another "
            "base, or under other versions of transformers and peft. Merge it into its base where it was trained."
        )
    return made
