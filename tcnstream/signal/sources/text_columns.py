"""Which column of a table is time or counts, which are signals, and in what unit: by its name, or by its numbers."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

Kind: TypeAlias = Literal["signal", "time", "count"]
Values: TypeAlias = npt.NDArray[np.float64]

SECONDS = {"s": 1.0, "sec": 1.0, "secs": 1.0, "seconds": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9, "min": 60.0}
_UNIT_WORDS = r"[munpk]?v|(milli|micro|nano)?volts?|g|bpm|%|a\.?u\.?|s|secs?|seconds|ms|us|ns|min|hh:mm:ss\S*"
_SMALL_VOLTS = "[mun\u00b5\u03bc]V"
_TIME_WORDS = {"time", "times", "timestamp", "timestamps", "datetime", "date", "elapsed", "clock", "epoch", "seconds"}
_TIME_WORDS |= {"zeit", "uhrzeit", "datum", "zeitstempel", "heure", "tiempo", "fecha", "hora"}
_COUNT_NAMES = {"", "#", "no", "nr", "n", "number", "row", "frame", "count", "counter", "id", "idx", "index", "sample"}
_COUNT_NAMES |= {"samples", "sample no", "sample nr", "sample number", "sample index", "packet", "package num", "seq"}
_COUNT_NAMES |= {"n seq", "row id", "label", "labels", "class", "annotation", "event", "marker", "trigger", "subject"}
_LAST_WORDS_OF_COUNTS = {"id", "idx", "counter"}
_LEAST_ROWS = 4
_LEAST_ROWS_OF_A_TREND = 64
_SURELY_A_DATE = 1e8
_MOST_BEGINNINGS = 1 / 3
_MOST_LEFT_OUT = 1 / 20


@dataclass(frozen=True)
class Column:
    """A column as its header tells it: ``unit`` where one is said."""

    name: str
    unit: str
    kind: Kind


def described(name: str, unit: str = "") -> Column:
    """What a header's cell, and the unit that stands below it, say."""
    bare, in_name = _split(name)
    unit = (unit or in_name).strip("()[] ").replace("\u00b5", "u").replace("\u03bc", "u")
    parted = re.sub(r"(?<=[a-z])(?=[A-Z][a-z])", " ", bare)  # LocalTimestamp
    words = re.sub(r"[\W_]+", " ", parted.casefold()).split()
    kind: Kind = "signal"
    if words and (words[0] in _TIME_WORDS or words[-1] in _TIME_WORDS or words == ["t"]):
        kind = "time"
    elif " ".join(words) in _COUNT_NAMES or words[-1] in _LAST_WORDS_OF_COUNTS or words[0] == "unnamed":
        kind = "count"
    elif unit.casefold() in SECONDS and len(words) == 1 and words[0] in SECONDS:
        kind = "time"
    return Column(name, unit, kind)


def is_unit(cell: str) -> bool:
    """Whether a cell of a second header line is a unit."""
    plain = cell.strip("()[] ").replace("\u00b5", "u").replace("\u03bc", "u")
    return bool(re.fullmatch(_UNIT_WORDS, plain, re.IGNORECASE))


def _split(name: str) -> tuple[str, str]:
    """ "ECG (mV)", "ECG [mV]", "ecg_mV" -> the name alone, the unit."""
    if bracketed := re.fullmatch(r"(.*?)\s*[(\[]([^()\[\]]*)[)\]]", name):
        return bracketed[1], bracketed[2]
    for pattern in (r"(.+)[_/]([^_ /]+)", rf"(.+) ({_SMALL_VOLTS})"):
        if (suffixed := re.fullmatch(pattern, name)) and is_unit(suffixed[2]):
            return suffixed[1], suffixed[2]
    is_its_unit = (name.casefold() in SECONDS and len(name) > 1) or re.fullmatch(_SMALL_VOLTS, name)
    return (name, name) if is_its_unit else (name, "")


