"""Dense convolutions of three taps with ``exact=False``: four products for two outputs (``kernels/winograd.h``)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from helpers.networks import build, layer

import tcnstream
from tcnstream.engines.native.core import load_core
from tcnstream.engines.native.executor import NativeExecutor
from tcnstream.errors import EngineError

try:
    load_core()
except EngineError as missing:
    pytest.skip(str(missing), allow_module_level=True)

Array = npt.NDArray[Any]
AVX2, AVX512, FUSED = 3, 4, 256


def one_layer(channels: int, outputs: int, dilation: int, padding: str = "causal", seed: int = 0) -> tcnstream.Model:
    only = layer("convolution", kernel=3, dilation=dilation, padding=padding, channels=outputs)
    return tcnstream.load(build([only], 4 * dilation + 8, channels=channels, seed=seed).content)


def network(rng: np.random.Generator, padding: str) -> tcnstream.Model:
    """Dilations and numbers of channels on both sides of those that take fewer products."""
    layers = [
        layer(
            "convolution",
            kernel=3,
            dilation=int(rng.integers(1, 40)),
            padding=padding,
            channels=int(rng.integers(30, 75)),
            activation="RELU",
        )
        for _ in range(4)
    ]
    content = build(layers, 400, channels=int(rng.integers(32, 60)), seed=int(rng.integers(1000))).content
    return tcnstream.load(content)


def noise(model: tcnstream.Model, frames: int, seed: int) -> Array:
    return np.random.default_rng(seed).normal(size=(frames, *model.inputs[0].shape)).astype(np.float32)


def bits(y: Array) -> Array:
    return np.ascontiguousarray(y).view(np.int32)


def cut(model: tcnstream.Model, x: Array, sizes: list[int], restored_after: int | None = None) -> Array:
    """The answers to pushes of ``sizes``, in turns, another stream going on after ``restored_after`` pushes."""
    stream, made, at, k = model.stream("native", exact=False), [], 0, 0
    while at < len(x):
        if k == restored_after:
            blob = stream.snapshot()
            stream = model.stream("native", exact=False)
            stream.restore(blob)
        made.append(stream.push(x[at : at + sizes[k % len(sizes)]]))
        at += sizes[k % len(sizes)]
        k += 1
    return np.concatenate([*made, stream.flush()])


@pytest.mark.parametrize("padding", ["causal", "same", "valid"])
def test_bits_do_not_depend_on_how_a_stream_is_cut(padding: str) -> None:
    for seed in range(4):
        rng = np.random.default_rng(seed)
        model = network(rng, padding)
        x = noise(model, 500, seed)
        whole = cut(model, x, [len(x)])
        drawn = [int(n) for n in rng.integers(1, 90, 20)]
        for sizes, restored_after in (([64], 2), ([1], 301), ([7], 40), ([16], None), ([160], 1), (drawn, 5)):
            assert np.array_equal(bits(whole), bits(cut(model, x, sizes, restored_after))), (seed, sizes)


def test_lanes_at_different_frames_have_the_bits_of_streams() -> None:
    """Lanes stand side by side in a pool: each has its own frame number, hence its own side of a pair."""
    rng = np.random.default_rng(8)
    model = network(rng, "causal")
    x = noise(model, 12 * 300, 8).reshape(12, 300, *model.inputs[0].shape)
    pool = model.pool(12, "native", exact=False)
    late = [int(n) for n in rng.integers(0, 30, 12)]
    made: list[list[Array]] = [[] for _ in late]
    for at in range(300):
        chunks = [x[lane, at : at + 1] if at >= begin else None for lane, begin in enumerate(late)]
        for lane, answer in enumerate(pool.push(chunks)):
            made[lane].append(np.asarray(answer))
    for lane, begin in enumerate(late):
        alone = np.asarray(model.stream("native", exact=False).push(x[lane, begin:]))
        assert np.array_equal(bits(alone), bits(np.concatenate(made[lane]))), lane


@pytest.mark.parametrize("hop", [1, 4])
def test_lanes_in_step_have_the_bits_of_streams(hop: int) -> None:
    model = network(np.random.default_rng(3), "causal")
    x = noise(model, 70 * 240, 3).reshape(70, 240, *model.inputs[0].shape)
    pool = model.pool(70, "native", exact=False)
    pool.push(x[:20, :11], lanes=list(range(20)))
    made = [pool.push(x[:, at : at + hop]) for at in range(12, 240, hop)]
    for lane in (0, 19, 20, 69):
        stream = model.stream("native", exact=False)
        if lane < 20:
            stream.push(x[lane, :11])
        alone = np.asarray(stream.push(x[lane, 12:]))
        assert np.array_equal(bits(alone), bits(np.concatenate([np.asarray(answers[lane]) for answers in made]))), lane


@pytest.mark.parametrize(("channels", "outputs"), [(32, 32), (40, 45), (70, 52), (128, 68), (33, 100)])
def test_instruction_sets_agree(channels: int, outputs: int) -> None:
    """Each output is one sum in one order, whatever the registers."""
    model, answers = one_layer(channels, outputs, 3), []
    x = noise(model, 130, 1)
    for isa in (AVX2, AVX512):
        try:
            runs = NativeExecutor(model.plan, isa=isa, exact=False)
        except EngineError:
            continue
        for hop in (130, 1):
            memory = runs.new_memory()
            push, out = runs.direct_push(memory), np.empty((131, *model.outputs[0].shape), np.float32)
            made = []
            for at in range(0, len(x), hop):
                n = push(x[at : at + hop], out)
                made.append(out[:n].copy())
            answers.append(np.concatenate(made))
    assert all(np.array_equal(bits(answers[0]), bits(answer)) for answer in answers[1:])


def layer_terms(model: tcnstream.Model, x: Array, dilation: int) -> tuple[Array, Array]:
    """In float64: a causal layer's sums, and what the magnitudes of all that is added by either formula come to."""
    (node,) = (node for node in model.plan.nodes if node.kind == "CONV_2D")
    weights, bias = (model.plan.tensors[i].data for i in node.inputs[1:3])
    assert weights is not None and bias is not None
    frames = np.concatenate([np.zeros((2 * dilation, x.shape[-1])), x.reshape(len(x), -1).astype(np.float64)])
    older, old, new = (frames[k * dilation : k * dilation + len(x)] for k in range(3))
    g = weights.astype(np.float64).reshape(len(weights), 3, -1)
    sums = sum(a @ g[:, k].T for k, a in enumerate((older, old, new))) + bias
    all_frames, all_weights = abs(older) + abs(old) + abs(new), abs(g).sum(1)
    return sums, 2 * (all_frames @ all_weights.T) + abs(bias)


