"""Loads checkpoints in LLaVA's own layout (whole, delta or LoRA) into transformers' `LlavaForConditionalGeneration`.

The model is built without memory, every tensor's name and shape is checked before one is read, and then tensors are
read, cast and put in place one at a time: the peak is one copy of the weights and the file in hand.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit.core.errors import ModelError
from evalkit.core.types import ImagePlace, Message
from evalkit.models.components import Part, missing
from evalkit.models.delta_lora import IGNORABLE, Delta, Lora
from evalkit.models.formats import Form, recognise
from evalkit.models.llava_config import Original, is_openai_tower, llava_config, read_original, tower_inside
from evalkit.models.llava_processor import Vocabulary, processor, vocabulary
from evalkit.models.llava_tower import Tower, choose_tower, tower_config
from evalkit.models.malloc import blocks_apart
from evalkit.models.templates import read_template, render
from evalkit.models.tensor_files import ADAPTER_FILES, Shape, Shards, TensorSource, open_folder, read_json

if TYPE_CHECKING:
    import torch
    from transformers import LlavaForConditionalGeneration, LlavaProcessor


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedLlava:
    """A checkpoint ready for use: the model in eval mode, its processor, and what was decided on the way."""

    model: LlavaForConditionalGeneration
    processor: LlavaProcessor
    form: Form
    vision_tower: Tower
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Piece:
    """Where one tensor of the model comes from; `rows` is its height in the model when the vocabulary grew."""

    source: TensorSource
    name: str
    rows: int | None = None


@blocks_apart()
def load_llava(
    folder: Path,
    *,
    base: Path | None = None,
    vision_tower: Tower = "stock",
    vision_tower_path: Path | None = None,
    chat_template: str | None = None,
    dtype: str = "auto",
    device: str = "cpu",
) -> LoadedLlava:
    """The checkpoint in `folder`, in whichever of LLaVA's forms it is.

    base: the folder that a delta or an adapter is over.  vision_tower: "stored" takes the tower inside the
    checkpoint, "stock" the CLIP model in `vision_tower_path` (or in the folder itself, where the config names a path
    inside it).  dtype: a torch dtype's name, "auto" for the one that the config states.  ModelError otherwise.
    """
    form = recognise(folder)
    original = read_original(folder)
    source = weights_source(folder, form, base)
    words = vocabulary(tokenizer_folders(folder, form, base), original)
    check_template(chat_template, words)
    stock = vision_tower_path or tower_inside(folder)
    tower, tower_names, skipped = choose_tower(source, vision_tower, stock, original)
    check_skipped(source, skipped)
    # A stock tower that is not used must not change the model by being there.
    described = None if vision_tower == "stored" and is_openai_tower(original.tower) else stock
    vision = tower_config({bare: tower.shapes[name] for bare, name in tower_names.items()}, original, described)
    config = llava_config(original, vision, vocab_size=words.size, image_token=words.image_id)
    model = empty_model(config)
    pieces = plan(model, original, source, tower, tower_names, skipped)
    check(model, pieces)
    fill(model, pieces, float_dtype(original.dtype if dtype == "auto" else dtype), device)
    finish(model, words)
    return LoadedLlava(
        model=model,
        processor=processor(words, original, vision, chat_template),
        form=form,
        vision_tower=vision_tower,
        notes=_notes(original, words, skipped),
    )


def load_configured(config: Mapping[str, Any], parts: Sequence[Part], *, dtype: str, device: str) -> LoadedLlava:
    """A registered model (the content of its YAML) from the folders that `locate` found.  ModelError when one lacks."""
    folder, options = options_of(config, parts)
    return load_llava(folder, **options, dtype=dtype, device=device)


def options_of(config: Mapping[str, Any], parts: Sequence[Part]) -> tuple[Path, dict[str, Any]]:
    """The folder and the options of `load_llava` for a registered model.  ModelError when a part is not here."""
    absent = missing(str(config.get("name", "this model")), config, tuple(parts))
    if absent:
        raise ModelError(absent)
    folders = {part.role: part.folder for part in parts}
    weights = folders["weights"]
    assert weights is not None
    return weights, {
        "base": folders.get("base"),
        "vision_tower": config.get("vision_tower", "stock"),
        "vision_tower_path": folders.get("vision tower"),
        "chat_template": read_template(config.get("chat_template")),
    }


def weights_source(folder: Path, form: Form, base: Path | None) -> TensorSource:
    """The weights under LLaVA's names, parts put together.  ModelError when a base is missing or given in vain."""
    if form == "hf":
        raise ModelError(f"{folder} is in Hugging Face form: transformers loads it as it is")
    if form == "llava-full":
        if base is not None:
            raise ModelError(f"{folder} holds whole weights, yet a base ({base}) is given: leave the base out")
        return open_folder(folder)
    if base is None:
        kind = "a delta" if form == "llava-delta" else "a LoRA adapter"
        raise ModelError(f"{folder} holds {kind} and no whole weights: give the folder of the base weights (base)")
    if form == "llava-delta":
        return Delta(open_folder(base), open_folder(folder))
    adapter = next((folder / name for name in ADAPTER_FILES if (folder / name).is_file()), None)
    if adapter is None:
        raise ModelError(f"{folder} has an adapter_config.json but none of {', '.join(ADAPTER_FILES)}: fetch it again")
    extra = Shards((folder / "non_lora_trainables.bin",))
    return Lora(open_folder(base), Shards((adapter,)), extra, read_json(folder / "adapter_config.json"))


