"""A table of a configuration, read key by key: what is wrong is collected, with its line, instead of raised.

``table.one_of("policy", ...)`` returns the value, or the default after noting the problem, so that one look at a file
finds all its errors. ``finish`` notes the keys that nobody asked for.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from tcnstream.errors import SignalError
from tcnstream.live.tables.toml import KeyPath, TomlFile

Value = TypeVar("Value")

_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES = {"B": 1, "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


class ConfigError(SignalError):
    """A configuration is wrong; ``problems`` has one sentence for each error."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


class Problems:
    """What is wrong with a file, in the order of its lines. ``writes_here``: what it writes, this process would."""

    def __init__(self, file: TomlFile, writes_here: bool = True) -> None:
        self.file, self.writes_here = file, writes_here
        self._found: list[tuple[int, str]] = []

    def add(self, path: KeyPath, what: str) -> None:
        """``what`` continues the key's full name: ``= "rest" is none of reset, hold``."""
        place = path
        while place and place not in self.file.lines:
            place = place[:-1]
        name = ".".join(path)
        self._found.append((self.file.lines.get(place, 0), f"{self.file.where(path)}: {f'{name} {what}'.strip()}"))

    def refuse_if_any(self) -> None:
        """Raises ConfigError with all that was found."""
        if self._found:
            raise ConfigError([sentence for _, sentence in sorted(self._found, key=lambda each: each[0])])


