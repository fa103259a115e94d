"""Setting of glibc's allocator for loading weights: large blocks are mapped, and so returned when freed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

# mallopt(3).  Setting the threshold also stops glibc from adjusting it dynamically.
_M_MMAP_THRESHOLD = -3
_LOADING_THRESHOLD = 128 * 1024
# Upper end of glibc's dynamic threshold on 64-bit systems, which a process that has freed large blocks reaches anyway.
_DEFAULT_THRESHOLD = 32 * 2**20


@contextmanager
def map_large_blocks() -> Iterator[None]:
    """Map blocks of 128 KiB and more individually inside the `with`; does nothing without glibc.

    glibc raises this threshold to the largest block freed so far, up to 32 MiB.  Temporaries of a merge are then in the
    heap between tensors that stay, and the heap keeps their memory: a fifth of the weights (benchmarks/load_memory.md).
    Must be in effect before the empty model is built, since its construction frees blocks too.  Mapping is slow for the
    small steps of generation, so afterwards the threshold is glibc's maximum.
    """
    import ctypes

    libc = ctypes.CDLL(None)
    known = hasattr(libc, "gnu_get_libc_version") and hasattr(libc, "mallopt")
    if known:
        libc.mallopt(_M_MMAP_THRESHOLD, _LOADING_THRESHOLD)
    try:
        yield
    finally:
        if known:
            libc.mallopt(_M_MMAP_THRESHOLD, _DEFAULT_THRESHOLD)
