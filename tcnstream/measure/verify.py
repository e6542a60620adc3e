"""Prove the contract on a user's own model and signal: the stream against what offline gives.

Comparisons, each over the whole output:

1. the unmodified file in the installed TFLite interpreter (reference kernels) on windows of the
   signal, against a stream that is fed that window and flushed (a model with its own state: hop after
   hop of the whole signal instead);
   (where TFLite's kernels remember from one invocation to the next, window after window of the signal, too);
2. the whole signal at once through the reference engine, against the stream under random chunkings;
3. where a policy stands in for statistics over all of time, or weights are dynamic-range: not equality,
   but the distance from the file's own answer.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import numpy.typing as npt

from tcnstream.compiler.feedback import zeros
from tcnstream.compiler.operations import operation
from tcnstream.compiler.operations.spectrum import TRANSFORM
from tcnstream.compiler.plan import SAME_FRAME, Plan
from tcnstream.compiler.timing import timings
from tcnstream.engines.choose import make_executor
from tcnstream.engines.interpreter.runtime import find_runtime, must_judge, open_interpreter, run_offline
from tcnstream.engines.reference.executor import ReferenceExecutor
from tcnstream.engines.state import State
from tcnstream.errors import EngineError, StreamError
from tcnstream.measure.compare import agrees, chunk_sizes, chunks, distance, first_difference
from tcnstream.measure.material import as_state, file_arrays, first_entries, in_file_order, noise, some_static
from tcnstream.model import Model
from tcnstream.stream import Stream, as_frames, in_steps
from tcnstream.tflite.graph import Array

_MOST_WINDOWS = 5
_LEAST_NOISE_FRAMES = 200


@dataclass(frozen=True)
class Difference:
    """The first place where two answers part.

    ``frame`` counts from the start of the compared signal; ``tensor`` is the first tensor in the
    order of execution that differs and ``operation`` the one that computes it.
    """

    frame: int
    tensor: str
    operation: str
    expected: float
    got: float


@dataclass(frozen=True)
class Check:
    """One comparison: ``distance`` is the largest |a - b| (in steps for integers), over ``frames`` output frames.

    ``compared`` is False where there was nothing to compare with, as ``note`` says.
    """

    name: str
    passed: bool
    frames: int
    distance: float
    note: str = ""
    difference: Difference | None = None
    compared: bool = True


@dataclass(frozen=True)
class OwnWindow:
    """How one output of the file on a window of its own relates to the stream of a signal around that window.

    Of its ``frames`` frames the first ``left`` and the last ``right`` depend on what the file puts in the place of the
    signal beyond the window; all but those are the stream's. ``edge_distance`` is how far those are, on the signal that
    was compared, ``inside_distance`` how far the others (None: no window inside of the signal was compared).
    ``forgets``: a recurrence or a state begins anew with every window, and in a stream it does not.
    """

    output: str
    frames: int
    left: int
    right: int
    forgets: bool
    edge_distance: float | None = None
    inside_distance: float | None = None
    passed: bool = True


@dataclass(frozen=True)
class VerifyReport:
    """What ``verify`` found; ``passed`` only if every check that must hold does, and the file itself was asked.

    ``not_asked`` says why the file was never run, so that nothing is proven of it; else it is empty.
    ``by_frame``: an output is made of spectra, whose floats count by the size of their frame, not of the value.
    """

    engine: str
    frames_in: int
    checks: tuple[Check, ...] = field(default_factory=tuple)
    own_window: tuple[OwnWindow, ...] = ()
    by_frame: bool = False
    not_asked: str = ""

    @property
    def passed(self) -> bool:
        return self.holds and not self.not_asked

    @property
    def holds(self) -> bool:
        """Whether every comparison that was made and must hold does."""
        return all(check.passed for check in self.checks) and all(window.passed for window in self.own_window)

    @property
    def first_difference(self) -> Difference | None:
        return next((check.difference for check in self.checks if check.difference is not None), None)


def verify(
    model: Model,
    signal: Array | Sequence[Array] | None = None,
    *,
    engine: str = "auto",
    time_pooling: str | None = None,
    calibration: Array | Sequence[Array] | None = None,
    exact: bool = True,
    chunkings: int = 5,
    seed: int = 0,
    static: Mapping[str, npt.ArrayLike] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> VerifyReport:
    """Compare streams of ``model`` with offline answers.

    ``signal`` is (frames, *frame_shape) per input, in the model's dtype or float32; None makes three
    windows (at least 200 frames) of noise from ``seed``. ``chunkings`` random ways of cutting it are
    tried. ``static`` are the values of inputs without time; None draws them from ``seed``, too. ``progress`` is called
    with (steps done, steps in all). Without an interpreter streams are compared with the reference engine alone, and
    the report says that the file was not asked. Raises what ``Model.stream`` raises.
    """
    not_asked = _no_interpreter()
    rng = np.random.default_rng(seed)
    given = some_static(model, rng) if static is None else static
    if signal is None:
        inputs = noise(model, -(-max(3 * model.window_frames, _LEAST_NOISE_FRAMES) // model.input_steps[0]), rng)
    else:
        inputs = _frames(model, signal)
    stream = model.stream(engine, time_pooling, calibration, exact, static=given)
    windows = [] if model.is_stateful or not_asked else list(_windows(model, inputs, rng))
    row = 0 if not_asked else _windows_in_a_row(model, inputs)
    steps = len(windows) + (row > 0) + chunkings
    checks: list[Check] = []

    def done(check: Check) -> None:
        checks.append(check)
        if progress is not None:
            progress(len(checks), steps)

    for name, window in windows:
        done(_against_file(model, stream, name, window, time_pooling is not None and model.needs_time_pooling, exact))
    if row:
        done(_against_row(model, stream, [x[:row] for x in inputs]))
    if not any(check.compared for check in checks) and not model.is_stateful and not not_asked:
        not_asked = checks[0].note
    if model.is_stateful and not not_asked:
        judge, offline = None, _hop_by_hop(model, inputs, stream.static)
    else:
        try:
            judge = model.stream("reference", time_pooling, calibration, static=given)
        except EngineError:
            if not_asked:
                raise
            # What no kernel of ours has, the file has judged on its windows.
            judge = None
        offline = _whole(judge or stream, inputs)
    for k in range(chunkings):
        sizes = chunk_sizes(len(inputs[0]) // model.input_steps[0], rng)
        streamed = _in_chunks(stream, inputs, sizes)
        name = f"chunking {k + 1} of {chunkings}: {len(sizes)} chunks"
        find = partial(_first_tensor, model, stream, judge, inputs)
        done(_compare(name, offline, streamed, find, _outputs_of_spectra(model), exact))
    plain = judge is not None and not (model.is_stateful or model.needs_time_pooling or model.is_dynamic_range)
    own = tuple(_own_window(model, stream, inputs, offline)) if plain else ()
    return VerifyReport(stream.engine, len(inputs[0]), tuple(checks), own, any(_outputs_of_spectra(model)), not_asked)


def _no_interpreter() -> str:
    """Why no interpreter can be asked here, and how to get one; empty where there is one."""
    try:
        find_runtime()
    except EngineError as e:
        return str(e)
    return ""


def _own_window(model: Model, stream: Stream, inputs: list[Array], offline: list[Array]) -> Iterator[OwnWindow]:
    """The file on a window in the middle of the signal, against the frames that the whole signal gives there."""
    plan, facts = model.plan, timings(model.plan)
    size, steps = plan.window_frames, len(inputs[0]) // model.input_steps[0]
    if plan.window_is_open:
        return
    spectra = _of_spectra(model, plan)
    period = math.lcm(*(int(t.step * t.period) for t in facts if t is not None))
    start = (steps - size) // 2 // period * period
    answers: list[Array] | None = None
    if start > 0:
        window = [x[start * k : (start + size) * k] for x, k in zip(inputs, model.input_steps, strict=True)]
        arrays = in_file_order(model, file_arrays(model, window, stream.static))
        with contextlib.suppress(EngineError, RuntimeError, ValueError):
            answers = first_entries(model, run_offline(model.file.content, arrays, signature=model.signature))
    for k, (o, axis, spec) in enumerate(zip(plan.outputs, plan.output_axes, model.outputs, strict=True)):
        timing = facts[o]
        if timing is None or axis is None:
            continue
        own = None if answers is None else np.moveaxis(np.asarray(answers[k]), axis, 0)
        frames = plan.windows[o] if own is None else len(own)
        inside = [j for j in range(frames) if timing.oldest(j) >= 0 and timing.newest(j) < size]
        left, right = (inside[0], frames - 1 - inside[-1]) if inside and not timing.unbounded else (frames, 0)
        found = OwnWindow(spec.name, frames, left, right, timing.unbounded)
        first = start * timing.rate
        if own is not None and first.denominator == 1 and int(first) + frames <= len(offline[k]):
            own = own.reshape(frames, *spec.shape)
            around = offline[k][int(first) : int(first) + frames]
            kept = slice(left, frames - right)
            edges = np.r_[:left, frames - right : frames]
            found = replace(
                found,
                edge_distance=distance(own[edges], around[edges]),
                inside_distance=distance(own[kept], around[kept]),
                passed=bool(agrees(own[kept], around[kept], by_frame=o in spectra).all()),
            )
        yield found


def _said(refusal: Exception) -> str:
    """What the interpreter says of a kernel, without the node's number and the place in its sources."""
    sentence = str(refusal).split("Node number")[0].strip().split("\n")[0].rstrip(".")
    return re.sub(r"^\S+\.cc:\d+ ", "", sentence)[:120]


