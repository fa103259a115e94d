"""The CLIP vision tower of a LLaVA checkpoint: stored inside it, or the stock model that its config names."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from evalkit.core.errors import ModelError
from evalkit.models.delta_lora import IGNORABLE
from evalkit.models.llava_config import Original, is_openai_tower
from evalkit.models.tensor_files import Shape, Shards, TensorSource, open_folder, read_json

if TYPE_CHECKING:
    from transformers import CLIPVisionConfig

Tower = Literal["stored", "stock"]

_STORED = "model.vision_tower.vision_tower.vision_model."
# A stock CLIP checkpoint also holds the text half and the two projections between them.
_NOT_VISION = ("text_model.", "text_projection.", "visual_projection.", "logit_scale")

# OpenAI's CLIP towers: a head is 64 wide in each of them, which the tensors' shapes alone do not say.
_CLIP_HEAD = 64
# Their names end with the patch and, where it is not 224, the size of the image.
_CLIP_NAME = re.compile(r"clip-vit-\w+-patch(\d+)(?:-(\d+))?$")


def choose_tower(
    source: TensorSource, wanted: Tower, stock: Path | None, original: Original
) -> tuple[TensorSource, dict[str, str], tuple[str, ...]]:
    """(source, bare name -> name in it, names of stored tower tensors that are left unused)."""
    stored = stored_tower(source)
    if wanted == "stored":
        if not stored:
            raise ModelError(
                f"vision_tower=stored, but the checkpoint holds no tensors under {_STORED}: its tower is "
                f"{original.tower or 'not named'}; use vision_tower=stock"
            )
        return source, stored, ()
    if stock is None:
        raise ModelError(
            f"vision_tower=stock needs the folder of {original.tower or 'the CLIP tower'} (vision_tower_path), which "
            "is not in the checkpoint" + (": fetch it, or use vision_tower=stored" if stored else ": fetch it")
        )
    clip, names = read_tower(stock)
    return clip, names, tuple(name for name in source.shapes if name.startswith(_STORED))


def stored_tower(source: TensorSource) -> dict[str, str]:
    """Bare name -> name of the tower tensors that a checkpoint in LLaVA's layout holds; empty when it holds none."""
    return _without_tables({n.removeprefix(_STORED): n for n in source.shapes if n.startswith(_STORED)})


def read_tower(folder: Path) -> tuple[Shards, dict[str, str]]:
    """The vision half of a CLIP checkpoint: (tensors, bare name -> name in them).  ModelError when it has none."""
    clip = open_folder(folder)
    names = {}
    for name in clip.shapes:
        bare = name.removeprefix("vision_model.")
        if not name.startswith(_NOT_VISION):
            names[bare] = name
    if "embeddings.patch_embedding.weight" not in names:
        raise ModelError(
            f"{folder} holds no CLIP vision tower: no tensor vision_model.embeddings.patch_embedding.weight"
        )
    return clip, _without_tables(names)


def _without_tables(names: dict[str, str]) -> dict[str, str]:
    return {bare: name for bare, name in names.items() if not IGNORABLE.search(f".{name}")}


def tower_config(shapes: Mapping[str, Shape], original: Original, folder: Path | None) -> CLIPVisionConfig:
    """The CLIP tower's config: from its own folder where there is one, else from the shapes of its tensors.

    shapes: tower tensors under their bare names (`embeddings.patch_embedding.weight`).  ModelError for a tower that
    is not one of OpenAI's CLIP models and has no folder to say what it is, and for one that is not of the patch and
    image size which the checkpoint's own tower has by its name.
    """
    config = _tower_config(shapes, original, folder)
    named = _CLIP_NAME.search(original.tower)
    if named and (int(named[1]), int(named[2] or 224)) != (config.patch_size, config.image_size):
        raise ModelError(
            f"the checkpoint's config.json names the vision tower {original.tower}, and the one "
            f"{f'in {folder}' if folder else 'stored'} takes patches of {config.patch_size} pixels, images of "
            f"{config.image_size}: give the tower that it was trained with (model.vision_tower_source, "
            "model.vision_tower_revision)"
        )
    return config


def _tower_config(shapes: Mapping[str, Shape], original: Original, folder: Path | None) -> CLIPVisionConfig:
    from transformers import CLIPVisionConfig

    if folder is not None and (folder / "config.json").is_file():
        raw = read_json(folder / "config.json")
        vision = raw.get("vision_config", raw)
        if raw.get("model_type") not in ("clip", "clip_vision_model"):
            raise ModelError(
                f"{folder}/config.json says model_type {raw.get('model_type')!r}: a CLIP vision tower was expected"
            )
        return CLIPVisionConfig(**{key: vision[key] for key in _TOWER_KEYS if vision.get(key) is not None})
    if not is_openai_tower(original.tower):
        raise ModelError(
            f"the checkpoint's vision tower is {original.tower!r}, not one of OpenAI's CLIP models: give the folder "
            "of that tower (vision_tower_path) so that its own config says what it is"
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
    """The stored vision tower against the stock one: how many tensors differ, and by how much at most."""

    tensors: int
    different: int
    largest: float


def compare_towers(folder: Path, stock: Path) -> TowerComparison:
    """Every tensor of the tower stored in a LLaVA checkpoint against the stock CLIP folder.  ModelError without one."""
    source = open_folder(folder)
    stored = stored_tower(source)
    clip, names = read_tower(stock)
    if not stored or set(stored) != set(names):
        raise ModelError(f"the vision tower stored in {folder} does not hold the same tensors as {stock}")
    different, largest = 0, 0.0
    for bare, name in stored.items():
        ours, theirs = source.read(name), clip.read(names[bare])
        if ours.shape != theirs.shape:
            raise ModelError(f"the towers differ in the shape of {bare}: {tuple(ours.shape)} and {tuple(theirs.shape)}")
        # The stored one may be kept in half precision: the stock one is rounded the same way before it is compared.
        gap = float((ours.float() - theirs.to(ours.dtype).float()).abs().max())
        different, largest = different + (gap > 0), max(largest, gap)
    return TowerComparison(tensors=len(stored), different=different, largest=largest)
