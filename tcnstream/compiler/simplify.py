"""Plan -> Plan: several nodes that spell one idea become one node.

Padding in front of a VALID convolution becomes the convolution's own; a dense layer over flattened
time becomes a convolution as long as the window; tiling inside a frame that is then cut into frames
becomes a repetition.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tcnstream.compiler.operations import operation
from tcnstream.compiler.operations.convolution import CONV_2D, ConvolutionOptions
from tcnstream.compiler.operations.dense import FULLY_CONNECTED
from tcnstream.compiler.operations.layout import TILE, TileOptions
from tcnstream.compiler.operations.time import TIME_PAD, TIME_REPEAT, TIME_UNFOLD, TIME_WINDOW
from tcnstream.compiler.plan import ActivationOptions, Node, Plan
from tcnstream.tflite.graph import Quantization, Shape, Tensor


def simplify(plan: Plan) -> Plan:
    """The same program with fewer nodes, and without tensors that nothing uses."""
    tensors, windows = list(plan.tensors), list(plan.windows)
    producer = {o: node for node in plan.nodes for o in node.outputs}
    nodes: list[Node] = []
    for original in plan.nodes:
        node, source = original, producer.get(original.inputs[0])
        if source is not None and operation(node.kind).is_convolution and _pads_for(source, node):
            node = _padded(source, node)
        elif source is not None and _is_dense_over_time(source, node, tensors):
            tensors.append(_as_kernel(tensors[node.inputs[1]], source.window.extent))
            windows.append(0)
            made = tensors[node.outputs[0]]
            tensors[node.outputs[0]] = replace(made, shape=(1, *made.shape))
            node = _convolution(source, node, len(tensors) - 1, tensors[-1].shape)
        elif source is not None and _is_tiled_into_frames(source, node):
            node = replace(node, kind=TIME_REPEAT.kind, inputs=source.inputs, views=(tensors[node.outputs[0]].shape,))
        nodes.append(node)
        for o in node.outputs:
            producer[o] = node
    return _compact(replace(plan, tensors=tuple(tensors), nodes=tuple(nodes), windows=tuple(windows)))


def _padded(source: Node, conv: Node) -> Node:
    """``conv`` with the padding of ``source`` as its own."""
    pad, own = source.window, conv.window
    window = replace(own, pad_begin=own.pad_begin + pad.pad_begin, pad_end=(own.pad_end or 0) + (pad.pad_end or 0))
    return replace(conv, inputs=(source.inputs[0], *conv.inputs[1:]), window=window)


def _is_dense_over_time(source: Node, node: Node, tensors: Sequence[Tensor]) -> bool:
    """Whether ``node`` is a dense layer that reads all frames of a window, at every frame."""
    if node.kind != FULLY_CONNECTED.kind or source.kind != TIME_WINDOW.kind or source.window.stride != 1:
        return False
    shape = tensors[node.inputs[1]].shape
    return node.views[0] == shape[1:] and shape[1] % source.window.extent == 0


def _as_kernel(weights: Tensor, taps: int) -> Tensor:
    """Weights (outputs, taps * depth) of a dense layer as those of a convolution, (outputs, taps, 1, depth)."""
    assert weights.data is not None
    kernel = np.ascontiguousarray(weights.data.reshape(weights.shape[0], taps, 1, -1))
    q = weights.quantization
    q = None if q is None else Quantization(q.scale, q.zero_point, 0)
    return replace(weights, shape=kernel.shape, data=kernel, quantization=q)


def _convolution(source: Node, dense: Node, kernel: int, shape: Shape) -> Node:
    """The dense layer over the window that ``source`` gathers, with tensor ``kernel`` of ``shape`` as its weights."""
    return replace(
        dense,
        kind=CONV_2D.kind,
        inputs=(source.inputs[0], kernel, *dense.inputs[2:]),
        views=((1, shape[3]), shape, *dense.views[2:]),
        options=ConvolutionOptions(activation=dense.options_of(ActivationOptions).activation, dense=True),
        window=source.window,
    )


def _is_tiled_into_frames(source: Node, node: Node) -> bool:
    """Whether copies inside of a frame are what becomes frames: the copies follow one another there."""
    if node.kind != TIME_UNFOLD.kind or source.kind != TILE.kind:
        return False
    multiples = source.options_of(TileOptions).multiples
    grown = next((k for k, m in enumerate(multiples) if m != 1), len(multiples))
    return (
        multiples[grown : grown + 1] == (node.window.up,)
        and set(multiples[grown + 1 :]) <= {1}
        and all(n == 1 for n in source.views[0][: grown + 1])
    )


def _pads_for(source: Node, conv: Node) -> bool:
    pad, window = source.window, conv.window
    return (
        source.kind == TIME_PAD.kind
        and pad.edge == "fill"
        and pad.stride == 1
        and pad.pad_begin >= 0
        and pad.pad_end is not None
        and pad.pad_end >= 0
        and source.fill == conv.fill
        and window.pad_end is not None
        and window.pad_begin >= 0
        and window.pad_end >= 0
    )


def _compact(plan: Plan) -> Plan:
    """Without nodes whose outputs nothing reads, and without tensors that no node touches."""
    alive, kept = _used(plan)
    alive.update(plan.inputs)
    order = sorted(alive)
    place = {old: new for new, old in enumerate(order)}
    nodes = tuple(
        replace(
            node,
            inputs=tuple(place[i] if i >= 0 else i for i in node.inputs),
            outputs=tuple(place[o] for o in node.outputs),
        )
        for node in kept
    )
    return replace(
        plan,
        tensors=tuple(plan.tensors[i] for i in order),
        nodes=nodes,
        inputs=tuple(place[i] for i in plan.inputs),
        outputs=tuple(place[o] for o in plan.outputs),
        windows=tuple(plan.windows[i] for i in order),
        states={place[read]: place[written] for read, written in plan.states.items() if read in place},
    )


def _used(plan: Plan) -> tuple[set[int], list[Node]]:
    """The tensors that are read for an output, and the nodes that make them, in order."""
    writer = {o: k for k, node in enumerate(plan.nodes) for o in node.outputs}
    alive, wanted, kept = set[int](), list(plan.outputs), set[int]()
    while wanted:
        i = wanted.pop()
        if i in alive or i < 0:
            continue
        alive.add(i)
        if i in writer:
            kept.add(writer[i])
            wanted += plan.nodes[writer[i]].inputs
            alive.update(plan.nodes[writer[i]].outputs)
        if i in plan.states:
            wanted.append(plan.states[i])
    return alive, [plan.nodes[k] for k in sorted(kept)]