def _against_file(model: Model, stream: Stream, name: str, window: list[Array], pooled: bool, exact: bool) -> Check:
    """The unmodified file on one window against the stream on the same frames."""
    arrays = in_file_order(model, file_arrays(model, window, stream.static))
    why = ""
    if pooled:
        why = "time_pooling stands in for all of time"
    elif model.is_dynamic_range:
        why = "dynamic-range weights, float activations"
    try:
        offline = [np.asarray(y) for y in run_offline(model.file.content, arrays, signature=model.signature)]
    except (EngineError, RuntimeError, ValueError) as e:
        # An operation without a reference kernel (ELU in ai-edge-litert 2.3), one that is known to be wrong, or one
        # whose scales the kernel does not take.
        first = e
        why = "the installed interpreter has no sound reference kernels for this model"
        why += "; its fast ones answered" if isinstance(e, EngineError) else f" ({_said(e)}); its fast ones answered"
        try:
            offline = [np.asarray(y) for y in run_offline(model.file.content, arrays, False, model.signature)]
        except (EngineError, RuntimeError, ValueError):
            return _not_compared(f"file, {name}", first)
    streamed = _whole(stream, window)
    offline = first_entries(model, offline)
    expected = []
    got = []
    for y, frames, axis in zip(offline, streamed, model.plan.output_axes, strict=True):
        if axis is None:
            expected.append(y.reshape(1, *frames.shape[1:]))
            got.append(frames[-1:])
        else:
            moved = np.moveaxis(y, axis, 0)
            expected.append(moved.reshape(len(moved), *frames.shape[1:]))
            got.append(frames)
    if why:
        furthest = max(distance(g, e) for e, g in zip(expected, got, strict=True))
        return Check(f"file, {name}", True, len(got[0]), furthest, f"a distance, not an equality: {why}")
    find = partial(_first_file_tensor, model, stream, window)
    return _compare(f"file, {name}", expected, got, find, _outputs_of_spectra(model), exact)


