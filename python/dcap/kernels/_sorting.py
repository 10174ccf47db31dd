"""One stable sort for every twin; C++ has std::sort with the same order."""

from __future__ import annotations

import numpy as np

from dcap.kernels._types import F64, I64, jit


@jit
def sort_order(primary: F64, secondary: F64) -> I64:
    """Return the indices that sort by (primary, secondary, index), by merging runs bottom up."""
    n = len(primary)
    order, other = np.arange(n), np.empty(n, np.int64)
    width = 1
    while width < n:
        for start in range(0, n, 2 * width):
            middle, end = min(start + width, n), min(start + 2 * width, n)
            i, j = start, middle
            for at in range(start, end):
                left = i < middle
                if left and j < end:
                    p, q = order[i], order[j]
                    level = primary[p] == primary[q]
                    left = secondary[p] <= secondary[q] if level else primary[p] < primary[q]
                if left:
                    other[at] = order[i]
                    i += 1
                else:
                    other[at] = order[j]
                    j += 1
        order, other = other, order
        width *= 2
    return order
