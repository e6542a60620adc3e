"""Plan -> bytes, and bytes -> facts: the flat file that the native core runs in place; ``layout.file`` describes it.

Timing needs no more than the Window of each node: the core counts as ``timing.counts`` does. A tensor's
``ring_frames`` are what a stream must remember of it between two pushes (its lookback); within a push its
new frames stand in a scratch slot, at most ``ceil(b * up / down) + extra`` of them for b input frames.
Slots are shared by tensors that never live at the same time. Weights are packed for the kernels: outputs
in panels of 16 (then 8 or 4), the panel's outputs side by side for each tap and channel (integers: for
each four channels); see ``layout.arguments.Conv``.
"""

from __future__ import annotations

import functools
import itertools
import math
import struct
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import numpy as np

from tcnstream.compiler.plan import Node, Plan, Window
from tcnstream.compiler.timing import remembered_frames
from tcnstream.engines.base import ROUNDINGS
from tcnstream.engines.native.layout.arguments import Conv, Reduce, Rescale
from tcnstream.engines.native.layout.codes import DTYPES, FAMILIES, MAX_PORTS, Dtype, Family
from tcnstream.engines.native.layout.file import (
    ALIGNMENT,
    FAMILY_ALIGNMENT,
    MAGIC,
    MAX_RANK,
    MOST_NUMBERS,
    NO_NUMBER,
    SAME,
    VERSION,
    Description,
    Edge,
    FrameRecord,
    Header,
    NodeDescription,
    NodeRecord,
    PlanFlag,
    RingRecord,
    TensorRecord,
    WindowRecord,
)
from tcnstream.engines.native.layout.kinds import Kind
from tcnstream.engines.native.pack import Packed, pack, unsupported
from tcnstream.engines.native.unsigned import signed_plan
from tcnstream.engines.signed import unlike_int8
from tcnstream.errors import EngineError, ModelError
from tcnstream.tflite.graph import Tensor

_CHECKED_FROM = Header.offset("family")
"""What the checksum covers begins behind it."""

_WORD_BYTES = 4
_OPERAND_BYTES = 2