def check_skipped(source: TensorSource, skipped: Sequence[str]) -> None:
    """ModelError when the stock tower would take the place of one that a LoRA trained."""
    trained = [name for name in skipped if isinstance(source, Lora) and name in source.changed]
    if trained:
        raise ModelError(
            f"the LoRA trained {len(trained)} tensors of the vision tower, first {trained[0]}, and vision_tower=stock "
            "would leave them out: use vision_tower=stored"
        )


def tokenizer_folders(folder: Path, form: Form, base: Path | None) -> tuple[Path, ...]:
    """Where the tokenizer may be, in order: LLaVA takes a LoRA's from its base, the others' from the checkpoint."""
    both = [folder] if base is None else [folder, base]
    return tuple(reversed(both)) if form == "llava-lora" else tuple(both)


def empty_model(config: Any) -> LlavaForConditionalGeneration:
    """The model with no memory behind its parameters; tables such as rotary frequencies are real."""
    from accelerate import init_empty_weights
    from transformers import LlavaForConditionalGeneration

    with init_empty_weights(include_buffers=False):
        return LlavaForConditionalGeneration(config)


def plan(
    model: Any,
    original: Original,
    source: TensorSource,
    tower: TensorSource,
    tower_names: Mapping[str, str],
    skipped: tuple[str, ...],
) -> dict[str, Piece | None]:
    """Model tensor -> where it comes from; None for the identity layer behind a single linear projector."""
    targets = model.state_dict()
    level = "model.vision_tower.vision_model." if _has_level(targets) else "model.vision_tower."
    taken = {*tower_names.values(), *skipped} if tower is source else set(skipped)
    pieces: dict[str, Piece | None] = {}
    for name in source.shapes:
        if name in taken or IGNORABLE.search(name):
            continue
        target = hf_name(name, original)
        if target is None or target not in targets:
            raise ModelError(
                f"the tensor {name} ({source.where(name)}, shape {source.shapes[name]}) has no place in the model "
                f"that config.json describes ({original.text_type}, {original.text['num_hidden_layers']} layers, "
                f"{original.projector} projector): config and weights do not belong together"
            )
        rows = targets[target].shape[0] if name in _VOCABULARY else None
        pieces[target] = Piece(source, name, rows)
    for bare, name in tower_names.items():
        pieces[f"{level}{bare}"] = Piece(tower, name)
    if original.projector == "linear":
        pieces.update(dict.fromkeys(_IDENTITY))
    return pieces


# Numbers in one step of copying: 4 MB in float32.
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
}


def _has_level(targets: Mapping[str, Any]) -> bool:
    return any(name.startswith("model.vision_tower.vision_model.") for name in targets)


def hf_name(name: str, original: Original) -> str | None:
    """The name in transformers' model of a tensor in LLaVA's layout (tower apart); None when it has none."""
    if name == "lm_head.weight":
        return name
    if name.startswith("model.mm_projector."):
        part = _PROJECTOR_PARTS[original.projector].get(name.removeprefix("model.mm_projector."))
        return f"{_PROJECTOR}{part}" if part else None
    if name.startswith(("model.layers.", "model.embed_tokens.", "model.norm.")):
        return f"model.language_model.{name.removeprefix('model.')}"
    return None


