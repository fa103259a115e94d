"""Keys and values in memory with room for more places, so that a decoding step copies only the new ones.

transformers' cache concatenates all keys and values of a layer at each step, which took 40 % of the decoding of single
questions (docs/speed.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

# Room for new places when memory is allocated: this many, or a share of those that are there.
MIN_ROOM, ROOM_SHARE = 64, 8


def with_room(found: Any) -> Any:
    """A cache with the keys and values of the DynamicCache `found`, which the decoding may extend without copies."""
    layer_class = _layer_class()
    found.layers = [
        layer if isinstance(layer, layer_class) else layer_class(layer.keys, layer.values) for layer in found.layers
    ]
    return found


def joined(caches: Sequence[Any], width: int) -> Any:
    """One cache with the rows of several DynamicCaches, padded with zeros to `width` places, with room after them.

    The caches given are emptied layer by layer, so that only one layer is held twice.
    """
    from transformers import DynamicCache

    found = DynamicCache()
    for number in range(len(caches[0].layers)):
        layers = [cache.layers[number] for cache in caches]
        rooms = {name: _room([getattr(layer, name) for layer in layers], width) for name in ("keys", "values")}
        for layer in layers:
            layer.keys = layer.values = None
        made = _layer_class()(*(room[..., :width, :] for room in rooms.values()))
        made.rooms = rooms
        found.layers.append(made)
    return found


def _room(states: Sequence[Any], width: int) -> Any:
    """Keys or values (rows, heads, places, size) of several caches, in memory for `width` places and more."""
    rows = sum(len(state) for state in states)
    room = states[0].new_empty((rows, states[0].shape[1], _with_spare(width), states[0].shape[-1]))
    first = 0
    for state in states:
        places = state.shape[-2]
        target = room[first : first + len(state)]
        target[..., :places, :] = state
        target[..., places:width, :] = 0  # hidden places count 0 times their value, which must be finite
        first += len(state)
    return room


def _with_spare(places: int) -> int:
    return places + max(MIN_ROOM, places // ROOM_SHARE)


@cache
def _layer_class() -> Any:
    from transformers.cache_utils import DynamicLayer

    class LayerWithRoom(DynamicLayer):  # type: ignore[misc]
        """Layer whose `keys` and `values` (rows, heads, places, size) are the used part of `rooms`."""

        def __init__(self, keys: Any, values: Any) -> None:
            super().__init__()
            self.lazy_initialization(keys, values)
            self.keys, self.values = keys, values
            self.rooms: dict[str, Any] = {}

        def update(self, key_states: Any, value_states: Any, *_: Any, **__: Any) -> tuple[Any, Any]:
            self.keys = self._extended("keys", key_states)
            self.values = self._extended("values", value_states)
            return self.keys, self.values

        def batch_select_indices(self, indices: Any) -> None:
            self.rooms = {}  # the selection is a copy
            super().batch_select_indices(indices)

        def _extended(self, name: str, new: Any) -> Any:
            used, room = getattr(self, name), self.rooms.get(name)
            start, end = used.shape[-2], used.shape[-2] + new.shape[-2]
            if room is None or room.shape[-2] < end:
                room = used.new_empty((*used.shape[:-2], _with_spare(end), used.shape[-1]))
                room[..., :start, :] = used
                self.rooms[name] = room
            room[..., start:end, :] = new
            return room[..., :end, :]

    return LayerWithRoom
