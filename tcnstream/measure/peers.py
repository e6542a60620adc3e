"""Other runtimes on the same network, to be measured beside the engines: tract and onnxruntime (extra ``peers``).

The Plan is written as ONNX in two forms: the whole network over a signal of any length, which tract's pulse mode turns
into a stream by itself, and one step with the past of every layer as inputs and outputs, as people who stream with
onnxruntime write it by hand. Float32 networks of one axis beside time are covered, at the rate of their input.
"""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tcnstream.compiler.operations.activation import SlopeOptions, SoftmaxOptions
from tcnstream.compiler.operations.convolution import CONV_2D, DEPTHWISE_CONV_2D, ConvolutionOptions
from tcnstream.compiler.operations.dense import FULLY_CONNECTED
from tcnstream.compiler.operations.pieces import CONCATENATION
from tcnstream.compiler.plan import ActivationOptions, AxisOptions, Node, Plan
from tcnstream.errors import EngineError

PEERS = ("tract", "onnxruntime")

Frames = npt.NDArray[np.float32]

_OPSET = 17
_CONVOLVED = (CONV_2D.kind, DEPTHWISE_CONV_2D.kind, FULLY_CONNECTED.kind)
_ELEMENTWISE = {
    "ADD": "Add",
    "SUB": "Sub",
    "MUL": "Mul",
    "DIV": "Div",
    "MAXIMUM": "Max",
    "MINIMUM": "Min",
    "RELU": "Relu",
    "LOGISTIC": "Sigmoid",
    "TANH": "Tanh",
}
_CLIPS = {"RELU6": (0.0, 6.0), "RELU_N1_TO_1": (-1.0, 1.0)}


@dataclass(frozen=True)
class Peer:
    """A foreign stream. ``step`` takes (1, channels, hop) float32 and gives (1, channels, hop).

    Frame k that comes out is frame ``k - delay_frames`` of the network; what comes before the first one, and the
    first receptive field where the runtime has no padding of its own, is no answer.
    """

    name: str
    delay_frames: int
    step: Callable[[Frames], Frames]


def open_peer(name: str, plan: Plan, hop_frames: int) -> Peer:
    """The network in a peer that takes ``hop_frames`` at a time.

    Raises EngineError for a peer that is not installed or unknown, and for a network that has no ONNX form here.
    """
    if name not in PEERS:
        raise EngineError(f"there is no peer {name!r}: choose one of {', '.join(PEERS)}")
    runtime, onnx = _installed(name, name), _installed("onnx", name)
    try:
        return (_tract if name == "tract" else _onnxruntime)(runtime, onnx, plan, hop_frames)
    except EngineError:
        raise
    except Exception as e:
        raise EngineError(f"{name} does not take this network ({type(e).__name__}: {e}); leave it out") from e


def _installed(package: str, peer: str) -> Any:
    try:
        return importlib.import_module(package)
    except ImportError as e:
        raise EngineError(f"{peer} needs the package {package}: install tcnstream[peers], or leave it out") from e


def _tract(tract: Any, onnx: Any, plan: Plan, hop_frames: int) -> Peer:
    writer = _OnnxWriter(onnx, plan, None)
    channels = writer.channels(plan.inputs[0])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        path.write_bytes(writer.written())
        model = tract.onnx().load(str(path))
    model.set_input_fact(0, f"1,{channels},S,f32")
    model.set_output_fact(0, None)
    model.analyse()
    model = model.into_model()
    model.transform(tract.Pulse(str(hop_frames), symbol="S"))
    delay = int(model.property("pulse.delay").to_numpy()[0])
    state = model.into_runnable().spawn_state()

    def step(x: Frames) -> Frames:
        made: Frames = state.run([x])[0].to_numpy()
        return made

    return Peer("tract", delay, step)


