"""glibc's heap while weights are put in place: large blocks apart from it, so that each goes back when it is freed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

# mallopt(3).  Setting the threshold also stops glibc from raising it by itself.
_M_MMAP_THRESHOLD = -3
_APART = 128 * 1024
# Where glibc's own raising ends on 64-bit systems: what a process that has freed large blocks has anyway.
_USUAL = 32 * 2**20


@contextmanager
def blocks_apart() -> Iterator[None]:
    """Blocks of 128 KiB and more are mapped one by one inside the `with`; does nothing without glibc.

    glibc raises that limit to the largest block freed so far, up to 32 MiB.  Temporaries of a merge then lie in
    the heap between tensors that stay, and the heap keeps their room: a fifth of the weights
    (benchmarks/load_memory.md).  To be in force before the empty model is built, whose construction frees blocks too.
    Mapping is slow for the small steps of generation, so the limit is glibc's highest afterwards.
    """
    import ctypes

    libc = ctypes.CDLL(None)
    known = hasattr(libc, "gnu_get_libc_version") and hasattr(libc, "mallopt")
    if known:
        libc.mallopt(_M_MMAP_THRESHOLD, _APART)
    try:
        yield
    finally:
        if known:
            libc.mallopt(_M_MMAP_THRESHOLD, _USUAL)
