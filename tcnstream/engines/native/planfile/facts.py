"""What a plan file says of itself: the facts that the host needs of it, by tensor and by node."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

from tcnstream.compiler.plan import Window
from tcnstream.engines.native.layout.arguments import Reduce
from tcnstream.engines.native.layout.codes import Dtype, Family
from tcnstream.engines.native.layout.file import (
    MAGIC,
    MAX_RANK,
    SAME,
    VERSION,
    Description,
    Edge,
    FrameRecord,
    Header,
    NodeDescription,
    PlanFlag,
    RingRecord,
    TensorRecord,
    WindowRecord,
    checksum,
    node_records,
    sections,
)
from tcnstream.engines.native.layout.kinds import Kind
from tcnstream.errors import ModelError


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
    if head.bytes > len(content) or checksum(content[: head.bytes]) != head.crc32:
        raise ModelError("the plan file is damaged: its checksum does not match; export the model again")

    try:
        return _facts(content, head)
    except (struct.error, ValueError) as e:
        raise ModelError(f"the plan file says what no plan says ({e}); export the model again") from None


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
    rings = {ring.tensor: ring for ring in RingRecord.read_each(content, at.rings_at, head.n_rings)}
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
