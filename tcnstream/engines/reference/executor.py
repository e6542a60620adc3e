"""The reference engine: NumPy, node by node, slow and obvious. It is the definition of every result."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tcnstream.compiler.operations import operation
from tcnstream.compiler.operations.time import GraphOptions
from tcnstream.compiler.plan import Node, Plan
from tcnstream.compiler.timing import first_read, last_read
from tcnstream.engines.base import StateExecutor
from tcnstream.engines.reference.kernels import KERNELS, KernelContext
from tcnstream.engines.signed import (
    computes_unsigned,
    flipped,
    is_unsigned,
    signed,
    signed_node,
    unlike_int8,
    weights_place,
)
from tcnstream.engines.state import State
from tcnstream.errors import EngineError
from tcnstream.tflite.graph import Array, Tensor


class ReferenceExecutor(StateExecutor):
    """Runs any plan whose operations have a kernel; all its state is the stream's.

    ``rounding`` is "litert", or "tflm" for the two roundings of TFLite Micro's FULLY_CONNECTED.
    """

    name = "reference"
    block_frames: tuple[int, ...] = (256,)

    def __init__(self, plan: Plan, rounding: str = "litert") -> None:
        if lacking := nodes_without_kernel(plan):
            node = lacking[0]
            if isinstance(node.options, GraphOptions):
                raise EngineError(node.options.alone(self.name))
            raise EngineError(f"the reference engine lacks `{node.kind}` (op {node.index}, `{node.label}`)")
        for node in plan.nodes:
            if what := unlike_int8(plan, node):
                raise EngineError(
                    f"the reference engine lacks `{node.kind_in_file}` with {what} (op {node.index}, `{node.label}`);"
                    ' use engine="interpreter"'
                )
        self.plan = plan
        self.rounding = rounding

    def run(self, state: State, goal: list[int]) -> None:
        """As ``StateExecutor.run``, node by node."""
        loops = {loop.start: loop for loop in self.plan.loops}
        k = 0
        while k < len(self.plan.nodes):
            nodes = loops.get(k, range(k, k + 1))
            run_nodes(state, nodes, goal, self.rounding)
            k = nodes.stop


def run_nodes(state: State, nodes: range, goal: list[int], rounding: str = "litert") -> None:
    """Bring to ``goal`` what the nodes of one of ``Plan.loops`` make, frame by frame, or what one node alone makes."""
    first = state.plan.nodes[nodes.start].outputs[0]
    for left in range(goal[first] - state.have[first] - 1, -1, -1) if len(nodes) > 1 else (0,):
        for k in nodes:
            outputs = state.plan.nodes[k].outputs
            end = goal[outputs[0]] - left
            if end > state.have[outputs[0]]:
                state.produce(zip(outputs, compute(state, k, end, rounding), strict=True))


def nodes_without_kernel(plan: Plan) -> list[Node]:
    """The nodes that the reference engine cannot compute, in order."""
    return [node for node in plan.nodes if node.kind not in KERNELS]


def compute(state: State, k: int, end: int, rounding: str = "litert") -> tuple[Array, ...]:
    """The frames of node ``k``'s outputs from what they have to ``end``; its inputs must be there.

    Returns (n, *frame_shape) for each output of the node.
    """
    plan = state.plan
    node = plan.nodes[k]
    context = _context(plan, state, node, state.have[node.outputs[0]], end, rounding)
    # A NaN or an infinity in the signal passes through, as it does in the reference kernels.
    fed_back = plan.states.get(node.outputs[0])
    if fed_back is not None:
        first = max(context.first_frame - 1, 0)
        frames = state.queues[fed_back].read(first, context.first_frame + context.n_frames - 1)
        context = replace(context, fed_back=frames)
    with np.errstate(all="ignore"):
        if operation(node.kind).carries:
            *made, carry = KERNELS[node.kind](replace(context, carry=state.carries.get(k)))
            state.carry(k, carry)
        elif computes_unsigned(plan, node):
            made = [flipped(y) if y.dtype == np.int8 else y for y in KERNELS[node.kind](_signed(plan, context))]
        else:
            made = list(KERNELS[node.kind](context))
    return tuple(y.reshape(len(y), *plan.tensors[o].shape) for y, o in zip(made, node.outputs, strict=True))


def _signed(plan: Plan, context: KernelContext) -> KernelContext:
    """What a kernel for int8 is given in the place of uint8."""
    node, tensors, arrays = context.node, list(context.inputs), list(context.arrays)
    for position, (tensor, array) in enumerate(zip(context.inputs, context.arrays, strict=True)):
        if tensor is None or array is None or not is_unsigned(tensor):
            continue
        made = signed(replace(tensor, data=_constant(plan, node, position)), position == weights_place(node))
        tensors[position] = replace(made, data=None)
        arrays[position] = flipped(array) if made.data is None else made.data.reshape(array.shape)
    return replace(
        context,
        node=signed_node(plan, node),
        inputs=tuple(tensors),
        arrays=tuple(arrays),
        outputs=tuple(map(signed, context.outputs)),
    )


def _constant(plan: Plan, node: Node, position: int) -> Array | None:
    return plan.tensors[node.inputs[position]].data


def _context(plan: Plan, state: State, node: Node, begin: int, end: int, rounding: str) -> KernelContext:
    window = node.window
    oldest, newest = first_read(window, begin), last_read(window, end - 1) + 1
    if window.edge == "clip":
        oldest = max(oldest, 0)
    facts: list[Tensor | None] = []
    arrays: list[Array | None] = []
    signal_frames = newest
    for position, (i, view) in enumerate(zip(node.inputs, node.views, strict=True)):
        if i < 0:
            facts.append(None)
            arrays.append(None)
            continue
        tensor = plan.tensors[i]
        facts.append(replace(tensor, shape=view))
        if tensor.data is not None:
            arrays.append(tensor.data.reshape(view))
        else:
            signal_frames = min(signal_frames, state.have[i])
            arrays.append(state.gather(node, position, oldest, newest))
    return KernelContext(
        node=node,
        inputs=tuple(facts),
        arrays=tuple(arrays),
        outputs=tuple(plan.tensors[o] for o in node.outputs),
        first_frame=begin,
        n_frames=end - begin,
        first_input_frame=oldest,
        valid=(max(0, -oldest), signal_frames - oldest),
        rounding=rounding,
    )
