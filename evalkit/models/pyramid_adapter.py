"""ColonGPT's adapter between vision tower and language model: the patches, pooled to a few grids of features."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

# Names of the adapter's tensors in the published checkpoints, and in the module below.
ADAPTER_PARTS = {
    f"model.{published}.{leaf}": f"{own}.{leaf}"
    for published, own in {"token_trans_layer.0": "widen", "conv": "mix", "linear_layer": "project"}.items()
    for leaf in ("weight", "bias")
}


def pyramid_adapter(inner: int, outer: int, sides: tuple[int, ...]) -> Any:
    """Make the adapter of a tower with `inner` features a patch and a language model with `outer`.

    sides: sides of the square grids that the patches are averaged to, in the order of the features in the prompt.
    """
    return _adapter_class()(inner, outer, sides)


@cache
def _adapter_class() -> type:
    import torch
    from torch import nn
    from torch.nn.functional import adaptive_avg_pool2d, gelu

    class PyramidAdapter(nn.Module):  # type: ignore[misc]
        """Patches (images, side * side, inner) to features (images, sum of the grids' places, outer).

        A convolution follows each average but the last.
        """

        def __init__(self, inner: int, outer: int, sides: tuple[int, ...]) -> None:
            super().__init__()
            self.sides = sides
            self.widen = nn.Linear(inner, outer)
            self.mix = nn.Conv2d(outer, outer, kernel_size=3, padding=1)
            self.project = nn.Linear(outer, outer)

        def forward(self, patches: torch.Tensor) -> torch.Tensor:
            images, places, _ = patches.shape
            wide = gelu(self.widen(patches))
            grid = wide.transpose(1, 2).reshape(images, -1, math.isqrt(places), math.isqrt(places))
            *larger, last = (adaptive_avg_pool2d(grid, side) for side in self.sides)
            levels = [*map(self.mix, larger), last]
            return self.project(torch.cat([level.flatten(2) for level in levels], dim=2).transpose(1, 2))

    return PyramidAdapter
