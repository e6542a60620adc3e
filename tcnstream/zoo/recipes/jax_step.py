"""The step in JAX, for a machine with an accelerator: the loss, statistics and gradients of ``separable.c``.

On a processor it is five to six times as slow as that (``tcnstream/docs/models.md``), and its tests run there.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from tcnstream.zoo.recipes.architecture import EPSILON, Architecture, Floats, Unit

Array: TypeAlias = Any
"""A jax.Array."""


class JaxStep:
    """A compiled step for one architecture on one of JAX's devices."""

    def __init__(self, architecture: Architecture, device: Any) -> None:
        self.name = f"{device.platform} ({device.device_kind}), JAX {jax.__version__}"
        self._put = partial(jax.device_put, device=device)
        self._learn = jax.jit(jax.value_and_grad(partial(_loss, architecture), has_aux=True))
        self._measure = jax.jit(lambda parameters, x: _forward(architecture, parameters, x, None)[1])
        self._predict = jax.jit(lambda *arguments: _forward(architecture, *arguments)[0])

    def learn(self, x: Floats, target: Floats, weight: Floats, parameters: Floats) -> tuple[float, Floats, Floats]:
        (loss, statistics), gradient = self._learn(*self._put((parameters, x, target, weight)))
        return float(loss), np.array(gradient), np.array(statistics)

    def measure(self, x: Floats, parameters: Floats) -> Floats:
        return np.array(self._measure(*self._put((parameters, x))))

    def predict(self, x: Floats, parameters: Floats, statistics: Floats) -> Floats:
        return np.array(self._predict(*self._put((parameters, x, statistics))))


def _loss(a: Architecture, parameters: Array, x: Array, target: Array, weight: Array) -> tuple[Array, Array]:
    """Softmax cross-entropy of the labels plus logistic cross-entropy of each mark, each a weighted mean."""
    logits, statistics = _forward(a, parameters, x, None)
    labels = a.classes - a.marks
    softmax = -(target[..., :labels] * jax.nn.log_softmax(logits[..., :labels])).sum(-1, keepdims=True)
    marks = jnp.logaddexp(0, logits[..., labels:]) - target[..., labels:] * logits[..., labels:]
    total = weight.sum((0, 1))
    each = (jnp.concatenate([softmax, marks], -1) * weight).sum((0, 1)) / jnp.where(total > 0, total, 1)
    return each.sum(), statistics


def _forward(a: Architecture, parameters: Array, x: Array, statistics: Array | None) -> tuple[Array, Array]:
    """Logits, and the statistics that the norms used: those given, or the batch's own."""

    def part(name: str) -> Array:
        place, shape = a.parts[name]
        return parameters[place].reshape(shape)

    given: Iterator[Array] | None = None if statistics is None else iter(statistics.reshape(-1, 2, a.channels))
    used = []

    def activated(z: Array, name: str) -> Array:
        mean, var = (z.mean((0, 1)), z.var((0, 1))) if given is None else next(given)
        used.extend([mean, var])
        return _relu6((z - mean) * (part(f"{name}.gamma") / jnp.sqrt(var + EPSILON)) + part(f"{name}.beta"))

    y = activated(_product(x, part("stem.w")), "stem")
    inputs = []
    for u in a.units:
        inputs.append(y)
        y = activated(_taps(u, y, part(f"{u.name}.dw")), f"{u.name}.dw")
        y = activated(_product(y, part(f"{u.name}.pw")), f"{u.name}.pw")
        if u.skip >= 0:
            y = y + inputs[u.skip]
    return _product(y, part("head.w")) + part("head.b"), jnp.concatenate(used)


def _taps(u: Unit, x: Array, weights: Array) -> Array:
    """A depthwise convolution as a sum of shifted inputs, which compilers make one loop of."""
    padded = jnp.pad(x, ((0, 0), (u.past, u.look_ahead), (0, 0)))
    starts = (k * u.dilation for k in range(u.taps))
    shifted = (jax.lax.slice_in_dim(padded, start, start + x.shape[1], axis=1) for start in starts)
    return sum(s * w for s, w in zip(shifted, weights, strict=True))


def _product(a: Array, b: Array) -> Array:
    # Accelerators would round the factors to fewer bits on their own.
    return jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)


def _relu6(y: Array) -> Array:
    # Nothing passes back at exactly 0, where channels that are silent lie; of a maximum half of it would.
    return jnp.where((y > 0) & (y < 6), y, jax.lax.stop_gradient(jnp.clip(y, 0, 6)))
