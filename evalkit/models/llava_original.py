"""Loading of checkpoints in LLaVA's own layouts (full, delta or LoRA) as `LlavaForConditionalGeneration`.

The model is built without allocating parameters, every tensor's name and shape is checked before any is read, and then
tensors are read, cast and stored one at a time: the peak of memory is one copy of the weights and the current file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from evalkit.core.errors import ModelError
from evalkit.core.types import ImagePlace, Message
from evalkit.models.components import Part, chat_template, missing_message
from evalkit.models.delta_lora import DeltaWeights, LoraWeights
from evalkit.models.formats import Form, recognise
from evalkit.models.llava_config import OriginalConfig, bundled_tower, is_openai_tower, llava_config, read_original
from evalkit.models.llava_processor import END, START, Vocabulary, load_vocabulary, make_processor
from evalkit.models.llava_tensors import StoredTensor, check, empty_model, fill, float_dtype, plan
from evalkit.models.llava_tower import TowerChoice, choose_tower, tower_config
from evalkit.models.lora_base import check_base
from evalkit.models.malloc import map_large_blocks
from evalkit.models.templates import render
from evalkit.models.tensor_files import ADAPTER_FILES, Shards, TensorSource, open_folder, read_json

if TYPE_CHECKING:
    import torch
    from transformers import CLIPVisionConfig, LlavaForConditionalGeneration, LlavaProcessor, SiglipVisionConfig

GENERATION_FILE = "generation_config.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedLlava:
    """Loaded checkpoint: the model in eval mode, its processor, the choices made, and notes for the user."""

    model: LlavaForConditionalGeneration
    processor: LlavaProcessor
    form: Form
    vision_tower: TowerChoice
    notes: tuple[str, ...]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedLlava:
    """Checkpoint of which everything but the values of its weights is checked: an empty model, and what fills it."""

    form: Form
    original: OriginalConfig
    vocabulary: Vocabulary
    vision: CLIPVisionConfig | SiglipVisionConfig
    skipped: tuple[str, ...]
    model: LlavaForConditionalGeneration
    tensors: Mapping[str, StoredTensor | None]
    dtype: torch.dtype
    ends: GenerationTokens
    warnings: tuple[str, ...]


class GenerationTokens(NamedTuple):
    """Tokens that a checkpoint's generation_config.json names: those that end an answer, those never generated."""

    ends: tuple[int, ...]
    suppressed: tuple[int, ...]


class LoadArguments(NamedTuple):
    """Arguments of `load_llava` for a registered model: the folder, and the keyword arguments."""

    folder: Path
    options: dict[str, Any]


@map_large_blocks()
def load_llava(
    folder: Path,
    *,
    base: Path | None = None,
    vision_tower: TowerChoice = "stock",
    vision_tower_path: Path | None = None,
    chat_template: str | None = None,
    dtype: str = "auto",
    device: str = "cpu",
) -> LoadedLlava:
    """Load the checkpoint in `folder`, in any of LLaVA's forms.

    Args:
        folder: the checkpoint.
        base: folder of the base weights of a delta or an adapter.
        vision_tower: "stored": the tower in the checkpoint; "stock": the CLIP model in `vision_tower_path` (or in the
            checkpoint's folder, if the config names a path inside it).
        vision_tower_path: folder of the stock CLIP model.
        chat_template: jinja text for the processor.
        dtype: name of a torch dtype; "auto": the one in the config.
        device: torch device of the model.

    Raises:
        ModelError: a part is missing, or config, weights, tokenizer or template do not fit together.
    """
    checked = check_llava(
        folder,
        base=base,
        vision_tower=vision_tower,
        vision_tower_path=vision_tower_path,
        chat_template=chat_template,
        dtype=dtype,
    )
    vocabulary, model = checked.vocabulary, checked.model
    fill(model, checked.tensors, checked.dtype, device)
    set_special_tokens(model, vocabulary, checked.ends)
    return LoadedLlava(
        model=model,
        processor=make_processor(vocabulary, checked.original, checked.vision, chat_template),
        form=checked.form,
        vision_tower=vision_tower,
        notes=_notes(checked.original, vocabulary, checked.skipped),
        warnings=checked.warnings,
    )


