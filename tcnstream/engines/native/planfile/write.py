"""A Plan as the bytes that the core runs.

The records are packed twice: the first round finds all data that they refer to, the second knows where each of them
stands. Weights are packed for the kernels, see ``pack`` and ``layout.arguments.Conv``.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Sequence
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import numpy as np

from tcnstream.compiler.plan import Node, Plan, Window
from tcnstream.engines.base import ROUNDINGS
from tcnstream.engines.native.layout.arguments import Conv, Rescale
from tcnstream.engines.native.layout.codes import DTYPES, FAMILIES, Dtype, Family
from tcnstream.engines.native.layout.file import (
    MAX_RANK,
    MOST_NUMBERS,
    SAME,
    VERSION,
    Description,
    Edge,
    FrameRecord,
    Header,
    NodeDescription,
    NodeRecord,
    PlanFlag,
    TensorRecord,
    WindowRecord,
    checksum,
    sections,
)
from tcnstream.engines.native.pack import Packed, pack, unsupported
from tcnstream.engines.native.planfile.data import WORD_BYTES, Data
from tcnstream.engines.native.planfile.memory import frame_bytes, growth, rings, scratch_slots, stream_numbers
from tcnstream.engines.native.planfile.unsupported import refuse_unlike_int8, refuse_unsupported_streams
from tcnstream.engines.native.unsigned import signed_plan
from tcnstream.errors import EngineError
from tcnstream.tflite.graph import Tensor

_FLOAT_CONV_BYTES = Conv.offset("bias_u8_at")
"""What a convolution of float32 has of its arguments; of the rest the core reads whatever stands there."""


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
    refuse_unsupported_streams(plan)
    refuse_unlike_int8(plan)
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
    program = _Program(plan, [pack(plan, node, rounding, family) for node in plan.nodes], family)
    found = program.data()
    program.assemble(found, identity, rounding, program_crc32)
    return program.assemble(program.data(found.wide_contents), identity, rounding, program_crc32)


class _Program:
    """The records of a plan: all that is known before it is known where their data stand."""

    def __init__(self, plan: Plan, packed: Sequence[Packed], family: Family) -> None:
        self.plan = plan
        self.packed = packed
        self.family = family
        self.numbers = stream_numbers(plan)
        rates = growth(plan)
        self.slots, self.n_slots = scratch_slots(plan, rates)
        self.rings, self.ring_bytes = rings(plan, self.numbers)
        self.frames = [_frame(plan.tensors[i], *rates[i]) for i in self.numbers]
        self.windows = [_window(node.window) for node in plan.nodes]
        self.different_frames = list(dict.fromkeys(self.frames))
        self.different_windows = list(dict.fromkeys(self.windows))
        self.operands_at, self.operands = _overlapping(
            [self.numbers[i] for i in (*p.operands, *node.outputs)] for p, node in zip(packed, plan.nodes, strict=True)
        )
        self.counts: dict[str, Any] = {
            "n_inputs": len(plan.inputs),
            "n_outputs": len(plan.outputs),
            "n_frames": len(self.different_frames),
            "n_tensors": len(self.numbers),
            "n_rings": len(self.rings),
            "n_windows": len(self.different_windows),
            "n_nodes": len(plan.nodes),
            "n_operands": len(self.operands),
        }

    def data(self, wide: Iterable[tuple[bytes, int]] = ()) -> Data:
        """Empty data behind these records, but for what is ``wide``."""
        return Data(sections(SimpleNamespace(**self.counts)).end, self.numbers, self.family, wide)

    def assemble(self, data: Data, identity: str, rounding: str, program_crc32: int) -> bytes:
        """The whole file, whose data grow into ``data``."""
        plan = self.plan
        data.text(identity)  # the first of the names
        ports = b"".join(self._description(data, i) for i in (*plan.inputs, *plan.outputs))
        nodes = b"".join(self._nodes(data))
        tensors = b"".join(
            TensorRecord(frame=self.different_frames.index(frame), slot=self.slots[i]).pack()
            for i, frame in zip(self.numbers, self.frames, strict=True)
        )
        descriptions = b"" if self.family != Family.PORTABLE else self._descriptions(data)
        described_at = data.end
        names_at = described_at + len(descriptions)
        total = max(names_at + len(data.names), described_at + Conv.size - _FLOAT_CONV_BYTES)
        total += -total % WORD_BYTES
        header = Header(
            version=VERSION,
            bytes=total,
            crc32=0,
            family=self.family,
            flags=PlanFlag.TFLM_ROUNDING if rounding == "tflm" else 0,
            **self.counts,
            n_slots=self.n_slots,
            ring_bytes=self.ring_bytes,
            carry_bytes=data.carry_bytes,
            max_taps=max((p.taps for p in self.packed), default=1),
            window_frames=plan.window_frames,
            described_at=described_at if descriptions else 0,
            names_at=names_at,
            names_bytes=len(data.names),
            program_crc32=program_crc32,
        )
        records = (
            header.pack(),
            *self.different_frames,
            tensors,
            *(ring.pack() for ring in self.rings),
            *self.different_windows,
            nodes,
            ports,
            struct.pack(f"<{len(self.operands)}H", *self.operands),
        )
        content = bytearray(total)
        for at, part in (
            (0, b"".join(records)),
            (data.wide_at, data.wide),
            (data.words_at, data.words),
            (described_at, descriptions),
            (names_at, data.names),
        ):
            content[at : at + len(part)] = part
        struct.pack_into("<I", content, Header.offset("crc32"), checksum(content))
        return bytes(content)

    def _nodes(self, data: Data) -> Iterable[bytes]:
        loops = {loop.start: len(loop) for loop in self.plan.loops}
        for k, (packed, node) in enumerate(zip(self.packed, self.plan.nodes, strict=True)):
            source = self.plan.tensors[packed.operands[0]]
            record = NodeRecord(
                kind=packed.kind,
                op=packed.op,
                dtype=_dtype(node, source),
                n_inputs=len(packed.operands),
                n_outputs=len(node.outputs),
                operands=self.operands_at[k],
                window=self.different_windows.index(self.windows[k]),
                edge=Edge[node.window.edge.upper()],
                fill=_fill(node, source),
                args=_arguments(packed, data),
                loop=loops.get(k, 0),
            )
            yield record.pack(data)

    def _descriptions(self, data: Data) -> bytes:
        nodes = (
            NodeDescription(label=node.label, kind_name=node.kind_in_file, index=node.index) for node in self.plan.nodes
        )
        tensors = (self._description(data, i) for i in self.numbers)
        return b"".join([*tensors, *(node.pack(data) for node in nodes)])

    def _description(self, data: Data, i: int) -> bytes:
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
        return described.pack(data)


def _overlapping(sequences: Iterable[Sequence[int]]) -> tuple[list[int], list[int]]:
    """Where each sequence begins among numbers, and the numbers: each shares the last ones of those before it."""
    places: list[int] = []
    numbers: list[int] = []
    for sequence in sequences:
        wanted = list(sequence)
        shared = min(len(wanted), len(numbers))
        while shared and numbers[-shared:] != wanted[:shared]:
            shared -= 1
        places.append(len(numbers) - shared)
        numbers += wanted[shared:]
    return places, numbers


def _frame(tensor: Tensor, rate: Fraction, extra: int) -> bytes:
    record = FrameRecord(
        bytes=frame_bytes(tensor),
        dtype=DTYPES[str(tensor.dtype)],
        up=rate.numerator,
        down=rate.denominator,
        extra=extra,
    )
    return record.pack()


def _window(window: Window) -> bytes:
    record = WindowRecord(
        up=window.up,
        stride=window.stride,
        extent=window.extent,
        pad_begin=window.pad_begin,
        pad_end=SAME if window.pad_end is None else window.pad_end,
    )
    return record.pack()


def _dtype(node: Node, tensor: Tensor) -> Dtype:
    dtype = str(tensor.dtype)
    if dtype not in DTYPES:
        raise unsupported(node, f"{dtype} input")
    return DTYPES[dtype]


def _fill(node: Node, source: Tensor) -> bytes | None:
    """A frame of padding of the first input, where the window reads any."""
    window = node.window
    is_padded = window.pad_begin > 0 or window.pad_end is None or window.pad_end > 0 or window.up > 1
    # A filter between rates weighs what it does not read by 0, which must be a number.
    if is_padded and (window.edge == "fill" or (window.edge == "hold" and window.up > 1)):
        return np.full(source.shape, node.fill, source.dtype).tobytes()
    return None


def _arguments(packed: Packed, data: Data) -> bytes | None:
    if packed.arguments is None:
        return None
    arguments = packed.arguments.pack(data)
    if isinstance(packed.arguments, Conv) and packed.arguments.rescale == Rescale.FLOAT and not packed.behind:
        return arguments[:_FLOAT_CONV_BYTES]
    return arguments + (packed.behind.pack(data) if packed.behind else b"")
