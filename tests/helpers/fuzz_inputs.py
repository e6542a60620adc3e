"""All else that is read, wrong in one field: plan files, snapshots, cards, messages of the bridge, configurations.

Each is taken, or refused in the words of its own error; nothing else may happen, as in ``helpers.fuzz``, which judges.

    python -m helpers.fuzz --of snapshot --cases 10000 --seed 7    (in tests/, to look further)
"""

from __future__ import annotations

import contextlib
import functools
import random
import re
import struct
import tempfile
import warnings
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

import tcnstream
from firmware_bridge.errors import BridgeError
from firmware_bridge.link import messages
from firmware_bridge.link.messages import REPLY, Kind, Object
from firmware_bridge.link.record import Record, layout_of
from firmware_bridge.link.wire import Damaged, Decoder, Frame, encode
from helpers.random_layers import draw_network
from tcnstream import Pipeline, StreamOptions
from tcnstream.engines.base import ENGINES
from tcnstream.engines.native.core import load_core
from tcnstream.engines.native.layout.arguments import Axis, Binary, BinaryFloat, Conv, Fours, Operands
from tcnstream.engines.native.layout.codes import FAMILIES, Dtype
from tcnstream.engines.native.layout.file import (
    Description,
    FrameRecord,
    Header,
    NodeRecord,
    RingRecord,
    TensorRecord,
    WindowRecord,
    node_records,
    sections,
)
from tcnstream.engines.native.layout.functions import ConvOp
from tcnstream.engines.native.layout.kinds import Kind as CoreKind
from tcnstream.engines.native.layout.record import Record as PlanRecord
from tcnstream.engines.native.planfile.facts import read_facts
from tcnstream.errors import EngineError, ModelError, NotStreamableError, SignalError, StreamError, TcnStreamError
from tcnstream.live.config import ConfigError, read_config
from tcnstream.measure.compare import agrees
from tcnstream.model import Model
from tcnstream.signal.card import find_model, load_card, shipped_models

Rng = random.Random

_MOST_FRAMES = 1 << 14
_LIMITS = {code: (0, 2**bits) for code, bits in (("B", 8), ("H", 16), ("I", 32))} | {
    code: (-(2 ** (bits - 1)), 2 ** (bits - 1)) for code, bits in (("b", 8), ("h", 16), ("i", 32), ("q", 64))
}


