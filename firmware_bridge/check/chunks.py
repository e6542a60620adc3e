"""How a recording is cut into pushes."""

from __future__ import annotations

import numpy as np

from firmware_bridge.errors import BridgeError
from tcnstream.measure.compare import chunk_sizes

_LARGEST_CHUNK_FRAMES = 100


def parse_chunks(text: str) -> tuple[str, int]:
    """``random:SEED`` or a fixed number of frames. Raises BridgeError for anything else."""
    kind, _, seed = text.partition(":")
    if kind == "random" and (seed or "0").isdecimal():
        return "random", int(seed or "0")
    if text.isdecimal() and int(text) > 0:
        return "fixed", int(text)
    raise BridgeError(f"there is no way to cut {text!r}: write random:SEED or a number of frames")


def cut(frames: int, chunks: str, again: int = 0) -> list[int]:
    """Chunk sizes that add up to ``frames``; ``again`` gives other random ones for the same seed."""
    kind, number = parse_chunks(chunks)
    if kind == "fixed":
        return [number] * (frames // number) + ([frames % number] if frames % number else [])
    return chunk_sizes(frames, np.random.default_rng([number, again]), _LARGEST_CHUNK_FRAMES) if frames else []
