"""Parameters of temporal convolutional networks, from files or in Python; every value is checked by its field's rule.

Field names and defaults are those of neuralspot-edge 0.2.2, so that its parameter files carry over. ``tcn.py`` builds
the networks; reading parameters needs no Keras.
"""

from __future__ import annotations

import json
import math
import tomllib
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal, SupportsFloat, TypeAlias, get_type_hints

from tcnstream.errors import ModelError

Extent: TypeAlias = int | tuple[int, int]
Norm: TypeAlias = Literal["batch", "layer", "channel"] | None
Padding: TypeAlias = Literal["same", "causal"]
LayerNames: TypeAlias = Literal["neuralspot-edge", "helia-edge"]


def _number(value: object) -> float:
    # Like the original, digits in a string pass: parameter files come out of many tools.
    if isinstance(value, bool) or not isinstance(value, str | SupportsFloat):
        raise ValueError
    number = float(value)
    if not math.isfinite(number):
        raise ValueError
    return number


def _whole(value: object) -> int:
    number = _number(value)
    if not number.is_integer():
        raise ValueError
    return int(number)


def _count(value: object, least: int = 1) -> int:
    number = _whole(value)
    if number < least:
        raise ValueError
    return number


def _extent(value: object) -> Extent:
    if isinstance(value, Sequence) and not isinstance(value, str):
        height, time = value
        return _count(height), _count(time)
    return _count(value)


def _within(value: object, accept: Callable[[float], bool]) -> float:
    number = _number(value)
    if not accept(number):
        raise ValueError
    return number


def _flag(value: object) -> bool:
    if value not in (True, False):
        raise ValueError
    return bool(value)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError
    return value


def _one_of(*choices: str) -> Callable[[object], str]:
    def check(value: object) -> str:
        if not isinstance(value, str) or value not in choices:
            raise ValueError
        return value

    return check


def _or_none(check: Callable[[Any], object]) -> Callable[[object], object]:
    return lambda value: None if value is None else check(value)


def _norm(value: object) -> str | None:
    # TOML has no null, so "none" stands for it.
    return None if value in (None, "none") else _one_of("batch", "layer", "channel")(value)


@dataclass(frozen=True)
class _Rule:
    """How a field's value is read: ``check`` converts it or raises ValueError or TypeError."""

    check: Callable[[Any], object]
    should_be: str


_COUNT = _Rule(_count, "a whole number from 1 on")
_EXTENT = _Rule(_extent, "a whole number from 1 on, or two of them (height, time)")
_NORM = _Rule(_norm, '"batch", "layer", "channel" or none')
_FLAG = _Rule(_flag, "true or false")
_DEPTH = _Rule(lambda v: _count(v, 0), "a whole number from 0 on")
_EXPANSION = _Rule(lambda v: _within(v, lambda n: n > 0), "a number above 0")
_REDUCTION = _Rule(lambda v: _within(v, lambda n: n >= 0), "a number from 0 (none) on")
_DROPOUT = _Rule(_or_none(lambda v: _within(v, lambda n: 0 <= n < 1)), "none or a number from 0 to below 1")
_WINDOW = _Rule(_or_none(_count), "none or a whole number of frames from 1 on")
_ACTIVATION = _Rule(_text, "the name of an activation")


def _rules(kind: type) -> dict[str, _Rule]:
    return {name: hint.__metadata__[0] for name, hint in get_type_hints(kind, include_extras=True).items()}


@dataclass(frozen=True, init=False)
class _Params:
    """Checks every value by its field's own rule; ignores unknown fields, with a warning."""

    def __init__(self, **values: Any) -> None:
        kind = type(self).__name__
        known = {f.name for f in fields(self)}
        # The original's own usage example passes model_name, which has never had an effect.
        unknown = sorted(set(values) - known - {"model_name"})
        if unknown:
            warnings.warn(f"{kind} has no field {', '.join(map(repr, unknown))}: ignored", UserWarning, stacklevel=2)
        rules = _rules(type(self))
        for f in fields(self):
            if f.name not in values and f.default is MISSING:
                raise ModelError(f"{kind}: {f.name} is missing; it should be {rules[f.name].should_be}.")
            value = values.get(f.name, f.default)
            try:
                value = rules[f.name].check(value)
            except (TypeError, ValueError):
                raise ModelError(
                    f"{kind}: {f.name} = {value!r} cannot be used; it should be {rules[f.name].should_be}."
                ) from None
            object.__setattr__(self, f.name, value)


