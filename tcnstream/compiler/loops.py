"""What is fed back: the nodes of every loop stand together, and its states have as many frames as it can compute.

A state shows at frame j what another tensor was at frame j - 1. Where that tensor depends on the state, the nodes
between the two form a loop, which every engine computes frame by frame; all else still goes block by block.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from tcnstream.compiler.operations.time import TIME_STATE
from tcnstream.compiler.plan import SAME_FRAME, Node, Plan
from tcnstream.errors import NotStreamableError


def arrange(plan: Plan) -> Plan:
    """The plan with its nodes in an order in which every loop is a run of them.

    Raises NotStreamableError where a window along time, or another rate, is part of a loop.
    """
    if not plan.states:
        return plan
    writer = {o: k for k, node in enumerate(plan.nodes) for o in node.outputs}
    reads: list[list[int]] = []
    for node, sources in zip(plan.nodes, plan.sources, strict=True):
        fed = [plan.states[node.outputs[0]]] if node.kind == TIME_STATE.kind else []
        reads.append([writer[i] for i in (*sources, *fed) if i in writer])
    nodes: list[Node] = []
    for group in _components(reads):
        members = [plan.nodes[k] for k in group]
        nodes.extend(_clocked(plan, members))
    return replace(plan, nodes=tuple(nodes))


def _clocked(plan: Plan, members: Sequence[Node]) -> Iterator[Node]:
    """The nodes of a loop, or a single node; states wait for every stream that the loop reads."""
    made = {o for node in members for o in node.outputs}
    fed = [plan.states[node.outputs[0]] for node in members if node.kind == TIME_STATE.kind]
    outside = {i for node in members for i in node.inputs if i >= 0 and plan.tensors[i].data is None} - made
    outside.update(i for i in fed if i not in made)
    clocks = sorted(outside)
    for node in members:
        if len(members) > 1 and node.window != SAME_FRAME:
            raise NotStreamableError(
                f"`{node.kind_in_file}` (op {node.index}, `{node.label}`) reads frames at several times of what is fed"
                " back to it. End the model before it, or replace it in training.",
                node.index,
            )
        if node.kind == TIME_STATE.kind:
            shapes = tuple(plan.tensors[i].shape for i in clocks)
            node = replace(node, inputs=(node.inputs[0], *clocks), views=(node.views[0], *shapes))
        yield node


def _components(reads: Sequence[Sequence[int]]) -> Iterator[list[int]]:
    """The strongly connected components of a graph of nodes, each after those that it reads, in ascending order inside.

    Tarjan's algorithm, without recursion: a loop may have thousands of nodes.
    """
    number: dict[int, int] = {}
    lowest: dict[int, int] = {}
    open_nodes: list[int] = []
    done: set[int] = set()
    for root in range(len(reads)):
        walk = [] if root in number else [(root, iter(reads[root]))]
        while walk:
            k, rest = walk[-1]
            if k not in number:
                number[k] = lowest[k] = len(number)
                open_nodes.append(k)
            below = next(rest, None)
            if below is None:
                walk.pop()
                if walk:
                    above = walk[-1][0]
                    lowest[above] = min(lowest[above], lowest[k])
                if lowest[k] == number[k]:
                    cut = open_nodes.index(k)
                    done.update(open_nodes[cut:])
                    yield sorted(open_nodes[cut:])
                    del open_nodes[cut:]
            elif below not in number:
                walk.append((below, iter(reads[below])))
            elif below not in done:
                lowest[k] = min(lowest[k], number[below])