def judge(kind: str, seed: int, number: int) -> str:
    """Draws one case of a kind, and says in a word what became of it; any exception is a finding."""
    rng = random.Random(f"{kind}/{seed}/{number}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return KINDS[kind](rng)


def _number(rng: Rng, code: str, value: Any) -> Any:
    """Another value of a field of ``struct``."""
    if code == "f":
        return rng.choice((0.0, -1.0, 1e-30, 1e30, float("inf"), float("nan"), -value))
    if code.endswith("s"):
        return rng.randbytes(len(value))
    low, above = _LIMITS[code]
    near = (value - 1, value + 1, value * 2, value // 2, -value, value + 64)
    drawn = rng.choice((*near, 0, 1, 2, 255, above - 1, low, above // 2, rng.randrange(low, above), rng.randrange(40)))
    return max(low, min(drawn, above - 1))


def _change_record(content: bytearray, record: type[PlanRecord], at: int, rng: Rng) -> None:
    field = rng.choice(record.fields)
    code = "<" + field.scalar.code
    place = at + record.offset(field.c_name) + rng.randrange(field.values) * struct.calcsize(code)
    (value,) = struct.unpack_from(code, content, place)
    struct.pack_into(code, content, place, _number(rng, field.scalar.code, value))


def _a_model(rng: Rng) -> Model:
    """A small one that streams in all engines."""
    while True:
        with contextlib.suppress(ModelError, NotStreamableError, EngineError):
            model = tcnstream.load(draw_network(rng).content)
            if not model.needs_time_pooling and not model.static_inputs:
                model.plan_file()
                return model


def _times(rng: Rng) -> range:
    return range(rng.choice((1, 1, 1, 2, 3)))


# --- plan files ------------------------------------------------------------------------------------


def _plan(rng: Rng) -> str:
    content = bytearray(_a_model(rng).plan_file(family=rng.choice(("portable", "portable", *FAMILIES))))
    head, records = Header.read(content), _records(content)
    for _ in _times(rng):
        if rng.random() < 0.1:
            ports = Description.size * rng.randrange(head.n_inputs + head.n_outputs)
            struct.pack_into(
                "<H", content, sections(head).ports_at + ports, rng.choice((0, 1, head.n_tensors, 2**16 - 1))
            )
        else:
            _change_record(content, *rng.choice(records), rng)
    if rng.random() < 0.95:
        begin = Header.offset("crc32")
        struct.pack_into("<I", content, begin, zlib.crc32(content[begin + 4 :]))
    with contextlib.suppress(ModelError):
        read_facts(bytes(content))
    core = load_core()
    try:
        plan = core.Plan(bytes(content))
        return _run_plan(plan, read_facts(bytes(content)), core)
    except (EngineError, StreamError):
        return "refused"
    except MemoryError:
        return "taken, and more than there is"


def _records(content: bytes) -> list[tuple[type[PlanRecord], int]]:
    """Where the records of a plan file are, those of arguments too."""
    head = Header.read(content)
    found: list[tuple[type[PlanRecord], int]] = [(Header, 0)]
    places = sections(head)
    found += [(FrameRecord, places.frames_at + k * FrameRecord.size) for k in range(head.n_frames)]
    found += [(TensorRecord, places.tensors_at + k * TensorRecord.size) for k in range(head.n_tensors)]
    found += [(RingRecord, places.rings_at + k * RingRecord.size) for k in range(head.n_rings)]
    found += [(WindowRecord, places.windows_at + k * WindowRecord.size) for k in range(head.n_windows)]
    found += [(Description, places.ports_at + k * Description.size) for k in range(head.n_inputs + head.n_outputs)]
    for k, node in enumerate(node_records(content)):
        found += [(NodeRecord, places.nodes_at + k * NodeRecord.size)] * 2
        found += _arguments(content, node) * 3
    return found


def _arguments(content: bytes, node: Any) -> list[tuple[type[PlanRecord], int]]:
    """A node's arguments, and what stands behind them."""
    arguments, behind = CoreKind(node.kind).arguments, None
    if arguments is Conv:
        arguments, behind = (Fours if node.op == ConvOp.FOURS else arguments), Axis
    elif arguments is Binary:
        arguments, behind = (BinaryFloat if node.dtype == Dtype.F32 else arguments), Operands
    if arguments is None:
        return []
    read = arguments.read(content, node.args_at)
    if behind is None or not (getattr(read, "has_axis", 0) or getattr(read, "has_operands", 0)):
        return [(arguments, node.args_at)]
    return [(arguments, node.args_at), (behind, node.args_at + arguments.size)]


def _run_plan(plan: Any, facts: Any, core: Any) -> str:
    """What the core takes, it runs: twice to the same bits, though perhaps to no sense."""
    answers = []
    for _ in range(2):
        stream = core.Stream(plan)
        made = []
        for n in (0, 1, 7, 3):
            frames = tuple(_noise(facts.tensors[i], n) for i in facts.inputs)
            try:
                counts = stream.ready(n)
            except StreamError:
                return "taken and refused later"
            counts = counts if isinstance(counts, tuple) else (counts,)
            sizes = [c * int(np.prod(facts.tensors[o].shape)) for c, o in zip(counts, facts.outputs, strict=True)]
            if max(sizes) > 1 << 20:
                return "taken and large"
            out = tuple(
                np.zeros((c, *facts.tensors[o].shape), facts.tensors[o].dtype)
                for c, o in zip(counts, facts.outputs, strict=True)
            )
            stream.push_into(frames, out)
            made += [y.tobytes() for y in out]
        answers.append(made)
    assert answers[0] == answers[1], "the same plan and frames give other bits"
    return "taken and run"


def _noise(tensor: Any, n: int) -> Any:
    drawn = np.random.default_rng(n).integers(0, 2, (n, *tensor.shape))
    return drawn.astype(tensor.dtype)


# --- snapshots -------------------------------------------------------------------------------------


def _snapshot(rng: Rng) -> str:
    return rng.choice((_of_stream, _of_stream, _of_pipeline))(rng)


def _signal(model: Model, frames: int, seed: int) -> tuple[Any, ...]:
    noise, steps = np.random.default_rng(seed), model.input_steps
    return tuple(
        noise.integers(0, 2 if port.dtype.kind == "b" else 100, (frames * k, *port.shape)).astype(port.dtype)
        for port, k in zip(model.inputs, steps, strict=True)
    )


def _of_stream(rng: Rng) -> str:
    model = _a_model(rng)
    foreign = rng.random() < 0.2
    giver = (_a_model(rng) if foreign else model).stream(rng.choice(ENGINES))
    if not foreign:
        giver.push(*_signal(model, rng.randrange(40), 1))
    blob = giver.snapshot()
    if not foreign or rng.random() < 0.5:
        content = bytearray(blob[:-4])
        for _ in _times(rng):
            _change_snapshot(content, rng)
        blob = bytes(content) + zlib.crc32(content).to_bytes(4, "little")
    return _restored(model, blob, rng)


_SNAPSHOT_HEAD = struct.Struct("<7sBqII")


def _change_snapshot(content: bytearray, rng: Rng) -> None:
    """One number of the head, a byte of what follows it, or its length."""
    what = rng.randrange(6)
    if what < 3 and len(content) >= _SNAPSHOT_HEAD.size:
        values = list(_SNAPSHOT_HEAD.unpack_from(content))
        place = rng.choice((1, 2, 2, 2, 3, 4))
        values[place] = _number(rng, " BqII"[place], values[place])
        if place == 2 and rng.random() < 0.3:
            values[2] = rng.choice((2**31, 2**52, 2**53, 2**62, 2**63 - 1))
        _SNAPSHOT_HEAD.pack_into(content, 0, *values)
    elif what == 3:
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    elif what == 4:
        del content[rng.randrange(len(content)) :]
        content += bytes(4)
    else:
        at = rng.randrange(len(content))
        content[at:at] = rng.randbytes(rng.choice((1, 4, 8, 64)))


def _restored(model: Model, blob: bytes, rng: Rng) -> str:
    """Refused by all engines, each as before, or taken by all, which then go on alike."""
    answers = {}
    for engine in ENGINES:
        stream = model.stream(engine)
        stream.push(*_signal(model, 5, 2))
        before = stream.snapshot()
        try:
            stream.restore(blob)
        except StreamError:
            assert stream.snapshot() == before, f"{engine} refused the snapshot and is not as before"
            answers[engine] = None
            continue
        try:
            made = stream.push(*_signal(model, 9, 3))
        except StreamError as error:
            answers[engine] = str(error)
        else:
            answers[engine] = made if isinstance(made, tuple) else (made,)
    first = answers[ENGINES[0]]
    for engine, got in answers.items():
        assert type(got) is type(first), f"{ENGINES[0]}: {str(first)[:80]}, {engine}: {str(got)[:80]}"
        if isinstance(got, tuple):
            for x, y in zip(first, got, strict=True):
                assert x.shape == y.shape, f"{ENGINES[0]} {x.shape}, {engine} {y.shape}"
                assert _are_alike(x, y), f"{ENGINES[0]} and {engine} go on differently"
    return "refused" if first is None else "taken"


def _are_alike(x: Any, y: Any) -> bool:
    if x.dtype.kind != "f":
        return bool((x == y).all())
    sound = np.isfinite(x) & np.isfinite(y) & (np.abs(x) < 1e30)
    # A sum of large numbers that comes out small is as unsure as they are.
    unsure = 1e-7 * float(np.max(np.abs(x), where=sound, initial=0.0))
    with np.errstate(invalid="ignore"):
        return bool((agrees(x, y, 1e-5) | (np.abs(x - y) <= unsure) | ~sound).all())


@functools.cache
def _pipelines() -> tuple[Pipeline, Pipeline]:
    tails = StreamOptions(keep_tail=True)
    return Pipeline("ecg_fast", rate_hz=360, units="mV", options=tails), Pipeline("ecg_fast", rate_hz=360, units="mV")


def _of_pipeline(rng: Rng) -> str:
    pipeline = rng.choice(_pipelines())
    pipeline.reset()
    pipeline.push(np.random.default_rng(rng.randrange(9)).normal(0, 0.3, rng.randrange(1500)))
    blob = pipeline.tail() if pipeline.keeps_tail and rng.random() < 0.5 else pipeline.snapshot()
    state = msgspec.msgpack.decode(blob[12:])
    for _ in _times(rng):
        _change_values(state, rng)
    body = msgspec.msgpack.encode(state)
    changed = blob[:8] + zlib.crc32(body).to_bytes(4, "little") + body
    before = pipeline.snapshot()
    try:
        pipeline.restore(changed)
    except StreamError:
        assert pipeline.snapshot() == before, "refused, and not as before"
        return "refused"
    with contextlib.suppress(StreamError):
        pipeline.push(np.zeros(500))
        pipeline.flush()
    return "taken"


def _change_values(values: Any, rng: Rng) -> None:
    """One value somewhere in lists and dicts: another of its type, or of another."""
    keys = list(values) if isinstance(values, dict) else list(range(len(values)))
    if not keys:
        return
    key = rng.choice(keys)
    value = values[key]
    if isinstance(value, list | dict) and value and rng.random() < 0.8:
        return _change_values(value, rng)
    values[key] = _another(value, rng)
    return None


def _another(value: Any, rng: Rng) -> Any:
    if rng.random() < 0.3:
        return rng.choice((None, 0, -1, 2**53, 2**63 - 1, 1.5, float("nan"), float("inf"), b"", "x", [], {}, True))
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return max(-(2**63), min(rng.choice((value + 1, -value, 0, 1, 2**31, 2**53, 2**62)), 2**64 - 1))
    if isinstance(value, float):
        return rng.choice((0.0, -value, value * 1e6, float("nan"), float("inf"), 1e308))
    if isinstance(value, bytes):
        changed = bytearray(value)
        if changed and rng.random() < 0.7:
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
            return bytes(changed)
        return value[: len(value) // 2]
    return rng.choice(("", "x", value))


# --- cards and configurations ----------------------------------------------------------------------

_TOML = (
    "0", "-1", "1e400", "nan", "-inf", "[]", "{}", "true", '""', "1979-05-27", '"\\u0000"', "99999999999999999999",
    '["a"]', '"<script>"', '"ä"', "[[1]]", "[1.0, 2.0]", "1e-300", '"../../etc/passwd"', '{ a = 1 }', "'''\n'''", "1.5",
)  # fmt: skip


def _change_lines(text: str, rng: Rng) -> str:
    """TOML with one value, key, table or line changed."""
    lines = text.splitlines()
    for _ in _times(rng):
        k = rng.randrange(len(lines))
        key, equals, value = lines[k].partition("=")
        what = rng.randrange(8)
        if equals and what < 3:
            lines[k] = f"{key}= {rng.choice(_TOML)}"
        elif equals and what == 3:
            lines[k] = f"x{key}={value}"
        elif equals and what == 4 and (inner := list(re.finditer(r"[\w.]+", value))):
            spot = rng.choice(inner)
            inside = rng.choice(
                ("0", "-1", "nan", "x", "", "1e9", "99999999999999999999", "\\u0000", "%00", "a&b=c", "[::1]")
            )
            lines[k] = f"{key}={value[: spot.start()]}{inside}{value[spot.end() :]}"
        elif what == 5:
            del lines[k]
        elif what == 6:
            lines.insert(k, rng.choice(lines))
        else:
            lines[k] = lines[k].replace("[", rng.choice(("", "[[")), 1)
        if not lines:
            return ""
    return "\n".join(lines)


@functools.cache
def _folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="fuzz"))


def _card(rng: Rng) -> str:
    name = rng.choice(sorted(shipped_models()))
    file, _ = find_model(name)
    here = _folder() / file.name
    if not here.exists():
        here.write_bytes(file.read_bytes())
    card = _folder() / "card.toml"
    card.write_text(_change_lines(shipped_models()[name].read_text(encoding="utf-8"), rng), encoding="utf-8")
    try:
        load_card(card)
    except SignalError as error:
        assert str(card) in str(error), f"no file is named: {error}"
        return "refused"
    try:
        pipeline = Pipeline(str(card), rate_hz=500.0)
        pipeline.push(np.random.default_rng(0).normal(0, 0.3, (700, pipeline.model.inputs[0].shape[-1])))
        pipeline.flush()
    except TcnStreamError:
        return "refused later"
    return "taken"


CONFIGURATION = """\
state = "state"
[page]
listen = "127.0.0.1:8080"
[checkpoint]
replayed = "5 s"
live = "60 s"
[log]
format = "json"
[stream.bed]
source = "serial:/dev/ttyACM0?rate=250&units=mV&baud=115200"
model = "ecg"
gap = { policy = "interpolate", limit = "40 ms" }
sinks = ["log", "home"]
hop = 10
gain = 1.0
[stream.room]
source = "mic:USB Audio"
model = "speech"
sinks = ["log"]
[stream.file]
source = "file:record.csv?rate=250&units=mV"
model = "ecg_fast"
channels = ["0"]
sinks = ["clips", "wfdb"]
[stream.net]
source = "tcp:127.0.0.1:9000?rate=250"
model = "ecg"
gap = { policy = "hold", limit = "1 s" }
[stream.table]
source = { kind = "lsl", name = "ECG" }
model = "ecg"
[sink.log]
kind = "jsonl"
path = "segments.jsonl"
rotate = { size = "20 MB", keep = 10 }
[sink.home]
kind = "mqtt"
url = "mqtt://127.0.0.1:1883"
topic = "tcnstream/{stream}"
[sink.clips]
kind = "clips"
path = "clips"
labels = ["qrs"]
[sink.wfdb]
kind = "wfdb"
path = "waves"
[sink.out]
kind = "stdout"
"""


def _config(rng: Rng) -> str:
    path = _folder() / "live.toml"
    (_folder() / "record.csv").touch()
    path.write_text(_change_lines(CONFIGURATION, rng), encoding="utf-8")
    try:
        read_config(path)
    except ConfigError as error:
        assert all(problem.startswith(f"{path.name}, line ") or str(path.name) in problem for problem in error.problems)
        assert error.problems
        return "refused"
    except SignalError as error:
        assert path.name in str(error)
        return "no TOML"
    return "taken"


# --- messages of the bridge ------------------------------------------------------------------------


def _message(rng: Rng) -> str:
    return rng.choice((_to_the_board, _from_the_board))(rng)


REQUESTS: tuple[tuple[Kind, Record], ...] = (
    (Kind.HELLO, messages.HelloRequest(messages.PROTOCOL)),
    (Kind.BEGIN, messages.BeginRequest(Object.PLAN, 100, bytes(32))),
    (Kind.CHUNK, messages.ChunkRequest(bytes(4), 0, 100, bytes(50))),
    (Kind.COMMIT, messages.CommitRequest(Object.PLAN)),
    (Kind.READ, messages.ReadRequest(Object.OUTPUT, 0, 100)),
    (Kind.PUSH, messages.PushRequest(0, 3, bytes(3))),
    (Kind.TAP, messages.TapRequest(2)),
    (Kind.FAULT, messages.FaultRequest(1)),
)


@functools.cache
def _board() -> Any:
    """The firmware as a process of this machine, with a model at work."""
    from firmware_bridge.targets import Options, open_board
    from helpers.bridge_tools import program

    return open_board("host", program("nse_sm.i8"), Options())


def _changed_payload(record: Record, rng: Rng) -> bytes:
    """A message with one field changed, or one that is too short or too long."""
    content = bytearray(record.pack())
    form = layout_of(type(record))
    if form.fixed and rng.random() < 0.8:
        name = rng.choice(list(form.fixed))
        at = struct.calcsize("<" + "".join(f.code for f in list(form.fixed.values())[: list(form.fixed).index(name)]))
        code = form.fixed[name].code
        size = struct.calcsize("<" + code)
        if len(code) == 1:
            (value,) = struct.unpack_from("<" + code, content, at)
            signed = "q" if code in "qQ" else code
            struct.pack_into(
                "<" + code,
                content,
                at,
                _number(rng, signed, value) & 2**63 - 1 if code == "Q" else _number(rng, signed, value),
            )
        else:
            content[at : at + size] = rng.randbytes(size)
    if rng.random() < 0.3:
        content = content[: rng.randrange(len(content) + 1)]
    if rng.random() < 0.2:
        content += rng.randbytes(rng.choice((1, 4, 300)))
    return bytes(content)


def _to_the_board(rng: Rng) -> str:
    """Requests that no host sends: each is answered, by a refusal or not, and the board goes on."""
    board = _board()
    link = board.link
    kind, record = rng.choice(REQUESTS)
    number = kind if rng.random() < 0.9 else rng.randrange(256)
    if number in (Kind.RESTART, Kind.HELLO) or number & REPLY:
        number = Kind.PUSH
    try:
        link.exchange(number, _changed_payload(record, rng), 2.0)
        verdict = "answered"
    except BridgeError as error:
        verdict = "refused"
        assert "no reply" not in str(error), str(error)
    board.connect()
    return verdict


class _Liar:
    """A transport to the board whose replies are changed by the way."""

    def __init__(self, line: Any, rng: Rng, at: int) -> None:
        self._line, self._rng, self._at, self._decoder, self._n = line, rng, at, Decoder(), 0

    def read(self, timeout_s: float) -> bytes:
        made = b""
        for item in self._decoder.feed(self._line.read(min(timeout_s, 0.05))):
            if isinstance(item, Damaged):
                continue
            self._n += 1
            made += encode(self._lied(item) if self._n == self._at else item)
        return made

    def _lied(self, frame: Frame) -> Frame:
        rng, payload = self._rng, bytearray(frame.payload)
        what = rng.randrange(6)
        if what == 0:
            return Frame(frame.kind, rng.randrange(256), frame.session, frame.sequence, frame.credit, frame.payload)
        if what == 1:
            return Frame(frame.kind, 0, frame.session, frame.sequence, rng.choice((0, 1, 65535)), frame.payload)
        if what == 2 or not payload:
            payload = payload[: rng.randrange(len(payload) + 1)]
        elif what == 3:
            payload += rng.randbytes(rng.choice((1, 4, 300)))
        else:
            at = 4 * rng.randrange((len(payload) + 3) // 4)
            payload[at : at + 4] = struct.pack("<I", rng.choice((0, 1, 2, 2**31, 2**32 - 1, rng.getrandbits(32))))
        return Frame(frame.kind, frame.status, frame.session, frame.sequence, frame.credit, bytes(payload))

    def write(self, data: bytes, timeout_s: float) -> None:
        self._line.write(data, timeout_s)

    def had_s(self) -> float:
        return self._line.had_s()  # type: ignore[no-any-return]

    def close(self) -> None:
        """The line outlives a lie."""


def _from_the_board(rng: Rng) -> str:
    """A board that says what none says: an error of the bridge, or nothing comes of it."""
    from firmware_bridge.boards.bridge_board import BridgeBoard
    from firmware_bridge.link.session import Link
    from helpers.bridge_tools import program, signal

    verdict, used = "nothing came of it", program("nse_sm.i8")
    try:
        board = BridgeBoard("host", Link(_Liar(_board().link.transport, rng, rng.randrange(1, 30))))
        board.start(used)
        board.push([signal("nse_sm.i8", 20)])
        board.restore(board.snapshot())
        board.tap(used.plan.outputs[0])
        board.push([signal("nse_sm.i8", 5)])
        board.stats()
        board.flush()
    except BridgeError:
        verdict = "told"
    _board().connect()
    return verdict


KINDS: dict[str, Callable[[Rng], str]] = {
    "plan": _plan,
    "snapshot": _snapshot,
    "card": _card,
    "config": _config,
    "message": _message,
}


def serve() -> None:
    """As ``helpers.fuzz.serve``: ((kind, seed), number) in, verdicts out."""
    from helpers import fuzz

    fuzz.serve_verdicts(lambda question, number: judge(*question, number), lambda: judge("plan", 0, 0))


def verdicts(kind: str, seed: int, numbers: range) -> Iterator[tuple[int, bool, str]]:
    """For every case its number, whether it went as promised, and what happened."""
    from helpers import fuzz

    jury = fuzz.Jury("helpers.fuzz_inputs")
    try:
        for number in numbers:
            yield number, *jury.verdict((kind, seed), number)
    finally:
        jury.close()
