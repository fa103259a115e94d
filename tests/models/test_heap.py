"""What `blocks_apart` is for: freed blocks between blocks that stay go back to the system at once."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest

from evalkit.models.heap import blocks_apart

LIBC = ctypes.CDLL(None)
BLOCK = 1 << 20
COUNT = 100


def resident() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no RssAnon")


def given_back() -> int:
    """Bytes that leave the process when every second one of many blocks is freed."""
    LIBC.malloc.restype, LIBC.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    LIBC.free.argtypes = [ctypes.c_void_p]
    blocks = [LIBC.malloc(BLOCK) for _ in range(COUNT)]
    for block in blocks:
        ctypes.memset(block, 1, BLOCK)
    before = resident()
    for block in blocks[::2]:
        LIBC.free(block)
    after = resident()
    for block in blocks[1::2]:
        LIBC.free(block)
    return before - after


@pytest.mark.skipif(not hasattr(LIBC, "gnu_get_libc_version"), reason="another C library than glibc")
def test_freed_blocks_between_others_go_back_inside_and_stay_in_the_heap_outside():
    with blocks_apart():
        inside = given_back()
    assert inside > 0.9 * COUNT / 2 * BLOCK
    assert given_back() < 0.2 * inside
