"""Damaged copies of a file, for fuzzing: what broken transfers and hostile senders would produce."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Iterator

_HUGE = (0, 1, 4, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFFFFFC, 0x40000000, 0x10000)


def _flip_bits(data: bytearray, rng: random.Random) -> None:
    for _ in range(rng.randint(1, 8)):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _overwrite_word(data: bytearray, rng: random.Random) -> None:
    for _ in range(rng.randint(1, 4)):
        value = rng.choice((rng.choice(_HUGE), rng.randrange(2 * len(data)), rng.getrandbits(32)))
        struct.pack_into("<I", data, 4 * rng.randrange(len(data) // 4), value)


def _overwrite_half(data: bytearray, rng: random.Random) -> None:
    for _ in range(rng.randint(1, 4)):
        value = rng.choice((0, 2, 4, 6, 0x7FFF, 0xFFFF, rng.getrandbits(6), rng.getrandbits(16)))
        struct.pack_into("<H", data, 2 * rng.randrange(len(data) // 2), value)


def _random_bytes(data: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(data))
    size = min(rng.choice((1, 4, 16, 256, len(data))), len(data) - start)
    data[start : start + size] = rng.randbytes(size)


def _truncate(data: bytearray, rng: random.Random) -> None:
    del data[rng.randrange(len(data)) :]


def _delete(data: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(data))
    del data[start : start + rng.choice((1, 2, 4, 8, 64, 1024))]


def _insert(data: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(data))
    data[start:start] = rng.randbytes(rng.choice((1, 2, 4, 8, 64, 1024)))


def _splice(data: bytearray, rng: random.Random) -> None:
    size = min(rng.choice((4, 8, 32, 256)), len(data))
    source, target = (rng.randrange(len(data) - size + 1) & ~3 for _ in range(2))
    data[target : target + size] = data[source : source + size]


def _swap_words(data: bytearray, rng: random.Random) -> None:
    first, second = (4 * rng.randrange(len(data) // 4) for _ in range(2))
    data[first : first + 4], data[second : second + 4] = data[second : second + 4], data[first : first + 4]


_MUTATIONS: tuple[Callable[[bytearray, random.Random], None], ...] = (
    _flip_bits,
    _overwrite_word,
    _overwrite_word,
    _overwrite_half,
    _random_bytes,
    _truncate,
    _delete,
    _insert,
    _splice,
    _swap_words,
)


def mutations(seed_bytes: bytes, count: int, rng: random.Random) -> Iterator[bytes]:
    """``count`` damaged copies of ``seed_bytes``, each damaged in one to three ways; one in a hundred is noise."""
    for _ in range(count):
        if rng.random() < 0.01:
            yield seed_bytes[: rng.choice((0, 8))] + rng.randbytes(rng.randrange(2048))
            continue
        data = bytearray(seed_bytes)
        for _ in range(rng.choice((1, 1, 1, 2, 3))):
            if len(data) >= 8:
                rng.choice(_MUTATIONS)(data, rng)
        yield bytes(data)
