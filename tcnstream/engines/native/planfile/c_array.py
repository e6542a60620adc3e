"""A plan file as an array in C, and what the memory of its streams takes."""

from __future__ import annotations

from dataclasses import dataclass

from tcnstream.engines.native.planfile.facts import read_facts


@dataclass(frozen=True)
class Room:
    """The most bytes that a stream and its scratch take on any processor, with blocks of so many frames."""

    state_bytes: int
    scratch_bytes: int
    block_frames: int


def c_bytes(content: bytes) -> str:
    """The values of an array in C, in indented rows."""
    rows = (", ".join(f"0x{b:02x}" for b in content[k : k + 16]) for k in range(0, len(content), 16))
    return ",\n    ".join(rows)


def c_header(content: bytes, name: str, room: Room | None = None) -> str:
    """The plan file as a C array ``const uint8_t NAME[]``, aligned for the core, and what its memory takes."""
    guard = f"TCN_PLAN_{name.upper()}_H"
    return (
        f"/* {read_facts(content).identity}: a streaming plan for tcn.h, written by `tcnstream export`. */\n"
        f"#ifndef {guard}\n#define {guard}\n\n#include <stdint.h>\n\n"
        f"#define {name.upper()}_BYTES {len(content)}u\n{_sizes(name, room)}\n"
        f"#if defined(__GNUC__)\n__attribute__((aligned(64)))\n#endif\n"
        f"static const uint8_t {name}[{len(content)}] = {{\n    {c_bytes(content)}\n}};\n\n#endif\n"
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
