"""Keys and values in memory with room for more places, so that a decoding step copies only the new ones.

transformers' cache concatenates all keys and values of a layer at each step, which took 40 % of the decoding of single
questions (docs/speed.md).
"""

from __future__ import annotations

from functools import cache
from typing import Any

# Room for new places when memory is allocated: this many, or a share of those that are there.
MIN_ROOM, ROOM_SHARE = 64, 8


def with_room(found: Any) -> Any:
    """A cache with the keys and values of the DynamicCache `found`, which the decoding may extend without copies."""
    layer_class = _layer_class()
    found.layers = [layer_class(layer.keys, layer.values) for layer in found.layers]
    return found


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
                room = used.new_empty((*used.shape[:-2], end + max(MIN_ROOM, end // ROOM_SHARE), used.shape[-1]))
                room[..., :start, :] = used
                self.rooms[name] = room
            room[..., start:end, :] = new
            return room[..., :end, :]

    return LayerWithRoom
