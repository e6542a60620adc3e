"""Small separable networks in training: their parameters, and the way to and from files.

What is trained here is exactly what ``tcnstream.zoo.tcn`` builds from ``mb`` blocks with batch norm, and the weights
are handed to that Keras model by layer name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tcnstream.errors import ModelError
from tcnstream.tflite.reader import read_model
from tcnstream.zoo.recipes.architecture import EPSILON, Architecture, Floats, Step, Unit
from tcnstream.zoo.recipes.compiled_step import CompiledStep
from tcnstream.zoo.tcn_params import TcnParams


class Network:
    """Parameters, their gradient and the batch norms' statistics, as flat vectors, and the steps over them."""

    def __init__(
        self,
        channels: int,
        units: Sequence[Unit],
        seed: int,
        inputs: int = 1,
        classes: int = 4,
        marks: int = 0,
        step: Callable[[Architecture], Step] = CompiledStep,
    ) -> None:
        self.architecture = Architecture(channels, tuple(units), inputs, classes, marks)
        self.step = step(self.architecture)
        self.parts = self.architecture.parts
        values = self._initial(np.random.default_rng(seed))
        self.parameters = np.concatenate([values[name].ravel() for name in self.parts]).astype(np.float32)
        self.gradient = np.zeros_like(self.parameters)
        self.statistics = np.zeros(len(self.architecture.norms) * 2 * channels, np.float32)
        self.is_weight = np.zeros(len(self.parameters), np.float32)
        for name, (place, _) in self.parts.items():
            self.is_weight[place] = name.endswith((".dw", ".pw")) or name == "head.w"

    def _initial(self, rng: np.random.Generator) -> dict[str, npt.NDArray[np.float64]]:
        a = self.architecture
        c = a.channels
        # Thresholds spread over the signal's range: the first relu6 may see a single number and must keep all of it.
        stem = rng.normal(0, 8 / np.sqrt(a.inputs), (a.inputs, c))
        values = {"stem.w": stem, "stem.gamma": np.ones(c), "stem.beta": rng.uniform(0, 4, c)}
        for u in a.units:
            values[f"{u.name}.dw"] = rng.normal(0, np.sqrt(2 / u.taps), (u.taps, c))
            values[f"{u.name}.dw.gamma"], values[f"{u.name}.dw.beta"] = np.ones(c), np.zeros(c)
            values[f"{u.name}.pw"] = rng.normal(0, np.sqrt(2 / c), (c, c))
            values[f"{u.name}.pw.gamma"], values[f"{u.name}.pw.beta"] = np.ones(c), np.zeros(c)
        return values | {"head.w": rng.normal(0, 0.1, (c, a.classes)), "head.b": np.zeros(a.classes)}

    def go_on(self, parameters: Floats) -> None:
        """Begin with ``parameters`` as this network's own had them. ModelError if they are of another network."""
        if parameters.shape != self.parameters.shape:
            raise ModelError(f"separable: {parameters.size} parameters do not fit a network of {self.parameters.size}.")
        self.parameters[:] = parameters

    def adopt(self, convolutions: Sequence[tuple[Floats, Floats]], x: Floats) -> None:
        """Begin with the weights and biases of a network's convolutions, first to last, batch norms folded in.

        ``x`` (lanes, frames, inputs) are windows as training draws them: the norms get the mean and the deviation that
        they see there, so that they change nothing. Marks that the other network has not begin near no.
        """
        norms = self.architecture.norms
        if len(convolutions) != len(norms) + 1:
            raise ModelError(f"separable: {len(convolutions)} convolutions do not fit a network of {len(norms) + 1}.")
        for number, (norm, (weights, offset)) in enumerate(zip(norms, convolutions, strict=False)):
            place, shape = self.parts["stem.w" if norm == "stem" else norm]
            if weights.size != place.stop - place.start:
                raise ModelError(f"separable: the weights {weights.shape} do not fit {norm}, which has {shape}.")
            self.parameters[place] = weights.ravel()
            mean, var = self.measure(x, self.parameters).reshape(-1, 2, self.architecture.channels)[number]
            self.parameters[self.parts[f"{norm}.gamma"][0]] = np.sqrt(var + EPSILON)
            self.parameters[self.parts[f"{norm}.beta"][0]] = offset + mean
        head, bias = convolutions[-1]
        known = min(len(bias), self.architecture.classes)
        place, shape = self.parts["head.w"]
        self.parameters[place].reshape(shape)[:, :known] = head[:, :known]
        place, _ = self.parts["head.b"]
        self.parameters[place][:known], self.parameters[place][known:] = bias[:known], -3

    @property
    def look_ahead(self) -> int:
        """Frames."""
        return self.architecture.look_ahead

    def learn(self, x: Floats, target: Floats, weight: Floats) -> float:
        """The weighted mean cross-entropy; fills ``gradient`` and ``statistics``.

        ``x`` is (lanes, frames, inputs), or (lanes, frames) for a single input, ``target`` (lanes, frames, classes)
        probabilities, ``weight`` (lanes, frames, 1 + marks), or (lanes, frames) without marks: the last ``marks``
        classes are yes-or-no questions with a weight and a mean of their own.
        """
        if self.architecture.marks == 0 and weight.ndim == 2:
            weight = weight[..., None]
        x = self._checked(x, (target, self.architecture.classes), (weight, 1 + self.architecture.marks))
        loss, self.gradient, self.statistics = self.step.learn(x, target, weight, self.parameters)
        return loss

    def measure(self, x: Floats, parameters: Floats) -> Floats:
        """The batch norms' statistics on ``x`` (lanes, frames, inputs)."""
        return self.step.measure(self._checked(x), parameters)

    def predict(self, x: Floats, parameters: Floats, statistics: Floats) -> Floats:
        """Logits (lanes, frames, classes)."""
        return self.step.predict(self._checked(x), parameters, statistics)

    def _checked(self, x: Floats, *others: tuple[Floats, int]) -> Floats:
        """``x`` with a last axis. ValueError unless it and ``others``, with so many channels each, fit each other."""
        if self.architecture.inputs == 1 and x.ndim == 2:
            x = x[..., None]
        lanes, frames = x.shape[:2]
        for a, channels in ((x, self.architecture.inputs), *others):
            if a.shape != (lanes, frames, channels) or a.dtype != np.float32:
                raise ValueError("x, target and weight must be float32 and of the same lanes and frames")
        return x

    def keras_weights(
        self, parameters: Floats, statistics: Floats, classes: int | None = None
    ) -> dict[str, list[Floats]]:
        """Layer name, with "stage:" in front -> weights as Keras orders them; of the first ``classes`` alone."""
        c = self.architecture.channels
        norms = iter(statistics.reshape(-1, 2, c))

        def part(name: str) -> Floats:
            place, shape = self.parts[name]
            return parameters[place].reshape(shape)

        def norm(prefix: str) -> list[Floats]:
            mean, var = next(norms)
            return [part(f"{prefix}.gamma"), part(f"{prefix}.beta"), mean, var]

        units = self.architecture.units
        first = units[0].name
        weights: dict[str, list[Floats]] = {
            f"{first}.EX.CN": [part("stem.w").reshape(1, 1, self.architecture.inputs, c)],
            f"{first}.EX.BN": norm("stem"),
        }
        for u in units:
            weights[f"{u.name}.DW.B1.CN"] = [part(f"{u.name}.dw").reshape(1, u.taps, c, 1)]
            weights[f"{u.name}.DW.B1.BN"] = norm(f"{u.name}.dw")
            weights[f"{u.name}.PW.B1.CN"] = [part(f"{u.name}.pw").reshape(1, 1, c, c)]
            weights[f"{u.name}.PW.B1.BN"] = norm(f"{u.name}.pw")
        stage = units[-1].name.split(":")[0]
        weights[f"{stage}:NECK.conv"] = [
            part("head.w")[:, :classes].reshape(1, 1, c, -1),
            part("head.b")[:classes],
        ]
        return weights


