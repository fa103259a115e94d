"""Check that token ids hold the whole rendered prompt: a tokenizer's stored settings may cut or pad it in silence."""

from __future__ import annotations

import re
import threading
import unicodedata
from collections.abc import Sequence
from typing import Any

from evalkit.core import console
from evalkit.core.errors import ModelError

# The first prompts of a run are checked, and later each that is longer than all before: some ten in a run.
ALWAYS_CHECKED = 4
# Longest part of a prompt that a message quotes.
SHOWN = 60


class PromptCheck:
    """Checks prompts of a run as they are tokenised, in any thread."""

    def __init__(self) -> None:
        self.checked = 0
        self._longest = 0
        self._warned = False
        self._lock = threading.Lock()

    def check(self, processor: Any, prompt: str, ids: Sequence[int], sample_id: str) -> None:
        """Compare a rendered prompt with its token ids, if it is one of the first or the longest so far.

        Raises:
            ModelError: a part of the prompt is missing in the ids.
        """
        with self._lock:
            if self.checked >= ALWAYS_CHECKED and len(prompt) <= self._longest:
                return
            self.checked += 1
            self._longest = max(self._longest, len(prompt))
        problem = missing_part(processor, prompt, ids)
        if problem:
            raise ModelError(
                f"The tokenizer does not give the model the whole prompt of sample {sample_id}: {problem} (of "
                f"{len(prompt)} characters, in {len(ids)} token ids). The answers would belong to another prompt. Look "
                "for truncation, a maximum length or a normaliser in the checkpoint's tokenizer.json and "
                "tokenizer_config.json."
            )
        if (unknown := unknown_tokens(processor.tokenizer, prompt, ids)) and not self._warned:
            self._warned = True
            console.warn(
                f"the tokenizer has no tokens for some characters of the prompt of sample {sample_id}: {unknown} of "
                f"its {len(ids)} tokens are {processor.tokenizer.unk_token}, which hides them from the model"
            )


def missing_part(processor: Any, prompt: str, ids: Sequence[int]) -> str:
    """Description of the part of a rendered prompt that its token ids lack; "" if they hold all of it.

    Compared is the text between special tokens, ignoring case, white space, accents and compatibility forms, which
    some tokenizers normalise; special tokens and what a processor adds (expanded image places) may be anywhere.
    """
    tokenizer = processor.tokenizer
    special = special_tokens(processor)
    special_ids = frozenset(tokenizer.convert_tokens_to_ids(sorted(special)))
    decoded = fold(tokenizer.decode([i for i in ids if i not in special_ids], skip_special_tokens=False))
    texts = re.split("|".join(map(re.escape, sorted(special, key=len, reverse=True))), prompt) if special else [prompt]
    pieces = [(text, folded) for text in texts if (folded := fold(text))]
    lost = _first_lost(pieces, decoded)
    if lost is None:
        return ""
    if unknown_tokens(tokenizer, prompt, ids):
        # Some of the middle has no token and is gone; what a cut takes is one of the ends.
        ends = _known_ends(tokenizer, ids, special_ids)
        whole = "".join(folded for _, folded in pieces)
        return "" if whole.startswith(ends[0]) and whole.endswith(ends[1]) else f"{_quoted(lost)} is not in it"
    shortfall = sum(len(folded) for _, folded in pieces) - len(decoded)
    # As many characters, but others: a normaliser.  Fewer: something is cut.
    return f"{shortfall} characters are missing, of {_quoted(lost)}" if shortfall > 0 else ""


def _first_lost(pieces: Sequence[tuple[str, str]], decoded: str) -> str | None:
    """The first text (of pairs text, folded text) that does not follow the earlier ones in `decoded`."""
    at = 0
    for text, folded in pieces:
        found = decoded.find(folded, at)
        if found < 0:
            return text
        at = found + len(folded)
    return None


def _known_ends(tokenizer: Any, ids: Sequence[int], special_ids: frozenset[int]) -> tuple[str, str]:
    """Folded text before the first and after the last unknown token."""
    places = [k for k, i in enumerate(ids) if i == tokenizer.unk_token_id]
    ends = (ids[: places[0]], ids[places[-1] + 1 :])
    first, last = (fold(tokenizer.decode([i for i in end if i not in special_ids])) for end in ends)
    return first, last


def special_tokens(processor: Any) -> frozenset[str]:
    """Special tokens of a processor's tokenizer, and the marks of its image places."""
    tokenizer = processor.tokenizer
    added = getattr(tokenizer, "added_tokens_decoder", {}).values()
    names = {*tokenizer.all_special_tokens, *(str(token) for token in added if token.special)}
    vocabulary = tokenizer.get_vocab()
    marks = {m for m in image_marks(processor) if m in vocabulary}
    return frozenset(name for name in names | marks if name)


def image_marks(processor: Any) -> frozenset[str]:
    """Tokens that mark image places in the prompts of a processor, from its attributes such as `image_token`."""
    names = ("image_token", "boi_token", "eoi_token", "start_image_token", "end_image_token", "video_token",
             "image_break_token", "image_end_token", "fake_image_token", "global_image_token")  # fmt: skip
    found = (getattr(processor, name, None) for name in names)
    return frozenset(str(token) for token in found if token is not None and len(str(token)) > 2)


def unknown_tokens(tokenizer: Any, prompt: str, ids: Sequence[int]) -> int:
    """Number of unknown tokens in a prompt, beyond those written in it; 0 for tokenizers that need none."""
    unknown: int | None = tokenizer.unk_token_id
    if unknown is None or unknown in (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id):
        return 0
    return max(0, sum(i == unknown for i in ids) - prompt.count(str(tokenizer.unk_token)))


def fold(text: str) -> str:
    """Letters and signs of a text without case, accents, white space and invisible characters.

    >>> fold(" Ist  ﬁ\\u200b Größe▁é?"), fold("ist fi grösse e?")
    ('istfigrossee?', 'istfigrossee?')
    """
    decomposed = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    return "".join(c for c in decomposed if c != "▁" and unicodedata.category(c)[0] not in "MZC")


def _quoted(text: str) -> str:
    shown = " ".join(text.split())
    return repr(shown if len(shown) <= SHOWN else f"…{shown[-SHOWN:]}")
