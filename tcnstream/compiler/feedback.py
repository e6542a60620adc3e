"""Inputs that feed an output back: the state of a file that leaves remembering to whoever calls it.

Streaming exports and single cells of recurrent layers take their state as an input and give the next one as an output.
A file does not say so. Names do ("h_in" and "h_out"), or shapes: what is left when an input and an output have a shape
that no other end has. Where neither decides, whoever knows says it: ``states={"in": "out"}``.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tcnstream.compiler.plan import StepGraph
from tcnstream.compiler.window import settle
from tcnstream.errors import ModelError, NotStreamableError
from tcnstream.tflite.graph import Array, Graph, ModelFile, Op, Quantization, Tensor

_OF_A_STATE = set(
    re.findall(
        r"\w+",
        "state states cstate hstate hidden cell carry memory mem cache caches buffer buf fifo ring past history context"
        " h c hx cx hc rnn lstm gru",
    )
)
"""Words that name a state."""

_OF_AN_END = set(
    re.findall(
        r"\w+",
        "in input inputs out output outputs new next prev previous old last cur current before after updated upd ret"
        " return returned n t initial init serving default stateful partitioned call identity args arg kwargs tensor"
        " keras",
    )
)
"""Words that say at which end of the model a tensor stands, and those that converters add."""


@dataclass(frozen=True)
class Pair:
    """An input and the output that is fed back to it, both as tensors of the graph."""

    input: int
    output: int


def named(file: ModelFile, states: Mapping[str, str]) -> tuple[Pair, ...]:
    """The pairs that someone names, input to output. Raises ModelError for names or shapes that do not fit."""
    graph = file.main
    pairs = []
    for before, after in states.items():
        pair = Pair(_end(file, graph.inputs, before, "input"), _end(file, graph.outputs, after, "output"))
        a, b = graph.tensors[pair.input], graph.tensors[pair.output]
        if math.prod(a.shape) != math.prod(b.shape) or a.dtype.kind != b.dtype.kind:
            raise ModelError(
                f"states: `{after}` is {b.dtype} {b.shape}, which cannot be fed back to `{before}`, {a.dtype} {a.shape}"
            )
        pairs.append(pair)
    if len({p.output for p in pairs}) < len(pairs):
        raise ModelError("states: an output is fed back to two inputs; name each once")
    if len(pairs) == len(graph.inputs):
        raise ModelError("states: every input is fed back, so that no signal goes in")
    return tuple(pairs)


def _end(file: ModelFile, ends: Sequence[int], name: str, which: str) -> int:
    for i in ends:
        if name in (file.name_of(i), file.main.tensors[i].name):
            return i
    known = ", ".join(f"`{file.name_of(i)}`" for i in ends)
    raise ModelError(f"states: the model has no {which} `{name}`; it has {known}")


def by_name(file: ModelFile) -> tuple[Pair, ...]:
    """Inputs whose names say that they are states, each with the one output that can be fed back to it."""
    graph = file.main
    states = called_states(file)
    if len(states) == len(graph.inputs):
        return ()
    free = list(graph.outputs)
    pairs: dict[int, int] = {}
    # What a name decides takes its output away from what a shape decides.
    for rule in (_of_one_stem, _alone_of_its_shape):
        for i in states:
            if i not in pairs and (o := rule(file, i, free, [s for s in states if s not in pairs])) is not None:
                pairs[i] = o
                free.remove(o)
    return tuple(Pair(i, o) for i, o in pairs.items())


def called_states(file: ModelFile) -> list[int]:
    """Inputs with a name as states have it."""
    return [i for i in file.main.inputs if _words(file, i) & _OF_A_STATE]


def by_shape(file: ModelFile) -> tuple[Pair, ...]:
    """Inputs that share their shape with one output and no other end; empty where that leaves no signal to be told.

    If all inputs do, the signal is the one of the fewest axes.
    """
    graph = file.main
    if len(graph.inputs) < 2:
        return ()
    pairs = []
    for i in graph.inputs:
        fitting = [o for o in graph.outputs if _alike(graph, i, o)]
        rivals = [k for k in graph.inputs if k != i and _alike(graph, i, k)]
        if len(fitting) == 1 and not rivals:
            pairs.append(Pair(i, fitting[0]))
    if len(pairs) == len(graph.inputs):
        by_rank = sorted(pairs, key=lambda pair: len(graph.tensors[pair.input].shape))
        ranks = [len(graph.tensors[pair.input].shape) for pair in by_rank]
        if ranks[0] == ranks[1]:
            return ()
        pairs = by_rank[1:]
    states = [pair.input for pair in pairs]
    pairs = [pair for pair in pairs if not _advances(graph, pair.input, states)]
    return tuple(pairs) if len(pairs) < len(graph.outputs) else ()


def hint(file: ModelFile) -> str:
    """What to say of a file that is refused, where an input and an output have one shape; else empty."""
    i, o = next(iter(_twins(file)), ("", ""))
    return f" (If an input takes a state that an output gives back, name both: states={{{i!r}: {o!r}}}.)" if i else ""


def refuse_if_unclear(file: ModelFile, static: Sequence[int]) -> None:
    """Raises NotStreamableError if one of the inputs ``static`` may as well be a state, and nothing decides."""
    graph = file.main
    names = {file.name_of(i) for i in graph.inputs if any(i == k or _alike(graph, i, k) for k in static)}
    unclear = [(i, o) for i, o in _twins(file) if i in names]
    if unclear:
        outputs = ", ".join(dict.fromkeys(f"`{o}`" for _, o in unclear))
        i, o = unclear[0]
        raise NotStreamableError(
            f"inputs {', '.join(dict.fromkeys(f'`{i}`' for i, _ in unclear))} have the shape of outputs {outputs}, and"
            f" neither names nor shapes say which output is fed back to which input: say states={{{i!r}: {o!r}, ...}},"
            " or states={} if none is"
        )


def _twins(file: ModelFile) -> list[tuple[str, str]]:
    """Names of an input and an output of one shape, those of the last inputs first."""
    graph = file.main
    ends = itertools.product(reversed(graph.inputs), graph.outputs) if len(graph.inputs) > 1 else ()
    return [(file.name_of(i), file.name_of(o)) for i, o in ends if _alike(graph, i, o)]


def static_of(graph: Graph, pairs: Sequence[Pair]) -> tuple[int, ...]:
    """Inputs of a graph that takes steps which have no time: those of fewer than three axes, where others have more."""
    fed = {pair.input for pair in pairs}
    ranks = {i: len(graph.tensors[i].shape) for i in graph.inputs if i not in fed}
    most = max(ranks.values())
    return tuple(i for i, rank in ranks.items() if rank < min(most, 3) and (rank < 2 or most > 2))


def _advances(graph: Graph, i: int, states: Sequence[int]) -> bool:
    """Whether an input is as long along its second axis as one that is no state: as signals of one window are."""
    shape = graph.tensors[i].shape
    others = [graph.tensors[k].shape for k in graph.inputs if k != i and k not in states]
    return len(shape) > 2 and shape[1] > 1 and any(len(s) > 2 and s[1] == shape[1] for s in others)


def _alike(graph: Graph, a: int, b: int) -> bool:
    return graph.tensors[a].shape == graph.tensors[b].shape and graph.tensors[a].dtype == graph.tensors[b].dtype


def _of_one_stem(file: ModelFile, i: int, free: Sequence[int], rivals: Sequence[int]) -> int | None:
    """The output that is called as the input is, but for the end at which it stands."""
    fitting = [o for o in free if _alike(file.main, i, o) and _stem(file, o) == _stem(file, i)]
    alone = sum(_stem(file, r) == _stem(file, i) and _alike(file.main, i, r) for r in rivals) == 1
    return fitting[0] if len(fitting) == 1 and alone else None


def _alone_of_its_shape(file: ModelFile, i: int, free: Sequence[int], rivals: Sequence[int]) -> int | None:
    """The one output of the input's shape, where no other input that is a state has it, too.

    A signal may have it as well: then the output is the state's if its name says so.
    """
    fitting = [o for o in free if _alike(file.main, i, o)]
    said = [o for o in fitting if _words(file, o) & _OF_A_STATE]
    if any(_alike(file.main, i, r) for r in rivals if r != i):
        return None
    if len(said) == 1:
        return said[0]
    return fitting[0] if (len(fitting) == 1 and len(free) > 1) or len(free) == len(fitting) == 1 else None


def _tokens(file: ModelFile, i: int) -> list[str]:
    """The words and numbers of a name, small: ["h", "0"] of "h0", ["state", "n"] of "stateN"."""
    name = re.sub(r":\d+$", "", file.name_of(i)).rsplit("/", 1)[-1]
    name = re.sub(r"([a-z])([A-Z])", r"\1 \2", name)
    tokens = re.findall(r"[a-z]+|\d+", name.lower())
    return [part for token in tokens for part in (list(token) if token in ("hn", "cn", "ht", "ct") else [token])]


def _words(file: ModelFile, i: int) -> set[str]:
    return set(_tokens(file, i))


def _stem(file: ModelFile, i: int) -> tuple[str, ...]:
    """A name without the words of an end; a number counts unless it is the 0 of a first state."""
    return tuple(t for t in _tokens(file, i) if t not in _OF_AN_END and t != "0")


def zeros(tensor: Tensor) -> Array:
    """What a state begins as: the number 0 in its own scale."""
    q = tensor.quantization
    return np.full(tensor.shape, 0 if q is None else int(q.zero_point.flat[0]), tensor.dtype)


def as_steps(
    graph: Graph, pairs: Sequence[Pair], start: Sequence[Array] | None, static: Mapping[int, Array | None]
) -> StepGraph:
    """``graph`` as one that takes a step by itself.

    ``start`` has a value for the input of each pair, None zeros; ``static`` those of inputs without time, which are
    constants of the steps then. An output that is fed back is no output of the model any more, unless no other is
    left. Where the two ends of a state have different scales, a QUANTIZE stands between them.
    """
    graph = settle(graph)
    tensors, ops = list(graph.tensors), list(graph.ops)
    for i, value in static.items():
        data = zeros(tensors[i]) if value is None else value
        tensors[i] = replace(tensors[i], data=data.reshape(tensors[i].shape))
    fed, states = {p.input for p in pairs}, [p.output for p in pairs]
    outputs = [o for o in graph.outputs if o not in states] or list(graph.outputs)
    made = {o for op in ops for o in op.outputs}
    after: list[int] = []
    for pair in pairs:
        new, like = pair.output, tensors[pair.input]
        if not _same_scale(tensors[new].quantization, like.quantization) or tensors[new].dtype != like.dtype:
            ops.append(Op("QUANTIZE", (new,), (len(tensors),), {}, len(ops)))
            tensors.append(replace(like, name=f"{tensors[new].name}/fed_back", shape=tensors[new].shape, data=None))
            new = len(tensors) - 1
            made.add(new)
        if new not in made or new in outputs or new in after or tensors[new].shape != like.shape:
            # An input, a constant or another end cannot be an output of its own.
            shape = np.array(like.shape, np.int32)
            tensors.append(Tensor(f"{like.name}/shape", shape.shape, shape.dtype, None, shape))
            ops.append(Op("RESHAPE", (new, len(tensors) - 1), (len(tensors),), {"new_shape": like.shape}, len(ops)))
            tensors.append(replace(like, name=f"{like.name}/after", data=None))
            new = len(tensors) - 1
        after.append(new)
    inputs = (*(i for i in graph.inputs if i not in fed and i not in static), *(p.input for p in pairs))
    begin = [zeros(tensors[p.input]) for p in pairs] if start is None else start
    steps = replace(graph, tensors=tuple(tensors), ops=tuple(ops), inputs=inputs, outputs=(*outputs, *after))
    shapes = [tensors[p.input].shape for p in pairs]
    return StepGraph(steps, tuple(x.reshape(shape) for x, shape in zip(begin, shapes, strict=True)), is_fed_back=True)


def _same_scale(a: Quantization | None, b: Quantization | None) -> bool:
    if a is None or b is None:
        return a is b
    return bool(np.array_equal(a.scale, b.scale) and np.array_equal(a.zero_point, b.zero_point))