def counts(values: Values, digits: int) -> bool:
    """Whether numbers, written with so many digits after the point, only count: they grow by the same step.

    A counter may begin again or leave rows out, and steps differ by what rounding makes of them. Seconds since 1970
    need only grow.
    """
    if len(values) < _LEAST_ROWS or not np.isfinite(values).all():
        return False
    steps = np.diff(values)
    step = float(np.median(steps))
    if _SURELY_A_DATE * 10 <= values[0] < 2.1e9 and not steps.any() and not values[0] % 1:
        return True  # seconds since 1970, of which a fraction was cut off
    if len(values) >= _LEAST_ROWS_OF_A_TREND and (steps >= 0).all() and (steps > 0).any():
        is_in_whole_seconds = not step and set(steps.tolist()) == {0.0, 1.0} and not (values % 1).any()
        if values[0] > _SURELY_A_DATE or is_in_whole_seconds:
            return True
    if step <= 0:
        return False
    tiny = 1e-9 * float(np.abs(values).max())
    exact = np.abs(steps - step) <= tiny
    begins_again = steps < 0
    left_out = ~begins_again & (np.abs(steps / step - np.round(steps / step)) * step <= tiny)
    if (
        (exact | begins_again | left_out).all()
        and exact.sum() >= _LEAST_ROWS - 1
        and begins_again.mean() <= _MOST_BEGINNINGS
        and (left_out & ~exact).mean() <= _MOST_LEFT_OUT
    ):
        return True
    if len(values) < _LEAST_ROWS_OF_A_TREND:
        return False
    return _are_lines(values, steps, step, 1.01 * 10.0**-digits)


def _are_lines(values: Values, steps: Values, step: float, grain: float) -> bool:
    """Whether rounded numbers lie on straight lines that all but a few rows belong to."""
    breaks = np.flatnonzero((np.abs(steps - step) > grain) | (steps <= 0))
    if len(breaks) > _MOST_LEFT_OUT * len(steps):
        return False
    for run in np.split(values, breaks + 1):
        line = np.linspace(run[0], run[-1], len(run))
        if (np.abs(run - line) > grain).any():
            return False
    return True


def unit_of_times(column: Column, values: Values) -> float | None:
    """What 1 is worth in seconds: by the unit, or since it counts from 1970; None where nobody says."""
    said = SECONDS.get(column.unit.casefold())
    if said is not None or column.kind != "time":
        return said
    return next((unit_s for unit_s in (1.0, 1e-3, 1e-6, 1e-9) if 1e9 <= values[0] * unit_s < 4.2e9), None)


@dataclass(frozen=True)
class Clock:
    """A column that tells when: its step from row to row, in seconds if ``is_known``, and the rate that makes."""

    step: float
    is_known: bool
    rate_hz: float


def clock_of(values: Values, digits: int, unit_s: float | None) -> Clock | None:
    """The steps of a column of times; None where they are not regular enough to say what is missing."""
    if len(values) < _LEAST_ROWS or not np.isfinite(values).all():
        return None
    steps = np.diff(values)
    typical, grain = float(np.median(steps)), max(10.0**-digits, 2 * float(np.spacing(np.abs(values).max())))
    if typical <= 0:
        return None
    regular = np.abs(steps - typical) <= max(1.01 * grain, 0.02 * typical)
    if regular.mean() < 0.8 or typical < grain:
        return None
    step = float(steps[regular].mean())
    # Each row is rounded to the grain: over all of them together the step is that much surer.
    error = grain / (step * max(1, int(regular.sum()))) + 1e-7
    return Clock(step, unit_s is not None, _round_rate(1 / (step * (unit_s or 1.0)), error))


def _round_rate(rate_hz: float, error: float) -> float:
    """The roundest rate within a relative error."""
    for digits in range(-int(math.log10(rate_hz)) - 1, 7):
        rounded = round(rate_hz, digits)
        if rounded > 0 and abs(rounded - rate_hz) <= error * rate_hz:
            return rounded
    return rate_hz


def digits_after_the_point(cells: Sequence[str]) -> int:
    """The most digits that numbers are written with after the point (or comma).

    Where all have an exponent, it is those of the largest number.
    """
    found = (re.search(r"[.,](\d+)$", cell) for cell in cells)
    digits = max((len(match[1]) for match in found if match), default=0)
    if digits:
        return digits
    scientific = (re.search(r"(?:[.,](\d+))?[eE]([-+]?\d+)$", cell) for cell in cells)
    return max(0, min((len(match[1] or "") - int(match[2]) for match in scientific if match), default=0))


def without_holes(values: Values) -> Values:
    """``values`` with straight lines in place of a few that are missing (NaN); of many, as they are."""
    bad = np.isnan(values)
    if not bad.any() or bad.mean() > _MOST_LEFT_OUT or bad[0] or bad[-1]:
        return values
    at = np.arange(len(values))
    return np.interp(at, at[~bad], values[~bad])