def folded_weights(path: Path) -> list[tuple[Floats, Floats]]:
    """Weights (taps or 1, channels in or 1, channels out) and bias of every convolution of a float32 .tflite file.

    Raises ModelError for a file of another kind.
    """
    graph = read_model(path.read_bytes()).graphs[0]
    found = []
    for op in graph.ops:
        if op.kind in ("CONV_2D", "DEPTHWISE_CONV_2D"):
            constants = [graph.tensors[i].data for i in op.inputs[1:3] if i >= 0]
            if len(constants) != 2 or any(c is None or c.dtype != np.float32 for c in constants):
                raise ModelError(f"{path}: `{op.kind}` has no float32 weights and bias: give the NAME.f32.tflite")
            weights, bias = (np.asarray(c, np.float32) for c in constants)
            # A full convolution's are (out, height, width, in), a depthwise one's (1, height, width, channels).
            found.append(
                (weights.reshape(len(bias), -1).T if op.kind == "CONV_2D" else weights.reshape(-1, len(bias)), bias)
            )
    return found


def to_keras(stages: Sequence[TcnParams], weights: Mapping[str, Sequence[Floats]], window_frames: int) -> Any:
    """The Keras model of ``stages`` for windows (window_frames, inputs), with ``Network.keras_weights``."""
    import keras

    from tcnstream.zoo.tcn import TcnModel

    ends = [next(w for name, w in weights.items() if name.endswith(end)) for end in (".EX.CN", "NECK.conv")]
    channels, classes = ends[0][0].shape[2], ends[1][0].shape[3]
    inputs = keras.Input((window_frames, channels), name="inputs")
    y, filled = inputs, set()
    for s, params in enumerate(stages):
        stage = TcnModel.model_from_params(keras.Input((window_frames, channels)), params, classes)
        for layer in stage.layers:
            if layer.weights:
                layer.set_weights([np.asarray(w) for w in weights[f"{s}:{layer.name}"]])
                filled.add(f"{s}:{layer.name}")
        y, channels = stage(y), params.blocks[-1].filters
    if missing := set(weights) - filled:
        raise ModelError(f"separable: the network has no layers {', '.join(sorted(missing))} for trained weights.")
    return keras.Model(inputs, y)