def _not_compared(name: str, refusal: Exception) -> Check:
    why = f"the installed interpreter cannot run the file: {_said(refusal)}"
    return Check(name, True, 0, 0.0, why, compared=False)


def _compare(
    name: str,
    expected: list[Array],
    got: list[Array],
    find: Callable[[], tuple[str, str]],
    by_frame: Sequence[bool],
    exact: bool = True,
) -> Check:
    """``by_frame`` says of each output whether a value counts by the size of its frame."""
    furthest, worst = 0.0, None
    for e, g, of_spectra in zip(expected, got, by_frame, strict=True):
        if e.shape != g.shape:
            n = min(len(e), len(g))
            lost = Difference(n, *find(), expected=math.nan, got=math.nan)
            return Check(name, False, len(g), math.inf, f"{len(g)} frames where offline has {len(e)}", lost)
        furthest = max(furthest, distance(g, e))
        frame = first_difference(g, e, by_frame=of_spectra)
        if frame is not None and (worst is None or frame < worst[0]):
            at = slice(frame, frame + 1)
            here = ~agrees(g[at], e[at], by_frame=of_spectra)
            worst = (frame, float(e[at][here].flat[0]), float(g[at][here].flat[0]))
    if worst is None:
        return Check(name, True, len(got[0]), furthest)
    if not exact:
        return Check(name, True, len(got[0]), furthest, "a distance, not an equality: fast kernels were asked for")
    frame, a, b = worst
    return Check(name, False, len(got[0]), furthest, "", Difference(frame, *find(), expected=a, got=b))


