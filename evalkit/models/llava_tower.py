"""Vision tower of a LLaVA checkpoint, CLIP or SigLIP: stored in it, or the stock model that its config names."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from evalkit.core.errors import ModelError
from evalkit.models.delta_lora import IGNORABLE
from evalkit.models.llava_config import OriginalConfig, is_openai_tower, is_siglip_tower
from evalkit.models.tensor_files import Shape, Shards, TensorSource, open_folder, read_json

if TYPE_CHECKING:
    from transformers import CLIPVisionConfig, SiglipVisionConfig

TowerChoice = Literal["stored", "stock"]

_STORED = "model.vision_tower.vision_tower.vision_model."
# Prefixes of other tensors in a stock checkpoint: the text half and the projections.
_NOT_VISION = ("text_model.", "text_projection.", "visual_projection.", "logit_scale", "logit_bias")
# SigLIP's pooling, which no LLaVA reads: features are those of the patches.
UNREAD = re.compile(r"(?:^|vision_model\.)head\.")

# Width of an attention head in all of OpenAI's CLIP towers, which the tensors' shapes do not show.
_CLIP_HEAD = 64
# Their names, and SigLIP's, end with the patch size and, if it is not 224, the image size.
_TOWER_NAME = re.compile(r"(?:clip-vit|siglip)-\w+-patch(\d+)(?:-(\d+))?$")


class TowerTensors(NamedTuple):
    """Tensors of a stock vision tower.  names: bare name -> name in `source`."""

    source: Shards
    names: dict[str, str]


class ChosenTower(NamedTuple):
    """Tower to use.  names: bare name -> name in `source`.  skipped: stored tower tensors that are not used."""

    source: TensorSource
    names: dict[str, str]
    skipped: tuple[str, ...]


def choose_tower(
    source: TensorSource, choice: TowerChoice, stock: Path | None, original: OriginalConfig
) -> ChosenTower:
    """Choose the stored or the stock tower.

    Raises:
        ModelError: the chosen tower is not available.
    """
    stored = stored_tower(source)
    if choice == "stored":
        if not stored:
            raise ModelError(
                f"vision_tower=stored, but the checkpoint contains no tensors under {_STORED}: its tower is "
                f"{original.tower or 'not named'}; use vision_tower=stock"
            )
        return ChosenTower(source, stored, ())
    if stock is None:
        raise ModelError(
            f"vision_tower=stock needs the folder of {original.tower or 'the vision tower'} (vision_tower_path), which "
            "is not in the checkpoint" + (": fetch it, or use vision_tower=stored" if stored else ": fetch it")
        )
    clip = read_tower(stock)
    return ChosenTower(clip.source, clip.names, tuple(name for name in source.shapes if name.startswith(_STORED)))


def stored_tower(source: TensorSource) -> dict[str, str]:
    """Names of the vision tower's tensors in a LLaVA checkpoint, by name without prefix; empty if it has none."""
    return _without_tables({n.removeprefix(_STORED): n for n in source.shapes if n.startswith(_STORED)})


def read_tower(folder: Path) -> TowerTensors:
    """Open the vision half of a CLIP or SigLIP checkpoint.  Raises ModelError if it has none."""
    clip = open_folder(folder)
    names = {}
    for name in clip.shapes:
        bare = name.removeprefix("vision_model.")
        if not name.startswith(_NOT_VISION):
            names[bare] = name
    if "embeddings.patch_embedding.weight" not in names:
        raise ModelError(
            f"{folder} contains no CLIP or SigLIP vision tower: no tensor "
            "vision_model.embeddings.patch_embedding.weight; give the folder of the tower that the checkpoint's "
            "config.json names"
        )
    return TowerTensors(clip, _without_tables(names))


def _without_tables(names: dict[str, str]) -> dict[str, str]:
    return {bare: name for bare, name in names.items() if not (IGNORABLE.search(f".{name}") or UNREAD.search(bare))}