def _onnxruntime(onnxruntime: Any, onnx: Any, plan: Plan, hop_frames: int) -> Peer:
    writer = _OnnxWriter(onnx, plan, hop_frames)
    content = writer.written()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    names = list(writer.states)
    feeds = {name: np.zeros(shape, np.float32) for name, shape in writer.states.items()}

    def step(x: Frames) -> Frames:
        feeds["x"] = x
        made, *states = session.run(None, feeds)
        feeds.update(zip(names, states, strict=True))
        return made  # type: ignore[no-any-return]

    return Peer("onnxruntime", writer.delays[plan.outputs[0]], step)


class _OnnxWriter:
    """One ONNX graph. Tensors are (1, channels, time); ``hop_frames`` None writes the whole-signal form."""

    def __init__(self, onnx: Any, plan: Plan, hop_frames: int | None) -> None:
        self.onnx, self.plan, self.hop_frames = onnx, plan, hop_frames
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.states: dict[str, tuple[int, int, int]] = {}
        self.next_states: list[Any] = []
        self.delays = [0] * len(plan.tensors)
        self.names = [f"t{i}" for i in range(len(plan.tensors))]
        if len(plan.inputs) != 1 or len(plan.outputs) != 1:
            raise EngineError("peers are measured on networks with one input and one output")
        for i in plan.inputs:
            self.channels(i)
            self.names[i] = "x"

    def written(self) -> bytes:
        helper, plan = self.onnx.helper, self.plan
        for node in plan.nodes:
            self.node(node)
        time: int | str = "S" if self.hop_frames is None else self.hop_frames
        (source,), (result,) = plan.inputs, plan.outputs

        def value(name: str, shape: tuple[int | str, ...]) -> Any:
            return helper.make_tensor_value_info(name, self.onnx.TensorProto.FLOAT, shape)

        graph = helper.make_graph(
            self.nodes,
            "network",
            [value("x", (1, self.channels(source), time)), *(value(n, s) for n, s in self.states.items())],
            [value(self.names[result], (1, self.channels(result), time)), *self.next_states],
            self.constants,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=8)
        content: bytes = model.SerializeToString()
        return content

    def channels(self, i: int) -> int:
        tensor = self.plan.tensors[i]
        if str(tensor.dtype) != "float32" or any(n != 1 for n in tensor.shape[:-1]):
            raise EngineError(
                f"`{tensor.name}` is {tensor.dtype} {tensor.shape}; peers are measured on float32 networks of channels"
            )
        return tensor.shape[-1] if tensor.shape else 1

    def node(self, node: Node) -> None:
        window = node.window
        if (window.up, window.stride, window.edge) != (1, 1, "fill") or node.fill != 0 or len(node.outputs) != 1:
            raise self.unsupported(node)
        (result,) = node.outputs
        self.channels(result)
        write = self.convolution if node.kind in _CONVOLVED else self.frame_by_frame
        made = write(node, result)
        options = node.options
        activation = (
            options.activation_in_file if isinstance(options, ActivationOptions) else ActivationOptions.activation
        )
        self.activation(node, made, self.names[result], activation)

    def unsupported(self, node: Node) -> EngineError:
        return EngineError(f"`{node.kind}` (op {node.index}, `{node.label}`) is not among what peers are measured on")

    def add(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(self.onnx.helper.make_node(kind, inputs, [output], **attributes))
        return output

    def constant(self, name: str, values: Any) -> str:
        self.constants.append(self.onnx.numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def convolution(self, node: Node, result: int) -> str:
        weights = self.plan.tensors[node.inputs[1]].data
        if weights is None or str(weights.dtype) != "float32":
            raise self.unsupported(node)
        channels = self.channels(node.inputs[0])
        dilation = 1
        if node.kind == FULLY_CONNECTED.kind:
            kernel = weights[:, :, None]
        else:
            dilation = node.options_of(ConvolutionOptions).dilation_t
            depthwise = node.kind == DEPTHWISE_CONV_2D.kind
            if weights.shape[1 if depthwise else 2] != 1:
                raise self.unsupported(node)
            kernel = weights[:, 0].T[:, None] if depthwise else weights[:, :, 0].transpose(0, 2, 1)
        name, window = f"t{result}", node.window
        operands = [self.constant(f"{name}.weights", kernel)]
        bias = node.inputs[2] if len(node.inputs) > 2 else -1
        if bias >= 0:
            data = self.plan.tensors[bias].data
            assert data is not None
            operands.append(self.constant(f"{name}.bias", data.reshape(-1)))
        pad_end = window.extent - 1 - window.pad_begin if window.pad_end is None else window.pad_end
        if window.pad_begin + pad_end != window.extent - 1:
            raise self.unsupported(node)
        source = self.names[node.inputs[0]]
        pads = [window.pad_begin, pad_end]
        if self.hop_frames is not None:
            source = self.with_past(source, name, channels, window.extent - 1)
            self.delays[result] = self.delays[node.inputs[0]] + pad_end
            pads = [0, 0]
        return self.add(
            "Conv",
            [source, *operands],
            f"{name}.sum",
            pads=pads,
            dilations=[dilation],
            group=channels // kernel.shape[1],
        )

    def with_past(self, source: str, name: str, channels: int, past: int) -> str:
        """``source`` behind its last ``past`` frames, which become a state."""
        if past == 0:
            return source
        state = f"{name}.past"
        self.states[state] = (1, channels, past)
        longer = self.add("Concat", [state, source], f"{name}.longer", axis=2)
        begin, end = (self.constant(f"{name}.{k}", np.array([v])) for k, v in (("from", -past), ("to", 2**31 - 1)))
        axis = self.constant(f"{name}.axis", np.array([2]))
        kept = self.add("Slice", [longer, begin, end, axis], f"{name}.kept")
        info = self.onnx.helper.make_tensor_value_info(kept, self.onnx.TensorProto.FLOAT, (1, channels, past))
        self.next_states.append(info)
        return longer

    def frame_by_frame(self, node: Node, result: int) -> str:
        streamed = [i for i in node.inputs if i >= 0 and self.plan.tensors[i].data is None]
        latest = max(self.delays[i] for i in streamed)
        self.delays[result] = latest
        operands = []
        for place, i in enumerate(node.inputs):
            data = self.plan.tensors[i].data
            if data is None:
                operands.append(self.delayed(self.names[i], f"t{result}.{place}", i, latest - self.delays[i]))
            else:
                operands.append(self.constant(f"t{result}.c{place}", data.reshape(1, -1, 1)))
        name = f"t{result}.made"
        if node.kind in _ELEMENTWISE:
            return self.add(_ELEMENTWISE[node.kind], operands, name)
        if node.kind in _CLIPS:
            return self.clip(operands[0], name, *_CLIPS[node.kind])
        options = node.options
        if isinstance(options, SlopeOptions):
            return self.add("LeakyRelu", operands, name, alpha=options.alpha)
        if node.kind == CONCATENATION.kind and options == AxisOptions(len(node.views[0])):
            return self.add("Concat", operands, name, axis=1)
        if options == SoftmaxOptions(beta=1.0):
            return self.add("Softmax", operands, name, axis=1)
        raise self.unsupported(node)

    def delayed(self, source: str, name: str, i: int, frames: int) -> str:
        """``source`` as it was ``frames`` frames ago."""
        if frames == 0 or self.hop_frames is None:
            return source
        longer = self.with_past(source, name, self.channels(i), frames)
        begin, end = (self.constant(f"{name}.{k}", np.array([v])) for k, v in (("old", 0), ("new", self.hop_frames)))
        return self.add("Slice", [longer, begin, end, f"{name}.axis"], f"{name}.delayed")

    def activation(self, node: Node, source: str, name: str, kind: str) -> None:
        if kind == "NONE":
            self.add("Identity", [source], name)
        elif kind == "RELU":
            self.add("Relu", [source], name)
        elif kind in _CLIPS:
            self.clip(source, name, *_CLIPS[kind])
        else:
            raise self.unsupported(node)

    def clip(self, source: str, name: str, low: float, high: float) -> str:
        bounds = [self.constant(f"{name}.{k}", np.float32(v)) for k, v in (("low", low), ("high", high))]
        return self.add("Clip", [source, *bounds], name)
