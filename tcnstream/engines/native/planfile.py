"""Plan -> bytes, and bytes -> facts: the flat file that the native core runs in place, and its one description.

A plan file is little-endian and position-independent; it is used where it lies (flash, a mapped file)
at an address that is a multiple of 16. Offsets count bytes from its start, every section starts at a
multiple of 64. The records are the structs of ``core/format.h``, field by field::

    header    96 bytes   magic "TCNPLAN\\n", version, bytes of the file, CRC-32 of all that follows the CRC
    tensors   80 each    one per tensor of the Plan: type, frame shape, ring, growth, scratch slot, writer and reader
    nodes     68 each    one per node: kind, operands, Window, padding frame, arguments
    ports     4 each     tensor numbers: inputs, then outputs
    data                 operands, arguments, packed weights, biases, multipliers, tables, index maps
    names                NUL-terminated UTF-8: the model's identity, labels, kinds

Timing needs no more than the Window of each node: the core counts as ``timing.counts`` does. A tensor's
``ring_frames`` are what a stream must remember of it between two pushes (its lookback); within a push its
new frames stand in a scratch slot, at most ``ceil(b * grow_up / grow_down) + grow_extra`` of them for b
input frames. Slots are shared by tensors that never live at the same time. Weights are packed for the
kernels: outputs in panels of 16 (then 8 or 4), the panel's outputs side by side for each tap and channel
(integers: for each four channels); see ``conv_args`` in ``core/format.h``.
"""

from __future__ import annotations

import functools
import itertools
import math
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from tcnstream.compiler.plan import Node, Plan, Window
from tcnstream.compiler.timing import remembered_frames
from tcnstream.engines.base import ROUNDINGS
from tcnstream.engines.native.pack import KINDS, Arguments, Packed, lacks, pack
from tcnstream.errors import EngineError, ModelError

MAGIC = b"TCNPLAN\n"
VERSION = 1
NONE = 0xFFFFFFFF
SAME = -(1 << 31)
ALIGNMENT = 64

_HEADER = struct.Struct("<8s22I")
_TENSOR = struct.Struct("<IBBH4I11IfiI")
_NODE = struct.Struct("<HBBIIiHHI5iIIII2I")
_CRC_END = 20
_DTYPES = {"float32": 0, "int8": 1, "int16": 2, "int32": 3, "int64": 4, "bool": 5}
_MOST_PORTS = 16
_EDGES = ("fill", "reflect", "symmetric", "clip")