def tower_config(
    shapes: Mapping[str, Shape], original: OriginalConfig, folder: Path | None
) -> CLIPVisionConfig | SiglipVisionConfig:
    """Make the tower's config: from its folder if there is one, else from the shapes of its tensors.

    Args:
        shapes: shapes of the tower's tensors by bare name (`embeddings.patch_embedding.weight`).
        original: config of the checkpoint, which names its tower.
        folder: folder of the tower, with a config.json.

    Raises:
        ModelError: the tower is not one of OpenAI's CLIP models and has no folder, or its patch and image size differ
            from those in the name of the checkpoint's tower.
    """
    config = _tower_config(shapes, original, folder)
    named = _TOWER_NAME.search(original.tower)
    if named and (int(named[1]), int(named[2] or 224)) != (config.patch_size, config.image_size):
        raise ModelError(
            f"the checkpoint's config.json names the vision tower {original.tower}, but the one "
            f"{f'in {folder}' if folder else 'stored'} has patches of {config.patch_size} pixels and images of "
            f"{config.image_size}: set the tower of the checkpoint's training (model.vision_tower_source, "
            "model.vision_tower_revision)"
        )
    return config


def _tower_config(
    shapes: Mapping[str, Shape], original: OriginalConfig, folder: Path | None
) -> CLIPVisionConfig | SiglipVisionConfig:
    from transformers import CLIPVisionConfig, SiglipVisionConfig

    if folder is not None and (folder / "config.json").is_file():
        raw = read_json(folder / "config.json")
        vision = raw.get("vision_config", raw)
        kind, siglip = str(raw.get("model_type")), is_siglip_tower(original.tower)
        if kind.removesuffix("_vision_model") != ("siglip" if siglip else "clip"):
            raise ModelError(
                f"{folder}/config.json has model_type {raw.get('model_type')!r}: expected a "
                f"{'SigLIP' if siglip else 'CLIP'} vision tower, as the checkpoint's config.json names "
                f"{original.tower or 'none'}"
            )
        stated = {key: vision[key] for key in _TOWER_KEYS if vision.get(key) is not None}
        return SiglipVisionConfig(**stated, vision_use_head=False) if siglip else CLIPVisionConfig(**stated)
    if not is_openai_tower(original.tower):
        raise ModelError(
            f"the checkpoint's vision tower is {original.tower!r}, not one of OpenAI's CLIP models: give the folder "
            "of that tower (vision_tower_path), whose config.json describes it"
        )
    return CLIPVisionConfig(**_tower_from_shapes(shapes))


_TOWER_KEYS = (
    "attention_dropout",
    "hidden_act",
    "hidden_size",
    "image_size",
    "intermediate_size",
    "layer_norm_eps",
    "num_attention_heads",
    "num_hidden_layers",
    "patch_size",
    "projection_dim",
)


def _tower_from_shapes(shapes: Mapping[str, Shape]) -> dict[str, Any]:
    hidden, _, patch, _ = shapes["embeddings.patch_embedding.weight"]
    places = shapes["embeddings.position_embedding.weight"][0] - 1
    layers = {name.split(".")[2] for name in shapes if name.startswith("encoder.layers.")}
    return {
        "hidden_size": hidden,
        "intermediate_size": shapes["encoder.layers.0.mlp.fc1.weight"][0],
        "num_hidden_layers": len(layers),
        "num_attention_heads": hidden // _CLIP_HEAD,
        "patch_size": patch,
        "image_size": math.isqrt(places) * patch,
        "hidden_act": "quick_gelu",
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class TowerComparison:
    """Comparison of the stored and the stock vision tower: number of different tensors, largest difference."""

    tensors: int
    different: int
    largest: float


def compare_towers(folder: Path, stock: Path) -> TowerComparison:
    """Compare every tensor of the tower stored in a LLaVA checkpoint with the stock CLIP model in a folder.

    Raises:
        ModelError: a tower is missing, or names or shapes differ.
    """
    source = open_folder(folder)
    stored = stored_tower(source)
    clip, names = read_tower(stock)
    if not stored or set(stored) != set(names):
        raise ModelError(f"the vision tower stored in {folder} does not contain the same tensors as {stock}")
    different, largest = 0, 0.0
    for bare, name in stored.items():
        inner, outer = source.read(name), clip.read(names[bare])
        if inner.shape != outer.shape:
            raise ModelError(f"the towers differ in the shape of {bare}: {tuple(inner.shape)} and {tuple(outer.shape)}")
        # The stored tower may be in half precision: the stock one is rounded to the same dtype before the comparison.
        difference = float((inner.float() - outer.to(inner.dtype).float()).abs().max())
        different, largest = different + (difference > 0), max(largest, difference)
    return TowerComparison(tensors=len(stored), different=different, largest=largest)
