"""Effect of `map_large_blocks`: freed blocks between blocks in use are returned to the system at once."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

BLOCK = 1 << 20
COUNT = 100

# In a separate process: the heap of other tests may have gaps that serve some of the blocks.
GIVEN_BACK = f"""
import ctypes
from pathlib import Path
from evalkit.models.malloc import map_large_blocks

LIBC = ctypes.CDLL(None)
LIBC.malloc.restype, LIBC.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
LIBC.free.argtypes = [ctypes.c_void_p]

def resident():
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith("Anonymous:"):
            return int(line.split()[1]) * 1024

def given_back():
    blocks = [LIBC.malloc({BLOCK}) for _ in range({COUNT})]
    for block in blocks:
        ctypes.memset(block, 1, {BLOCK})
    before = resident()
    for block in blocks[::2]:
        LIBC.free(block)
    after = resident()
    for block in blocks[1::2]:
        LIBC.free(block)
    return before - after

with map_large_blocks():
    inside = given_back()
print(inside, given_back())
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "gnu_get_libc_version"), reason="another C library than glibc")
def test_freed_blocks_are_returned_inside_the_context_only():
    """Measures the bytes that are returned when every second one of many blocks is freed."""
    ran = subprocess.run([sys.executable, "-c", GIVEN_BACK], capture_output=True, text=True, check=True)
    inside, outside = map(int, ran.stdout.split())
    assert inside > 0.9 * COUNT / 2 * BLOCK
    assert outside < 0.2 * inside