class Table:
    """Reads the keys of one table. ``of_text`` also takes numbers that are written as text, as a URI has them.
    ``outer`` is the table that this one is a part of, where that matters.
    """

    def __init__(
        self,
        problems: Problems,
        path: KeyPath,
        values: Mapping[str, Any],
        *,
        of_text: bool = False,
        outer: Table | None = None,
    ) -> None:
        self.problems, self.path = problems, path
        self._values, self._of_text, self._outer = values, of_text, outer
        self._known: set[str] = set()

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def written(self, *, without: str) -> str:
        """The table as it was written, but for the order of its keys and for one key."""
        return repr(sorted((key, value) for key, value in self._values.items() if key != without))

    def complain(self, key: str, what: str) -> None:
        """Notes that the value of ``key`` is wrong."""
        self.problems.add((*self.path, key), what)

    def text(self, key: str, default: str | None = None, *, needed: str = "") -> str:
        """``needed`` says what to give where the key must be there."""
        return self._read(key, default or "", "text in quotes", _as_text, needed)

    def one_of(self, key: str, allowed: Iterable[str], default: str, *, needed: str = "") -> str:
        """One word of several."""
        value = self.text(key, default, needed=needed)
        choices = tuple(allowed)
        if value != default and value not in choices:
            self.complain(key, f'= "{value}" is none of {", ".join(choices)}')
            return default
        return value

    def number(
        self, key: str, default: float, *, above: float = -math.inf, least: float = -math.inf, needed: str = ""
    ) -> float:
        """A finite number."""
        value = self._read(key, default, "number", self._as_number, needed)
        if not (above < value and least <= value):
            bound = f"above {above:g}" if value <= above else f"{least:g} or more"
            self.complain(key, f"= {value:g} is out of range: give {bound}")
            return default
        return value

    def whole(self, key: str, default: int, *, least: int = 0, most: int | None = None) -> int:
        """A whole number."""
        value = self._read(key, default, "whole number", self._as_whole)
        if value < least or (most is not None and value > most):
            span = f"{least} or more" if most is None else f"{least} to {most}"
            self.complain(key, f"= {value} is out of range: give {span}")
            return default
        return value

    def flag(self, key: str, default: bool) -> bool:
        """true or false."""
        return self._read(key, default, "flag: give true or false", self._as_flag)

    def seconds(self, key: str, default: float, *, above: float = -math.inf, most: float = math.inf) -> float:
        """A time with its unit, such as "40 ms"; ``above`` and ``most`` are seconds."""
        wanted = f'time: give one such as "40 ms" (units {", ".join(_SECONDS)})'
        value = self._read(key, default, wanted, _as_seconds)
        if value <= above:
            self.complain(key, f"= {_shown(self._values[key])} is out of range: give more than {above:g} s")
            return default
        if value > most:
            self.complain(key, f"= {_shown(self._values[key])} is out of range: give at most {most:g} s")
            return default
        return value

    def size_bytes(self, key: str, default: int) -> int:
        """A size with its unit, such as "20 MB"."""
        return self._read(key, default, f'size: give one such as "20 MB" (units {", ".join(_BYTES)})', _as_bytes)

    def texts(self, key: str, default: Sequence[str] = ()) -> tuple[str, ...]:
        """A list of names; numbers stand for themselves."""
        return self._read(key, tuple(default), 'list of names: give one such as ["a", "b"]', self._as_texts)

    def table(self, key: str) -> Table | None:
        """The table of that name, None where there is none."""
        values: Mapping[str, Any] | None = self._read(key, None, "table", _as_mapping)
        return None if values is None else Table(self.problems, (*self.path, key), values)

    def tables(self, key: str) -> dict[str, Table]:
        """The tables of a table, by name."""
        outer = self.table(key)
        if outer is None:
            return {}
        inner = {name: outer.table(name) for name in outer._values}
        return {name: table for name, table in inner.items() if table is not None}

    def beside(self, key: str) -> Table | None:
        """A table that belongs to this one and stands in the one around it."""
        return None if self._outer is None else self._outer.table(key)

    def raw(self, key: str) -> Any:
        """The value as TOML has it, None where there is none."""
        self._known.add(key)
        return self._values.get(key)

    def finish(self) -> None:
        """Notes the keys that are none here, with the nearest one that is."""
        for key in self._values:
            if key not in self._known:
                near = difflib.get_close_matches(key, self._known, 1, cutoff=0.5)
                hint = f"did you mean {near[0]}?" if near else f"the keys are {', '.join(sorted(self._known))}"
                self.complain(key, f"is no key here: {hint}")

    def _read(
        self, key: str, default: Value, wanted: str, convert: Callable[[Any], Value | None], needed: str = ""
    ) -> Value:
        self._known.add(key)
        if key not in self._values:
            if needed:
                self.problems.add(self.path, f"has no {key}: {needed}")
            return default
        found = self._values[key]
        value = convert(found)
        if value is None:
            self.complain(key, f"= {_shown(found)} is no {wanted}")
            return default
        return value

    def _as_number(self, found: Any) -> float | None:
        if self._of_text and isinstance(found, str):
            try:
                found = float(found)
            except ValueError:
                return None
        if isinstance(found, bool) or not isinstance(found, int | float) or not math.isfinite(found):
            return None
        return float(found)

    def _as_whole(self, found: Any) -> int | None:
        if self._of_text and isinstance(found, str) and re.fullmatch(r"[+-]?\d+", found):
            return int(found)
        return found if isinstance(found, int) and not isinstance(found, bool) else None

    def _as_flag(self, found: Any) -> bool | None:
        if self._of_text and found in ("true", "false"):
            return bool(found == "true")
        return found if isinstance(found, bool) else None

    def _as_texts(self, found: Any) -> tuple[str, ...] | None:
        if self._of_text and isinstance(found, str):
            found = found.split(",")
        if not isinstance(found, list) or not all(isinstance(each, str | int) for each in found):
            return None
        return tuple(str(each) for each in found)


def _as_text(found: Any) -> str | None:
    return found if isinstance(found, str) and "\0" not in found else None


def _as_mapping(found: Any) -> Mapping[str, Any] | None:
    return found if isinstance(found, dict) else None


def _as_seconds(found: Any) -> float | None:
    value = _with_unit(found, _SECONDS)
    return None if value is None or not math.isfinite(value) else value


def _as_bytes(found: Any) -> int | None:
    value = _with_unit(found, _BYTES)
    return None if value is None or value < 1 else int(value)


def _with_unit(found: Any, units: Mapping[str, float]) -> float | None:
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]+)\s*", found) if isinstance(found, str) else None
    if match is None or match[2] not in units:
        return None
    return float(match[1]) * units[match[2]]


def _shown(found: Any) -> str:
    return f'"{found}"' if isinstance(found, str) else str(found).lower() if isinstance(found, bool) else str(found)
