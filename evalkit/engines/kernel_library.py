"""The functions of cpu_kernels.c, compiled for this processor when they are first needed and compared with torch's.

What a C compiler makes here is faster than what torch brings for any processor: causal attention by 1.8 times
(docs/speed.md).  The file is compiled in half a second, in each process, so that no binary of another processor or
version is ever loaded.
"""

from __future__ import annotations

import ctypes
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).with_name("cpu_kernels.c")
FLAGS = ("-O3", "-march=native", "-fno-math-errno", "-fPIC")
COMPILE_SECONDS = 120
# Largest difference from torch's result, relative to its largest value.
TOLERANCE = 1e-5
# A row of `rms_norm` is a multiple of this, and half a row of `rotate`: the floats of the widest vector.
LANES = 16

Pointer, Number = ctypes.c_void_p, ctypes.c_int64


@dataclass(frozen=True, slots=True)
class Library:
    """The compiled functions on float32 tensors on the CPU whose last dimension is contiguous.

    names: those whose results equal torch's on this machine; the others are not to be called.
    """

    functions: Any
    names: frozenset[str] = frozenset()

    def attention(self, query: Any, key: Any, value: Any, *, scale: float, causal: bool) -> Any | None:
        """Attention (rows, places, heads, size) of query (rows, heads, places, size) to key and value; None: no memory.

        key, value: (rows, key heads, places, size).  causal: of as many queries as keys, each to those up to its own.
        """
        rows, heads, queries, size = query.shape
        found = query.new_empty((rows, queries, heads, size))
        shape = (rows, heads, key.shape[1], queries, key.shape[2], size)
        tensors = (query, key, value, found.transpose(1, 2))
        strides = [_numbers(tensor.stride()[:3]) for tensor in tensors]
        failed = self.functions.attention(
            *map(_pointer, tensors), _numbers(shape), *strides, ctypes.c_float(scale), ctypes.c_int(causal)
        )
        return None if failed else found

    def silu_product(self, gate: Any, up: Any) -> Any:
        """SiLU(gate) * up, written over the contiguous tensor `gate`; `up` is contiguous and of its shape."""
        self.functions.silu_product(_pointer(gate), _pointer(up), Number(gate.numel()))
        return gate

    def quick_gelu(self, x: Any) -> Any:
        """X * sigmoid(1.702 x) of a contiguous tensor."""
        found = x.new_empty(x.shape)
        self.functions.quick_gelu(_pointer(x), _pointer(found), Number(x.numel()))
        return found

    def rms_norm(self, x: Any, weight: Any, epsilon: float) -> Any:
        """Root mean square norm of the last dimension of a contiguous tensor, a multiple of LANES, times `weight`."""
        found, size = x.new_empty(x.shape), x.shape[-1]
        rows = Number(x.numel() // size)
        sizes = (rows, Number(size), ctypes.c_float(epsilon))
        self.functions.rms_norm(_pointer(x), _pointer(weight), _pointer(found), *sizes)
        return found

    def rotate(self, x: Any, cosine: Any, sine: Any) -> Any:
        """Rotary position embedding of x (rows, heads, places, size); size is a multiple of twice LANES.

        cosine, sine: (rows, places, size), contiguous.
        """
        rows, heads, places, size = x.shape
        found = x.new_empty((rows, places, heads, size))
        pointers = map(_pointer, (x, cosine, sine, found))
        self.functions.rotate(*pointers, _numbers(x.shape), _numbers(x.stride()[:3]))
        return found.transpose(1, 2)


def _pointer(tensor: Any) -> Any:
    return Pointer(tensor.data_ptr())


def _numbers(values: Sequence[int]) -> Any:
    return (Number * len(values))(*values)


@cache
def library() -> Library | str:
    """Compile, load and compare the functions, once a process; a string is the reason why there are none."""
    compiler = _compiler()
    made = compiler if isinstance(compiler, str) else _compiled(compiler)
    if isinstance(made, str):
        return made
    names = frozenset(name for name, agrees in _COMPARISONS.items() if agrees(made))
    return Library(made.functions, names) if names else "no compiled function gives the results of torch"


def _compiler() -> list[str] | str:
    """The C compiler's command: that of the variable CC, or the first one installed; a string says why there is none.

    gcc comes first: what clang makes for several threads needs another OpenMP library than torch's.
    """
    variable = os.environ.get("CC", "")
    try:
        chosen = shlex.split(variable)
    except ValueError as error:
        return f"the variable CC is no command: {error}"
    if chosen:
        return chosen if shutil.which(chosen[0]) else f"the C compiler of the variable CC, {chosen[0]}, is not found"
    found = next(([name] for name in ("gcc", "cc", "clang") if shutil.which(name)), None)
    return found or "there is no C compiler (gcc, cc or clang)"


def _compiled(compiler: Sequence[str]) -> Library | str:
    """Compile for torch's own threads; where that is not possible, for one thread if torch has one."""
    import torch

    problem = ""
    if openmp := _openmp_of_torch():
        made = _load(compiler, ["-fopenmp"], [str(openmp)])
        if isinstance(made, Library):
            return made
        problem = made
    if torch.get_num_threads() > 1:
        return problem or "torch brings no libgomp, whose threads they would run in"
    return _load(compiler, [], [])


def _openmp_of_torch() -> Path | None:
    """The OpenMP library that torch has loaded: with another one there would be two sets of threads."""
    import torch

    folder = Path(torch.__file__).parent
    return next((found for place in ("lib", "../torch.libs") for found in (folder / place).glob("libgomp*.so*")), None)


def _load(compiler: Sequence[str], options: Sequence[str], libraries: Sequence[str]) -> Library | str:
    """Compile in a temporary folder and load what was made, which stays loaded; a string says what went wrong."""
    folder = ""
    try:
        # What stays loaded cannot be removed on every file system.
        with tempfile.TemporaryDirectory(prefix="evalkit-kernels-", ignore_cleanup_errors=True) as folder:
            object_file, made = str(Path(folder, "kernels.o")), str(Path(folder, "kernels.so"))
            steps = (
                [*compiler, *FLAGS, *options, "-c", str(SOURCE), "-o", object_file],
                [*compiler, "-shared", object_file, *libraries, "-lm", "-o", made],
            )
            for step in steps:
                subprocess.run(step, check=True, capture_output=True, timeout=COMPILE_SECONDS)  # noqa: S603
            return Library(ctypes.CDLL(made))
    except subprocess.CalledProcessError as error:
        lines = error.stderr.decode(errors="replace").strip().splitlines() or [f"its exit code is {error.returncode}"]
        message = next((line for line in lines if "error" in line), lines[-1])
        problem = f"{compiler[0]} could not compile them: {message}"
    except (OSError, subprocess.TimeoutExpired) as error:
        problem = f"they could not be compiled and loaded: {error}"
    return problem.replace(f"{folder}{os.sep}", "") if folder else problem  # its name is another one each time


def agrees(found: Any, expected: Any) -> bool:
    """Whether a result is the expected one to TOLERANCE; not where either has NaN, or another shape."""
    if found is None or found.shape != expected.shape:
        return False
    return bool((found - expected).abs().max() <= TOLERANCE * expected.abs().max())


def _values(*shapes: tuple[int, ...]) -> list[Any]:
    """Random tensors of these shapes, the same ones each time."""
    import torch

    generator = torch.Generator().manual_seed(0)
    return [3 * torch.randn(shape, generator=generator) for shape in shapes]


def _attention_agrees(made: Library) -> bool:
    import torch

    agree = []
    for places, size, causal in ((1, 64, True), (133, 72, True), (200, 128, False)):
        query, key, value = (
            x.transpose(1, 2) for x in _values((2, places, 6, size), (2, places, 3, size), (2, places, 3, size))
        )
        found = made.attention(query, key, value, scale=size**-0.5, causal=causal)
        expected = torch.nn.functional.scaled_dot_product_attention(
            query, key, value, is_causal=causal, enable_gqa=True
        ).transpose(1, 2)
        agree.append(agrees(found, expected))
    return all(agree)


def _silu_product_agrees(made: Library) -> bool:
    import torch

    gate, up = _values((3, 5001), (3, 5001))
    return agrees(made.silu_product(gate.clone(), up), torch.nn.functional.silu(gate) * up)


def _quick_gelu_agrees(made: Library) -> bool:
    (x,) = _values((3, 5001))
    return agrees(made.quick_gelu(x), x * (1.702 * x).sigmoid())


def _rms_norm_agrees(made: Library) -> bool:
    import torch

    x, weight = _values((7, 3 * LANES), (3 * LANES,))
    return agrees(made.rms_norm(x, weight, 1e-6), torch.nn.functional.rms_norm(x, weight.shape, weight, 1e-6))


def _rotate_agrees(made: Library) -> bool:
    import torch

    size = 4 * LANES
    x, cosine, sine = _values((2, 9, 3, size), (2, 9, size), (2, 9, size))
    x = x.transpose(1, 2)
    turned = torch.cat([-x[..., size // 2 :], x[..., : size // 2]], dim=-1)
    return agrees(made.rotate(x, cosine, sine), x * cosine[:, None] + turned * sine[:, None])


_COMPARISONS: dict[str, Callable[[Library], bool]] = {
    "attention": _attention_agrees,
    "silu_product": _silu_product_agrees,
    "quick_gelu": _quick_gelu_agrees,
    "rms_norm": _rms_norm_agrees,
    "rotate": _rotate_agrees,
}
