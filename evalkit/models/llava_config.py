"""LLaVA's own config.json: parsing, refusal of unsupported settings, and conversion to transformers' `LlavaConfig`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from evalkit.core.errors import ModelError
from evalkit.models.formats import COLONGPT
from evalkit.models.tensor_files import read_json

if TYPE_CHECKING:
    from transformers import CLIPVisionConfig, LlavaConfig, SiglipVisionConfig

Projector = Literal["linear", "mlp2x_gelu", "pyramid"]
Aspect = Literal["pad", "square"]

# Keys of the flat config that describe the language model; the other keys belong to LLaVA or to the trainer.
_TEXT_KEYS = (
    "attention_bias",
    "attention_dropout",
    "embd_pdrop",
    "head_dim",
    "hidden_act",
    "hidden_size",
    "initializer_range",
    "intermediate_size",
    "layer_norm_eps",
    "max_position_embeddings",
    "max_window_layers",
    "num_attention_heads",
    "num_hidden_layers",
    "num_key_value_heads",
    "partial_rotary_factor",
    "qk_layernorm",
    "resid_pdrop",
    "rms_norm_eps",
    "rope_parameters",
    "rope_scaling",
    "rope_theta",
    "use_sliding_window",
    "vocab_size",
)
_TEXT_TYPES = {
    "llava": "llama",
    "llava_llama": "llama",
    "llava_mistral": "mistral",
    "llava_qwen2": "qwen2",
    COLONGPT: "phi",
}
# Defaults in the code of a model type for keys that its config.json omits.  HuatuoGPT-Vision's uses -2 and always pads.
_TYPE_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "llava_qwen2": {"mm_vision_select_layer": -2, "image_aspect_ratio": "pad"},
    COLONGPT: {"mm_projector_type": "mlp2x_gelu"},
}
# Settings in a model type's code, whatever its config.json says: ColonGPT's tower has no class token to leave out.
_TYPE_FIXED: Mapping[str, Mapping[str, Any]] = {
    COLONGPT: {"mm_vision_select_layer": -2, "mm_vision_select_feature": "cls_patch"},
}
_PROJECTORS: tuple[Projector, ...] = ("linear", "mlp2x_gelu")
# ColonGPT's projector: ppc_14_7_1 averages the patches to 14 x 14, 7 x 7 and 1 place.
_PYRAMID = re.compile(r"ppc((?:_[1-9]\d*)+)")
_FEATURES = {"patch": "default", "cls_patch": "full"}


@dataclass(frozen=True, slots=True, kw_only=True)
class OriginalConfig:
    """Model's settings in LLaVA's config.

    tower: name or path of the vision tower that the model was trained with.  pools: sides of the grids that a pyramid
    projector averages the patches to; () for the others.
    """

    text_type: str
    text: Mapping[str, Any]
    vocab_size: int
    projector: Projector
    pools: tuple[int, ...] = ()
    start_end: bool
    patch_token: bool
    feature_layer: int
    feature_strategy: Literal["default", "full"]
    tower: str
    aspect: Aspect
    dtype: str


def read_original(folder: Path) -> OriginalConfig:
    """Read the config.json of a checkpoint in LLaVA's layout.

    Raises:
        ModelError: names the first setting that transformers' LLaVA cannot represent.
    """
    path = folder / "config.json"
    raw = read_json(path)
    defaults = _TYPE_DEFAULTS.get(str(raw.get("model_type")), {})
    raw |= {key: value for key, value in defaults.items() if raw.get(key) is None}
    raw |= _TYPE_FIXED.get(str(raw.get("model_type")), {})

    def one_of(key: str, default: Any, known: Mapping[Any, Any]) -> Any:
        value = raw.get(key, default)
        if value not in known:
            raise ModelError(
                f"{path} sets {key} to {value!r}, but transformers' LLaVA supports only "
                f"{', '.join(map(repr, known))}: use a Hugging Face conversion of this model"
            )
        return known[value]

    one_of("mm_patch_merge_type", "flat", {"flat": True})
    one_of("use_s2", False, {False: True, None: True})
    one_of("tie_word_embeddings", False, {False: True})
    text = _text_settings(path, raw)
    # No default: v1.0's code uses the last layer if none is given, v1.5's requires the setting.
    layer = raw.get("mm_vision_select_layer")
    if not isinstance(layer, int):
        raise ModelError(
            f"{path} sets mm_vision_select_layer to {layer!r}: expected the number of the vision tower's layer whose "
            "features the model was trained with (-2 in all published LLaVA-Med checkpoints)"
        )
    pools = _pools(raw)
    return OriginalConfig(
        text_type=one_of("model_type", None, _TEXT_TYPES),
        text={**text, "sliding_window": raw.get("sliding_window")},
        vocab_size=text["vocab_size"],
        projector="pyramid" if pools else one_of("mm_projector_type", "linear", {p: p for p in _PROJECTORS}),
        pools=pools,
        start_end=bool(raw.get("mm_use_im_start_end", False)),
        patch_token=_patch_token(raw),
        feature_layer=layer,
        feature_strategy=one_of("mm_vision_select_feature", "patch", _FEATURES),
        tower=_tower(path, raw),
        aspect=one_of("image_aspect_ratio", "square", {"square": "square", "pad": "pad", None: "square"}),
        dtype=str(raw.get("torch_dtype") or raw.get("dtype") or "float16"),
    )


def _pools(raw: Mapping[str, Any]) -> tuple[int, ...]:
    """Sides of the grids of ColonGPT's projector, as its name in the config has them; () for other projectors.

    >>> _pools({"model_type": "colongpt-phi", "mm_projector_type": "ppc_14_7_1"})
    (14, 7, 1)
    """
    named = _PYRAMID.fullmatch(str(raw.get("mm_projector_type"))) if raw.get("model_type") == COLONGPT else None
    return tuple(map(int, named[1].split("_")[1:])) if named else ()


def _tower(path: Path, raw: Mapping[str, Any]) -> str:
    """Name of the vision tower; "" for none.  Raises ModelError for a ColonGPT with another tower than a SigLIP."""
    tower = str(raw.get("mm_vision_tower") or raw.get("vision_tower") or "")
    if raw.get("model_type") == COLONGPT and not is_siglip_tower(tower):
        raise ModelError(
            f"{path} names the vision tower {tower!r}: ColonGPT is loaded with a SigLIP only, whose name or folder has "
            "siglip in it (google/siglip-so400m-patch14-384 in the published ones); correct mm_vision_tower there"
        )
    return tower


def _patch_token(raw: Mapping[str, Any]) -> bool:
    """Whether images are places of an <im_patch> token in the vocabulary.

    v1.0's configs (`model_type: llava`) never have the key, and its code always adds the token; later code states it.
    """
    stated = raw.get("mm_use_im_patch_token")
    return bool(raw.get("mm_use_im_start_end")) or raw["model_type"] == "llava" if stated is None else bool(stated)


def _text_settings(path: Path, raw: Mapping[str, Any]) -> dict[str, Any]:
    text = {key: raw[key] for key in _TEXT_KEYS if raw.get(key) is not None}
    if "max_position_embeddings" not in text and "max_sequence_length" in raw:
        text["max_position_embeddings"] = raw["max_sequence_length"]
    for key in ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size"):
        if not isinstance(text.get(key), int):
            raise ModelError(f"{path} has no integer {key}: it does not describe a LLaVA language model")
    return text


def llava_config(
    original: OriginalConfig, vision: CLIPVisionConfig | SiglipVisionConfig, *, vocab_size: int, image_token: int
) -> LlavaConfig:
    """Make transformers' config of the same model.

    A linear projector becomes two layers, the second an identity; a pyramid takes the projector's place in the model.
    """
    from transformers import CONFIG_MAPPING, LlavaConfig

    text = dict(original.text)
    if original.text_type in ("llama", "phi"):
        text.pop("sliding_window")
    text["vocab_size"] = vocab_size
    return LlavaConfig(
        text_config=CONFIG_MAPPING[original.text_type](**text),
        vision_config=vision,
        image_token_index=image_token,
        image_seq_length=image_places(original, vision),
        projector_hidden_act="linear" if original.projector == "linear" else "gelu",
        vision_feature_layer=original.feature_layer,
        vision_feature_select_strategy=original.feature_strategy,
        tie_word_embeddings=False,
    )


def image_places(original: OriginalConfig, vision: CLIPVisionConfig | SiglipVisionConfig) -> int:
    """Number of image tokens that one image takes in the prompt."""
    if original.pools:
        return sum(side * side for side in original.pools)
    patches = (vision.image_size // vision.patch_size) ** 2
    return int(patches + (original.feature_strategy == "full" and has_class_token(vision)))


def has_class_token(vision: CLIPVisionConfig | SiglipVisionConfig) -> bool:
    """Whether the tower's features begin with a class token, as CLIP's do and SigLIP's do not."""
    return bool(vision.model_type == "clip_vision_model")


def bundled_tower(folder: Path) -> Path | None:
    """Folder of a vision tower that the checkpoint contains under a relative path (HuatuoGPT-Vision), else None."""
    named = tower_name(folder)
    bundled = folder / named if named.startswith("./") else None
    return bundled if bundled is not None and bundled.is_dir() else None


def tower_name(folder: Path) -> str:
    """Vision tower that a config.json in LLaVA's layout names; empty if it names none."""
    raw = read_json(folder / "config.json") if (folder / "config.json").is_file() else {}
    named = raw.get("mm_vision_tower") or raw.get("vision_tower")
    return named if isinstance(named, str) else ""


def is_siglip_tower(name: str) -> bool:
    """Whether a checkpoint names a SigLIP as its tower, by its hub id or a path."""
    return "siglip" in name.lower()


def is_openai_tower(name: str) -> bool:
    """Whether a tower is one of OpenAI's CLIP models, whose configuration follows from the shapes of its tensors."""
    return "openai" in name and "clip-vit-" in name
