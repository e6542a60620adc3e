"""Units of samples: volts with their prefixes, and numbers against the largest one, as audio has them."""

from __future__ import annotations

import functools
import re

FULL_SCALE = "full scale"
"""Samples from -1 to 1."""

_VOLTS = {"V": 1.0, "mV": 1e-3, "uV": 1e-6, "nV": 1e-9}
_INTEGERS = {"int8": 2.0**-7, "int16": 2.0**-15, "int24": 2.0**-23, "int32": 2.0**-31}
_OF_FULL_SCALE = {FULL_SCALE: 1.0, **_INTEGERS}
_PREFIXES = {"": "", "milli": "m", "micro": "u", "nano": "n", "m": "m", "u": "u", "n": "n"}


@functools.cache
def known(unit: str) -> str:
    """``unit`` as it is written here, "uV" for "µV" and "microvolts"; what is not known stays as it is."""
    plain = re.sub("[\u00b5\u03bc]", "u", unit.strip())
    spelled = re.fullmatch(r"(milli|micro|nano|[mun]|)(?:v|volts?)", plain.casefold())
    if spelled and plain != "MV":  # a million volts, strictly
        return f"{_PREFIXES[spelled[1]]}V"
    folded = plain.casefold()
    return folded if folded in _OF_FULL_SCALE else plain


def is_said(unit: str) -> bool:
    """Whether a unit says what one step of the signal is; a share of full scale leaves that open."""
    return bool(unit) and known(unit) not in _OF_FULL_SCALE


def unit_factor(source: str, target: str) -> float | None:
    """What a value in ``source`` units is multiplied by to be in ``target`` units; None if they have nothing in common.

    Equal units, or one side that does not say its unit, give 1. So does a share of full scale where volts are asked
    for: nobody knows what full scale was.
    """
    source, target = known(source), known(target)
    if not source or not target or source == target:
        return 1.0
    if source.casefold() == target.casefold() and "MV" not in (source, target):
        return 1.0
    if source in _VOLTS and target in _VOLTS:
        return _VOLTS[source] / _VOLTS[target]
    if source in _OF_FULL_SCALE:
        return _OF_FULL_SCALE[source] / _OF_FULL_SCALE[target] if target in _OF_FULL_SCALE else 1.0
    return None


def of_integers(dtype: str) -> str:
    """The unit of bare numbers of a type: signed integers have a full scale, others say nothing."""
    return dtype if dtype in _INTEGERS else ""
