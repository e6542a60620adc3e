"""Plan -> Plan: several nodes that spell one idea become one node.

Padding in front of a VALID convolution becomes the convolution's own; a dense layer over flattened
time becomes a convolution as long as the window; tiling inside a frame that is then cut into frames
becomes a repetition.
"""

from __future__ import annotations

import dataclasses
from dataclasses import replace

import numpy as np

from tcnstream.graph import Quantization
from tcnstream.plan import Node, Plan

_CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D")


def simplify(plan: Plan) -> Plan:
    """The same program with fewer nodes, and without tensors that nothing uses."""
    tensors, windows = list(plan.tensors), list(plan.windows)
    producer = {o: node for node in plan.nodes for o in node.outputs}
    nodes: list[Node] = []
    for original in plan.nodes:
        node = original
        source = producer.get(node.inputs[0])
        if source is not None and node.kind in _CONVOLUTIONS and _pads_for(source, node):
            begin, end = source.reach.pad_begin, source.reach.pad_end
            reach = replace(
                node.reach, pad_begin=node.reach.pad_begin + begin, pad_end=(node.reach.pad_end or 0) + (end or 0)
            )
            node = replace(node, inputs=(source.inputs[0], *node.inputs[1:]), reach=reach)
        elif source is not None and node.kind == "FULLY_CONNECTED" and source.kind == "TIME_WINDOW":
            taps, weights = source.reach.extent, tensors[node.inputs[1]]
            assert weights.data is not None
            if source.reach.stride == 1 and node.views[0] == weights.shape[1:] and weights.shape[1] % taps == 0:
                kernel = np.ascontiguousarray(weights.data.reshape(weights.shape[0], taps, 1, -1))
                q = weights.quantization
                if q is not None:
                    q = Quantization(q.scale, q.zero_point, 0)
                tensors.append(dataclasses.replace(weights, shape=kernel.shape, data=kernel, quantization=q))
                windows.append(0)
                made = tensors[node.outputs[0]]
                tensors[node.outputs[0]] = replace(made, shape=(1, *made.shape))
                node = Node(
                    "CONV_2D",
                    (source.inputs[0], len(tensors) - 1, *node.inputs[2:]),
                    node.outputs,
                    ((1, kernel.shape[3]), kernel.shape, *node.views[2:]),
                    {
                        "dilation_t": 1,
                        "stride_f": 1,
                        "dilation_f": 1,
                        "pad_f_begin": 0,
                        "pad_f_end": 0,
                        "arithmetic": "FULLY_CONNECTED",
                        **node.options,
                    },
                    source.reach,
                    node.fill,
                    node.label,
                    node.index,
                )
        elif source is not None and node.kind == "TIME_UNFOLD" and source.kind == "TILE":
            ratio = node.reach.up
            multiples = source.options["multiples"]
            assert isinstance(multiples, tuple)
            grown = next((k for k, m in enumerate(multiples) if m != 1), len(multiples))
            if (
                multiples[grown : grown + 1] == (ratio,)
                and set(multiples[grown + 1 :]) <= {1}
                and all(n == 1 for n in source.views[0][: grown + 1])
            ):
                view = tensors[node.outputs[0]].shape
                node = replace(node, kind="TIME_REPEAT", inputs=source.inputs, views=(view,))
        nodes.append(node)
        for o in node.outputs:
            producer[o] = node
    return _compact(replace(plan, tensors=tuple(tensors), nodes=tuple(nodes), windows=tuple(windows)))


def _pads_for(source: Node, conv: Node) -> bool:
    pad, reach = source.reach, conv.reach
    return (
        source.kind == "TIME_PAD"
        and pad.edge == "fill"
        and pad.stride == 1
        and pad.pad_begin >= 0
        and pad.pad_end is not None
        and pad.pad_end >= 0
        and source.fill == conv.fill
        and reach.pad_end is not None
        and reach.pad_begin >= 0
        and reach.pad_end >= 0
    )


def _compact(plan: Plan) -> Plan:
    """Without nodes whose outputs nothing reads, and without tensors that no node touches."""
    alive, kept = set(plan.outputs), []
    for node in reversed(plan.nodes):
        if alive.intersection(node.outputs):
            kept.append(node)
            alive.update(i for i in node.inputs if i >= 0)
            alive.update(node.outputs)
    alive.update(plan.inputs)
    order = sorted(alive)
    place = {old: new for new, old in enumerate(order)}
    nodes = tuple(
        replace(
            node,
            inputs=tuple(place[i] if i >= 0 else i for i in node.inputs),
            outputs=tuple(place[o] for o in node.outputs),
        )
        for node in reversed(kept)
    )
    return replace(
        plan,
        tensors=tuple(plan.tensors[i] for i in order),
        nodes=nodes,
        inputs=tuple(place[i] for i in plan.inputs),
        outputs=tuple(place[o] for o in plan.outputs),
        windows=tuple(plan.windows[i] for i in order),
    )