@dataclass(frozen=True, eq=False)
class TensorFacts:
    """One tensor as the file has it; ``ring_frames`` is what a stream remembers of it, at ``ring_at`` of all rings.

    ``name`` and ``shape`` are "" and one axis where the file has no descriptions.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    ring_frames: int
    ring_at: int
    ring_bytes: int


@dataclass(frozen=True, eq=False)
class NodeFacts:
    """One node as the file has it; ``carry_at`` is the place of its running sums, -1 without any.

    ``kind`` and ``label`` are "" and ``index`` -1 where the file has no descriptions.
    """

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
    """What a plan file says about itself; ``tensors`` are those of ``stream_numbers``, in that order."""

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
    family: str
    program_crc32: int


def write_plan(plan: Plan, identity: str = "", rounding: str = "litert", family: str = "portable") -> bytes:
    """The plan as bytes for the native core.

    ``rounding`` is "litert", or "tflm" for the two roundings of TFLite Micro's FULLY_CONNECTED. ``family`` are the
    processors for whose instructions int8 weights are packed, by a word of ``Family``; every core runs a portable plan.
    What is packed for a family has no names of tensors and operations: a portable plan has those for reports.
    Raises EngineError naming the first operation that the core does not have.
    """
    if rounding not in ROUNDINGS:
        raise EngineError(f"rounding={rounding!r} is unknown; use {' or '.join(map(repr, ROUNDINGS))}")
    if family not in FAMILIES:
        raise EngineError(f"family={family!r} is unknown; use {' or '.join(map(repr, FAMILIES))}")
    _ports(plan)
    _unsigned(plan)
    plan = signed_plan(plan)
    operands = sum(len(node.inputs) + len(node.outputs) for node in plan.nodes)
    if max(len(plan.tensors), len(plan.nodes), operands) > MOST_NUMBERS:
        raise EngineError(
            f"the native engine lacks models of more than {MOST_NUMBERS} tensors, operations or operands;"
            ' use engine="interpreter" or engine="reference"'
        )
    portable = _written(plan, identity, rounding, Family.PORTABLE)
    if FAMILIES[family] == Family.PORTABLE:
        return portable
    return _written(plan, identity, rounding, FAMILIES[family], Header.read(portable).crc32)


def _written(plan: Plan, identity: str, rounding: str, family: Family, program_crc32: int = 0) -> bytes:
    packed = [pack(plan, node, rounding, family) for node in plan.nodes]
    first = _Writer(plan, packed, family)
    first.assemble(identity, rounding, program_crc32)
    return _Writer(plan, packed, family, first.wide_contents).assemble(identity, rounding, program_crc32)


def unsupported_parts(plan: Plan) -> list[EngineError]:
    """What the core does not have, an error each, in order; empty if the plan can be written."""
    found = []
    checks: list[Callable[[], object]] = [functools.partial(_ports, plan), functools.partial(_unsigned, plan)]
    plan = signed_plan(plan)
    checks += [functools.partial(pack, plan, node, ROUNDINGS[0]) for node in plan.nodes]
    for check in checks:
        try:
            check()
        except EngineError as e:
            found.append(e)
    return found


def _unsigned(plan: Plan) -> None:
    for node in plan.nodes:
        if what := unlike_int8(plan, node):
            raise unsupported(node, what)


def _ports(plan: Plan) -> None:
    if max(len(plan.inputs), len(plan.outputs)) > MAX_PORTS:
        raise EngineError(
            f"the native engine lacks models of more than {MAX_PORTS} inputs or outputs;"
            ' use engine="interpreter" or engine="reference"'
        )
    for i in (*plan.inputs, *plan.outputs):
        if str(plan.tensors[i].dtype) not in DTYPES:
            raise EngineError(f"the native engine lacks {plan.tensors[i].dtype} streams; use another engine")


def stream_numbers(plan: Plan) -> dict[int, int]:
    """The numbers that the tensors of a plan have in its file: the inputs, then what the nodes make."""
    plan = signed_plan(plan)
    made = (*plan.inputs, *(o for node in plan.nodes for o in node.outputs))
    return {i: number for number, i in enumerate(made)}


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
        if window.is_mirrored:
            extra += 2 * max(window.pad_begin, 0) + 1
        else:
            extra += max(0, (window.pad_begin + min(window.pad_end or 0, 0) - window.extent) // window.stride + 1)
        for o in node.outputs:
            rates[o], slack[o] = rates[sources[0]] * ratio, extra
    return [(rate, math.ceil(e)) for rate, e in zip(rates, slack, strict=True)]


class _Overlapping:
    """Sequences of numbers, of which each begins among the last numbers of those before, as far as it can."""

    def __init__(self) -> None:
        self.numbers: list[int] = []

    def place(self, sequence: Sequence[int]) -> int:
        """Where the sequence begins."""
        wanted = list(sequence)
        shared = min(len(wanted), len(self.numbers))
        while shared and self.numbers[-shared:] != wanted[:shared]:
            shared -= 1
        begin = len(self.numbers) - shared
        self.numbers += wanted[shared:]
        return begin


class _Writer:
    """Sections that grow, then one file.

    Of the data, what is aligned to more than a word comes first, so that there is no gap among the rest: all that is
    ``wide``, with its alignment, the longest first, so that what another one holds as a part is not written again.
    """

    def __init__(
        self, plan: Plan, packed: Sequence[Packed], family: Family, wide: Iterable[tuple[bytes, int]] = ()
    ) -> None:
        self.plan = plan
        self.packed = packed
        self.family = family
        self.numbers = stream_numbers(plan)
        self.names = bytearray()
        self.name_at: dict[str, int] = {}
        self.wide, self.words = bytearray(), bytearray()
        self.wide_contents: dict[tuple[bytes, int], int] = {}
        self.carry_bytes = 0
        self.readers = _last_readers(plan)
        rates = growth(plan)
        self.slots, self.n_slots = self.scratch(rates)
        self.rings, self.ring_bytes = self.remembered()
        self.frames = [self.frame(i, *rates[i]) for i in self.numbers]
        self.windows = [_window(node.window) for node in plan.nodes]
        operands = _Overlapping()
        self.operands_at = [operands.place(self.operands(k)) for k in range(len(plan.nodes))]
        self.operands_of_all = operands.numbers
        self.kinds_of_frames = list(dict.fromkeys(self.frames))
        self.kinds_of_windows = list(dict.fromkeys(self.windows))
        self.counts: dict[str, Any] = {
            "n_inputs": len(plan.inputs),
            "n_outputs": len(plan.outputs),
            "n_frames": len(self.kinds_of_frames),
            "n_tensors": len(self.numbers),
            "n_rings": len(self.rings),
            "n_windows": len(self.kinds_of_windows),
            "n_nodes": len(plan.nodes),
            "n_operands": len(self.operands_of_all),
        }
        records_end = sections(SimpleNamespace(**self.counts)).end
        alignment = ALIGNMENT if family == Family.PORTABLE else FAMILY_ALIGNMENT
        self.wide_at = -(-records_end // alignment) * alignment
        for content, alignment in sorted(wide, key=lambda blob: (blob[1], len(blob[0])), reverse=True):
            self.blob(content, alignment)
        self.wide += bytes(-len(self.wide) % _WORD_BYTES)
        self.words_at = self.wide_at + len(self.wide)

    def text(self, text: str) -> int:
        """The place of ``text`` among the names; equal texts are kept once."""
        if text not in self.name_at:
            self.name_at[text] = len(self.names)
            self.names += text.replace("\0", " ").encode() + b"\0"
        return self.name_at[text]

    def blob(self, content: bytes, alignment: int) -> int:
        """The offset of ``content`` in the file; what is there already is not written again."""
        if alignment > _WORD_BYTES:
            alignment = ALIGNMENT if self.family == Family.PORTABLE else alignment
            if (content, alignment) not in self.wide_contents:
                self.wide_contents[content, alignment] = self.wide_at + _place(self.wide, content, alignment)
            return self.wide_contents[content, alignment]
        return self.words_at + _place(self.words, content, _WORD_BYTES)

    def tensor(self, i: int) -> int:
        return self.numbers[i]

    def carry(self, size_bytes: int) -> int:
        """The place of a node's running sums in the carries of a state."""
        place = self.carry_bytes
        self.carry_bytes += size_bytes
        return place

    def assemble(self, identity: str, rounding: str, program_crc32: int = 0) -> bytes:
        plan = self.plan
        self.text(identity)  # the first of the names
        ports = b"".join(self.description(i) for i in (*plan.inputs, *plan.outputs))
        loops = {loop.start: len(loop) for loop in plan.loops}
        nodes = b"".join(self.node(k, p, loops.get(k, 0)) for k, p in enumerate(self.packed))
        tensors = b"".join(
            TensorRecord(frame=self.kinds_of_frames.index(frame), slot=self.slots[i]).pack()
            for i, frame in zip(self.numbers, self.frames, strict=True)
        )
        descriptions = b"" if self.family != Family.PORTABLE else self.descriptions()
        described_at = self.words_at + len(self.words)
        names_at = described_at + len(descriptions)
        total = max(names_at + len(self.names), described_at + Conv.size - Conv.offset("bias_u8_at"))
        total += -total % _WORD_BYTES
        header = Header(
            version=VERSION,
            bytes=total,
            crc32=0,
            family=self.family,
            flags=PlanFlag.TFLM_ROUNDING if rounding == "tflm" else 0,
            **self.counts,
            n_slots=self.n_slots,
            ring_bytes=self.ring_bytes,
            carry_bytes=self.carry_bytes,
            max_taps=max((p.taps for p in self.packed), default=1),
            window_frames=plan.window_frames,
            described_at=described_at if descriptions else 0,
            names_at=names_at,
            names_bytes=len(self.names),
            program_crc32=program_crc32,
        )
        records = (
            header.pack(),
            *self.kinds_of_frames,
            tensors,
            *(ring.pack() for ring in self.rings),
            *self.kinds_of_windows,
            nodes,
            ports,
            struct.pack(f"<{len(self.operands_of_all)}H", *self.operands_of_all),
        )
        content = bytearray(total)
        for at, part in (
            (0, b"".join(records)),
            (self.wide_at, self.wide),
            (self.words_at, self.words),
            (described_at, descriptions),
            (names_at, self.names),
        ):
            content[at : at + len(part)] = part
        struct.pack_into("<I", content, Header.offset("crc32"), zlib.crc32(content[_CHECKED_FROM:]))
        return bytes(content)

    def descriptions(self) -> bytes:
        nodes = (
            NodeDescription(label=node.label, kind_name=node.kind_in_file, index=node.index) for node in self.plan.nodes
        )
        return b"".join([*map(self.description, self.numbers), *(node.pack(self) for node in nodes)])

    def operands(self, k: int) -> list[int]:
        return [self.numbers[i] for i in (*self.packed[k].operands, *self.plan.nodes[k].outputs)]

    def node(self, k: int, packed: Packed, loop: int) -> bytes:
        plan, node = self.plan, self.plan.nodes[k]
        window = node.window
        pad_end = SAME if window.pad_end is None else window.pad_end
        source = plan.tensors[packed.operands[0]]
        padded = window.pad_begin > 0 or pad_end == SAME or pad_end > 0 or window.up > 1
        fill = None
        # A filter between rates weighs what it does not read by 0, which must be a number.
        if padded and (window.edge == "fill" or (window.edge == "hold" and window.up > 1)):
            fill = np.full(source.shape, node.fill, source.dtype).tobytes()
        record = NodeRecord(
            kind=packed.kind,
            op=packed.op,
            dtype=_dtype(node, source),
            n_inputs=len(packed.operands),
            n_outputs=len(node.outputs),
            operands=self.operands_at[k],
            window=self.kinds_of_windows.index(self.windows[k]),
            edge=Edge[window.edge.upper()],
            fill=fill,
            args=self.arguments(packed),
            loop=loop,
        )
        return record.pack(self)

    def arguments(self, packed: Packed) -> bytes | None:
        if packed.arguments is None:
            return None
        arguments = packed.arguments.pack(self)
        if isinstance(packed.arguments, Conv) and packed.arguments.rescale == Rescale.FLOAT and not packed.behind:
            return arguments[: Conv.offset("bias_u8_at")]
        return arguments + (packed.behind.pack(self) if packed.behind else b"")

    def remembered(self) -> tuple[list[RingRecord], int]:
        """A ring per tensor of which a stream remembers anything, and the bytes of all rings."""
        remembered = remembered_frames(self.plan)
        tensors = self.plan.tensors
        kept = {i: remembered[i] for i in self.numbers if remembered[i]}
        made = {}
        end = 0
        # Frames of whole cache lines come first: then none of them lies across two lines.
        for i in sorted(kept, key=lambda i: -math.gcd(_frame_bytes(tensors[i]), 64)):
            end += -end % max(tensors[i].dtype.itemsize, 4)
            made[i] = end
            end += kept[i] * _frame_bytes(tensors[i])
        rings = [
            RingRecord(frames=frames, at=made[i], tensor=self.numbers[i], last_reader=self.readers[i])
            for i, frames in kept.items()
        ]
        return rings, end

    def scratch(self, rates: Sequence[tuple[Fraction, int]]) -> tuple[list[int], int]:
        """A scratch area per tensor, and how many there are; two that live at the same time never share one."""
        plan = self.plan
        writer, reader = _writers(plan), self.readers
        free: list[int] = []
        size: list[Fraction] = []
        slots = [NO_NUMBER] * len(plan.tensors)
        for k in range(len(plan.nodes)):
            for i in plan.nodes[k].outputs:
                need = (rates[i][0] + rates[i][1]) * _frame_bytes(plan.tensors[i])
                if free:
                    slot = min(free, key=lambda s: (abs(size[s] - need), s))
                    free.remove(slot)
                    size[slot] = max(size[slot], need)
                else:
                    slot = len(size)
                    size.append(need)
                slots[i] = slot
            for i in range(len(plan.tensors)):
                last = reader[i] if reader[i] != NO_NUMBER else writer[i]
                if slots[i] != NO_NUMBER and i not in plan.outputs and last == k:
                    free.append(slots[i])
        return slots, len(size)

    def frame(self, i: int, rate: Fraction, extra: int) -> bytes:
        tensor = self.plan.tensors[i]
        record = FrameRecord(
            bytes=_frame_bytes(tensor),
            dtype=DTYPES[str(tensor.dtype)],
            up=rate.numerator,
            down=rate.denominator,
            extra=extra,
        )
        return record.pack()

    def description(self, i: int) -> bytes:
        tensor = self.plan.tensors[i]
        shape = tensor.shape if len(tensor.shape) <= MAX_RANK else (math.prod(tensor.shape),)
        q = tensor.quantization
        described = Description(
            tensor=i,
            name=tensor.name if self.family == Family.PORTABLE else "",
            rank=len(shape),
            shape=struct.pack(f"<{len(shape)}I", *shape) or None,
            scale=0.0 if q is None else float(q.scale.flat[0]),
            zero_point=0 if q is None else int(q.zero_point.flat[0]),
        )
        return described.pack(self)


