"""Variables of a model's own (VAR_HANDLE, READ_VARIABLE, ASSIGN_VARIABLE, CALL_ONCE) as a state outside of its graph.

Such a model is a stream already: each invocation takes its own hop of frames and remembers in resource variables. An
interpreter keeps those until it is thrown away, and shares them between streams. Here what is read becomes an input of
the graph and what is assigned an output.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tcnstream.compiler.plan import StepGraph
from tcnstream.compiler.validate import check_streams_through
from tcnstream.errors import ModelError, NotStreamableError
from tcnstream.tflite.graph import ABSENT, Array, Graph, ModelFile, Op, Tensor


def explicit(file: ModelFile) -> StepGraph:
    """The main graph with its variables as inputs and outputs, and what they start as.

    A length that the file leaves open is 1, as it states it. Raises NotStreamableError or ModelError for a model whose
    variables cannot be made explicit.
    """
    main = file.main
    check_streams_through(main)
    for graph in file.graphs:
        _check_ends(graph)
    start = _start(file)
    tensors, ops = [replace(t, open_axes=()) for t in main.tensors], list[Op]()
    names: dict[int, str] = {}
    value: dict[str, int] = {}
    same: dict[int, int] = {}
    states: dict[str, int] = {}

    def enter(name: str, like: Tensor) -> int:
        if name not in start:
            assigned = any(op.kind == "CALL_ONCE" for op in main.ops)
            way_out = (
                "set it in CALL_ONCE"
                if assigned
                else "the converter left the weights out as variables: convert the model from what model.export() or"
                " tf.saved_model.save() writes, or from a concrete function with constants"
            )
            raise ModelError(f"the variable `{name}` is read before anything was assigned to it; {way_out}")
        tensors.append(replace(like, name=f"{name}/before", shape=start[name].shape))
        states[name] = value[name] = len(tensors) - 1
        return states[name]

    for op in main.ops:
        inputs = tuple(same.get(i, i) for i in op.inputs)
        if op.kind == "VAR_HANDLE":
            names[op.outputs[0]] = _variable_name(op)
        elif op.kind == "READ_VARIABLE":
            name = _name_of(names, op)
            like = tensors[op.outputs[0]]
            same[op.outputs[0]] = value[name] if name in value else enter(name, like)
        elif op.kind == "ASSIGN_VARIABLE":
            name = _name_of(names, op)
            if name not in states:
                enter(name, tensors[inputs[1]])
            value[name] = inputs[1]
        elif op.kind != "CALL_ONCE":
            if names.keys() & set(inputs):
                raise NotStreamableError(
                    f"`{op.kind}` (op {op.index}) takes a variable itself; only READ_VARIABLE and ASSIGN_VARIABLE may"
                )
            ops.append(replace(op, inputs=inputs))
    outputs = [same.get(o, o) for o in main.outputs]
    made = {o for op in ops for o in op.outputs}
    for name in states:
        new = value[name]
        if (tensors[new].shape, tensors[new].dtype) != (start[name].shape, start[name].dtype):
            raise ModelError(
                f"the variable `{name}` starts as {start[name].dtype} {start[name].shape} and becomes"
                f" {tensors[new].dtype} {tensors[new].shape}; export the model again"
            )
        if new not in made or new in outputs:
            # An input, a constant or another end cannot be an output of its own.
            shape = np.array(tensors[new].shape, np.int32)
            tensors += [Tensor(f"{name}/shape", shape.shape, shape.dtype, None, shape)]
            tensors += [replace(tensors[new], name=f"{name}/after", data=None)]
            ops.append(Op("RESHAPE", (new, len(tensors) - 2), (len(tensors) - 1,)))
            new = len(tensors) - 1
        outputs.append(new)
    graph = Graph(
        tuple(tensors), tuple(ops), (*main.inputs, *states.values()), tuple(outputs), main.name, main.siblings
    )
    return StepGraph(graph, tuple(start[name] for name in states))


def without_idle(file: ModelFile) -> ModelFile:
    """The file without the variables that no output depends on, as the seeds of dropout are that Keras counts on.

    What is left may be a graph without variables, which streams as any other. The rest of the file is as it was.
    """
    main = file.main
    if not file.is_stateful or _reads_elsewhere(file):
        return file
    for graph in file.graphs:
        _check_ends(graph)
    names = {op.outputs[0]: _variable_name(op) for op in main.ops if op.kind == "VAR_HANDLE"}
    needed, variables = _needed(main, names)
    if variables >= set(names.values()):
        return file

    def stays(op: Op) -> bool:
        if op.kind == "CALL_ONCE":
            return bool(variables)
        if op.kind in _ENDS:
            return _name_of(names, op) in variables if op.inputs else names[op.outputs[0]] in variables
        return not needed.isdisjoint(op.outputs)

    kept = replace(main, ops=tuple(op for op in main.ops if stays(op)))
    return replace(file, graphs=tuple(kept if graph is main else graph for graph in file.graphs))


def _reads_elsewhere(file: ModelFile) -> bool:
    """Whether graphs that other operations call have to do with variables."""
    once = {op.options.get("init_subgraph_index") for op in file.main.ops if op.kind == "CALL_ONCE"}
    others = (g for k, g in enumerate(file.graphs) if g is not file.main and k not in once)
    return any(op.kind in _ENDS for graph in others for op in graph.ops)


def _needed(main: Graph, names: dict[int, str]) -> tuple[set[int], set[str]]:
    """The tensors and the variables on which outputs depend, in this invocation or in a later one."""
    needed, variables = set(main.outputs), set[str]()
    while True:
        before = len(needed), len(variables)
        for op in reversed(main.ops):
            if op.kind == "ASSIGN_VARIABLE":
                if _name_of(names, op) in variables:
                    needed.add(op.inputs[1])
            elif not needed.isdisjoint(op.outputs):
                needed.update(i for i in op.inputs if i != ABSENT)
                variables.update(names[i] for i in op.inputs if i in names)
        if before == (len(needed), len(variables)):
            return needed, variables


_ENDS = {"VAR_HANDLE": (0, 1), "READ_VARIABLE": (1, 1), "ASSIGN_VARIABLE": (2, 0), "CALL_ONCE": (0, 0)}
"""How many operands and outputs the operations on variables have."""


def _check_ends(graph: Graph) -> None:
    for op in graph.ops:
        ends = len(op.inputs), len(op.outputs)
        if ends != _ENDS.get(op.kind, ends) or (op.kind in _ENDS and ABSENT in op.inputs):
            raise ModelError(
                f"`{op.kind}` (op {op.index}) has {ends[0]} operands and {ends[1]} outputs; the file is damaged"
            )


def _start(file: ModelFile) -> dict[str, Array]:
    """What the graphs that run once assign to each variable."""
    start: dict[str, Array] = {}
    for op in file.main.ops:
        if op.kind != "CALL_ONCE":
            continue
        index = op.options.get("init_subgraph_index", -1)
        assert isinstance(index, int)
        graph = file.graphs[index]
        names: dict[int, str] = {}
        for inner in graph.ops:
            if inner.kind == "VAR_HANDLE":
                names[inner.outputs[0]] = _variable_name(inner)
                continue
            data = graph.tensors[inner.inputs[1]].data if inner.kind == "ASSIGN_VARIABLE" else None
            if data is None:
                raise NotStreamableError(
                    f"`{inner.kind}` (op {inner.index} of graph {index}) computes what the state starts as;"
                    " convert the model with constants there"
                )
            start[_name_of(names, inner)] = data
    return start


def _variable_name(op: Op) -> str:
    return f"{op.options.get('container', '')}/{op.options.get('shared_name', '')}"


def _name_of(names: dict[int, str], op: Op) -> str:
    if not op.inputs or op.inputs[0] not in names:
        raise ModelError(f"`{op.kind}` (op {op.index}) names no variable; the file is damaged")
    return names[op.inputs[0]]