@dataclass(frozen=True, eq=False)
class TensorFacts:
    """One tensor as the file has it; ``ring_frames`` is what a stream remembers of it, at ``ring_at`` of all rings."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    ring_frames: int
    ring_at: int
    ring_bytes: int
    slot: int
    writer: int
    last_reader: int


@dataclass(frozen=True, eq=False)
class NodeFacts:
    """One node as the file has it; ``carry_at`` is the place of its running sums, -1 without any."""

    kind: str
    label: str
    core_kind: str
    index: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    window: Window
    carry_at: int


@dataclass(frozen=True, eq=False)
class PlanFacts:
    """What a plan file says about itself."""

    version: int
    identity: str
    rounding: str
    window_frames: int
    tensors: tuple[TensorFacts, ...]
    nodes: tuple[NodeFacts, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    ring_bytes: int
    carry_bytes: int
    crc32: int


def write_plan(plan: Plan, identity: str = "", rounding: str = "litert") -> bytes:
    """The plan as bytes for the native core.

    ``rounding`` is "litert", or "tflm" for the two roundings of TFLite Micro's FULLY_CONNECTED. Raises
    EngineError naming the first operation that the core does not have.
    """
    if rounding not in ROUNDINGS:
        raise EngineError(f"rounding={rounding!r} is unknown; use {' or '.join(map(repr, ROUNDINGS))}")
    _ports(plan)
    packed = [pack(plan, node, rounding) for node in plan.nodes]
    return _Writer(plan, packed).assemble(identity, rounding)


def lacking(plan: Plan) -> list[EngineError]:
    """What the core does not have, an error each, in order; empty if the plan can be written."""
    found = []
    checks: list[Callable[[], object]] = [functools.partial(_ports, plan)]
    checks += [functools.partial(pack, plan, node, ROUNDINGS[0]) for node in plan.nodes]
    for check in checks:
        try:
            check()
        except EngineError as e:
            found.append(e)
    return found


def _ports(plan: Plan) -> None:
    if max(len(plan.inputs), len(plan.outputs)) > _MOST_PORTS:
        raise EngineError(
            f"the native engine lacks models of more than {_MOST_PORTS} inputs or outputs;"
            ' use engine="interpreter" or engine="reference"'
        )
    for i in (*plan.inputs, *plan.outputs):
        if str(plan.tensors[i].dtype) not in _DTYPES:
            raise EngineError(f"the native engine lacks {plan.tensors[i].dtype} streams; use another engine")


def growth(plan: Plan) -> list[tuple[Fraction, int]]:
    """Per tensor (rate, extra): b input frames never make more than ceil(b * rate) + extra new frames."""
    rates: list[Fraction] = [Fraction(0)] * len(plan.tensors)
    slack: list[Fraction] = [Fraction(0)] * len(plan.tensors)
    for i in plan.inputs:
        rates[i] = Fraction(1)
    for node, sources in zip(plan.nodes, plan.sources, strict=True):
        window = node.window
        ratio = Fraction(window.up, window.stride)
        extra = max(slack[i] for i in sources) * ratio + Fraction(window.stride - 1, window.stride)
        if window.edge in ("reflect", "symmetric"):
            extra += 2 * max(window.pad_begin, 0) + 1
        else:
            extra += max(0, (window.pad_begin + min(window.pad_end or 0, 0) - window.extent) // window.stride + 1)
        for o in node.outputs:
            rates[o], slack[o] = rates[sources[0]] * ratio, extra
    return [(rate, math.ceil(e)) for rate, e in zip(rates, slack, strict=True)]


class _Writer:
    """Sections that grow, then one file."""

    def __init__(self, plan: Plan, packed: Sequence[Packed]) -> None:
        self.plan = plan
        self.packed = packed
        self.growth = growth(plan)
        self.readers, self.writers = _last_readers(plan), _writers(plan)
        self.names = bytearray()
        self.name_at: dict[str, int] = {}
        self.data = bytearray()
        self.blob_at: dict[bytes, int] = {}
        self.carry_bytes = 0
        n_tensors, n_nodes = len(plan.tensors), len(plan.nodes)
        self.tensors_at = _up(_HEADER.size)
        self.nodes_at = _up(self.tensors_at + n_tensors * _TENSOR.size)
        self.ports_at = _up(self.nodes_at + n_nodes * _NODE.size)
        self.data_at = _up(self.ports_at + 4 * (len(plan.inputs) + len(plan.outputs)))

    def name(self, text: str) -> int:
        if text not in self.name_at:
            self.name_at[text] = len(self.names)
            self.names += text.replace("\0", " ").encode() + b"\0"
        return self.name_at[text]

    def blob(self, content: bytes, alignment: int = ALIGNMENT) -> int:
        """The offset of ``content`` in the file; equal contents are kept once."""
        if content not in self.blob_at:
            self.data += bytes(-len(self.data) % alignment)
            self.blob_at[content] = self.data_at + len(self.data)
            self.data += content
        return self.blob_at[content]

    def words(self, values: Sequence[int]) -> int:
        return self.blob(struct.pack(f"<{len(values)}I", *values), 16)

    def assemble(self, identity: str, rounding: str) -> bytes:
        plan = self.plan
        identity_at = self.name(identity)
        nodes = b"".join(self.node(n, p) for n, p in zip(plan.nodes, self.packed, strict=True))
        rings, ring_bytes, n_rings = self.rings()
        slots = self.slots()
        tensors = b"".join(self.tensor(i, rings[i], slots) for i in range(len(plan.tensors)))
        ports = struct.pack(f"<{len(plan.inputs) + len(plan.outputs)}I", *plan.inputs, *plan.outputs)
        names_at = _up(self.data_at + len(self.data))
        total = _up(names_at + len(self.names))
        content = bytearray(total)
        for at, part in (
            (self.tensors_at, tensors),
            (self.nodes_at, nodes),
            (self.ports_at, ports),
            (self.data_at, self.data),
            (names_at, self.names),
        ):
            content[at : at + len(part)] = part
        header = [
            VERSION,
            total,
            0,
            int(rounding == "tflm"),
            len(plan.tensors),
            self.tensors_at,
            len(plan.nodes),
            self.nodes_at,
            len(plan.inputs),
            len(plan.outputs),
            self.ports_at,
            1 + max((s for s in slots if s != NONE), default=-1),
            n_rings,
            ring_bytes,
            self.carry_bytes,
            max((p.taps for p in self.packed), default=1),
            names_at,
            len(self.names),
            identity_at,
            plan.window_frames,
            0,
            0,
        ]
        content[: _HEADER.size] = _HEADER.pack(MAGIC, *header)
        struct.pack_into("<I", content, _CRC_END - 4, zlib.crc32(content[_CRC_END:]))
        return bytes(content)

    def node(self, node: Node, packed: Packed) -> bytes:
        plan, window = self.plan, node.window
        arguments = self.arguments(packed.arguments)
        operands = (*packed.operands, *node.outputs)
        pad_end = SAME if window.pad_end is None else window.pad_end
        source = plan.tensors[packed.operands[0]]
        fill = 0
        if window.edge == "fill" and (window.pad_begin > 0 or pad_end == SAME or pad_end > 0 or window.up > 1):
            fill = self.blob(np.full(source.shape, node.fill, source.dtype).tobytes())
        return _NODE.pack(
            KINDS.index(packed.kind),
            packed.op,
            _dtype(plan, node, packed.operands[0]),
            self.name(node.label),
            self.name(str(node.options.get("reduce", node.kind))),
            node.index,
            len(packed.operands),
            len(node.outputs),
            self.words(operands),
            window.up,
            window.stride,
            window.extent,
            window.pad_begin,
            pad_end,
            _EDGES.index(window.edge),
            fill,
            self.blob(arguments, 16) if arguments else 0,
            len(arguments),
            0,
            0,
        )

    def arguments(self, fields: Arguments) -> bytes:
        made = b""
        for code, value in fields:
            if code == "carry":
                made += struct.pack("<I", self.carry_bytes)
                self.carry_bytes += value
            elif isinstance(value, bytes):
                made += struct.pack("<I", self.blob(value))
            elif value is None:
                made += struct.pack("<I", 0)
            else:
                made += struct.pack("<" + code, value)
        return made

    def rings(self) -> tuple[list[tuple[int, int, int]], int, int]:
        """Per tensor (frames, place, number), the bytes of all rings, and how many there are."""
        kept = [
            0 if t.data is not None else n for t, n in zip(self.plan.tensors, remembered_frames(self.plan), strict=True)
        ]
        frame_bytes = [math.prod(t.shape) * t.dtype.itemsize for t in self.plan.tensors]
        numbers = itertools.count()
        made = [(frames, 0, next(numbers) if frames else NONE) for frames in kept]
        end = 0
        # Frames of whole cache lines come first: then none of them lies across two lines.
        for i in sorted((i for i, frames in enumerate(kept) if frames), key=lambda i: -math.gcd(frame_bytes[i], 64)):
            end += -end % max(self.plan.tensors[i].dtype.itemsize, 4)
            made[i] = (kept[i], end, made[i][2])
            end += kept[i] * frame_bytes[i]
        return made, end, next(numbers)

    def slots(self) -> list[int]:
        """A scratch area per tensor; two that live at the same time never share one."""
        plan = self.plan
        rates = self.growth
        writer, reader = self.writers, self.readers
        free: list[int] = []
        size: list[Fraction] = []
        slots = [NONE] * len(plan.tensors)
        for k in range(len(plan.nodes)):
            for i in plan.nodes[k].outputs:
                tensor = plan.tensors[i]
                need = (rates[i][0] + rates[i][1]) * math.prod(tensor.shape) * tensor.dtype.itemsize
                if free:
                    slot = min(free, key=lambda s: (abs(size[s] - need), s))
                    free.remove(slot)
                    size[slot] = max(size[slot], need)
                else:
                    slot = len(size)
                    size.append(need)
                slots[i] = slot
            for i in range(len(plan.tensors)):
                last = reader[i] if reader[i] != NONE else writer[i]
                if slots[i] != NONE and i not in plan.outputs and last == k:
                    free.append(slots[i])
        return slots

    def tensor(self, i: int, ring: tuple[int, int, int], slots: list[int]) -> bytes:
        tensor = self.plan.tensors[i]
        rate, extra = self.growth[i]
        elements = math.prod(tensor.shape) if tensor.data is None else 0
        shape = tensor.shape if len(tensor.shape) <= 4 else (math.prod(tensor.shape),)
        q = tensor.quantization
        return _TENSOR.pack(
            self.name(tensor.name),
            _DTYPES.get(str(tensor.dtype), 0xFF),
            len(shape),
            int(tensor.data is not None),
            *(shape + (1,) * (4 - len(shape))),
            elements,
            elements * tensor.dtype.itemsize,
            *ring,
            rate.numerator,
            rate.denominator,
            extra,
            slots[i],
            self.readers[i],
            self.writers[i],
            0.0 if q is None else float(q.scale.flat[0]),
            0 if q is None else int(q.zero_point.flat[0]),
            0,
        )


def _writers(plan: Plan) -> list[int]:
    """Per tensor the node that makes it, NONE for inputs and constants."""
    made = [NONE] * len(plan.tensors)
    for k, node in enumerate(plan.nodes):
        for o in node.outputs:
            made[o] = k
    return made


def _last_readers(plan: Plan) -> list[int]:
    """Per tensor the last node that reads it, NONE without any."""
    last = [NONE] * len(plan.tensors)
    for k, sources in enumerate(plan.sources):
        for i in sources:
            last[i] = k
    return last


def _dtype(plan: Plan, node: Node, i: int) -> int:
    dtype = str(plan.tensors[i].dtype)
    if dtype not in _DTYPES:
        raise lacks(node, f"{dtype} input")
    return _DTYPES[dtype]


def _up(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def read_facts(content: bytes) -> PlanFacts:
    """What a plan file says about itself.

    Raises ModelError for bytes that are no plan of this version, or damaged. Only the core's own
    check decides whether a plan may run.
    """
    if len(content) < _HEADER.size or content[:8] != MAGIC:
        raise ModelError("these bytes are not a plan file; `tcnstream export MODEL --to plan` writes one")
    head = _HEADER.unpack_from(content)
    version, total, crc = head[1:4]
    if version != VERSION:
        raise ModelError(f"the plan file has version {version}, this package reads {VERSION}; export the model again")
    if total > len(content) or zlib.crc32(content[_CRC_END:total]) != crc:
        raise ModelError("the plan file is damaged: its checksum does not match; export the model again")
    flags, n_tensors, tensors_at, n_nodes, nodes_at, n_inputs, n_outputs, ports_at = head[4:12]
    ring_bytes, carry_bytes = head[14:16]
    names_at, _, identity_at, window_frames = head[17:21]

    def name(at: int) -> str:
        begin = names_at + at
        return content[begin : content.index(b"\0", begin)].decode(errors="replace")

    dtypes = {code: text for text, code in _DTYPES.items()}
    tensors = []
    for k in range(n_tensors):
        r = _TENSOR.unpack_from(content, tensors_at + k * _TENSOR.size)
        shape = tuple(r[4 : 4 + r[2]])
        tensors.append(
            TensorFacts(name(r[0]), dtypes.get(r[1], "?"), shape, r[10], r[11], r[10] * r[9], r[16], r[18], r[17])
        )
    nodes = []
    for k in range(n_nodes):
        r = _NODE.unpack_from(content, nodes_at + k * _NODE.size)
        operands = struct.unpack_from(f"<{r[6] + r[7]}I", content, r[8])
        pad_end = None if r[13] == SAME else r[13]
        window = Window(r[9], r[10], r[11], r[12], pad_end, _EDGES[r[14]])  # type: ignore[arg-type]
        inputs, outputs = operands[: r[6]], operands[r[6] :]
        carried = KINDS[r[0]] in ("TRAILING", "CUMULATIVE")
        carry_at = struct.unpack_from("<I", content, r[16] + r[17] - 4)[0] if carried else -1
        nodes.append(NodeFacts(name(r[4]), name(r[3]), KINDS[r[0]], r[5], inputs, outputs, window, carry_at))
    ports = struct.unpack_from(f"<{n_inputs + n_outputs}I", content, ports_at)
    return PlanFacts(
        version,
        name(identity_at),
        "tflm" if flags & 1 else "litert",
        window_frames,
        tuple(tensors),
        tuple(nodes),
        ports[:n_inputs],
        ports[n_inputs:],
        ring_bytes,
        carry_bytes,
        crc,
    )


def c_header(content: bytes, name: str) -> str:
    """The plan file as a C array ``const uint8_t NAME[]``, aligned for the core."""
    rows = [", ".join(f"0x{b:02x}" for b in content[k : k + 16]) for k in range(0, len(content), 16)]
    body = ",\n    ".join(rows)
    guard = f"TCN_PLAN_{name.upper()}_H"
    return (
        f"/* {read_facts(content).identity}: a streaming plan for tcn.h, written by `tcnstream export`. */\n"
        f"#ifndef {guard}\n#define {guard}\n\n#include <stdint.h>\n\n"
        f"#define {name.upper()}_BYTES {len(content)}u\n\n"
        f"#if defined(__GNUC__)\n__attribute__((aligned(64)))\n#endif\n"
        f"static const uint8_t {name}[{len(content)}] = {{\n    {body}\n}};\n\n#endif\n"
    )