def _first_tensor(model: Model, stream: Stream, judge: Stream | None, inputs: list[Array]) -> tuple[str, str]:
    """The first tensor of the plan that the engine computes otherwise than the reference, and its operation."""
    if judge is None:
        return model.outputs[0].name, "the model with its own state"
    plan = stream.plan
    wanted = _all_tensors(judge.plan, in_steps(model.inputs, model.input_steps, inputs))
    spectra = _of_spectra(model, plan)
    for node in plan.nodes:
        for o in node.outputs:
            tap = replace(plan, outputs=(o,), output_shapes=(plan.tensors[o].shape,))
            executor = make_executor(stream.engine, tap)
            (frames,) = executor.advance(executor.new_memory(), in_steps(model.inputs, model.input_steps, inputs))
            expected = wanted[o][: len(frames)]
            if len(expected) != len(frames) or first_difference(frames, expected, by_frame=o in spectra) is not None:
                return plan.tensors[o].name, f"{node.kind} (op {node.index})"
    return "the state between pushes", "the queues"


def _first_file_tensor(model: Model, stream: Stream, window: list[Array]) -> tuple[str, str]:
    """The first tensor that the plan computes otherwise than the file, by the file's own names."""
    if not model.file.is_main_first:
        return model.outputs[0].name, "the output"
    arrays = in_file_order(model, file_arrays(model, window, stream.static))
    interpreter = open_interpreter(model.file.content, exact=True, preserve_all=True, inputs=arrays)
    interpreter.invoke()
    ours = _all_tensors(stream.plan, in_steps(model.inputs, model.input_steps, window))
    details = {d["name"]: d["index"] for d in interpreter.get_tensor_details()}
    spectra = _of_spectra(model, stream.plan)
    # What an operation reads of itself is a step on its way, by the name of what the file has at its end.
    inner = {(node.index, i) for node in stream.plan.nodes for i in node.inputs}
    for node in stream.plan.nodes:
        for o in node.outputs:
            name, frames = stream.plan.tensors[o].name, ours[o]
            if name not in details or (node.index, o) in inner:
                continue
            theirs = np.asarray(interpreter.get_tensor(details[name]))
            if theirs.dtype != frames.dtype or theirs.size != frames.size:
                continue
            if first_difference(frames, theirs.reshape(frames.shape), by_frame=o in spectra) is not None:
                return name, f"{node.kind} (op {node.index})"
    return model.outputs[0].name, "the output"


def _of_spectra(model: Model, plan: Plan) -> frozenset[int]:
    """The tensors of a plan of ``model`` that are made of the spectra of frames."""
    transforms = {op.index for op in model.graph.ops if op.kind == TRANSFORM}
    found: set[int] = set()
    for node in plan.nodes:
        if node.index in transforms or not found.isdisjoint(node.inputs):
            found.update(node.outputs)
    return frozenset(found)


def _outputs_of_spectra(model: Model) -> list[bool]:
    spectra = _of_spectra(model, model.plan)
    return [o in spectra for o in model.plan.outputs]


def _all_tensors(plan: Plan, inputs: list[Array]) -> dict[int, Array]:
    """Every tensor of the plan on the whole signal, by the reference engine."""
    state, executor = State(plan), ReferenceExecutor(plan)
    executor.run(state, state.arrive(inputs))
    executor.run(state, state.end())
    return {i: state.remembered(i) for i in state.queues}


def _windows_in_a_row(model: Model, inputs: list[Array]) -> int:
    """Frames of whole windows of the file whose answers, one behind the other, are those to the whole signal.

    That is so where TFLite's kernels remember from one invocation to the next and nothing else looks at several
    frames; else 0.
    """
    remember = {
        op.index for op in model.graph.ops if any(model.graph.tensors[i].is_variable for i in op.inputs if i >= 0)
    }
    others = [node for node in model.plan.nodes if node.index not in remember]
    alone = all(node.window == SAME_FRAME and not operation(node.kind).over_time for node in others)
    if not remember or not alone or model.is_stateful or model.is_dynamic_range or model.plan.window_is_open:
        return 0
    return len(inputs[0]) // model.window_frames * model.window_frames