def check_llava(
    folder: Path,
    *,
    base: Path | None = None,
    vision_tower: TowerChoice = "stock",
    vision_tower_path: Path | None = None,
    chat_template: str | None = None,
    dtype: str = "auto",
) -> CheckedLlava:
    """Check everything that `load_llava` needs, reading headers, small files and an adapter's tensors only.

    Raises:
        ModelError: as for `load_llava`, except for values of complete weights that are no numbers.
    """
    form = recognise(folder)
    original = read_original(folder)
    as_dtype = float_dtype(original.dtype if dtype == "auto" else dtype)
    source = weights_source(folder, form, base, as_dtype)
    warnings: tuple[str, ...] = ()
    if isinstance(source, LoraWeights) and base is not None and (text := check_base(source.config, base)):
        warnings = (text,)
    vocabulary = load_vocabulary(tokenizer_folders(folder, form, base), original)
    check_template(chat_template, vocabulary)
    stock = vision_tower_path or bundled_tower(folder)
    tower = choose_tower(source, vision_tower, stock, original)
    check_skipped(source, tower.skipped)
    # The presence of a stock tower that is not used must not change the model.
    config_folder = None if vision_tower == "stored" and is_openai_tower(original.tower) else stock
    shapes = {bare: tower.source.shapes[name] for bare, name in tower.names.items()}
    vision = tower_config(shapes, original, config_folder)
    config = llava_config(original, vision, vocab_size=vocabulary.size, image_token=vocabulary.image_id)
    model = empty_model(config, original.pools)
    tensors = plan(model, original, source, tower)
    check(model, tensors)
    return CheckedLlava(
        form=form,
        original=original,
        vocabulary=vocabulary,
        vision=vision,
        skipped=tower.skipped,
        model=model,
        tensors=tensors,
        dtype=as_dtype,
        ends=generation_tokens([folder, *([base] if base and form == "llava-lora" else [])], vocabulary.size),
        warnings=warnings,
    )


def generation_tokens(folders: Sequence[Path], n: int) -> GenerationTokens:
    """Read the end and suppressed tokens in the generation_config.json of a checkpoint, and of an adapter's base.

    n: size of the vocabulary; old files hold ids outside of it (-1), which are ignored.
    """
    found: dict[str, list[int]] = {"eos_token_id": [], "suppress_tokens": []}
    for path in (folder / GENERATION_FILE for folder in folders):
        content = read_json(path) if path.is_file() else {}
        for key, ids in found.items():
            value = content.get(key)
            given = [i for i in (value if isinstance(value, list) else [value]) if i is not None]
            if any(isinstance(i, bool) or not isinstance(i, int) for i in given):
                raise ModelError(f"{path} sets {key} to {value!r}: expected token ids")
            ids += [i for i in given if 0 <= i < n]
    return GenerationTokens(*(tuple(ids) for ids in found.values()))


def load_configured(config: Mapping[str, Any], parts: Sequence[Part], *, dtype: str, device: str) -> LoadedLlava:
    """Load a registered model (the content of its YAML) from the folders that `locate` found.

    Raises:
        ModelError: a part is not on this machine, or as for `load_llava`.
    """
    folder, options = load_arguments(config, parts)
    return load_llava(folder, **options, dtype=dtype, device=device)


def load_arguments(config: Mapping[str, Any], parts: Sequence[Part]) -> LoadArguments:
    """Make the arguments of `load_llava` for a registered model.  Raises ModelError if a part is missing."""
    if message := missing_message(str(config.get("name", "this model")), config, tuple(parts)):
        raise ModelError(message)
    folders = {part.role: part.folder for part in parts}
    weights = folders["weights"]
    assert weights is not None
    options = {
        "base": folders.get("base"),
        "vision_tower": config.get("vision_tower", "stock"),
        "vision_tower_path": folders.get("vision tower"),
        "chat_template": chat_template(config),
    }
    return LoadArguments(weights, options)


def weights_source(folder: Path, form: Form, base: Path | None, dtype: torch.dtype | None = None) -> TensorSource:
    """Open the weights under LLaVA's names, merged with their base if they need one.

    dtype: that of the run, in which an adapter is merged (None: the base's own).

    Raises:
        ModelError: a base is missing, or is given but not needed; or an adapter changes nothing.
    """
    if form == "hf":
        raise ModelError(f"{folder} is in Hugging Face form: transformers loads it directly, no conversion is needed")
    if form == "llava-full":
        if base is not None:
            raise ModelError(f"{folder} contains complete weights, but a base ({base}) is given: remove the base")
        return open_folder(folder)
    if base is None:
        kind = "a delta" if form == "llava-delta" else "a LoRA adapter"
        raise ModelError(
            f"{folder} contains {kind} and not complete weights: give the folder of the base weights (base)"
        )
    if form == "llava-delta":
        delta = DeltaWeights(open_folder(base), open_folder(folder))
        delta.check_values()
        return delta
    adapter = next((folder / name for name in ADAPTER_FILES if (folder / name).is_file()), None)
    if adapter is None:
        raise ModelError(f"{folder} has an adapter_config.json but none of {', '.join(ADAPTER_FILES)}: fetch it again")
    extra = Shards((folder / "non_lora_trainables.bin",))
    merged = LoraWeights(open_folder(base), Shards((adapter,)), extra, read_json(folder / "adapter_config.json"), dtype)
    merged.check_values()
    return merged