@pytest.mark.parametrize("dilation", [1, 5, 32])
def test_sums_are_as_near_to_the_exact_ones_as_their_roundings_allow(dilation: int) -> None:
    for seed, scale in enumerate((1.0, 1e-30, 1e12, 3e30)):
        model = one_layer(48, 56, dilation, seed=seed)
        x = (scale * noise(model, 200, seed)).astype(np.float32)
        for hop in (200, 1):
            y = np.concatenate([cut(model, x, [hop])]).reshape(len(x), -1)
            sums, magnitudes = layer_terms(model, x, dilation)
            # Twice 48 fused sums, what is made of frames and weights before them, and three sums behind them.
            roundings = (2 * 48 + 6) * 2.0**-24
            assert np.all(abs(y - sums) <= roundings / (1 - roundings) * magnitudes + 1e-42)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("hop", [200, 1])
def test_what_is_not_finite_reaches_the_frames_that_read_it(value: float, hop: int) -> None:
    model = one_layer(40, 40, 4)
    for at in (50, 54, 58):
        x = noise(model, 200, at)
        before = cut(model, x, [hop])
        x[at].flat[3] = value
        changed = bits(before) != bits(cut(model, x, [hop]))
        assert np.nonzero(changed.reshape(len(x), -1).any(1))[0].tolist() == [at, at + 4, at + 8]


def test_a_snapshot_is_that_of_an_exact_stream() -> None:
    """Nothing more is remembered: frames of the model's own tensors."""
    model = one_layer(32, 32, 16)
    x = noise(model, 100, 0)
    fast, exact = model.stream("native", exact=False), model.stream("native")
    fast.push(x)
    exact.push(x)
    assert fast.snapshot() == exact.snapshot()
