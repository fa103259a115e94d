"""Common prefixes of the prompts about one image, and the reasons why some prompts cannot share a prefix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from evalkit.engines.loaded_model import LoadedModel
from evalkit.engines.preprocess import PromptGroup, PromptRow


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefixGroup:
    """Group whose prompts share their first `length` tokens, which include all images.

    For a single question the prefix is its whole prompt, which needs no second pass.
    positions: position ids of the longest prompt, (length,), or (axes, length) for models with several axes.
    """

    group: PromptGroup
    length: int
    positions: Any

    @property
    def tokens(self) -> int:
        """Number of prompt tokens to compute: the prefix once, and the rest of each prompt."""
        return self.length + sum(len(row.ids) - self.length for row in self.group.rows)

    @property
    def whole(self) -> bool:
        """Whether the prefix is the whole prompt of a single question."""
        return len(self.group.rows[0].ids) == self.length

    def split(self) -> list[PrefixGroup]:
        """Split into one group per prompt, each with its own prefix of the same length."""
        return [replace(self, group=PromptGroup(rows=(row,))) for row in self.group.rows]

    def first_position(self) -> Any:
        """Position of the first token after the prefix, (axes,)."""
        axes = self.positions.reshape(-1, self.positions.shape[-1])
        return axes[:, -1] + 1 if self.whole else axes[:, self.length]


def model_obstacle(loaded: LoadedModel) -> str | None:
    """Reason why no prompt can share a prefix with this model and these settings; None if there is none."""
    g = loaded.generation
    if g.temperature > 0 and g.n == 1:
        return "sampling answers one request at a time"
    if g.num_beams > 1:
        return "beam search is done by transformers"
    if g.repetition_penalty != 1.0:
        return "a repetition penalty is applied by transformers"
    if altering := loaded.altering():
        return f"the checkpoint sets {', '.join(altering)}, which transformers applies"
    return structural_obstacle(loaded)


def structural_obstacle(loaded: LoadedModel) -> str | None:
    """Reason why no prompt can share a prefix with this model, whatever is computed; None if there is none."""
    config = loaded.model.config
    if config.is_encoder_decoder:
        return "an encoder-decoder has no prefix to share"
    if loaded.image_token_id is None:
        return "the configuration names no image token, so the position of the image in the prompt is not known"
    if (attention := loaded.text_config._attn_implementation) not in ("sdpa", "eager"):
        return f"attention {attention} takes no 4D mask"
    kinds = set(getattr(loaded.text_config, "layer_types", None) or ())
    if other := sorted(kinds - {"full_attention", "sliding_attention"}):
        return f"layers of kind {', '.join(other)} keep a state that cannot be shared"
    return None


def find_prefix(
    loaded: LoadedModel, group: PromptGroup, *, exact: bool, at_most: int | None = None
) -> PrefixGroup | str:
    """Find the common prefix of a group; a string is the reason why there is none that can be shared.

    exact: the prefix ends at the last image token, so that it does not depend on the other questions of the group.
    at_most: its greatest length, where the logits of later tokens are needed.
    """
    rows = group.rows
    if not rows[0].images:
        return "there is no image in the prompt"
    if any(tensor is not row.images.get(name) for row in rows for name, tensor in rows[0].images.items()):
        return "the processor makes different image tensors for each question"
    if "cross_attention_mask" in rows[0].sequences or "cross_attention_mask" in rows[0].images:
        return "the image enters by cross-attention, not in the prompt"
    token = loaded.image_token_id
    if any(token not in row.ids for row in rows):
        return "the processed prompt contains no image token"
    image_end = max(len(row.ids) - row.ids[::-1].index(token) for row in rows)
    length = image_end if exact else common_prefix([row.ids for row in rows])
    length = length if at_most is None else min(length, at_most)
    if image_end > length or any(len(row.ids) <= length for row in rows):
        return "an image comes after the question"
    if len(rows) == 1 and not exact and at_most is None:
        length = len(rows[0].ids)
    longest = max(rows, key=lambda row: len(row.ids))
    if any(not _same_start(rows[0], row, length) for row in rows):
        return "the processor marks the common tokens differently for each question"
    window = sliding_window(loaded)
    if window and len(longest.ids) + loaded.generation.most_new_tokens > window:
        return f"prompt and answer are longer than the sliding window of {window} tokens"
    return PrefixGroup(group=group, length=length, positions=_positions(loaded, longest))


def common_prefix(prompts: Sequence[Sequence[int]]) -> int:
    """Length of the prefix that all prompts have in common; at least one token of each prompt is left after it.

    >>> common_prefix([(1, 2, 3), (1, 2, 4, 5)])
    2
    >>> common_prefix([(1, 2, 3)])
    2
    """
    limit = min(map(len, prompts)) - 1
    first = prompts[0]
    for i in range(limit):
        if any(prompt[i] != first[i] for prompt in prompts):
            return i
    return limit


def _same_start(a: PromptRow, b: PromptRow, length: int) -> bool:
    import torch

    return all(torch.equal(t[:, :length], b.sequences[name][:, :length]) for name, t in a.sequences.items())


def sliding_window(loaded: LoadedModel) -> int | None:
    """Shortest sliding window of the language model's layers; None if every layer attends to all tokens."""
    text = loaded.text_config
    kinds = getattr(text, "layer_types", None)
    if kinds and "sliding_attention" not in kinds:
        return None
    return getattr(text, "sliding_window", None)


def _positions(loaded: LoadedModel, row: PromptRow) -> Any:
    """Position ids of one whole prompt, by the model's own rule if it has one (several axes in Qwen-VL)."""
    import torch

    ids = torch.tensor([row.ids])
    rule = getattr(loaded.model, "_prepare_position_ids_for_generation", None)
    if rule is None:
        return torch.arange(len(row.ids))
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), **row.sequences, **row.images}
    sizes = {name: t.to(loaded.device) for name, t in inputs.items() if not t.is_floating_point()}
    with torch.inference_mode():
        positions = rule(sizes["input_ids"], sizes)
    return positions.cpu()[..., 0, :]