def check_skipped(source: TensorSource, skipped: Sequence[str]) -> None:
    """Raise ModelError if the stock tower would replace a tower that a LoRA has trained."""
    trained = [name for name in skipped if isinstance(source, LoraWeights) and name in source.changed]
    if trained:
        raise ModelError(
            f"the LoRA changes {len(trained)} tensors of the vision tower, first {trained[0]}, and "
            "vision_tower=stock would ignore them: use vision_tower=stored"
        )


def tokenizer_folders(folder: Path, form: Form, base: Path | None) -> tuple[Path, ...]:
    """Folders to search for the tokenizer, in order: a LoRA's base first, for other forms the checkpoint first."""
    both = [folder] if base is None else [folder, base]
    return tuple(reversed(both)) if form == "llava-lora" else tuple(both)


def set_special_tokens(model: Any, vocabulary: Vocabulary, stated: GenerationTokens) -> None:
    """Set end, padding and suppressed tokens.

    From the tokenizer, because old configs have wrong ids (eos 1, pad -1), with those of generation_config.json added.
    """
    from transformers import GenerationConfig

    tokenizer = vocabulary.tokenizer
    ends = list(dict.fromkeys((tokenizer.eos_token_id, *stated.ends)))
    suppressed = list(dict.fromkeys((*vocabulary.added, *stated.suppressed)))
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=ends if len(ends) > 1 else ends[0],
        pad_token_id=vocabulary.pad_id,
        suppress_tokens=suppressed or None,
    )
    for config in (model.config, model.config.text_config):
        config.bos_token_id, config.eos_token_id = tokenizer.bos_token_id, tokenizer.eos_token_id
        config.pad_token_id = vocabulary.pad_id


def check_template(chat_template: str | None, vocabulary: Vocabulary) -> None:
    """Raise ModelError if a template does not render an image as this checkpoint's image token."""
    if chat_template is None:
        return
    prompt = render(chat_template, [Message(role="user", content=(ImagePlace(), "?"))])
    if prompt.count(vocabulary.image_token) != 1:
        raise ModelError(
            f"the chat template renders one image as {prompt!r}, but this checkpoint's image token is "
            f"{vocabulary.image_token}, which must occur in it once: the template belongs to another model; set "
            "chat_template"
        )
    absent = [t for t in (START, END) if t in prompt and t not in vocabulary.tokenizer.get_vocab()]
    if absent:
        raise ModelError(
            f"the chat template renders one image as {prompt!r}, but this checkpoint was trained without "
            f"{' and '.join(absent)} (mm_use_im_start_end is false in its config.json), which would be read as words: "
            f"set chat_template to one with {vocabulary.image_token} alone"
        )


def _notes(original: OriginalConfig, vocabulary: Vocabulary, skipped: tuple[str, ...]) -> tuple[str, ...]:
    notes = []
    if skipped:
        notes.append(
            f"the checkpoint's own vision tower ({len(skipped)} tensors) is not used, but the stock {original.tower}, "
            "as in the authors' loader (vision_tower=stored uses the checkpoint's)"
        )
    if original.aspect == "pad" and original.text_type != "phi":
        notes.append("images are centred when padded to a square; the authors' code shifts them by 0 or 1 pixel")
    if original.text_type == "phi":
        notes.append(
            f"ids from {vocabulary.added[0]} on, of which {vocabulary.image_token} is one, are not tokens of the "
            "published vocabulary and are never generated"
        )
    elif vocabulary.added:
        notes.append(
            f"{vocabulary.image_token} and {vocabulary.tokenizer.pad_token} are ids {vocabulary.added} after the "
            "published vocabulary; their rows are copies of that of id 0 and generation never emits them"
        )
    if original.projector == "linear":
        notes.append("the linear projector is followed by an identity layer, which changes no value")
    return tuple(notes)
