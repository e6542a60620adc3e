"""Cyclic redundancy checks of 8 and 16 bits, most significant bit first, as recorders and files use them."""

from __future__ import annotations

from functools import cache


def crc(content: bytes, polynomial: int, bits: int, value: int = 0) -> int:
    """Of ``content``, from ``value`` on; 0 of content that ends with its own checksum, most significant byte first."""
    table, mask = _table(polynomial, bits), (1 << bits) - 1
    for byte in content:
        value = (value << 8 ^ table[value >> bits - 8 ^ byte]) & mask
    return value


@cache
def _table(polynomial: int, bits: int) -> tuple[int, ...]:
    top, mask, table = 1 << bits - 1, (1 << bits) - 1, []
    for byte in range(256):
        entry = byte << bits - 8
        for _ in range(8):
            entry = (entry << 1 ^ (polynomial if entry & top else 0)) & mask
        table.append(entry)
    return tuple(table)
