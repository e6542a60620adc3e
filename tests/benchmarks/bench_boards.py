"""Instructions per frame of the emulated boards beside those of Arm's CMSIS-NN, per network and by kind of operation.

Beside each figure stands what it must be at most, and what is aimed at.

``cd tests && python -m benchmarks.bench_boards [--record]``

CMSIS-NN was measured once, layer by layer with its best entry point, in the same emulator and counted the same way:
`qemu-system-arm -icount`, where an instruction takes 1024 ns. These are no cycles. What stands here includes the core's
own bookkeeping; of ``speech`` the int8 part alone is compared. Every answer is compared with the host's bit for bit.
Exit code 1 if an answer differs, or if a count has grown by more than 3 % of the recorded one.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from helpers.board_program import lines, linked
from helpers.paths import DATA, MODELS, TESTS

import tcnstream
from firmware_bridge.boards.build import CORE
from firmware_bridge.boards.table import BOARDS
from tcnstream.engines.native.layout.arguments import Axis, Binary, Conv, Fours
from tcnstream.engines.native.layout.codes import Dtype
from tcnstream.engines.native.layout.file import node_records
from tcnstream.engines.native.layout.functions import ConvOp
from tcnstream.engines.native.layout.kinds import Kind
from tcnstream.engines.native.planfile.write import write_plan
from tcnstream.signal.card import find_model

RECORD = DATA / "board_instructions.json"
COUNTER_HZ = {"qemu-m4": 25e6, "qemu-m55": 20e6}
INSTRUCTION_NS = 1024
HOPS = (1, 16)
SLOWER = 1.03
RATIOS = {  # at most so much of CMSIS-NN's instructions: (must, aim)
    ("qemu-m4", 1): (0.75, 0.60),
    ("qemu-m4", 16): (0.85, 0.65),
    ("qemu-m55", 1): (0.75, 0.55),
    ("qemu-m55", 16): (1.10, 0.85),
}
PER_KIND = {  # (must, aim) per multiply-add, output or operation, with an operation's bookkeeping
    ("qemu-m4", 1): {
        "conv": (2.5, 2.1),
        "depthwise": (8, 7),
        "sum": (45, 38),
        "beside": (150, 80),
        "float": (4.5, 4.5),
    },
    ("qemu-m4", 16): {"conv": (2.2, 1.9), "depthwise": (8, 7), "sum": (45, 38), "float": (4.5, 4.5)},
    ("qemu-m55", 1): {
        "conv": (0.75, 0.5),
        "depthwise": (3, 2.2),
        "sum": (16, 13),
        "beside": (150, 80),
        "float": (1.2, 1.2),
    },
    ("qemu-m55", 16): {"conv": (0.55, 0.42), "depthwise": (3, 2.2), "sum": (16, 13), "float": (1.2, 1.2)},
}
WHOLE = {("speech", "qemu-m4", 1): 100_000, ("speech", "qemu-m55", 1): 30_000}
"""Instructions that a whole push may take at most."""


@dataclass(frozen=True)
class Case:
    """A model, the input frames of a push of one frame, and after how many of them it is steady."""

    name: str
    hop: int = 1
    warm: int = 800

    def load(self) -> tcnstream.Model:
        path = MODELS / f"{self.name}.tflite"
        return tcnstream.load(path if path.exists() else find_model(self.name)[0])


CASES = (
    *(Case("nse_lg.i8"), Case("ecg", warm=1400), Case("speech", 160, 300), Case("nse_lg.f32"), Case("causal.i16")),
    # The other half of each pair that ships, and the pair that has none above.
    *(Case("ecg.f32", warm=500), Case("ecg_fast", warm=500), Case("ecg_fast.f32", warm=500)),
    Case("speech.f32", 160, 250),
)
FRAMES = 32
"""Measured pushes of one frame; and so many frames in pushes of 16."""


@dataclass
class Counted:
    """Instructions per frame, by frames of a push; ``rest`` is what the kernels do not take."""

    pushes: dict[int, float] = field(default_factory=dict)
    nodes: dict[int, list[float]] = field(default_factory=lambda: {hop: [] for hop in HOPS})
    rest: dict[int, float] = field(default_factory=dict)
    crc32: int = 0


def program(board: str, case: Case, folder: Path) -> Path:
    """The core with ``board/count.c`` for a board."""
    sources = [p for part in ("", "operations", "kernels") for p in sorted((CORE / part).glob("*.c"))]
    counts = {"HOP": case.hop, "WARM": case.warm * case.hop, "FRAMES": FRAMES * case.hop}
    flags = [f"-DCOUNT_{name}={value}" for name, value in counts.items()]
    return linked(board, [TESTS / "benchmarks" / "board" / "count.c", *sources], flags, folder)


def counted(board: str, elf: Path, plan: Path, case: Case) -> Counted:
    """What the program says in the emulator."""
    unit = 1e9 / COUNTER_HZ[board] / INSTRUCTION_NS / FRAMES
    made = Counted()
    for word, *numbers in lines(board, elf, plan, "-icount", "shift=10,sleep=off"):
        if word == "PUSH":
            made.pushes[numbers[0] // case.hop] = numbers[1] * unit
        elif word == "REST":
            made.rest[numbers[0] // case.hop] = numbers[1] * unit
        elif word == "NODE":
            made.nodes[numbers[0] // case.hop].append((numbers[2] - numbers[3]) * unit)
        elif word == "CRC":
            made.crc32 = numbers[0]
    return made


def expected_crc32(model: tcnstream.Model, case: Case) -> int:
    """The checksum of the host's frames for the sequence that ``count.c`` draws."""
    port = model.inputs[0]
    block = 16 * case.hop
    frames = -(-case.warm * case.hop // block) * block + 4 * FRAMES * case.hop
    values = np.empty(frames * int(np.prod(port.shape)), np.int64)
    seed = 1
    for i in range(len(values)):
        seed = (seed * 1103515245 + 12345) & 0xFFFFFFFF
        values[i] = (seed >> 16 & 0xFF) - 128
    x = values / 128 if port.dtype.kind == "f" else values * 256 if port.dtype == np.int16 else values
    y = model.stream(engine="native").push(x.astype(port.dtype).reshape(frames, *port.shape))
    return zlib.crc32(np.ascontiguousarray(y).tobytes())


@dataclass(frozen=True)
class Row:
    """A node of a plan: its kind and type, and how many multiplications (or sums) it makes per frame."""

    kind: Kind
    dtype: Dtype
    work: int

    @property
    def is_int8(self) -> bool:
        return self.dtype == Dtype.I8


def rows(plan: bytes) -> list[Row]:
    made = []
    for node in node_records(plan):
        kind, work = Kind(node.kind), 0
        if kind in (Kind.CONV, Kind.DEPTHWISE):
            if node.op == ConvOp.FOURS:
                a = Fours.read(plan, node.args_at)
                places = Axis.read(plan, node.args_at + Fours.size).f_out if a.has_axis else 1
                work = a.taps * places * a.outputs * (a.channels if kind == Kind.CONV else 1)
            else:
                a = Conv.read(plan, node.args_at)
                depth = a.channels // a.groups if kind == Kind.CONV else 1
                places = Axis.read(plan, node.args_at + Conv.size).f_out if a.has_axis else 1
                work = a.taps_t * a.taps_f * places * a.outputs * depth
        elif kind == Kind.BINARY:
            work = Binary.read(plan, node.args_at).elements
        made.append(Row(kind, Dtype(node.dtype), work))
    return made


def compared(made: Counted, nodes: list[Row], hop: int) -> float:
    """The int8 operations, with their share of what a push costs beside its operations."""
    of_int8 = [cost for cost, row in zip(made.nodes[hop], nodes, strict=True) if row.is_int8 and row.work]
    beside = made.pushes[hop] - sum(made.nodes[hop])
    return sum(of_int8) + beside * len(of_int8) / len(nodes)


def main() -> int:
    options = argparse.ArgumentParser(description="Instructions of the boards beside CMSIS-NN's and the recorded ones.")
    options.add_argument("--record", action="store_true", help="make these counts the recorded ones")
    record = options.parse_args().record
    known = json.loads(RECORD.read_text())
    ours: dict[str, int] = {}
    kinds: list[str] = []
    failed = False
    print("| network | board | frames a push | whole push | recorded | int8 part | CMSIS-NN | ratio | must / aim |")
    print("|---|---|--:|--:|--:|--:|--:|--:|---|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for case in CASES:
            model = case.load()
            crc32 = expected_crc32(model, case)
            for board in COUNTER_HZ:
                content = write_plan(model.plan, family=BOARDS[board].family)
                (folder / "plan").write_bytes(content)
                made = counted(board, program(board, case, folder), folder / "plan", case)
                nodes = rows(content)
                failed |= made.crc32 != crc32
                for hop in HOPS:
                    key = f"{case.name}/{board}/{hop}"
                    ours[key] = round(made.pushes[hop])
                    old, cmsis = known["ours"].get(key, 0), known["cmsis-nn"].get(key)
                    failed |= not record and old > 0 and ours[key] > SLOWER * old
                    beside = " | | | |"
                    if cmsis:
                        part = compared(made, nodes, hop)
                        must, aim = RATIOS[board, hop]
                        beside = f" {part:,.0f} | {cmsis:,} | {part / cmsis:.3f} | {must:.2f} / {aim:.2f} |"
                    most = WHOLE.get((case.name, board, hop))
                    if most is not None:
                        beside += f" whole push: {'at most' if ours[key] <= most else 'MISSED'} {most:,}"
                    wrong = "" if made.crc32 == crc32 else " (other bits than the host)"
                    print(f"| {case.name} | {board} | {hop} | {ours[key]:,}{wrong} | {old:,} |{beside}", flush=True)
                    kinds.append(_by_kind(case, board, hop, made, nodes))
    print("\nWith an operation's bookkeeping; int8 and float32 above what they must be at most are marked.\n")
    print(
        "| network | board | frames a push | conv, MAC | float conv, MAC | depthwise, MAC | sum, output | beside, op |"
    )
    print("|---|---|--:|--:|--:|--:|--:|--:|")
    print("\n".join(kinds))
    if record:
        RECORD.write_text(json.dumps({**known, "ours": ours}, indent=1) + "\n")
        return 0
    return int(failed)


def _by_kind(case: Case, board: str, hop: int, made: Counted, nodes: list[Row]) -> str:
    is_float = [row.dtype == Dtype.F32 for row in nodes]
    chosen = {
        "conv": [row.kind == Kind.CONV and not real for row, real in zip(nodes, is_float, strict=True)],
        "float": [row.kind == Kind.CONV and real for row, real in zip(nodes, is_float, strict=True)],
        "depthwise": [row.kind == Kind.DEPTHWISE for row in nodes],
        "sum": [row.kind == Kind.BINARY for row in nodes],
    }
    cells = []
    for name, picked in chosen.items():
        of_kind = [
            (cost, row) for cost, row, yes in zip(made.nodes[hop], nodes, picked, strict=True) if yes and row.work
        ]
        work = sum(row.work for _, row in of_kind)
        held = all(row.is_int8 or name == "float" for _, row in of_kind)
        cells.append(_cell(sum(cost for cost, _ in of_kind) / work, board, hop, name, held) if work else "")
    whole = all(row.is_int8 and row.work for row in nodes)
    cells.append(_cell(made.rest[hop] / len(nodes), board, hop, "beside", True) if whole else "")
    return f"| {case.name} | {board} | {hop} | {' | '.join(cells)} |"


def _cell(value: float, board: str, hop: int, name: str, held: bool) -> str:
    must, aim = PER_KIND[board, hop].get(name, (None, None))
    if must is None or not held:
        return f"{value:.2f}"
    return f"{value:.2f}{' (aim)' if value <= aim else '' if value <= must else f' (MISSED {must:g})'}"


if __name__ == "__main__":
    raise SystemExit(main())