def _place(data: bytearray, content: bytes, alignment: int) -> int:
    """Where ``content`` begins in ``data``, at a multiple of ``alignment``: where it was, or else at the end."""
    found = data.find(content)
    while found >= 0 and found % alignment:
        found = data.find(content, found + 1)
    if found < 0:
        data += bytes(-len(data) % alignment)
        found = len(data)
        data += content
    return found


def _frame_bytes(tensor: Tensor) -> int:
    return math.prod(tensor.shape) * tensor.dtype.itemsize


def _window(window: Window) -> bytes:
    record = WindowRecord(
        up=window.up,
        stride=window.stride,
        extent=window.extent,
        pad_begin=window.pad_begin,
        pad_end=SAME if window.pad_end is None else window.pad_end,
    )
    return record.pack()


def _writers(plan: Plan) -> list[int]:
    """Per tensor the node that makes it, NO_NUMBER for inputs and constants."""
    made = [NO_NUMBER] * len(plan.tensors)
    for k, node in enumerate(plan.nodes):
        for o in node.outputs:
            made[o] = k
    return made


def _last_readers(plan: Plan) -> list[int]:
    """Per tensor the last node that reads it, NO_NUMBER without any; what a loop reads or makes lives until its end."""
    last = [NO_NUMBER] * len(plan.tensors)
    ends = list(range(len(plan.nodes)))
    for loop in plan.loops:
        ends[loop.start : loop.stop] = [loop.stop - 1] * len(loop)
    for k, (node, sources) in enumerate(zip(plan.nodes, plan.sources, strict=True)):
        fed = [plan.states[o] for o in node.outputs if o in plan.states]
        made = node.outputs if ends[k] > k else ()
        for i in (*sources, *fed, *made):
            last[i] = max(ends[k], last[i] if last[i] != NO_NUMBER else 0)
    return last


