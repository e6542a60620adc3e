"""The records of a plan file around its operations: a header, then sections of what is alike.

A plan file is little-endian and position-independent; it is used where it lies (flash, a mapped file) at an address
that is a multiple of 16. Offsets (``..._at`` in C) count bytes from its start. Sections of records follow one another::

    header        magic "TCNPLAN\\n", version, bytes of the file, CRC-32 of all that follows the CRC
    frames        what tensors have in common: type, bytes, growth
    tensors       one per tensor of the Plan that is no constant: its frames, its scratch slot
    rings         one per tensor that a stream remembers, in the order of tensors
    windows       what nodes have in common: how they move along time
    nodes         one per node: kind, operands, window, padding frame, arguments
    ports         descriptions of the inputs, then of the outputs
    operands      numbers of tensors, which nodes share where they can
    data          packed weights and other arrays, then shapes and arguments
    descriptions  of all tensors, then of all nodes, for reports: no board needs them
    names         NUL-terminated UTF-8: the model's identity first, and what descriptions call things

Tensors are numbered as they are made: the inputs, then the outputs of each node. Data begin at a multiple of 64; in
what is packed for a family of processors, which has no descriptions, weights at one of 16 and other data at one of 8.
"""

import itertools
import zlib
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from tcnstream.engines.native.layout.record import (
    F32,
    I32,
    U8,
    U16,
    U32,
    Blob,
    Bytes8,
    Record,
    TensorNumber,
    Text,
    Words,
    doc,
)

MAGIC = b"TCNPLAN\n"
VERSION = 7
ALIGNMENT = 64
"""Data of a portable plan begin at a multiple of so many bytes."""
FAMILY_ALIGNMENT = 16
"""The same of a plan that is packed for a family of processors."""
NO_NUMBER = 0xFFFF
MOST_NUMBERS = NO_NUMBER - 1
"""Tensors, nodes, operands, rings and scratch slots are numbered in 16 bits."""
NONE = 0xFFFFFFFF
"""How the core marks a tensor without a ring; no file has it."""
SAME = -(1 << 31)
"""``pad_end`` of a window that makes ceil(frames / stride) frames."""
MAX_RANK = 4
"""Axes of the frames that a description tells apart."""


class PlanFlag(IntEnum):
    """Bits of a header's ``flags``."""

    TFLM_ROUNDING = 1


class Edge(IntEnum):
    """What a window sees beyond the ends of a signal; CLIP: nothing, it is shorter there; HOLD: the end's own frame."""

    FILL = 0
    REFLECT = 1
    SYMMETRIC = 2
    CLIP = 3
    HOLD = 4


class Header(Record, c="tcn_header"):
    """The start of a plan file."""

    magic: Bytes8 = doc("TCN_PLAN_MAGIC", default=MAGIC)
    version: U32
    bytes: U32
    crc32: U32 = doc("of all that follows this field")
    family: U8 = doc("FAMILY_...")
    flags: U8 = doc("PLAN_...")
    n_inputs: U8
    n_outputs: U8
    n_frames: U16
    n_tensors: U16
    n_rings: U16
    n_windows: U16
    n_nodes: U16
    n_operands: U16
    n_slots: U16 = doc("scratch areas that tensors share, one after the other")
    reserved: U16 = 0
    ring_bytes: U32 = doc("of one state")
    carry_bytes: U32 = doc("of one state: running sums of policies")
    max_taps: U32 = doc("rows that one output position reads, the largest over the nodes")
    window_frames: U32
    described_at: U32 = doc("tcn_description [n_tensors], tcn_node_description [n_nodes]; 0: none")
    names_at: U32 = doc("the model and its policy, then other names")
    names_bytes: U32
    program_crc32: U32 = doc("of the portable plan, whose snapshots these are as well; 0: this is it")


class FrameRecord(Record, c="tcn_frame"):
    """What the frames of tensors have in common.

    b input frames of the model make at most ceil(b * up / down) + extra new ones.
    """

    bytes: U32
    dtype: U32 = doc("TCN_F32 ...")
    up: U32
    down: U32
    extra: U32


class TensorRecord(Record, c="tcn_tensor_record"):
    """A tensor of the plan that is no constant: the nodes that read a constant hold it themselves."""

    frame: U16
    slot: U16 = doc("scratch area; TCN_NO_NUMBER for the model's inputs")


class RingRecord(Record, c="tcn_ring_record"):
    """What a stream remembers of a tensor between two pushes."""

    frames: U32
    at: U32 = doc("within the rings of a state")
    tensor: U16
    last_reader: U16 = doc("node after which the ring takes in the new frames")


class WindowRecord(Record, c="tcn_window"):
    """``compiler.plan.Window``."""

    up: I32
    stride: I32
    extent: I32
    pad_begin: I32
    pad_end: I32 = doc("TCN_SAME: as many frames as give ceil(frames / stride)")


class NodeRecord(Record, c="tcn_node_record"):
    """A node: its operation, its operands, its window and its arguments."""

    kind: U8 = doc("KIND_...")
    op: U8 = doc("which of the kind's functions")
    dtype: U8 = doc("of the first input")
    edge: U8 = doc("EDGE_...")
    n_inputs: U8
    n_outputs: U8
    loop: U16 = doc("the first node of a loop: how many nodes go together, frame by frame; 0 for all others", default=0)
    operands: U16 = doc("where they begin among those of all nodes: numbers of tensors, inputs first")
    window: U16
    fill: Blob = doc("a frame of padding of the first input; 0: none")
    args: Words


class Description(Record, c="tcn_description"):
    """A tensor as users see it."""

    tensor: TensorNumber
    rank: U16
    name: Text
    shape: Words = doc("of a frame: u32 [rank]")
    scale: F32 = doc("real = scale * (q - zero_point); 0 if not quantized")
    zero_point: I32


class NodeDescription(Record, c="tcn_node_description"):
    """An operation as it stands in the model file."""

    label: Text
    kind_name: Text
    index: I32 = doc("in the model file")


_CHECKED_FROM = Header.offset("family")
_OPERAND_BYTES = 2


def checksum(content: bytes | bytearray) -> int:
    """What the header of this whole file must have as its ``crc32``."""
    return zlib.crc32(memoryview(content)[_CHECKED_FROM:])


@dataclass(frozen=True)
class Sections:
    """Where the sections of records begin, one behind the other."""

    frames_at: int
    tensors_at: int
    rings_at: int
    windows_at: int
    nodes_at: int
    ports_at: int
    operands_at: int
    end: int


def sections(head: Any) -> Sections:
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
    return Sections(*itertools.accumulate(sizes, initial=Header.size))


def node_records(content: bytes) -> list[Any]:
    """The records of all nodes, by their names in C."""
    head = Header.read(content)
    return NodeRecord.read_each(content, sections(head).nodes_at, head.n_nodes)
