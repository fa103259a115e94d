"""Forward passes over prompts without the work that nothing reads.

The last decoder layer computes keys and values for all tokens, everything else (queries, attention, its output
projection, the MLP) only for the tokens whose logits are needed.  Layers of the vision tower after the one that the
model takes its features from are left out.  The check of prefix sharing compares the logits with those of a plain
forward pass, which computes everything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from evalkit.engines.loaded_model import LoadedModel
from evalkit.engines.place_attention import attention_at, can_choose_places
from evalkit.engines.profiling import vision_tower
from evalkit.engines.replacement import replaced


@contextmanager
def only_needed(loaded: LoadedModel, places: Any) -> Iterator[None]:
    """Compute the last layer at these places of the sequence only, and no layer of the vision tower that is not read.

    places: a slice, or a tensor of indices; the output of the last layer is of no use elsewhere.  Parts that are not
    where transformers' models have them are computed as always.
    """
    with ExitStack() as stack:
        if (mlp := _last(loaded.model, "mlp")) is not None:
            stack.enter_context(replaced(mlp, "forward", _at_places(mlp.forward, places)))
        attention = _last(loaded.model, "self_attn")
        if loaded.device.startswith("cpu") and can_choose_places(attention):
            stack.enter_context(attention_at(attention, places))
            for layer in (attention.q_proj, attention.o_proj):
                stack.enter_context(replaced(layer, "forward", _at_places(layer.forward, places)))
        for layer in _unread_layers(loaded.model):
            stack.enter_context(replaced(layer, "forward", _unchanged))
        yield


def _unchanged(hidden: Any, *_: Any, **__: Any) -> Any:
    return hidden


def _at_places(own: Callable[..., Any], places: Any) -> Callable[..., Any]:
    """The forward `own` of an MLP or a projection at these places of (rows, places, size); 0 elsewhere."""

    def forward(hidden: Any, *args: Any, **kwargs: Any) -> Any:
        chosen = hidden[:, places].contiguous() if hidden.ndim == 3 else hidden
        if chosen.shape == hidden.shape:
            return own(hidden, *args, **kwargs)
        found = own(chosen, *args, **kwargs)
        if getattr(found, "shape", ())[:-1] != chosen.shape[:-1]:  # with router logits, for instance
            return own(hidden, *args, **kwargs)
        output = hidden.new_zeros((*hidden.shape[:-1], found.shape[-1]), dtype=found.dtype)
        output[:, places] = found
        return output

    return forward


def _last(model: Any, name: str) -> Any:
    """A part of the language model's last layer; None if it is not where transformers' decoders have it."""
    decoder = getattr(model, "get_decoder", lambda: None)()
    layers = getattr(decoder, "layers", None)
    return getattr(layers[-1], name, None) if layers is not None and len(layers) else None


def _unread_layers(model: Any) -> list[Any]:
    """Layers of the vision tower after the one whose output the model reads, where its configuration names that one.

    `vision_feature_layer: -2` reads the output of the last layer but one, so the last layer is not read.
    """
    layer = getattr(model.config, "vision_feature_layer", None)
    encoder = _encoder(vision_tower(model))
    if not isinstance(layer, int) or layer >= -1 or encoder is None or -layer > len(encoder.layers) + 1:
        return []
    return list(encoder.layers)[layer + 1 :]


def _encoder(tower: Any) -> Any:
    """The encoder of a CLIP or SigLIP tower, directly in it or in its `vision_model`; None for other towers."""
    inner = getattr(tower, "vision_model", tower)
    encoder = getattr(inner, "encoder", None)
    return encoder if hasattr(encoder, "layers") else None
