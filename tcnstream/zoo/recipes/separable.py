"""Training of small separable networks on a processor, five times as fast as through a framework.

Keras on JAX or PyTorch takes 8 to 36 thousand frames per second and core for the gradients of a network of thin,
dilated depthwise convolutions; ``separable.c``, compiled here with the system's C compiler, takes 180 thousand
(``tcnstream/docs/models.md``). What it trains is exactly what ``tcnstream.zoo.tcn`` builds from ``mb`` blocks with
batch norm, and the weights are handed to that Keras model by layer name.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tcnstream.errors import MissingExtraError, ModelError
from tcnstream.tflite.reader import read_model
from tcnstream.zoo.tcn_params import TcnParams

Floats = npt.NDArray[np.float32]

MAX_TAPS = 9
EPSILON = 1e-3
"""Of the batch norms, as in separable.c."""
TRAIN, INFER, STATISTICS = 0, 1, 2


@dataclass(frozen=True)
class Unit:
    """A depthwise and a pointwise convolution. Tap k reads frame ``t - past + k * dilation``.

    ``skip`` is the unit whose input is added to this one's output, or -1. ``name`` is the layers' prefix.
    """

    taps: int
    dilation: int
    past: int
    skip: int
    name: str

    @property
    def look_ahead(self) -> int:
        """Frames."""
        return (self.taps - 1) * self.dilation - self.past


def units_of(stages: Sequence[TcnParams]) -> tuple[int, list[Unit]]:
    """Channels and units of a chain of networks, the last one with the classes on top.

    Raises ModelError if the parameters say something that this program does not train.
    """
    channels = {block.filters for stage in stages for block in stage.blocks}
    if len(channels) != 1 or next(iter(channels)) % 16:
        raise ModelError(f"separable: the blocks have {sorted(channels)} filters; one multiple of 16 is needed.")
    units: list[Unit] = []
    for s, stage in enumerate(stages):
        for b, block in enumerate(stage.blocks):
            where = f"separable: stage {s}, block {b}"
            taps, dilation = (
                extent[1] if isinstance(extent, tuple) else extent for extent in (block.kernel, block.dilation)
            )
            expands = int(block.filters * block.ex_ratio) if block.ex_ratio != 1 else None
            wanted = block.filters if s == b == 0 else None
            if stage.block_type != "mb" or block.norm != "batch" or block.activation != "relu6" or block.se_ratio:
                raise ModelError(f"{where}: only mb blocks with batch norm and relu6, without squeeze-excite.")
            if block.branch != 1 or block.dropout or taps > MAX_TAPS or taps % 2 == 0 or expands != wanted:
                raise ModelError(
                    f"{where}: only one branch, no dropout, an odd kernel up to {MAX_TAPS}, and the first block alone "
                    "expanding, to its own number of filters."
                )
            past = (taps - 1) * dilation if stage.padding == "causal" else (taps - 1) * dilation // 2
            first = len(units)
            for d in range(1, block.depth + 1):
                joins = first if d == block.depth and (s or b) else -1
                units.append(Unit(taps, dilation, past, joins, f"{s}:B{b + 1}.D{d}"))
        top = s == len(stages) - 1
        if stage.include_top != top or stage.input_kernel is not None or (top and stage.output_kernel != 1):
            raise ModelError(f"separable: stage {s}: no input kernel, and the last stage alone with a 1-frame top.")
    return next(iter(channels)), units


class _CUnit(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int) for name in ("taps", "dilation", "past", "skip")]


@cache
def _library(channels: int, inputs: int, classes: int, marks: int) -> Any:
    compiler = os.environ.get("CC") or next(filter(shutil.which, ("clang", "cc", "gcc")), None)
    if compiler is None:
        raise MissingExtraError(
            "tcnstream.zoo.recipes.separable compiles separable.c: install a C compiler, or name it in CC."
        )
    source = Path(__file__).with_name("separable.c")
    sizes = [f"-DCHANNELS={channels}", f"-DINPUTS={inputs}", f"-DCLASSES={classes}", f"-DMARKS={marks}"]
    command = [*compiler.split(), "-O3", "-march=native", "-ffast-math", "-funroll-loops", *sizes]
    command += ["-shared", "-fPIC", str(source), "-lm", "-o"]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"separable-{hashlib.sha256(repr(command).encode()).hexdigest()[:8]}.so"
        made = subprocess.run([*command, str(file)], capture_output=True, text=True, check=False)
        if made.returncode:
            raise MissingExtraError(f"{compiler} could not compile separable.c: {made.stderr.strip()[-500:]}")
        library = ctypes.CDLL(str(file))
    library.separable_step.restype = ctypes.c_double
    library.separable_memory.restype = ctypes.c_long
    return library


class Network:
    """Parameters, their gradient and the batch norms' statistics, as flat vectors, and the steps over them.

    ``parts`` maps a name ("stem.w", "0:B1.D1.dw", ...) to its place and shape in ``parameters``.
    """

    def __init__(
        self, channels: int, units: Sequence[Unit], seed: int, inputs: int = 1, classes: int = 4, marks: int = 0
    ) -> None:
        self.channels, self.units = channels, tuple(units)
        self.inputs, self.classes, self.marks = inputs, classes, marks
        self._library = _library(channels, inputs, classes, marks)
        self._units = (_CUnit * len(units))(*[_CUnit(u.taps, u.dilation, u.past, u.skip) for u in units])
        self._memory = np.zeros(0, np.float32)
        self.parts: dict[str, tuple[slice, tuple[int, ...]]] = {}
        values = self._initial(np.random.default_rng(seed))
        at = 0
        for name, value in values.items():
            self.parts[name] = (slice(at, at + value.size), value.shape)
            at += value.size
        self.parameters = np.concatenate([v.ravel() for v in values.values()]).astype(np.float32)
        self.gradient = np.zeros_like(self.parameters)
        self.statistics = np.zeros((1 + 2 * len(units)) * 2 * channels, np.float32)
        self.is_weight = np.zeros(len(self.parameters), np.float32)
        for name, (place, _) in self.parts.items():
            self.is_weight[place] = name.endswith((".dw", ".pw")) or name == "head.w"

    def _initial(self, rng: np.random.Generator) -> dict[str, npt.NDArray[np.float64]]:
        c = self.channels
        # Thresholds spread over the signal's range: the first relu6 may see a single number and must keep all of it.
        stem = rng.normal(0, 8 / np.sqrt(self.inputs), (self.inputs, c))
        values = {"stem.w": stem, "stem.gamma": np.ones(c), "stem.beta": rng.uniform(0, 4, c)}
        for u in self.units:
            values[f"{u.name}.dw"] = rng.normal(0, np.sqrt(2 / u.taps), (u.taps, c))
            values[f"{u.name}.dw.gamma"], values[f"{u.name}.dw.beta"] = np.ones(c), np.zeros(c)
            values[f"{u.name}.pw"] = rng.normal(0, np.sqrt(2 / c), (c, c))
            values[f"{u.name}.pw.gamma"], values[f"{u.name}.pw.beta"] = np.ones(c), np.zeros(c)
        return values | {"head.w": rng.normal(0, 0.1, (c, self.classes)), "head.b": np.zeros(self.classes)}

    def adopt(self, convolutions: Sequence[tuple[Floats, Floats]], x: Floats) -> None:
        """Begin with the weights and biases of a network's convolutions, first to last, batch norms folded in.

        ``x`` (lanes, frames, inputs) are windows as training draws them: the norms get the mean and the deviation that
        they see there, so that they change nothing. Marks that the other network has not begin near no.
        """
        norms = ["stem", *(f"{u.name}.{kind}" for u in self.units for kind in ("dw", "pw"))]
        if len(convolutions) != len(norms) + 1:
            raise ModelError(f"separable: {len(convolutions)} convolutions do not fit a network of {len(norms) + 1}.")
        for number, (norm, (weights, offset)) in enumerate(zip(norms, convolutions, strict=False)):
            place, shape = self.parts["stem.w" if norm == "stem" else norm]
            if weights.size != place.stop - place.start:
                raise ModelError(f"separable: the weights {weights.shape} do not fit {norm}, which has {shape}.")
            self.parameters[place] = weights.ravel()
            mean, var = self.measure(x, self.parameters).reshape(-1, 2, self.channels)[number]
            self.parameters[self.parts[f"{norm}.gamma"][0]] = np.sqrt(var + EPSILON)
            self.parameters[self.parts[f"{norm}.beta"][0]] = offset + mean
        head, bias = convolutions[-1]
        known = min(len(bias), self.classes)
        place, shape = self.parts["head.w"]
        self.parameters[place].reshape(shape)[:, :known] = head[:, :known]
        place, _ = self.parts["head.b"]
        self.parameters[place][:known], self.parameters[place][known:] = bias[:known], -3

    @property
    def look_ahead(self) -> int:
        """Frames."""
        return sum(u.look_ahead for u in self.units)

    def learn(self, x: Floats, target: Floats, weight: Floats) -> float:
        """The weighted mean cross-entropy; fills ``gradient`` and ``statistics``.

        ``x`` is (lanes, frames, inputs), or (lanes, frames) for a single input, ``target`` (lanes, frames, classes)
        probabilities, ``weight`` (lanes, frames, 1 + marks), or (lanes, frames) without marks: the last ``marks``
        classes are yes-or-no questions with a weight and a mean of their own.
        """
        return self._step(TRAIN, x, target, weight, self.parameters, self.statistics, None)

    def measure(self, x: Floats, parameters: Floats) -> Floats:
        """The batch norms' statistics on ``x`` (lanes, frames, inputs)."""
        statistics = np.zeros_like(self.statistics)
        self._step(STATISTICS, x, None, None, parameters, statistics, None)
        return statistics

    def predict(self, x: Floats, parameters: Floats, statistics: Floats) -> Floats:
        """Logits (lanes, frames, classes)."""
        logits = np.zeros((*x.shape[:2], self.classes), np.float32)
        self._step(INFER, x, None, None, parameters, statistics, logits)
        return logits

    def _step(
        self,
        mode: int,
        x: Floats,
        target: Floats | None,
        weight: Floats | None,
        parameters: Floats,
        statistics: Floats,
        logits: Floats | None,
    ) -> float:
        lanes, frames = x.shape[:2]
        if self.inputs == 1 and x.ndim == 2:
            x = x[..., None]
        if weight is not None and self.marks == 0 and weight.ndim == 2:
            weight = weight[..., None]
        shapes = [
            (x, (lanes, frames, self.inputs)),
            (target, (lanes, frames, self.classes)),
            (weight, (lanes, frames, 1 + self.marks)),
        ]
        if any(a is not None and (a.shape != shape or a.dtype != np.float32) for a, shape in shapes):
            raise ValueError("x, target and weight must be float32 and of the same lanes and frames")
        arrays = [None if a is None else np.ascontiguousarray(a) for a in (x, target, weight)]
        needed = self._library.separable_memory(lanes, frames, len(self.units))
        if self._memory.size < needed:
            self._memory = np.zeros(needed, np.float32)

        def at(a: Floats | None) -> ctypes.c_void_p | None:
            return None if a is None else a.ctypes.data_as(ctypes.c_void_p)

        loss: float = self._library.separable_step(
            *map(at, arrays),
            lanes,
            frames,
            self._units,
            len(self.units),
            at(parameters),
            at(self.gradient),
            at(statistics),
            at(logits),
            mode,
            at(self._memory),
        )
        return loss

    def keras_weights(
        self, parameters: Floats, statistics: Floats, classes: int | None = None
    ) -> dict[str, list[Floats]]:
        """Layer name, with "stage:" in front -> weights as Keras orders them; of the first ``classes`` alone."""
        c = self.channels
        norms = iter(statistics.reshape(-1, 2, c))

        def part(name: str) -> Floats:
            place, shape = self.parts[name]
            return parameters[place].reshape(shape)

        def norm(prefix: str) -> list[Floats]:
            mean, var = next(norms)
            return [part(f"{prefix}.gamma"), part(f"{prefix}.beta"), mean, var]

        first = self.units[0].name
        weights: dict[str, list[Floats]] = {
            f"{first}.EX.CN": [part("stem.w").reshape(1, 1, self.inputs, c)],
            f"{first}.EX.BN": norm("stem"),
        }
        for u in self.units:
            weights[f"{u.name}.DW.B1.CN"] = [part(f"{u.name}.dw").reshape(1, u.taps, c, 1)]
            weights[f"{u.name}.DW.B1.BN"] = norm(f"{u.name}.dw")
            weights[f"{u.name}.PW.B1.CN"] = [part(f"{u.name}.pw").reshape(1, 1, c, c)]
            weights[f"{u.name}.PW.B1.BN"] = norm(f"{u.name}.pw")
        stage = self.units[-1].name.split(":")[0]
        weights[f"{stage}:NECK.conv"] = [
            part("head.w")[:, :classes].reshape(1, 1, c, -1),
            part("head.b")[:classes],
        ]
        return weights


def folded_weights(path: Path) -> list[tuple[Floats, Floats]]:
    """Weights (taps or 1, channels in or 1, channels out) and bias of every convolution of a float32 .tflite file."""
    (graph,) = read_model(path.read_bytes()).graphs
    found = []
    for op in graph.ops:
        if op.kind in ("CONV_2D", "DEPTHWISE_CONV_2D"):
            weights, bias = (np.asarray(graph.tensors[i].data, np.float32) for i in op.inputs[1:3])
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