def _dtype(node: Node, tensor: Tensor) -> Dtype:
    dtype = str(tensor.dtype)
    if dtype not in DTYPES:
        raise unsupported(node, f"{dtype} input")
    return DTYPES[dtype]


def read_facts(content: bytes) -> PlanFacts:
    """What a plan file says about itself.

    Raises ModelError for bytes that are no plan of this version, or damaged. Only the core's own
    check decides whether a plan may run.
    """
    if len(content) < Header.size or not content.startswith(MAGIC):
        raise ModelError("these bytes are not a plan file; `tcnstream export MODEL --to plan` writes one")
    head = Header.read(content)
    if head.version != VERSION:
        raise ModelError(
            f"the plan file has version {head.version}, this package reads {VERSION}; export the model again"
        )
    if head.bytes > len(content) or zlib.crc32(content[_CHECKED_FROM : head.bytes]) != head.crc32:
        raise ModelError("the plan file is damaged: its checksum does not match; export the model again")

    try:
        return _facts(content, head)
    except (struct.error, ValueError) as e:
        raise ModelError(f"the plan file says what no plan says ({e}); export the model again") from None


@dataclass(frozen=True)
class _Sections:
    """Where the sections of records begin, one behind the other."""

    frames_at: int
    tensors_at: int
    rings_at: int
    windows_at: int
    nodes_at: int
    ports_at: int
    operands_at: int
    end: int