@dataclass(frozen=True, init=False, kw_only=True)
class TcnBlockParams(_Params):
    """One block. Kernels and dilations are ``(height, time)``, or one number for both.

    ``se_window`` (frames; not in the original) makes squeeze-excite streamable: its statistics are
    the average over the last ``se_window`` frames, where frames before the start count as zero, so
    that it converts to plain padding and average pooling. None: the average over the whole window.
    ``norm="channel"`` (not in the original) normalises each frame over its channels; ``"layer"``
    normalises each channel over the window. Files without a null (TOML) write ``"none"`` for no
    normalization.
    """

    depth: Annotated[int, _DEPTH] = 1
    branch: Annotated[int, _COUNT] = 1
    filters: Annotated[int, _COUNT]
    kernel: Annotated[Extent, _EXTENT] = 3
    dilation: Annotated[Extent, _EXTENT] = 1
    ex_ratio: Annotated[float, _EXPANSION] = 1.0
    se_ratio: Annotated[float, _REDUCTION] = 0.0
    dropout: Annotated[float | None, _DROPOUT] = None
    norm: Annotated[Norm, _NORM] = "layer"
    activation: Annotated[str, _ACTIVATION] = "relu6"
    se_window: Annotated[int | None, _WINDOW] = None


def _blocks(value: object) -> tuple[TcnBlockParams, ...]:
    if not isinstance(value, Sequence) or not all(isinstance(b, Mapping | TcnBlockParams) for b in value):
        raise ValueError
    return tuple(_block(i, block) for i, block in enumerate(value))


def _block(i: int, block: TcnBlockParams | Mapping[str, Any]) -> TcnBlockParams:
    if isinstance(block, TcnBlockParams):
        return block
    try:
        return TcnBlockParams(**block)
    except ModelError as error:
        raise ModelError(f"blocks[{i}]: {error}") from None


@dataclass(frozen=True, init=False, kw_only=True)
class TcnParams(_Params):
    """The whole network. ``padding="causal"`` (not in the original) pads every convolution in the past only.

    ``layer_names`` (not in the original) says whose names the layers have: "neuralspot-edge" those of 0.2.2, as
    ``B1.D1.CN1``, "helia-edge" those of its successor's 0.6, as ``B1_D1_CN1``.

    ``blocks`` may be given as TcnBlockParams or as tables with their fields. ``name`` is kept and,
    as in the original, names nothing.
    """

    input_kernel: Annotated[Extent | None, _Rule(_or_none(_extent), f"none, or {_EXTENT.should_be}")] = None
    input_norm: Annotated[Norm, _NORM] = "layer"
    block_type: Annotated[Literal["lg", "mb", "sm"], _Rule(_one_of("lg", "mb", "sm"), '"lg", "mb" or "sm"')] = "mb"
    blocks: Annotated[tuple[TcnBlockParams, ...], _Rule(_blocks, "a list of blocks")] = ()
    output_kernel: Annotated[Extent, _EXTENT] = 3
    include_top: Annotated[bool, _FLAG] = True
    use_logits: Annotated[bool, _FLAG] = True
    output_activation: Annotated[str | None, _Rule(_or_none(_text), "none or the name of an activation")] = None
    name: Annotated[str, _Rule(_text, "a text")] = "TCN"
    padding: Annotated[Padding, _Rule(_one_of("same", "causal"), '"same" or "causal"')] = "same"
    layer_names: Annotated[
        LayerNames, _Rule(_one_of("neuralspot-edge", "helia-edge"), '"neuralspot-edge" or "helia-edge"')
    ] = "neuralspot-edge"

    @classmethod
    def from_file(cls, path: str | Path) -> TcnParams:
        """Parameters of a .json or .toml file; ModelError if it is neither or a value cannot be used."""
        path = Path(path)
        decoders: dict[str, Callable[[str], object]] = {".json": json.loads, ".toml": tomllib.loads}
        decode = decoders.get(path.suffix.lower())
        if decode is None:
            raise ModelError(f"{path}: parameter files end in .json or .toml, not {path.suffix!r}.")
        try:
            values = decode(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ModelError(f"{path}: cannot be read: {error.strerror}.") from error
        except ValueError as error:
            raise ModelError(f"{path}: not a {path.suffix[1:].upper()} file: {error}.") from error
        if not isinstance(values, dict):
            raise ModelError(f"{path}: holds a {type(values).__name__}; a table of TcnParams' fields is needed.")
        try:
            return cls(**values)
        except ModelError as error:
            raise ModelError(f"{path}: {error}") from None
