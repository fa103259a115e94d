"""Tokenizer and image processor of a checkpoint in LLaVA's layout, with the results of its own code.

LLaVA tokenises the text before and after each image separately, and SentencePiece adds its dummy prefix to each part;
a tokenizer that adds the prefix to the first part only gives different ids after the image.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit.core.errors import ModelError
from evalkit.models.llava_config import OriginalConfig, image_places
from evalkit.models.tensor_files import read_json

if TYPE_CHECKING:
    from transformers import CLIPVisionConfig, LlavaProcessor, PreTrainedTokenizerFast, SiglipVisionConfig

IMAGE, PAD = "<image>", "<pad>"
# Language models whose embeddings have more rows than their tokenizers have tokens.
_PADDED = ("qwen2", "phi")
# Text with words, runs of spaces, digits, and characters that a normaliser would change.
_PROBE = "Is the left lung normal in this scan?  What is shown,\n\tand where: ﬁ ① é 漢 12.5 "
PATCH, START, END, OLD_PAD = "<im_patch>", "<im_start>", "<im_end>", "[PAD]"


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Tokenizer with its image and padding tokens.

    size: number of rows of the embedding.  added: ids that are not in the published vocabulary and that generation must
    never emit.
    """

    tokenizer: PreTrainedTokenizerFast
    image_token: str
    image_id: int
    pad_id: int
    size: int
    added: tuple[int, ...]


def load_vocabulary(folders: tuple[Path, ...], original: OriginalConfig) -> Vocabulary:
    """Load the tokenizer from the first folder that has one, with the tokens of the checkpoint's training.

    v1.0-style checkpoints have their own image tokens (`<im_patch>`, `<im_start>`, `<im_end>`).  If the published
    folder has none, they are added to the base model's tokenizer, provided that this gives exactly the vocabulary size
    in the config.  v1.5 has no such tokens: `<image>` and `<pad>` are added after its vocabulary.
    """
    folder = next((f for f in folders if _has_tokenizer(f)), None)
    if folder is None:
        raise ModelError(
            f"no tokenizer in {' or '.join(map(str, folders))}: expected tokenizer.model or tokenizer.json"
        )
    tokenizer = _read_tokenizer(folder, original)
    if original.start_end or original.patch_token:
        return _with_own_image_tokens(tokenizer, original, folder)
    return _with_added_image_token(tokenizer, original, folder)


def _has_tokenizer(folder: Path) -> bool:
    return any((folder / name).is_file() for name in ("tokenizer.model", "tokenizer.json", "vocab.json"))


def _with_own_image_tokens(tokenizer: Any, original: OriginalConfig, folder: Path) -> Vocabulary:
    wanted = [PATCH, *((START, END) if original.start_end else ())]
    known = tokenizer.get_vocab()
    if not all(token in known for token in wanted):
        missing = [token for token in (OLD_PAD, *wanted) if token not in known]
        if len(known) + len(missing) == original.vocab_size + 1 and OLD_PAD in missing:
            missing.remove(OLD_PAD)  # the conversations other than v0 pad with the unknown token
        if len(known) + len(missing) != original.vocab_size:
            raise ModelError(
                f"the tokenizer in {folder} has {len(known)} tokens and lacks {', '.join(missing)}; adding them does "
                f"not give the {original.vocab_size} of the checkpoint's config: this is not its tokenizer"
            )
        _add(tokenizer, missing)
    _add(tokenizer, wanted, strip=True)
    if len(tokenizer) > original.vocab_size:
        raise ModelError(
            f"the tokenizer in {folder} has {len(tokenizer)} tokens, more than the {original.vocab_size} of the "
            "checkpoint's config: this is not its tokenizer"
        )
    pad = OLD_PAD if OLD_PAD in tokenizer.get_vocab() else str(tokenizer.unk_token)
    tokenizer.pad_token = pad
    return Vocabulary(
        tokenizer,
        PATCH,
        tokenizer.convert_tokens_to_ids(PATCH),
        tokenizer.convert_tokens_to_ids(pad),
        original.vocab_size,
        (),
    )


def _with_added_image_token(tokenizer: Any, original: OriginalConfig, folder: Path) -> Vocabulary:
    if len(tokenizer) > original.vocab_size:
        raise ModelError(
            f"the tokenizer in {folder} has {len(tokenizer)} tokens, more than the {original.vocab_size} of the "
            "checkpoint's config: this is not its tokenizer"
        )
    _add(tokenizer, _fillers(len(tokenizer), original))
    _add(tokenizer, [IMAGE, PAD])
    image, pad = (tokenizer.convert_tokens_to_ids(token) for token in (IMAGE, PAD))
    tokenizer.pad_token = PAD
    size = max(original.vocab_size, image + 1, pad + 1)
    # ColonGPT's loader cuts the unused rows off, so that none of them is ever generated.
    added = tuple(range(image, size)) if original.text_type == "phi" else (image, pad)
    return Vocabulary(tokenizer, IMAGE, image, pad, size, added)


def _fillers(n: int, original: OriginalConfig) -> list[str]:
    """Placeholder tokens for embedding rows without a token in a LLaMA or Mistral tokenizer; new ids come after them.

    Qwen's and Phi's embeddings are padded with unused rows; there the new tokens take two of those.
    """
    if original.text_type in _PADDED:
        return []
    return [f"<unused{i}>" for i in range(n, original.vocab_size)]


def _add(tokenizer: Any, tokens: list[str], *, strip: bool = False) -> None:
    """Add special tokens.

    strip: remove white space around the token, as the transformers version (4.28) of v1.0's training did.
    """
    from transformers import AddedToken

    added = [AddedToken(t, special=True, normalized=False, lstrip=strip, rstrip=strip) for t in tokens]
    tokenizer.add_tokens(added, special_tokens=True)


