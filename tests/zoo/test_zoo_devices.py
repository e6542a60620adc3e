"""The step of training in JAX, on the processor, against the step in C; which of them a recipe takes."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from rich.progress import Progress

import tcnstream
from tcnstream.errors import MissingExtraError, SignalError
from tcnstream.zoo.recipes.architecture import Architecture, Floats, Step, Unit, units_of
from tcnstream.zoo.recipes.compiled_step import CompiledStep
from tcnstream.zoo.recipes.devices import Device, step_on
from tcnstream.zoo.recipes.fitting import Log, Recipe, Trained, fit
from tcnstream.zoo.recipes.separable import Network, to_keras
from tcnstream.zoo.tcn_params import TcnParams

needs_compiler = pytest.mark.skipif(
    not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="the training step is compiled with the system's C"
)

UNITS = (Unit(3, 1, 1, -1, "0:B1.D1"), Unit(5, 4, 16, 1, "0:B2.D1"))


def on_jax() -> Callable[[Architecture], Step]:
    """The step of an accelerator, on the device that every machine has."""
    jax = pytest.importorskip("jax", reason="the step for accelerators is JAX's")
    from tcnstream.zoo.recipes.jax_step import JaxStep

    return partial(JaxStep, device=jax.devices("cpu")[0])


def batch(seed: int, lanes: int, frames: int, inputs: int, marks: int) -> tuple[Floats, Floats, Floats]:
    """Noise, what it is called by its sign and size, and weights, some of them 0."""
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 0.2, (lanes, frames, inputs)).astype(np.float32)
    label = np.clip(x[..., 0] * 5 + 2, 0, 3.9).astype(int)
    yes = (x[..., :1] > np.linspace(0, 0.2, marks)).astype(np.float32)
    weight = np.maximum(0, rng.uniform(-0.2, 1, (lanes, frames, 1 + marks))).astype(np.float32)
    return x, np.concatenate([np.eye(4, dtype=np.float32)[label], yes], axis=-1), weight


@needs_compiler
def test_the_step_in_c_leaves_arithmetic_as_it_is() -> None:
    """Its library took denormal numbers for zero, in all that its process computed later."""
    smallest = np.full(1, 1e-45, np.float32)
    assert (smallest + smallest)[0] > smallest[0] > 0
    x, target, weight = batch(3, 2, 300, 2, 1)
    network = Network(32, UNITS, 2, 2, 5, 1, step=CompiledStep)
    network.step.learn(x, target, weight, network.parameters)
    assert (smallest + smallest)[0] > smallest[0] > 0


@needs_compiler
@pytest.mark.parametrize(("inputs", "marks"), [(1, 2), (5, 0)])
def test_both_steps_give_the_loss_and_the_gradients_of_double_precision(inputs: int, marks: int) -> None:
    jax_step = on_jax()
    import jax

    architecture = Architecture(16, UNITS, inputs, 4 + marks, marks)
    network = Network(16, UNITS, 2, inputs, 4 + marks, marks)
    x, target, weight = batch(5, 3, 700, inputs, marks)
    # A channel that is silent lies exactly at the corner of relu6, and one question is never asked.
    network.parameters[network.parts["0:B1.D1.pw"][0]].reshape(16, 16)[:, 3] = 0
    if marks:
        weight[..., 2] = 0
    arguments = (x, target, weight, network.parameters)
    with jax.enable_x64(True):
        loss, gradient, statistics = jax_step(architecture).learn(*(np.asarray(a, np.float64) for a in arguments))
    assert gradient.dtype == np.float64
    for step in (CompiledStep(architecture), jax_step(architecture)):
        found_loss, found, found_statistics = step.learn(*arguments)
        assert found_loss == pytest.approx(loss, rel=1e-6) and found.dtype == np.float32
        np.testing.assert_allclose(found_statistics, statistics, rtol=1e-5, atol=5e-6)
        np.testing.assert_allclose(step.measure(x, network.parameters), statistics, rtol=1e-5, atol=5e-6)
        for name, (place, _) in architecture.parts.items():
            # A factor in front of a norm has almost no gradient: what is left of a difference of much larger numbers.
            off = np.linalg.norm(found[place] - gradient[place])
            assert off <= max(5e-4 * np.linalg.norm(gradient[place]), 1e-8), (step.name, name)


@needs_compiler
def test_hundreds_of_steps_agree(tmp_path: Path) -> None:
    """Rounding grows over steps, so the losses are compared, and what the networks say in the end."""

    class Drawn:
        def __init__(self, seed: int) -> None:
            self._seed = seed * 10_000

        def draw(self, lanes: int) -> tuple[Floats, Floats, Floats]:
            self._seed += 1
            return batch(self._seed, lanes, 200, 1, 2)

    def train(step: Callable[[Architecture], Step], log: Path) -> tuple[Trained, list[float]]:
        network = Network(16, UNITS, 1, classes=6, marks=2, step=step)
        with Progress(disable=True) as progress:
            task = progress.add_task("", total=1.0, loss="")
            trained = fit(network, Drawn, Recipe(steps=300, lanes=2, rate=1e-2), Log(log), progress, task)
        return trained, [json.loads(line)["loss"] for line in log.read_text().splitlines()]

    (c, c_losses), (j, j_losses) = train(CompiledStep, tmp_path / "c"), train(on_jax(), tmp_path / "jax")
    assert c_losses[-1] < 0.5 * c_losses[0]
    np.testing.assert_allclose(j_losses, c_losses, rtol=0.01)
    x = batch(7, 2, 500, 1, 2)[0]
    said = [t.network.predict(x, t.parameters, t.statistics) for t in (c, j)]
    assert np.corrcoef(said[0].ravel(), said[1].ravel())[0, 1] > 0.999
    # The same weights say the same, whoever computes.
    np.testing.assert_allclose(c.network.predict(x, j.parameters, j.statistics), said[1], atol=1e-3)


def test_what_jax_trained_becomes_a_file() -> None:
    step = on_jax()
    pytest.importorskip("keras", reason="Keras converts what was trained")
    from tcnstream.zoo.convert import to_tflite

    block = {"filters": 16, "kernel": [1, 3], "norm": "batch"}
    stages = [TcnParams(output_kernel=1, blocks=[block | {"ex_ratio": 1.01}, block | {"dilation": [1, 2], "depth": 2}])]
    channels, units = units_of(stages)
    network = Network(channels, units, 1, step=step)
    x, target, weight = batch(1, 2, 60, 1, 0)
    for _ in range(3):
        network.learn(x, target, weight)
        network.parameters -= 0.1 * network.gradient
    statistics = network.measure(x, network.parameters)
    model = to_keras(stages, network.keras_weights(network.parameters, statistics), 60)
    logits = network.predict(x, network.parameters, statistics)
    stream = tcnstream.load(to_tflite(model)).stream()
    streamed = np.concatenate([stream.push(x[0]), stream.flush()])
    np.testing.assert_allclose(streamed.reshape(60, 4), logits[0], atol=1e-4)


@pytest.fixture
def devices(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[str]], None]:
    """Makes JAX see devices of these platforms."""

    def see(platforms: list[str]) -> None:
        found = [SimpleNamespace(platform=p, device_kind="a kind") for p in platforms]
        monkeypatch.setattr(pytest.importorskip("jax"), "devices", lambda: found)

    return see


def test_auto_takes_an_accelerator_that_jax_sees(devices: Callable[[list[str]], None]) -> None:
    devices(["gpu", "gpu"])
    for device in (Device.AUTO, Device.GPU):
        made = step_on(device)
        assert isinstance(made, partial) and made.keywords["device"].platform == "gpu"
        assert made(Architecture(16, UNITS)).name.startswith("gpu (a kind), JAX ")
    assert step_on(Device.CPU) is CompiledStep


def test_without_an_accelerator_auto_takes_the_processor_and_gpu_is_refused(
    devices: Callable[[list[str]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    devices(["cpu"])
    assert step_on(Device.AUTO) is CompiledStep
    with pytest.raises(SignalError, match="JAX sees no accelerator here: --device cpu trains without one"):
        step_on(Device.GPU)
    monkeypatch.setitem(sys.modules, "jax", None)
    assert step_on(Device.AUTO) is CompiledStep
    with pytest.raises(MissingExtraError, match=r"goes through JAX.*pip install tcnstream\[cuda\]"):
        step_on(Device.GPU)


def test_a_jax_that_does_not_start_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise RuntimeError("Unable to initialize backend 'cuda'")

    monkeypatch.setattr(pytest.importorskip("jax"), "devices", broken)
    for device in (Device.AUTO, Device.GPU):
        with pytest.raises(SignalError, match=r"does not start .*'cuda'.*--device cpu"):
            step_on(device)
