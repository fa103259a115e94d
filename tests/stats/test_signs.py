"""The random signs of the sign-flip test are those that published p values were computed with."""

from __future__ import annotations

import numpy as np
import pytest

from evalkit.stats.paired import _sign_patterns, sign_flip_p, sign_flip_p_of_sums


@pytest.mark.parametrize("size", [14, 33, 1001, 4_000_001])
def test_signs_are_those_of_the_generator(size: int) -> None:
    patterns = 9 if size > 100_000 else 5000
    rng = np.random.default_rng(7)
    step = max(1, 4_000_000 // size)
    for start, block in zip(range(0, patterns, step), _sign_patterns(size, patterns, 7), strict=True):
        drawn = rng.integers(0, 2, size=(min(step, patterns - start), size), dtype=np.int8)
        assert np.array_equal(block, drawn)


@pytest.mark.parametrize("scale", [1.0, 0.1, 1 / 3])
@pytest.mark.parametrize("rows", [5, 40, 300])
def test_p_is_that_of_signs_of_plus_and_minus_one(scale: float, rows: int) -> None:
    drawn = np.random.default_rng(rows)
    first, second = (drawn.integers(0, 2, rows) * scale for _ in range(2))
    sums = (second - first)[np.abs(second - first) > 1e-12]
    signs = np.concatenate(list(_sign_patterns(len(sums), 10_000, 0))).astype(float) * 2 - 1
    extreme = int((np.abs(signs @ sums) >= abs(sums.sum()) - 1e-9).sum())
    expected = extreme / len(signs) if len(sums) <= 13 else (1 + extreme) / (1 + len(signs))
    assert sign_flip_p(first, second, [str(k) for k in range(rows)]) == expected


@pytest.mark.parametrize("sizes", [(0, 3, 13), (14, 14, 40), (900, 3000, 900)])
@pytest.mark.parametrize("scale", [1.0, 0.1])
def test_pairs_over_other_rows_have_the_p_values_that_each_has_alone(sizes: tuple[int, ...], scale: float) -> None:
    drawn = np.random.default_rng(sum(sizes))
    sums = [drawn.integers(-2, 4, n) * scale for n in sizes]
    alone = [sign_flip_p(np.zeros(len(s)), s, range(len(s))) for s in sums]
    assert sign_flip_p_of_sums(sums) == alone
