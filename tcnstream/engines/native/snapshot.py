"""Snapshots of the C core and ``State``, one as the other: a stream goes on in any engine and on a board.

``layout.snapshot`` says what the core's snapshot is; ``core/snapshot.c`` writes it.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Callable, Iterator

import numpy as np

from tcnstream.compiler.operations import operation
from tcnstream.compiler.operations.statistics import StatisticOptions
from tcnstream.compiler.plan import Plan
from tcnstream.compiler.timing import counts
from tcnstream.engines.native.layout.snapshot import SnapshotHead
from tcnstream.engines.native.planfile.facts import PlanFacts
from tcnstream.engines.native.planfile.memory import stream_numbers
from tcnstream.engines.native.unsigned import nodes_before
from tcnstream.engines.sealed import Crc32, does_not_fit, kept_frames, seal, unseal
from tcnstream.engines.signed import flipped
from tcnstream.engines.state import MOST_FRAMES, State
from tcnstream.tflite.graph import Array

_CRC_BYTES = 4


class CoreSnapshots:
    """The core's snapshots of a plan as those of ``engines.sealed``, and back, without a State between them."""

    def __init__(self, plan: Plan, facts: PlanFacts, crc32: Crc32) -> None:
        self._plan, self._facts, self._crc32 = plan, facts, crc32
        numbers = stream_numbers(plan)
        self._rings = []
        for i, tensor in enumerate(plan.tensors):
            if tensor.data is None and (ring := facts.tensors[numbers[i]]).ring_frames:
                end = SnapshotHead.size + ring.ring_at + ring.ring_bytes
                self._rings.append((i, end, ring.ring_bytes // ring.ring_frames, ring.dtype != tensor.dtype))
        self._sums = list(_sums(plan, facts))
        self._core_bytes = SnapshotHead.size + facts.ring_bytes + facts.carry_bytes + _CRC_BYTES
        self._spare: list[bytearray] = []

    def seal(self, snapshot_into: Callable[[bytearray], None], identity: str) -> bytes:
        """A snapshot for any engine, of the stream that writes its own."""
        try:
            blob = self._spare.pop()
        except IndexError:
            blob = bytearray(self._core_bytes)
        snapshot_into(blob)
        sealed = self._for_any_engine(blob, identity)
        self._spare[:] = [blob]  # fresh pages cost as much as all that is done with them
        return sealed

    def _for_any_engine(self, blob: bytearray, identity: str) -> bytes:
        head, content = SnapshotHead.read(blob), memoryview(blob)
        kept = kept_frames(self._plan, head.frames, bool(head.ended))
        parts: list[bytes | memoryview] = []
        for i, end, frame_bytes, is_flipped in self._rings:
            frames = content[end - kept[i] * frame_bytes : end]
            parts.append(_flipped(frames) if is_flipped else frames)
        for place, count, stored, wanted in self._carried(head.frames, bool(head.ended)):
            parts.append(np.frombuffer(content, stored, count, place).astype(wanted).tobytes())
        return seal(identity, head.frames, bool(head.ended), parts, self._crc32)

    def unseal(self, blob: bytes, identity: str) -> bytearray:
        """A snapshot of any engine for the core; StreamError for what is damaged or of another model."""
        opened = unseal(blob, identity, self._crc32)
        if not 0 <= opened.pushed_frames <= MOST_FRAMES:
            raise does_not_fit()
        kept = kept_frames(self._plan, opened.pushed_frames, opened.ended)
        head = SnapshotHead(
            plan_crc32=self._facts.program_crc32, ended=int(opened.ended), frames=opened.pushed_frames
        ).pack()
        core = bytearray(self._core_bytes)
        core[: len(head)] = head
        carried = self._carried(opened.pushed_frames, opened.ended)
        at, body = 0, opened.body
        sizes = [kept[i] * frame_bytes for i, _, frame_bytes, _ in self._rings]
        if sum(sizes) + sum(count * wanted.itemsize for _, count, _, wanted in carried) != len(body):
            raise does_not_fit()
        for (_, end, _, is_flipped), size in zip(self._rings, sizes, strict=True):
            frames = body[at : at + size]
            core[end - size : end] = _flipped(frames) if is_flipped else frames
            at += size
        for place, count, stored, wanted in carried:
            values = np.frombuffer(body, wanted, count, at).astype(stored).tobytes()
            core[place : place + len(values)] = values
            at += count * wanted.itemsize
        struct.pack_into("<I", core, len(core) - _CRC_BYTES, self._crc32(memoryview(core)[:-_CRC_BYTES], 0))
        return core

    def _carried(
        self, pushed_frames: int, ended: bool
    ) -> list[tuple[int, int, np.dtype[np.generic], np.dtype[np.generic]]]:
        """Place, numbers, type in the core and type of what nodes have begun to carry over."""
        if not self._sums:
            return []
        have = counts(self._plan, pushed_frames, ended)
        found = []
        for k, place, stored, wanted in self._sums:
            target = self._plan.nodes[k].outputs[0]
            if have[target] > 0:
                begin = SnapshotHead.size + self._facts.ring_bytes + place
                found.append((begin, math.prod(self._plan.tensors[target].shape), stored, wanted))
        return found


def _flipped(raw: memoryview) -> bytes:
    return flipped(np.frombuffer(raw, np.int8)).tobytes()


def from_core(plan: Plan, facts: PlanFacts, blob: bytes) -> State:
    """The core's snapshot of a stream of ``plan`` as the state of the other engines."""
    head = SnapshotHead.read(blob)
    numbers = stream_numbers(plan)

    def newest(i: int, n: int) -> Array:
        tensor, ring = plan.tensors[i], facts.tensors[numbers[i]]
        elements = math.prod(tensor.shape)
        begin = SnapshotHead.size + ring.ring_at + (ring.ring_frames - n) * elements * tensor.dtype.itemsize
        frames = np.frombuffer(blob, ring.dtype, n * elements, begin).reshape(n, *tensor.shape)
        return frames if ring.dtype == tensor.dtype else flipped(frames)

    state = State.resumed(plan, head.frames, bool(head.ended), newest)
    for k, place, stored, wanted in _sums(plan, facts):
        target = plan.nodes[k].outputs[0]
        if state.have[target] > 0:
            shape = plan.tensors[target].shape
            begin = SnapshotHead.size + facts.ring_bytes + place
            values = np.frombuffer(blob, stored, math.prod(shape), begin)
            state.carry(k, values.reshape(shape).astype(wanted))
    return state


def to_core(state: State, facts: PlanFacts) -> bytes:
    """The state of another engine as the core's snapshot; the inverse of ``from_core``."""
    rings, sums = bytearray(facts.ring_bytes), bytearray(facts.carry_bytes)
    numbers = stream_numbers(state.plan)
    for i, queue in state.queues.items():
        ring = facts.tensors[numbers[i]]
        if ring.ring_frames:
            first = max(queue.first_frame, queue.end_frame - ring.ring_frames)
            frames = queue.read(first, queue.end_frame)
            newest = (frames if ring.dtype == frames.dtype else flipped(frames)).tobytes()
            end = ring.ring_at + ring.ring_bytes
            rings[end - len(newest) : end] = newest
    for k, place, stored, _ in _sums(state.plan, facts):
        if k in state.carries:
            values = state.carries[k].astype(stored).tobytes()
            sums[place : place + len(values)] = values
    head = SnapshotHead(plan_crc32=facts.program_crc32, ended=int(state.ended), frames=state.pushed_frames)
    return _sealed(head.pack() + rings + sums)


def moved(blob: bytes, pushed_frames: int) -> bytes:
    """The core's snapshot with another count of input frames."""
    old = SnapshotHead.read(blob)
    head = SnapshotHead(plan_crc32=old.plan_crc32, ended=old.ended, frames=pushed_frames)
    return _sealed(head.pack() + blob[SnapshotHead.size : -_CRC_BYTES])


def _sealed(content: bytes) -> bytes:
    return content + struct.pack("<I", zlib.crc32(content))


def _sums(plan: Plan, facts: PlanFacts) -> Iterator[tuple[int, int, np.dtype[np.generic], np.dtype[np.generic]]]:
    """For every cumulative node its number, and its sums' place in the core, type there and type in ``State``."""
    before = nodes_before(plan)
    records = facts.nodes[before : before + len(plan.nodes)]
    for k, (node, record) in enumerate(zip(plan.nodes, records, strict=True)):
        if operation(node.kind).carries:
            source = plan.tensors[node.inputs[0]].dtype
            wide: np.dtype[np.generic] = np.dtype(np.float64 if source.kind == "f" else np.int64)
            is_sum = node.options_of(StatisticOptions).statistic.adds
            yield k, record.carry_at, wide, wide if is_sum else source