def _read_tokenizer(folder: Path, original: OriginalConfig) -> Any:
    from transformers import PreTrainedTokenizerFast, Qwen2Tokenizer

    if original.text_type == "qwen2":
        tokenizer = Qwen2Tokenizer.from_pretrained(folder, local_files_only=True, padding_side="left")
    elif (folder / "tokenizer.model").is_file():
        tokenizer = from_sentencepiece(folder / "tokenizer.model")
        extra = folder / "added_tokens.json"
        _add_numbered(tokenizer, read_json(extra) if extra.is_file() else {}, extra)
    else:
        tokenizer = PreTrainedTokenizerFast.from_pretrained(
            folder,
            local_files_only=True,
            padding_side="left",
            clean_up_tokenization_spaces=False,  # transformers does not clean up with such a tokenizer, and warns
        )
    return tokenizer


def _add_numbered(tokenizer: Any, extra: dict[str, Any], path: Path) -> None:
    for token, number in sorted(extra.items(), key=lambda item: item[1]):
        _add(tokenizer, [token])
        if tokenizer.convert_tokens_to_ids(token) != number:
            raise ModelError(
                f"{path} gives {token} the id {number}, but it would get "
                f"{tokenizer.convert_tokens_to_ids(token)}: the file does not belong to tokenizer.model"
            )


def from_sentencepiece(path: Path) -> PreTrainedTokenizerFast:
    """Make a fast tokenizer with SentencePiece's ids and a dummy prefix for every part between special tokens.

    Raises:
        ModelError: the file is not a SentencePiece BPE model, or one of another kind than LLaMA's and Mistral's.
    """
    import sentencepiece
    from tokenizers import Tokenizer, decoders, normalizers, processors
    from tokenizers.models import BPE
    from transformers import PreTrainedTokenizerFast

    pieces = sentencepiece.SentencePieceProcessor()
    try:
        pieces.Load(str(path))
    except (RuntimeError, OSError) as error:
        raise ModelError(
            f"{path} is not a SentencePiece model ({error}): it is truncated or damaged (or a Git LFS pointer); fetch "
            "the checkpoint again"
        ) from None
    vocab = {pieces.IdToPiece(i): i for i in range(pieces.GetPieceSize())}
    unk, bos, eos = (pieces.IdToPiece(i) for i in (pieces.unk_id(), pieces.bos_id(), pieces.eos_id()))
    backend = Tokenizer(
        BPE(vocab=vocab, merges=_merges(pieces, vocab), unk_token=unk, fuse_unk=True, byte_fallback=True)
    )
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(content=" ", left=1)]
    )
    backend.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A", pair=f"{bos} $A {bos} $B", special_tokens=[(bos, vocab[bos])]
    )
    if backend.encode(_PROBE, add_special_tokens=False).ids != pieces.Encode(_PROBE):
        raise ModelError(
            f"{path} is a SentencePiece model of another kind than LLaMA's and Mistral's (BPE, no normalisation, dummy "
            "prefix): its ids would be wrong; use the checkpoint's Hugging Face form"
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token=unk, bos_token=bos, eos_token=eos, padding_side="left"
    )


def _merges(pieces: Any, vocab: dict[str, int]) -> list[tuple[str, str]]:
    """Convert SentencePiece's BPE to merge rules: every way to split a piece into two pieces, best score first."""
    found = []
    for piece, number in vocab.items():
        if pieces.IsControl(number) or pieces.IsByte(number) or pieces.IsUnknown(number):
            continue
        for cut in range(1, len(piece)):
            left, right = piece[:cut], piece[cut:]
            if left in vocab and right in vocab:
                found.append((-pieces.GetScore(number), vocab[left], vocab[right], left, right))
    return [(left, right) for *_, left, right in sorted(found)]


def make_image_processor(original: OriginalConfig, vision: CLIPVisionConfig | SiglipVisionConfig) -> Any:
    """Make the tower's preprocessing at its size: pad to a square with the mean colour first, or resize and crop.

    Always the PIL version, so that pixels do not depend on whether torchvision is installed.  The padding colour is
    (122, 116, 104) for CLIP, (127, 127, 127) for SigLIP, and the image is centred; LLaVA-Med v1.5's own code shifts it
    by 0 or 1 pixel at random.  SigLIP's resizes to the square without a crop.
    """
    from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil

    side = vision.image_size
    if vision.model_type == "siglip_vision_model":
        return LlavaImageProcessorPil(
            do_pad=original.aspect == "pad",
            do_center_crop=False,
            size={"height": side, "width": side},
            image_mean=[0.5] * 3,
            image_std=[0.5] * 3,
        )
    return LlavaImageProcessorPil(
        do_pad=original.aspect == "pad",
        size={"shortest_edge": side},
        crop_size={"height": side, "width": side},
    )


def make_processor(
    vocabulary: Vocabulary,
    original: OriginalConfig,
    vision: CLIPVisionConfig | SiglipVisionConfig,
    chat_template: str | None,
) -> LlavaProcessor:
    """Combine tokenizer and image processor in transformers' `LlavaProcessor`."""
    from transformers import LlavaProcessor

    # The processor counts the patches and this number, less one for a class token that is left out.
    class_token = original.feature_strategy == "default"
    more = image_places(original, vision) + class_token - (vision.image_size // vision.patch_size) ** 2
    return LlavaProcessor(
        image_processor=make_image_processor(original, vision),
        tokenizer=vocabulary.tokenizer,
        patch_size=vision.patch_size,
        vision_feature_select_strategy=original.feature_strategy,
        num_additional_image_tokens=more,
        image_token=vocabulary.image_token,
        chat_template=chat_template,
    )
