"""pass@k: the chance that one of k programs, drawn from those that were written for a task, passes its tests."""

from __future__ import annotations

from math import comb


def pass_at_k(n: int, right: int, k: int) -> float:
    """The unbiased estimate 1 - C(n - c, k) / C(n, k) from `n` programs, of which `right` pass.

    Chen et al., 2021, arXiv:2107.03374, equation 1. Raises `ValueError` where fewer than `k` were written.

    >>> round(pass_at_k(10, 3, 1), 4), round(pass_at_k(10, 3, 5), 4), pass_at_k(10, 8, 5)
    (0.3, 0.9167, 1.0)
    """
    if not 0 <= right <= n or not 1 <= k <= n:
        raise ValueError(f"{right} of {n} programs, k = {k}: k and the right ones are at most as many as there are")
    return 1 - comb(n - right, k) / comb(n, k)
