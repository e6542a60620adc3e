"""Files that are wrong in one field: those of ``fuzz_files``, changed where the format has one, and what they do.

A file is read or refused at ``load`` (ModelError, NotStreamableError), refused at ``stream`` (EngineError), or all
engines that take it give the same frames for random chunks. Nothing else may happen, nor more than 5 s of processor
time or 1 GiB: ``Jury`` judges in a process of its own, since what is wrong may end it.

    python -m helpers.fuzz --cases 100000 --seed 7    (in tests/, to look further)

``--of plan``, ``snapshot``, ``card``, ``message`` or ``config`` draws those of ``helpers.fuzz_inputs``.
"""

from __future__ import annotations

import argparse
import collections
import math
import random
import resource
import signal
import struct
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import flatbuffers
import numpy as np

import tcnstream
from helpers import fuzz_files, fuzz_inputs
from helpers.child import Child, ChildEndedError, answer_all, replies_alone
from helpers.random_layers import draw_network
from tcnstream.engines.base import ENGINES
from tcnstream.errors import EngineError, ModelError, NotStreamableError, StreamError
from tcnstream.measure.compare import agrees
from tcnstream.tflite.graph import Array
from tcnstream.tflite.schema import kind_of_code

MOST_S = 5.0
MOST_BYTES = 1 << 30
_MOST_VALUES = 1 << 18
"""Values of one signal: a frame may be large."""

_WHOLE = (0, -1, 1, 2, 3, 7, 127, 128, 255, 65536, 1 << 20, 2**31 - 1, -(2**31))
_REAL = (0.0, -1.0, 1.0, 1e-40, 1e-30, 1e-9, 0.5, 3.0, 1e9, 1e30, math.inf, -math.inf, math.nan)
_NAMES = ("", "[/b]", "[red]x", "\x1b[31m\x07", "ä" * 300, "a\nb", "<script>", "\0", "%s%n{0}")

Rng = random.Random
Mutation = Callable[[Any, Rng], None]