def sections(head: Any) -> _Sections:
    """Where a file with this header, or with the counts of one, has its records."""
    sizes = (
        head.n_frames * FrameRecord.size,
        head.n_tensors * TensorRecord.size,
        head.n_rings * RingRecord.size,
        head.n_windows * WindowRecord.size,
        head.n_nodes * NodeRecord.size,
        (head.n_inputs + head.n_outputs) * Description.size,
        head.n_operands * _OPERAND_BYTES,
    )
    return _Sections(*itertools.accumulate(sizes, initial=Header.size))


def node_records(content: bytes) -> list[Any]:
    """The records of all nodes, by their names in C."""
    head = Header.read(content)
    begin = sections(head).nodes_at
    return [NodeRecord.read(content, begin + k * NodeRecord.size) for k in range(head.n_nodes)]


def _facts(content: bytes, head: Any) -> PlanFacts:
    """Raises struct.error for a place beyond the file, ValueError for a code that is none or too many of anything."""

    def name(at: int) -> str:
        begin = head.names_at + at
        return content[begin : content.index(b"\0", begin)].decode(errors="replace")

    at = sections(head)
    if at.end > len(content):
        raise ValueError(f"{at.end:,} bytes of records in {len(content):,}")
    nodes_described_at = head.described_at + head.n_tensors * Description.size
    ports_at = [at.ports_at + k * Description.size for k in range(head.n_inputs + head.n_outputs)]
    ports = [Description.read(content, port_at).tensor for port_at in ports_at]
    rings = {
        ring.tensor: ring
        for ring in (RingRecord.read(content, at.rings_at + k * RingRecord.size) for k in range(head.n_rings))
    }
    operands_of_all = struct.unpack_from(f"<{head.n_operands}H", content, at.operands_at)
    nodes = node_records(content)

    def tensor(k: int) -> TensorFacts:
        record = TensorRecord.read(content, at.tensors_at + k * TensorRecord.size)
        frame = FrameRecord.read(content, at.frames_at + record.frame * FrameRecord.size)
        dtype, ring = Dtype(frame.dtype), rings.get(k)
        described_at = head.described_at + k * Description.size if head.described_at else 0
        if not described_at and k in ports:
            described_at = ports_at[ports.index(k)]
        described = Description.read(content, described_at) if described_at else None
        return TensorFacts(
            name=name(described.name) if described else "",
            dtype=dtype.numpy,
            shape=_shape(content, described) if described else (frame.bytes // dtype.bytes,),
            ring_frames=ring.frames if ring else 0,
            ring_at=ring.at if ring else 0,
            ring_bytes=ring.frames * frame.bytes if ring else 0,
        )

    def node(k: int, record: Any) -> NodeFacts:
        described = None
        if head.described_at:
            described = NodeDescription.read(content, nodes_described_at + k * NodeDescription.size)
        kind = Kind(record.kind)
        operands = operands_of_all[record.operands : record.operands + record.n_inputs + record.n_outputs]
        window = WindowRecord.read(content, at.windows_at + record.window * WindowRecord.size)
        pad_end = None if window.pad_end == SAME else window.pad_end
        edge = Edge(record.edge).name.lower()
        carried = kind in (Kind.TRAILING, Kind.CUMULATIVE)
        return NodeFacts(
            kind=name(described.kind_name) if described else "",
            label=name(described.label) if described else "",
            core_kind=kind.name,
            index=described.index if described else -1,
            inputs=operands[: record.n_inputs],
            outputs=operands[record.n_inputs :],
            window=Window(window.up, window.stride, window.extent, window.pad_begin, pad_end, edge),  # type: ignore[arg-type]
            carry_at=Reduce.read(content, record.args_at).carry_at if carried else -1,
        )

    return PlanFacts(
        version=head.version,
        identity=name(0),
        rounding="tflm" if head.flags & PlanFlag.TFLM_ROUNDING else "litert",
        window_frames=head.window_frames,
        tensors=tuple(tensor(k) for k in range(head.n_tensors)),
        nodes=tuple(node(k, record) for k, record in enumerate(nodes)),
        inputs=tuple(ports[: head.n_inputs]),
        outputs=tuple(ports[head.n_inputs :]),
        ring_bytes=head.ring_bytes,
        carry_bytes=head.carry_bytes,
        crc32=head.crc32,
        family=Family(head.family).word,
        program_crc32=head.program_crc32 or head.crc32,
    )


def _shape(content: bytes, described: Any) -> tuple[int, ...]:
    if described.rank > MAX_RANK:
        raise ValueError(f"a shape of {described.rank} axes")
    return struct.unpack_from(f"<{described.rank}I", content, described.shape_at)


@dataclass(frozen=True)
class Room:
    """The most bytes that a stream and its scratch take on any processor, with blocks of so many frames."""

    state_bytes: int
    scratch_bytes: int
    block_frames: int


def c_header(content: bytes, name: str, room: Room | None = None) -> str:
    """The plan file as a C array ``const uint8_t NAME[]``, aligned for the core, and what its memory takes."""
    rows = [", ".join(f"0x{b:02x}" for b in content[k : k + 16]) for k in range(0, len(content), 16)]
    body = ",\n    ".join(rows)
    guard = f"TCN_PLAN_{name.upper()}_H"
    return (
        f"/* {read_facts(content).identity}: a streaming plan for tcn.h, written by `tcnstream export`. */\n"
        f"#ifndef {guard}\n#define {guard}\n\n#include <stdint.h>\n\n"
        f"#define {name.upper()}_BYTES {len(content)}u\n{_sizes(name, room)}\n"
        f"#if defined(__GNUC__)\n__attribute__((aligned(64)))\n#endif\n"
        f"static const uint8_t {name}[{len(content)}] = {{\n    {body}\n}};\n\n#endif\n"
    )


def _sizes(name: str, room: Room | None) -> str:
    if room is None:
        return ""
    return (
        f"/* For static arrays: the most that tcn_state_size and tcn_scratch_size say, with blocks of"
        f" {room.block_frames} frames. */\n"
        f"#define {name.upper()}_STATE_BYTES {room.state_bytes}u\n"
        f"#define {name.upper()}_SCRATCH_BYTES {room.scratch_bytes}u\n"
    )
