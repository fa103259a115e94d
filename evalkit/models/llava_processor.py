"""Tokenizer and image processor of a checkpoint in LLaVA's layout, as its own code would apply them.

LLaVA tokenises the text before and after each image place apart, and SentencePiece puts its dummy prefix in front
of each part; a tokenizer that puts the prefix before the first part only gives other ids behind the image.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit.core.errors import ModelError
from evalkit.models.llava_config import Original
from evalkit.models.tensor_files import read_json

if TYPE_CHECKING:
    from transformers import CLIPVisionConfig, LlavaProcessor, PreTrainedTokenizerFast

IMAGE, PAD = "<image>", "<pad>"
# Words, runs of spaces, digits, and characters that a normaliser would change.
_PROBE = "Is the left lung normal in this scan?  What is shown,\n\tand where: ﬁ ① é 漢 12.5 "
PATCH, START, END, OLD_PAD = "<im_patch>", "<im_start>", "<im_end>", "[PAD]"


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The tokenizer, which token stands for the image, and how many rows the embedding needs for it.

    added: ids that the published vocabulary does not have and that generation must never emit.
    """

    tokenizer: PreTrainedTokenizerFast
    image_token: str
    image_id: int
    pad_id: int
    size: int
    added: tuple[int, ...]


def vocabulary(folders: tuple[Path, ...], original: Original) -> Vocabulary:
    """The tokenizer from the first folder that has one, with the tokens the checkpoint was trained with.

    v1.0-style checkpoints own their image tokens (`<im_patch>`, `<im_start>`, `<im_end>`); they are added to a base
    model's tokenizer where the published folder lacks them, if that gives exactly the vocabulary that the config
    states.  v1.5 has none: `<image>` and `<pad>` are added behind its vocabulary.
    """
    folder = next((f for f in folders if _has_tokenizer(f)), None)
    if folder is None:
        raise ModelError(
            f"no tokenizer in {' or '.join(map(str, folders))}: tokenizer.model or tokenizer.json was expected"
        )
    tokenizer = _read_tokenizer(folder, original)
    if original.start_end or original.patch_token:
        return _owned(tokenizer, original, folder)
    return _extended(tokenizer, original, folder)


def _has_tokenizer(folder: Path) -> bool:
    return any((folder / name).is_file() for name in ("tokenizer.model", "tokenizer.json", "vocab.json"))


def _owned(tokenizer: Any, original: Original, folder: Path) -> Vocabulary:
    wanted = [PATCH, *((START, END) if original.start_end else ())]
    known = tokenizer.get_vocab()
    if not all(token in known for token in wanted):
        missing = [token for token in (OLD_PAD, *wanted) if token not in known]
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


def _extended(tokenizer: Any, original: Original, folder: Path) -> Vocabulary:
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
    return Vocabulary(tokenizer, IMAGE, image, pad, size, (image, pad))


def _fillers(n: int, original: Original) -> list[str]:
    """Names for rows that the embedding has and a LLaMA or Mistral tokenizer lacks, so that new ids come behind them.

    Qwen's embedding is padded with rows that no token ever used; there the new tokens take two of those.
    """
    if original.text_type == "qwen2":
        return []
    return [f"<unused{i}>" for i in range(n, original.vocab_size)]


def _add(tokenizer: Any, tokens: list[str], *, strip: bool = False) -> None:
    """strip: white space beside the token is dropped, as by the transformers (4.28) that v1.0 was trained with."""
    from transformers import AddedToken

    added = [AddedToken(t, special=True, normalized=False, lstrip=strip, rstrip=strip) for t in tokens]
    tokenizer.add_tokens(added, special_tokens=True)


def _read_tokenizer(folder: Path, original: Original) -> Any:
    from transformers import PreTrainedTokenizerFast, Qwen2Tokenizer

    if original.text_type == "qwen2":
        tokenizer = Qwen2Tokenizer.from_pretrained(folder, local_files_only=True, padding_side="left")
    elif (folder / "tokenizer.model").is_file():
        tokenizer = from_sentencepiece(folder / "tokenizer.model")
        extra = folder / "added_tokens.json"
        _add_numbered(tokenizer, read_json(extra) if extra.is_file() else {}, extra)
    else:
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True, padding_side="left")
    return tokenizer


def _add_numbered(tokenizer: Any, extra: dict[str, Any], path: Path) -> None:
    for token, number in sorted(extra.items(), key=lambda item: item[1]):
        _add(tokenizer, [token])
        if tokenizer.convert_tokens_to_ids(token) != number:
            raise ModelError(
                f"{path} gives {token} the id {number}, and it would get "
                f"{tokenizer.convert_tokens_to_ids(token)}: the file does not go with tokenizer.model"
            )


def from_sentencepiece(path: Path) -> PreTrainedTokenizerFast:
    """A fast tokenizer with the ids of SentencePiece itself, dummy prefix before every part between special tokens.

    ModelError when the file is not a SentencePiece BPE model.
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
            f"{path} is not a SentencePiece model ({error}): it was cut off or damaged (or is a Git LFS pointer); "
            "fetch the checkpoint again"
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
            f"{path} is a SentencePiece model of another kind than LLaMA's and Mistral's (BPE, text taken as it is, a "
            "dummy prefix): its ids would be wrong here; use the checkpoint's Hugging Face form"
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token=unk, bos_token=bos, eos_token=eos, padding_side="left"
    )


def _merges(pieces: Any, vocab: dict[str, int]) -> list[tuple[str, str]]:
    """Every way in which a piece is two other pieces, best score first: SentencePiece's BPE as merge rules."""
    found = []
    for piece, number in vocab.items():
        if pieces.IsControl(number) or pieces.IsByte(number) or pieces.IsUnknown(number):
            continue
        for cut in range(1, len(piece)):
            left, right = piece[:cut], piece[cut:]
            if left in vocab and right in vocab:
                found.append((-pieces.GetScore(number), vocab[left], vocab[right], left, right))
    return [(left, right) for *_, left, right in sorted(found)]


def image_processor(original: Original, vision: CLIPVisionConfig) -> Any:
    """CLIP's preprocessing at the tower's size: pad to a square with the mean colour first, or resize and crop.

    Always the PIL version, so that pixels do not depend on whether torchvision is installed.  The padding colour is
    (122, 116, 104) and the image is in the middle; LLaVA-Med v1.5's own code moves it by a random pixel or none.
    """
    from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil

    side = vision.image_size
    return LlavaImageProcessorPil(
        do_pad=original.aspect == "pad",
        size={"shortest_edge": side},
        crop_size={"height": side, "width": side},
    )


def processor(
    words: Vocabulary, original: Original, vision: CLIPVisionConfig, chat_template: str | None
) -> LlavaProcessor:
    """The two together, as transformers' `LlavaProcessor`."""
    from transformers import LlavaProcessor

    return LlavaProcessor(
        image_processor=image_processor(original, vision),
        tokenizer=words.tokenizer,
        patch_size=vision.patch_size,
        vision_feature_select_strategy=original.feature_strategy,
        num_additional_image_tokens=1,
        image_token=words.image_token,
        chat_template=chat_template,
    )
