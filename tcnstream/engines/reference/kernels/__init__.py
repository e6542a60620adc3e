"""The definition of every operation, in NumPy, with the arithmetic of the TFLite reference kernels.

Integer results equal LiteRT's ``BUILTIN_REF`` bit for bit, float32 results within 1e-5 * max(1, |b|).
A kernel is a function of a ``KernelContext``; ``KERNELS`` has one per operation. Time is axis 0 and always
VALID: a kernel gets exactly the frames that it needs and knows nothing of the stream around it.
Adding an operation is one function with ``@kernel("KIND")`` in a module of this folder.
"""

from __future__ import annotations

from tcnstream.engines.reference.kernels.context import KERNELS, Kernel, KernelContext
from tcnstream.engines.reference.kernels.reduce import mean_from_sum, mean_of

__all__ = ("KERNELS", "Kernel", "KernelContext", "mean_from_sum", "mean_of")
