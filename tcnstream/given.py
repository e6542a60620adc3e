"""What a stream is given once, before any frame: values of inputs that have no time, and what states begin as."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from tcnstream.engines.base import Executor
from tcnstream.errors import StreamError
from tcnstream.spec import TensorSpec
from tcnstream.tflite.graph import Array

Opened: TypeAlias = tuple[Executor, str]
"""An executor, and the name that its snapshots go by."""

_MAGIC = b"TCNGIVN2"
_CRC_BYTES = 4


@dataclass(frozen=True, eq=False)
class Given:
    """What one stream was given, (*frame_shape) per static input and per state, and what runs one given otherwise."""

    static: tuple[TensorSpec, ...]
    states: tuple[TensorSpec, ...]
    values: tuple[Array, ...]
    opened: Callable[[tuple[Array, ...]], Opened]

    def named(self) -> dict[str, Array]:
        """The values of the static inputs, by name."""
        return {spec.name: value for spec, value in zip(self.static, self.values, strict=False)}

    def changed(self, static: Mapping[str, npt.ArrayLike] | None) -> Given:
        """The same with other values of static inputs; states begin as they did."""
        if static is None:
            return self
        (values,) = given_values(self.static, (), static, {})
        return replace(self, values=(*values, *self.values[len(values) :]))


def given_values(
    static_specs: Sequence[TensorSpec],
    state_specs: Sequence[TensorSpec],
    static: Mapping[str, npt.ArrayLike] | None,
    start: Mapping[str, npt.ArrayLike],
    lanes: int | None = None,
) -> list[tuple[Array, ...]]:
    """The values of static inputs, and what states begin as, checked, for each of ``lanes`` streams (None: for one).

    A state that ``start`` does not name begins as zeros. Raises StreamError where a static input is missing, for an
    unknown name, and for another shape or type.
    """
    given, begins = dict(static or {}), dict(start)
    rows = []
    for spec in static_specs:
        if spec.name not in given:
            raise StreamError(
                f"input `{spec.name}` {spec.shape} has no time and is given once for a stream: pass"
                f" static={{{spec.name!r}: ...}}"
            )
        rows.append(_rows(spec, given.pop(spec.name), lanes))
    for spec in state_specs:
        zero = 0 if spec.quantization is None else int(spec.quantization.zero_point.flat[0])
        rows.append(_rows(spec, begins.pop(spec.name, np.full(spec.shape, zero, spec.dtype)), lanes))
    for what, specs, left in (("static", static_specs, given), ("states", state_specs, begins)):
        if left:
            known = ", ".join(f"`{spec.name}`" for spec in specs) or "there is none"
            kind = "input without time" if what == "static" else "input that an output is fed back to"
            raise StreamError(f"{what} names `{next(iter(left))}`, which is no {kind} ({known})")
    return list(zip(*rows, strict=True)) if rows else [()] * (lanes or 1)


def start_of(pairs: Mapping[str, str], states: Mapping[str, npt.ArrayLike] | None) -> dict[str, npt.ArrayLike]:
    """What states begin as; where an output's name stands in the place of a value, it must be the one of ``pairs``."""
    start: dict[str, npt.ArrayLike] = {}
    for name, value in (states or {}).items():
        if not isinstance(value, str):
            start[name] = value
        elif pairs.get(name) != value:
            raise StreamError(
                f"states: `{value}` is not what is fed back to `{name}`; which output is, is said when the model is"
                f" loaded: load(..., states={{{name!r}: {value!r}}})"
            )
    return start


def _rows(spec: TensorSpec, value: npt.ArrayLike, lanes: int | None) -> list[Array]:
    """One value per lane."""
    try:
        array = np.asarray(value)
    except ValueError:
        raise StreamError(f"input `{spec.name}`: its rows have different lengths") from None
    count = lanes or 1
    if array.dtype.kind not in "fiub":
        raise StreamError(f"input `{spec.name}` takes {spec.dtype} or float32 and got {array.dtype}")
    if array.dtype != spec.dtype:
        if spec.dtype.kind != "f" and spec.quantization is None and array.dtype.kind == "f":
            raise StreamError(f"input `{spec.name}` takes {spec.dtype} and got {array.dtype}; convert it")
        whole = spec.quantization is None or array.dtype.kind != "f"
        array = array.astype(spec.dtype) if whole else spec.quantize(array.astype(np.float32))
    if array.shape in (spec.shape, (1, *spec.shape)):
        return [np.ascontiguousarray(array.reshape(spec.shape))] * count
    if lanes is not None and array.shape == (lanes, *spec.shape):
        return list(np.ascontiguousarray(array))
    wanted = f"{spec.shape}" if lanes is None else f"{spec.shape}, or {(lanes, *spec.shape)} for a pool of {lanes}"
    raise StreamError(f"input `{spec.name}` takes an array of shape {wanted} and got {array.shape}")


def digest(values: Sequence[Array]) -> str:
    """A short name for these values."""
    return hashlib.sha256(b"".join(value.tobytes() for value in values)).hexdigest()[:16]


def pack(values: Sequence[Array], snapshot: bytes) -> bytes:
    """A stream's snapshot together with what the stream was given."""
    content = msgspec.msgpack.encode(([value.tobytes() for value in values], snapshot))
    return _MAGIC + zlib.crc32(content).to_bytes(_CRC_BYTES, "little") + content


def unpack(like: Sequence[Array], blob: bytes) -> tuple[tuple[Array, ...], bytes]:
    """The inverse of ``pack``; StreamError for what is none of a stream that is given values like these."""
    if not isinstance(blob, bytes | bytearray | memoryview):
        raise StreamError(f"a snapshot is bytes and this is {type(blob).__name__}; pass what snapshot() returned")
    whole = bytes(blob)
    head = len(_MAGIC) + _CRC_BYTES
    crc, content = whole[len(_MAGIC) : head], whole[head:]
    if not whole.startswith(_MAGIC) or zlib.crc32(content).to_bytes(_CRC_BYTES, "little") != crc:
        raise StreamError("the snapshot is damaged, or not of a stream with inputs without time; take a new one")
    try:
        given, snapshot = msgspec.msgpack.decode(content, type=tuple[list[bytes], bytes])
    except (msgspec.MsgspecError, UnicodeDecodeError) as e:
        raise StreamError(f"the bytes are no snapshot ({e}); take a new one") from e
    if [len(value) for value in given] != [value.nbytes for value in like]:
        raise StreamError("the snapshot does not fit the model; restore it into a stream of the same model and policy")
    values = [np.frombuffer(value, of.dtype).reshape(of.shape) for value, of in zip(given, like, strict=True)]
    return tuple(values), snapshot
