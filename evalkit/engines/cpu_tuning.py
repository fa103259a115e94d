"""Settings of this process that make float32 on a CPU faster: packed weights of linear layers, and freed memory kept.

`torch.nn.functional.linear` arranges a weight anew in every call.  A copy in oneDNN's blocked layout, arranged once,
makes a prefill's matrix products about 1.15 times as fast on the measured machine, and those of a few rows 1.5 times
(docs/speed.md).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

# Models with fewer parameters run in one CPU thread, as they are.
SMALL_MODEL_PARAMETERS = 5_000_000
# Largest difference between a packed layer and torch's own, relative to the largest output of the layer.
TOLERANCE = 1e-5
# Blocks up to this many bytes are taken from memory that the process keeps; the second is glibc's own maximum in older
# versions.
KEPT_BLOCKS = (2**30, 2**25)
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # names of mallopt(3)
# Rows of the products that are compared, and the seed of their values.
COMPARED_ROWS, SEED = 4, 0


def tune(model: Any) -> int:
    """Apply both to the engine's own float32 model on a CPU, which is not small; the number of packed layers."""
    keep_freed_memory()
    return pack_linear_layers(model)


def is_small(model: Any) -> bool:
    """Whether a model is so small that a second thread, or a copy of its weights, costs more than it saves."""
    return int(model.num_parameters()) < SMALL_MODEL_PARAMETERS


def keep_freed_memory() -> bool:
    """Let this process keep the memory that it frees, for its next layer's activations; False without glibc.

    By default a block of some MiB is given back when it is freed, and the system clears its pages again for every
    layer.
    """
    import ctypes

    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    kept = any(mallopt(M_MMAP_THRESHOLD, size) for size in KEPT_BLOCKS)
    return bool(kept and mallopt(M_TRIM_THRESHOLD, KEPT_BLOCKS[0]))


def pack_linear_layers(model: Any) -> int:
    """Let the model's linear layers compute from packed copies of their weights; returns how many do.

    The weights themselves stay in place, for code that reads them.  None is packed where torch lacks the operation or
    the copies would take more than half of the free memory; a layer stays as it is unless its packed product equals
    its own.
    """
    import torch

    layers = [module for module in model.modules() if _is_plain(module)]
    size = sum(layer.weight.numel() * layer.weight.element_size() for layer in layers)
    if not _has_operation() or 2 * size > _free_memory():
        return 0
    with torch.inference_mode():
        return sum(map(_pack, layers))


def _is_plain(module: Any) -> bool:
    """Whether a module is torch's own linear layer in float32 on the CPU, with nothing put over its forward."""
    import torch

    if type(module) is not torch.nn.Linear or "forward" in vars(module):
        return False
    weight = module.weight
    return type(weight) is torch.nn.Parameter and weight.dtype == torch.float32 and weight.device.type == "cpu"


def _has_operation() -> bool:
    """Whether this build of torch has oneDNN's linear layer: it is used by torch's compiler and not documented."""
    import torch

    names = ("_reorder_linear_weight", "_linear_pointwise")
    return bool(torch.backends.mkldnn.is_available()) and all(hasattr(torch.ops.mkldnn, name) for name in names)


def _free_memory() -> int:
    """Bytes of free memory; 0 where it is not known."""
    if not hasattr(os, "sysconf") or "SC_AVPHYS_PAGES" not in os.sysconf_names:
        return 0
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _pack(layer: Any) -> bool:
    """Pack one layer; False if the packed product is not possible or not equal."""
    import torch

    rows = torch.randn(COMPARED_ROWS, layer.in_features, generator=torch.Generator().manual_seed(SEED))
    try:
        forward = packed_forward(layer)
        expected, found = layer.forward(rows), forward(rows)
    except RuntimeError:  # a shape that oneDNN does not take
        return False
    if not bool((found - expected).abs().max() <= TOLERANCE * expected.abs().max()):  # False for NaN, too
        return False
    layer.forward = forward
    return True


def packed_forward(layer: Any) -> Callable[[Any], Any]:
    """A linear layer's forward that multiplies by a packed copy of its weight; other dtypes go to its own forward."""
    import torch

    weight = torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach())
    own, bias, product = layer.forward, layer.bias, torch.ops.mkldnn._linear_pointwise

    def forward(rows: Any) -> Any:
        if rows.dtype != torch.float32:
            return own(rows)
        return product(rows, weight, bias, "none", [], "")

    return forward