def _against_row(model: Model, stream: Stream, inputs: list[Array]) -> Check:
    """The unmodified file, window after window without a reset, against the stream."""
    name = f"file, {len(inputs[0]) // model.window_frames} windows in a row, its kernels' states kept"
    try:
        offline = _hop_by_hop(model, inputs, stream.static)
    except (EngineError, RuntimeError, ValueError) as e:
        return _not_compared(name, e)
    streamed = _whole(stream, inputs)
    ends = slice(model.window_frames - 1, None, model.window_frames)
    got = [y if axis is not None else y[ends] for y, axis in zip(streamed, model.plan.output_axes, strict=True)]
    return _compare(
        name, offline, got, lambda: (model.outputs[0].name, "a state between windows"), _outputs_of_spectra(model)
    )


def _hop_by_hop(model: Model, inputs: list[Array], static: Mapping[str, Array]) -> list[Array]:
    """What the unmodified file with its own state answers, invoked with one hop of frames after the other.

    Where the state is an input, it is what the output was that is fed back to it, zeros at first. Raises EngineError
    where the installed interpreter's reference kernels are known to be wrong for it.
    """
    graph, hop = model.graph, model.window_frames
    must_judge(graph)
    interpreter = open_interpreter(model.file.content, exact=True)
    details = dict(zip(graph.inputs, interpreter.get_input_details(), strict=True))
    answers = dict(zip(graph.outputs, interpreter.get_output_details(), strict=True))
    fed_back = {pair.input: zeros(graph.tensors[pair.input]) for pair in model.states}
    parts = [[np.empty((0, *spec.shape), spec.dtype) for spec in model.outputs]]
    for begin in range(0, len(inputs[0]) - hop + 1, hop):
        arrays = file_arrays(model, [x[begin : begin + hop] for x in inputs], static) | fed_back
        for i, array in arrays.items():
            interpreter.set_tensor(details[i]["index"], array)
        interpreter.invoke()
        made = {o: np.asarray(interpreter.get_tensor(detail["index"])) for o, detail in answers.items()}
        parts.append([made[o].reshape(-1, *s.shape) for o, s in zip(model.file_outputs, model.outputs, strict=True)])
        fed_back = {pair.input: as_state(graph, pair, made[pair.output]) for pair in model.states}
    return [np.concatenate(frames) for frames in zip(*parts, strict=True)]


def _whole(stream: Stream, inputs: list[Array]) -> list[Array]:
    return _in_chunks(stream, inputs, [len(inputs[0]) // stream.input_steps[0]])


def _in_chunks(stream: Stream, inputs: list[Array], sizes: list[int]) -> list[Array]:
    stream.reset()
    parts = [_as_list(stream.push(*chunk)) for chunk in chunks(inputs, sizes, stream.input_steps)]
    parts.append(_as_list(stream.flush()))
    return [np.concatenate(frames) for frames in zip(*parts, strict=True)]


def _as_list(frames: Array | tuple[Array, ...]) -> list[Array]:
    return list(frames) if isinstance(frames, tuple) else [frames]


def _windows(model: Model, inputs: list[Array], rng: np.random.Generator) -> Iterator[tuple[str, list[Array]]]:
    """Windows of the signal as long as the file's own; noise where the signal is shorter.

    A file that leaves its window open gets as much of the signal as its strides are likely to divide.
    """
    frames = model.input_steps[0]
    size, n = model.plan.window_frames, len(inputs[0]) // frames
    if model.plan.window_is_open:
        size = next(min(size, n - n % even) for even in (840, 120, 24, 8, 1) if n >= even or even == 1)
    if n < size:
        yield f"a window of {size * frames} frames of noise (the signal has {n * frames})", noise(model, size, rng)
        return
    starts = np.unique(np.linspace(0, n - size, min(_MOST_WINDOWS, 1 + (n - size) // max(size, 1))).astype(int))
    for start in starts.tolist():
        window = [x[start * k : (start + size) * k] for x, k in zip(inputs, model.input_steps, strict=True)]
        yield f"frames {start * frames} to {(start + size) * frames}", window


def _frames(model: Model, signal: Array | Sequence[Array]) -> list[Array]:
    given = [signal] if isinstance(signal, np.ndarray) else list(signal)
    if len(given) != len(model.inputs):
        raise StreamError(f"the model has {len(model.inputs)} inputs and got {len(given)} signals")
    in_steps(model.inputs, model.input_steps, given)  # refuses signals that are not of one time
    return [as_frames(spec, frames) for spec, frames in zip(model.inputs, given, strict=True)]
