"""What can be said of a file that has no streaming form: how far each choice of time comes, and all that is in its way.

The first refusal ends a compilation. Here every operation is looked at: what a refused one gives is taken for frames
of the length that it has, so that those behind it are judged as well.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from tcnstream.compiler.batch import batch_of, first_of_batch
from tcnstream.compiler.lower import lower_operation, take_inputs
from tcnstream.compiler.lowering import Lowering, TimedTensor, frame_shape
from tcnstream.compiler.operations import operations
from tcnstream.compiler.picks import settle_tensor
from tcnstream.compiler.prepare import prepared
from tcnstream.compiler.static import split
from tcnstream.compiler.time_axis import Axes, choices
from tcnstream.compiler.timing import timings
from tcnstream.compiler.variables import without_idle
from tcnstream.errors import ModelError, NotStreamableError
from tcnstream.tflite.graph import Graph, ModelFile, Op, Shape

_MOST_CHOICES = 24


@dataclass(frozen=True)
class Seen:
    """One operation of the file as far as it was understood.

    ``time_axis`` is where time is in ``shape``, its first output's, None where it is gone; ``what`` is "streams",
    "refused", or "unsure" behind a refusal.
    """

    index: int
    kind: str
    label: str
    shape: Shape
    time_axis: int | None
    what: str


@dataclass(frozen=True)
class Refusal:
    """Why an operation has no streaming form and the way out; ``index`` is None where it is no operation's."""

    index: int | None
    text: str


@dataclass(frozen=True)
class Choice:
    """A choice of time for all inputs (None: an input without time), and the first thing in its way."""

    axes: Axes
    first: Refusal


@dataclass(frozen=True)
class Examination:
    """``choices`` are those that were tried, the one that comes furthest first; the rest is of that one."""

    choices: tuple[Choice, ...]
    operations: tuple[Seen, ...]
    refusals: tuple[Refusal, ...]


def examine(file: ModelFile, time_axis: int | None = None) -> Examination:
    """All that can be said of a file that ``compile_model`` refuses. Raises nothing of its own."""
    with contextlib.suppress(ModelError):
        file = without_idle(file)
    if file.is_stateful:
        return Examination((), tuple(_unexamined(file.main)), tuple(_known(file.main)))
    try:
        graph = prepared(file.main)
    except (ModelError, NotStreamableError) as e:
        return Examination((), tuple(_unexamined(file.main)), (Refusal(None, str(e)), *_known(file.main)))
    tried = []
    for axes in itertools.islice(choices(graph, time_axis), _MOST_CHOICES):
        with contextlib.suppress(ModelError):
            tried.append((axes, *_examined(graph, axes)))
    tried = [(axes, seen, refusals) for axes, seen, refusals in tried if refusals]
    # The choice that comes furthest, of several the one that was tried first.
    tried.sort(key=lambda one: -1 if one[2][0].index is None else one[2][0].index, reverse=True)
    if not tried:
        return Examination((), tuple(_unexamined(graph)), ())
    found = tuple(Choice(axes, refusals[0]) for axes, _, refusals in tried)
    _, seen, refusals = tried[0]
    return Examination(found, tuple(seen), tuple(refusals))


def _examined(graph: Graph, axes: Axes) -> tuple[list[Seen], list[Refusal]]:
    """The operations along one choice of time, and every refusal among them."""
    seen: list[Seen] = []
    static = [i for i, axis in zip(graph.inputs, axes, strict=True) if axis is None]
    try:
        if (batch := batch_of([graph.tensors[i] for i in graph.inputs], axes)) > 1:
            graph = first_of_batch(graph, batch)
        graph = split(graph, static).rest if static else graph
        lw = Lowering(graph)
        take_inputs(lw, [axis for axis in axes if axis is not None])
    except NotStreamableError as e:
        return list(_unexamined(graph)), [Refusal(e.op_index, str(e))]
    refusals: list[Refusal] = []
    for op in graph.ops:
        what = "unsure" if refusals else "streams"
        try:
            lower_operation(lw, op)
        except NotStreamableError as e:
            refusals.append(Refusal(e.op_index, str(e)))
            what = "refused"
            _assume(lw, op)
        seen.append(_seen(lw, op, what))
    for o in graph.outputs:  # frames that were picked stand for nothing in the plan until they are asked for
        try:
            settle_tensor(lw, o)
        except NotStreamableError as e:
            refusals.append(Refusal(e.op_index, str(e)))
    refusals = list(dict.fromkeys(refusals))
    if not refusals:
        try:
            timings(lw.plan())
        except NotStreamableError as e:
            refusals.append(Refusal(e.op_index, str(e)))
    return seen, refusals


def _assume(lw: Lowering, op: Op) -> None:
    """What a refused operation gives, as frames along the axis that is as long as its operand's time."""
    source = next((lw.streams[i] for i in op.inputs if i in lw.streams), None)
    for o in op.outputs:
        tensor = lw.graph.tensors[o]
        long = [] if source is None else [a for a, n in enumerate(tensor.shape) if n == source.window_frames]
        axis = source.axis if source is not None and source.axis in long else next(iter(long), None)
        frames = 1 if source is None else source.window_frames
        value = lw.add_value(tensor, frame_shape(tensor.shape, axis), frames)
        lw.streams[o] = TimedTensor(value, axis, frames, statistic=axis is None)


def _seen(lw: Lowering, op: Op, what: str) -> Seen:
    output = next(iter(op.outputs), None)
    stream = None if output is None else lw.streams.get(output)
    shape = () if output is None else lw.shape(output)
    return Seen(op.index, op.kind, lw.label(op), shape, None if stream is None else stream.axis, what)


def _unexamined(graph: Graph) -> Iterator[Seen]:
    for op in graph.ops:
        output = next((graph.tensors[o] for o in op.outputs), None)
        name, shape = ("", ()) if output is None else (output.name, output.shape)
        yield Seen(op.index, op.kind, name, shape, None, "unsure")


def _known(graph: Graph) -> Iterator[Refusal]:
    """Operations that have no streaming form whatever they read."""
    for op in graph.ops:
        record = operations().get(op.kind)
        if record is not None and record.lower is None and record.fold is None and not isinstance(record.refusal, str):
            label = graph.tensors[op.outputs[0]].name if op.outputs else op.kind
            yield Refusal(op.index, f"`{op.kind}` (op {op.index}, `{label}`) {record.refusal(op)}.")