def check(model: Any, pieces: Mapping[str, Piece | None]) -> None:
    """ModelError naming the first tensor that is missing, left over or of the wrong shape.  Nothing is read."""
    targets = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    for name, shape in targets.items():
        if name not in pieces:
            raise ModelError(
                f"no tensor for {name} {shape}: the checkpoint does not hold it under any name of LLaVA's layout; "
                f"{sum(n not in pieces for n in targets)} of {len(targets)} are missing in all, and none is ever "
                "filled with random numbers; fetch the checkpoint again"
            )
    for target, piece in pieces.items():
        if target not in targets:
            assert piece is not None
            raise ModelError(f"the tensor {piece.name} ({piece.source.where(piece.name)}) has no place in the model")
        if piece is not None and not _fits(piece, targets[target]):
            raise ModelError(
                f"the tensor {piece.name} ({piece.source.where(piece.name)}) has shape "
                f"{piece.source.shapes[piece.name]}, and the model that config.json describes needs {targets[target]}: "
                "config and weights do not belong together"
            )


def _fits(piece: Piece, shape: Shape) -> bool:
    stored = piece.source.shapes[piece.name]
    if piece.rows is None:
        return stored == shape
    return len(stored) == len(shape) and stored[1:] == shape[1:] and 0 <= shape[0] - stored[0] <= 2


def float_dtype(name: str) -> torch.dtype:
    """The floating torch dtype of that name; ModelError for any other word."""
    import torch

    found = getattr(torch, name.removeprefix("torch."), None)
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise ModelError(f"{name!r} is no floating dtype of torch: float32, bfloat16 or float16 was expected")
    return found


def fill(model: Any, pieces: Mapping[str, Piece | None], dtype: torch.dtype, device: str) -> None:
    """Puts every tensor in place, in the order in which the files hold them."""
    import torch

    for target, piece in pieces.items():
        path, _, leaf = target.rpartition(".")
        module = model.get_submodule(path)
        shape = getattr(module, leaf).shape
        if piece is None:
            values = torch.eye(*shape) if leaf == "weight" else torch.zeros(shape)
            tensor = values.to(device=device, dtype=dtype)
        else:
            tensor = torch.empty(shape, dtype=dtype, device=device)
            _copy(piece, tensor)
        setattr(module, leaf, torch.nn.Parameter(tensor, requires_grad=False))
    model.to(device)
    model.config.dtype = dtype
    model.eval()


def _copy(piece: Piece, into: torch.Tensor) -> None:
    """Fills `into` a few rows at a time; rows behind the stored ones copy row 0.

    Merged weights are computed in temporaries.  Small ones leave no holes in the heap between tensors that stay.
    """
    stored = piece.source.shapes[piece.name]
    step = max(1, _BLOCK // max(1, math.prod(stored[1:])))
    for start in range(0, stored[0], step):
        rows = slice(start, min(start + step, stored[0]))
        into[rows] = piece.source.read(piece.name, rows)
    into[stored[0] :] = into[0]


def finish(model: Any, words: Vocabulary) -> None:
    """Stop, padding and never-emit tokens, from the tokenizer: old configs carry wrong numbers (eos 1, pad -1)."""
    from transformers import GenerationConfig

    tokenizer = words.tokenizer
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=words.pad_id,
        suppress_tokens=list(words.added) or None,
    )
    for config in (model.config, model.config.text_config):
        config.bos_token_id, config.eos_token_id = tokenizer.bos_token_id, tokenizer.eos_token_id
        config.pad_token_id = words.pad_id


def check_template(chat_template: str | None, words: Vocabulary) -> None:
    """ModelError when a template renders an image as something else than this checkpoint's image token."""
    if chat_template is None:
        return
    prompt = render(chat_template, [Message(role="user", content=(ImagePlace(), "?"))])
    if prompt.count(words.image_token) != 1:
        raise ModelError(
            f"the chat template renders one image as {prompt!r}, and this checkpoint's image token is "
            f"{words.image_token}, which must be in it once: the template is another model's (see chat_template)"
        )


def _notes(original: Original, words: Vocabulary, skipped: tuple[str, ...]) -> tuple[str, ...]:
    notes = []
    if skipped:
        notes.append(
            f"the checkpoint's own vision tower ({len(skipped)} tensors) is left unused for stock "
            f"{original.tower}, as the authors' loader does (vision_tower=stored takes the other)"
        )
    if original.aspect == "pad":
        notes.append("images are padded to a square from the middle; the authors' code shifts them by 0 or 1 pixel")
    if words.added:
        notes.append(
            f"{words.image_token} and {words.tokenizer.pad_token} are ids {words.added} behind the published "
            f"vocabulary; their rows copy that of id 0 and generation never emits them"
        )
    if original.projector == "linear":
        notes.append("the linear projector is followed by an identity layer, which changes no value")
    return tuple(notes)