def _whole(rng: Rng, value: int) -> int:
    near = (value - 1, value + 1, 2 * value, value // 2, -value)
    chosen = rng.choice((*near, *_WHOLE, rng.randrange(-8, 40)))
    return max(-(2**31), min(chosen, 2**31 - 1))


def _real(rng: Rng, value: float) -> float:
    return float(np.float32(rng.choice((value * 2, value / 1000, value * 1e6, -value, *_REAL))))


def _some(things: Any, rng: Rng) -> Any:
    return rng.choice(things) if things is not None and len(things) else None


def _listed(values: Any) -> list[Any]:
    return [] if values is None else [v.item() if isinstance(v, np.generic) else v for v in values]


def _change_list(values: Any, rng: Rng, change: Callable[[Any], Any]) -> list[Any]:
    """One entry changed, dropped, doubled, swapped, or added."""
    made = _listed(values)
    what = rng.randrange(6)
    if not made or what == 0:
        made.insert(rng.randrange(len(made) + 1), change(1))
    elif what == 1:
        del made[rng.randrange(len(made))]
    elif what == 2 and len(made) > 1:
        a, b = rng.sample(range(len(made)), 2)
        made[a], made[b] = made[b], made[a]
    else:
        k = rng.randrange(len(made))
        made[k] = change(made[k])
    return made


def _graph(model: Any, rng: Rng) -> Any:
    graph = model.subgraphs[0] if rng.random() < 0.95 else rng.choice(model.subgraphs)
    return graph if graph.tensors else model.subgraphs[0]


def _tensor(model: Any, rng: Rng) -> Any:
    return rng.choice(_graph(model, rng).tensors)


def _shape(model: Any, rng: Rng) -> None:
    tensor = _tensor(model, rng)
    tensor.shape = np.array(_change_list(tensor.shape, rng, lambda n: _whole(rng, n)), np.int32)


def _signature(model: Any, rng: Rng) -> None:
    tensor = _tensor(model, rng)
    tensor.shapeSignature = np.array(
        _change_list(tensor.shape, rng, lambda n: rng.choice((-1, -1, _whole(rng, n)))), np.int32
    )


def _type(model: Any, rng: Rng) -> None:
    _tensor(model, rng).type = rng.choice((0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 13, 15, 17, 18, 100))


def _buffer(model: Any, rng: Rng) -> None:
    _tensor(model, rng).buffer = rng.choice((0, rng.randrange(len(model.buffers)), len(model.buffers), 1 << 30))


def _name(model: Any, rng: Rng) -> None:
    _tensor(model, rng).name = rng.choice(_NAMES)


def _flags(model: Any, rng: Rng) -> None:
    tensor = _tensor(model, rng)
    if rng.random() < 0.5:
        tensor.isVariable = not tensor.isVariable
    else:
        tensor.hasRank = not tensor.hasRank


def _quantization(model: Any, rng: Rng) -> None:
    tensor = _tensor(model, rng)
    q = tensor.quantization
    if q is None or not len(_listed(q.scale)):
        donors = [
            t for t in _graph(model, rng).tensors if t.quantization is not None and len(_listed(t.quantization.scale))
        ]
        tensor.quantization = _some(donors, rng).quantization if donors else q
        return
    what = rng.randrange(7)
    if what == 0:
        tensor.quantization = None
    elif what == 1:
        q.zeroPoint = np.array(
            _change_list(
                q.zeroPoint, rng, lambda z: rng.choice((z + 1, -129, -128, 127, 128, 2**31, -(2**40), 2**63 - 1, 3, 0))
            ),
            np.int64,
        )
    elif what == 2:
        q.quantizedDimension = _whole(rng, q.quantizedDimension)
    elif what == 3:
        q.scale = np.array([s * 2.0 ** rng.uniform(-12, 12) for s in _listed(q.scale)], np.float32)
    elif what == 4:
        q.zeroPoint = np.array([rng.choice((-128, 127, 5)) for _ in _listed(q.zeroPoint)], np.int64)
    else:
        with np.errstate(over="ignore"):
            q.scale = np.array(_change_list(q.scale, rng, lambda s: _real(rng, s)), np.float32)


def _operands(model: Any, rng: Rng) -> None:
    graph = _graph(model, rng)
    op, count = _some(graph.operators, rng), len(graph.tensors)
    if op is None:
        return
    field = rng.choice(("inputs", "inputs", "outputs"))
    changed = _change_list(getattr(op, field), rng, lambda i: rng.choice((-1, rng.randrange(count), count, i + 1, -2)))
    setattr(op, field, np.array(changed, np.int32))


def _ends(model: Any, rng: Rng) -> None:
    graph, field = _graph(model, rng), rng.choice(("inputs", "outputs"))
    count = len(graph.tensors)
    changed = _change_list(getattr(graph, field), rng, lambda i: rng.choice((rng.randrange(count), count, -1)))
    setattr(graph, field, np.array(changed, np.int32))


def _option(model: Any, rng: Rng) -> None:
    op = _some(_graph(model, rng).operators, rng)
    if op is None or op.builtinOptions is None:
        return
    fields = list(vars(op.builtinOptions).items())
    if not fields:
        return
    name, value = rng.choice(fields)
    if isinstance(value, bool):
        changed: Any = not value
    elif isinstance(value, int):
        changed = rng.choice((0, 1, 2, 3, 5, 100)) if name[0].islower() and value in range(8) else _whole(rng, value)
        changed = changed if rng.random() < 0.7 else _whole(rng, value)
        changed = max(-128, min(changed, 127)) if name in _BYTES else changed
    elif isinstance(value, float):
        changed = _real(rng, value)
    elif value is None or isinstance(value, list | np.ndarray):
        changed = np.array(_change_list(value, rng, lambda n: _whole(rng, int(n))), np.int32)
    else:
        return
    setattr(op.builtinOptions, name, changed)


_BYTES = ("fusedActivationFunction", "padding", "mode", "weightsFormat", "quantizedBiasType", "outputType")


def _options_table(model: Any, rng: Rng) -> None:
    operators = _graph(model, rng).operators
    op, other = _some(operators, rng), _some(operators, rng)
    if op is None:
        return
    if rng.random() < 0.3:
        op.builtinOptions, op.builtinOptionsType = None, 0
    else:
        op.builtinOptions, op.builtinOptionsType = other.builtinOptions, other.builtinOptionsType


def _kind(model: Any, rng: Rng) -> None:
    op = _some(_graph(model, rng).operators, rng)
    if op is not None and rng.random() < 0.5:
        op.opcodeIndex = rng.choice((rng.randrange(len(model.operatorCodes)), len(model.operatorCodes)))
        return
    code = _some(model.operatorCodes, rng)
    if code is not None:
        number = rng.choice((rng.randrange(210), rng.randrange(60), 32, 300, 2**31 - 1))
        code.builtinCode, code.deprecatedBuiltinCode = number, min(number, 127)
        code.version = rng.choice((1, 2, 9, 100))


def _order(model: Any, rng: Rng) -> None:
    operators = _graph(model, rng).operators
    if not operators:
        return
    what = rng.randrange(3)
    k = rng.randrange(len(operators))
    if what == 0:
        del operators[k]
    elif what == 1:
        operators.insert(rng.randrange(len(operators) + 1), operators[k])
    else:
        rng.shuffle(operators)


def _data(model: Any, rng: Rng) -> None:
    full = [b for b in model.buffers if b.data is not None and len(b.data)]
    buffer = _some(full, rng)
    if buffer is None:
        return
    content = bytearray(np.asarray(buffer.data, np.uint8).tobytes())
    what = rng.randrange(6)
    at = 4 * rng.randrange(max(len(content) // 4, 1))
    if what == 0:
        content = content[: rng.randrange(len(content))]
    elif what == 1:
        content += rng.randbytes(rng.choice((1, 4, 64)))
    elif what == 2 and len(content) >= at + 4:
        struct.pack_into("<f", content, at, rng.choice(_REAL) if rng.random() < 0.9 else 3e38)
    elif what == 3 and len(content) >= at + 4:
        struct.pack_into("<i", content, at, rng.choice(_WHOLE))
    elif what == 4:
        content = bytearray(rng.randbytes(len(content)))
    else:
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    buffer.data = np.frombuffer(bytes(content), np.uint8)


def _outside(model: Any, rng: Rng) -> None:
    buffer = rng.choice(model.buffers)
    buffer.offset, buffer.size = rng.choice((0, 1, 2, 100, 1 << 40)), rng.choice((0, 1, 100, 1 << 40))


def _whole_model(model: Any, rng: Rng) -> None:
    what = rng.randrange(5)
    if what == 0:
        model.version = _whole(rng, model.version)
    elif what == 1:
        model.description = rng.choice(_NAMES)
    elif what == 2:
        model.subgraphs = model.subgraphs * rng.choice((0, 2, 3))
    elif what == 3:
        graph = _graph(model, rng)
        graph.tensors = graph.tensors[: rng.randrange(len(graph.tensors) + 1)]
    else:
        model.metadataBuffer = np.array([_whole(rng, 1)], np.int32)


MUTATIONS: tuple[Mutation, ...] = (
    _shape, _shape, _shape, _signature, _type, _buffer, _name, _flags, _quantization, _quantization, _quantization,
    _operands, _operands, _ends, _option, _option, _option, _options_table, _kind, _kind, _order, _data, _data, _data,
    _outside, _whole_model,
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A file, the time axis that is named to ``load``, and the operations that it had before it was damaged."""

    content: bytes
    time_axis: int | None
    kinds: tuple[str, ...]


def case(seed: int, number: int) -> Case:
    """One file: a sound one, and one to three fields of it changed."""
    from ai_edge_litert import schema_py_generated as schema

    rng = random.Random(f"{seed}/{number}")
    content, time_axis = fuzz_files.draw(rng)
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    codes = (max(code.builtinCode, code.deprecatedBuiltinCode) for code in model.operatorCodes)
    kinds = tuple(sorted({kind_of_code(code) for code in codes}))
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        if model.subgraphs and model.subgraphs[0].tensors:
            rng.choice(MUTATIONS)(model, rng)
    builder = flatbuffers.Builder(1 << 14)
    try:
        builder.Finish(model.Pack(builder), b"TFL3")
    except (TypeError, ValueError, OverflowError, struct.error):  # what the format cannot hold at all
        return Case(content, time_axis, kinds)
    return Case(bytes(builder.Output()), time_axis, kinds)


# --- what becomes of a file ------------------------------------------------------------------------


def judge(content: bytes, rng: np.random.Generator, time_axis: int | None = None) -> str:
    """In a word what happened; AssertionError where engines differ, any other exception is a finding as well."""
    try:
        model = tcnstream.load(content, time_axis=time_axis)
    except (ModelError, NotStreamableError) as e:
        return type(e).__name__
    values = max(1, *(math.prod(port.shape) for port in (*model.inputs, *model.outputs)))
    frames = min(model.window_frames + int(rng.integers(0, 9)), max(2, _MOST_VALUES // values), 400)
    step = model.input_steps[0]
    signal_of = [
        _signal(port, -(-frames // step) * n, rng) for port, n in zip(model.inputs, model.input_steps, strict=True)
    ]
    given = {port.name: _signal(port, 1, rng)[0] for port in model.static_inputs} or None
    policy = "trailing:9" if model.needs_time_pooling else None
    sizes = _sizes(-(-frames // step), rng)
    answers: dict[str, tuple[Array, ...] | str] = {}
    for engine in ENGINES:
        try:
            stream = model.stream(engine, time_pooling=policy, static=given)
        except (EngineError, NotStreamableError, StreamError):
            continue
        answers[engine] = _answer(stream, signal_of, model.input_steps, sizes)
    if not answers:
        return "EngineError"
    (first, expected), *others = answers.items()
    for engine, got in others:
        try:
            _compare(first, expected, engine, got)
        except AssertionError:
            if not _rounds_large_numbers(model):
                raise
            return "engines a rounding apart"
    return f"{len(answers)} engines equal" if not isinstance(expected, str) else "StreamError"


def _rounds_large_numbers(model: tcnstream.Model) -> bool:
    """Whether what is left of a real quotient may be anything, as it is where a damaged weight makes 1e18."""
    return any(op.kind in ("FLOOR_DIV", "FLOOR_MOD") for op in model.graph.ops) and model.inputs[0].dtype.kind == "f"


def _signal(port: Any, frames: int, rng: np.random.Generator) -> Array:
    shape = (frames, *port.shape)
    if port.dtype.kind == "f":
        return rng.normal(0, 1, shape).astype(port.dtype)
    if port.dtype.kind == "b":
        return rng.random(shape) < 0.5
    limits = np.iinfo(port.dtype.str)
    drawn: Array = rng.integers(max(limits.min, -(2**40)), min(limits.max, 2**40), shape, np.int64, endpoint=True)
    return drawn.astype(port.dtype)


def _sizes(frames: int, rng: np.random.Generator) -> list[int]:
    sizes: list[int] = []
    while sum(sizes) < frames:
        sizes.append(min(int(rng.choice([0, 1, 2, 7, 50])), frames - sum(sizes)))
    return sizes


def _answer(stream: Any, signal_of: Sequence[Array], steps: Sequence[int], sizes: Sequence[int]) -> Any:
    parts, at = [], 0
    try:
        for n in sizes:
            made = stream.push(*(x[at * k : (at + n) * k] for x, k in zip(signal_of, steps, strict=True)))
            parts.append(made if isinstance(made, tuple) else (made,))
            at += n
        made = stream.flush()
    except StreamError as e:
        return str(e)
    parts.append(made if isinstance(made, tuple) else (made,))
    return tuple(np.concatenate(p) for p in zip(*parts, strict=True))


def _compare(one: str, a: Any, other: str, b: Any) -> None:
    assert isinstance(a, str) == isinstance(b, str), f"{one}: {str(a)[:90]!r}, {other}: {str(b)[:90]!r}"
    if isinstance(a, str):
        return
    for x, y in zip(a, b, strict=True):
        assert (x.shape, x.dtype) == (y.shape, y.dtype), f"{one} {x.shape} {x.dtype}, {other} {y.shape} {y.dtype}"
        wrong = ~agrees(x, y, 1e-5)
        if x.dtype.kind == "f":
            # Beyond the largest number clipping and order decide what is infinite and what is none.
            wrong &= (np.abs(x) < 1e30) & (np.abs(y) < 1e30)
        assert not wrong.any(), f"{one} and {other} differ in {wrong.sum()} of {wrong.size} values of {x.dtype}"


class SlowError(Exception):
    """More than MOST_S of processor time."""


def _slow(number: int, frame: FrameType | None) -> None:
    raise SlowError(f"more than {MOST_S:g} s")


def serve() -> None:
    """What ``Jury`` runs: ((content, time axis), seed) in, verdicts out."""

    def judged(given: fuzz_files.Base, seed: int) -> str:
        content, time_axis = given
        return judge(content, np.random.default_rng(seed), time_axis)

    serve_verdicts(judged, lambda: judged((draw_network(random.Random(0)).content, None), 0))


def serve_verdicts(judged: Callable[[Any, int], str], first: Callable[[], object]) -> None:
    """Answers (what is judged, a number), within the limits. ``first`` imports what is needed, before they hold."""
    replies = replies_alone()
    first()
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MOST_BYTES, used + MOST_BYTES))
    signal.signal(signal.SIGPROF, _slow)
    np.seterr(all="ignore")
    answer_all(replies, lambda question: _verdict(judged, *question))


def _verdict(judged: Callable[[Any, int], str], what: Any, number: int) -> tuple[bool, str]:
    signal.setitimer(signal.ITIMER_PROF, MOST_S)
    try:
        verdict: tuple[bool, str] = True, judged(what, number)
    except BaseException as e:
        where = traceback.extract_tb(e.__traceback__)[-1]
        verdict = False, f"{type(e).__name__} at {Path(where.filename).name}:{where.lineno}: {str(e)[:200]}"
    signal.setitimer(signal.ITIMER_PROF, 0)
    return verdict


class Jury:
    """Judges by ``module`` in a process of its own; one that ended is replaced at the next question."""

    def __init__(self, module: str = "helpers.fuzz") -> None:
        self._child = Child(module, 60 * MOST_S)

    def verdict(self, what: Any, number: int) -> tuple[bool, str]:
        """Whether what happened is one of the promised things, and what it was."""
        try:
            found: tuple[bool, str] = self._child.ask((what, number))
        except ChildEndedError as ended:
            return False, str(ended)
        return found

    def close(self) -> None:
        self._child.close()


def verdicts(seed: int, numbers: range) -> Iterator[tuple[int, Case, bool, str]]:
    """For every case its number, what it is, whether it went as promised, and what happened."""
    jury = Jury()
    try:
        for number in numbers:
            given = case(seed, number)
            right, what = jury.verdict((given.content, given.time_axis), number)
            yield number, given, right, what
    finally:
        jury.close()


_NO_FILE = Case(b"", None, ())


def _all_verdicts(kind: str, seed: int, numbers: range) -> Iterator[tuple[int, Case, bool, str]]:
    if kind == "file":
        yield from verdicts(seed, numbers)
    else:
        for number, right, what in fuzz_inputs.verdicts(kind, seed, numbers):
            yield number, _NO_FILE, right, what


def main() -> None:
    parser = argparse.ArgumentParser(description="Judges files that are wrong in one field.")
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="folder for the files of findings")
    parser.add_argument("--of", choices=("file", *fuzz_inputs.KINDS), default="file")
    given = parser.parse_args()
    counted: collections.Counter[str] = collections.Counter()
    by_kind: collections.defaultdict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    numbers = range(given.first, given.first + given.cases)
    for number, judged, right, what in _all_verdicts(given.of, given.seed, numbers):
        outcome = what if right else "FINDINGS"
        counted[outcome] += 1
        for kind in judged.kinds:
            by_kind[kind][outcome] += 1
        if not right:
            print(f"case {given.seed}/{number}: {what}", flush=True)
            if given.keep is not None and judged.content:
                (given.keep / f"{given.seed}-{number}.tflite").write_bytes(judged.content)
        if number % 1000 == 999:
            print(sum(counted.values()), dict(counted), flush=True)
    for kind, outcomes in sorted(by_kind.items()):
        print(f"{kind:32s} {sum(outcomes.values()):7d} files: {dict(outcomes)}")
    print("in all", sum(counted.values()), dict(counted), flush=True)


if __name__ == "__main__":
    main()
