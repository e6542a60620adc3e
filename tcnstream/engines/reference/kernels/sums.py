"""Sums of products in the order of the reference kernels.

The reference kernels add one product after the other in float32. Where terms cancel, another order
gives another answer (4e-5 where 1e-5 is allowed, measured on 160 products of random weights), so the
definition keeps theirs; it costs speed and nothing else.
"""

from __future__ import annotations

import numpy as np

from tcnstream.engines.reference.kernels.context import Reals

_MOST_PRODUCTS = 1 << 20


def add_products(total: Reals, x: Reals, weights: Reals) -> Reals:
    """``total + x @ weights`` for total (..., m, n), x (..., m, k), weights (..., k, n) of one dtype.

    float32 in the order of k, one rounding per product and per sum; float64 (exact integers) in any order.
    """
    if total.dtype != np.float32:
        return np.add(total, x @ weights)
    depth = x.shape[-1]
    weights = weights.reshape((1,) * (x.ndim - weights.ndim) + weights.shape)
    step = max(1, _MOST_PRODUCTS // max(total.size, 1))
    for begin in range(0, depth, step):
        left = np.moveaxis(x[..., begin : begin + step], -1, 0)[..., None]
        right = np.moveaxis(weights[..., begin : begin + step, :], -2, 0)[..., None, :]
        terms = np.concatenate([total[None], left * right])
        # accumulate adds strictly one after the other; sum would add in pairs
        total = np.add.accumulate(terms, axis=0)[-1]
    return total
