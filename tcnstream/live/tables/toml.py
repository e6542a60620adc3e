"""A TOML file with the line of every key, so that an error can name it."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tcnstream.errors import SignalError

KeyPath = tuple[str, ...]

_KEY = r"""(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')"""
_DOTTED = rf"{_KEY}(?:\s*\.\s*{_KEY})*"
_HEADER = re.compile(rf"\s*\[\[?\s*({_DOTTED})\s*\]")
_ASSIGNMENT = re.compile(rf"\s*({_DOTTED})\s*=(.*)", re.DOTALL)
_STRING = re.compile(r'"(?:\\.|[^"\\])*"|' + r"'[^']*'")


@dataclass(frozen=True)
class TomlFile:
    """What a file says, and where."""

    path: Path
    values: Mapping[str, Any]
    lines: Mapping[KeyPath, int]

    def where(self, path: KeyPath) -> str:
        """``live.toml, line 9``: that of the key, or of the table that it is written in."""
        while path and path not in self.lines:
            path = path[:-1]
        return f"{self.path.name}, line {self.lines[path]}" if path else self.path.name


def read_toml(path: Path) -> TomlFile:
    """Raises SignalError for a file that cannot be read or is not TOML."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        return TomlFile(path, tomllib.loads(text), dict(_key_lines(text)))
    except OSError as error:
        raise SignalError(f"{path} cannot be read: {error.strerror}; check the path") from error
    except UnicodeDecodeError as error:
        raise SignalError(f"{path} is not text in UTF-8: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise SignalError(f"{path.name} is not TOML: {error}; mend that place") from error


def _key_lines(text: str) -> Iterator[tuple[KeyPath, int]]:
    """Keys of inline tables are not listed: they stand on the line of their table's key."""
    table: KeyPath = ()
    closing, depth = "", 0
    for number, line in enumerate(text.splitlines(), start=1):
        if closing:
            closing = "" if closing in line else closing
            continue
        rest = line
        if depth == 0:
            if header := _HEADER.match(line):
                table = _parts(header[1])
                yield table, number
                continue
            assigned = _ASSIGNMENT.match(line)
            if assigned is None:
                continue
            key = _parts(assigned[1])
            for length in range(1, len(key) + 1):
                yield table + key[:length], number
            rest = assigned[2]
        for quote in ('"""', "'''"):
            if rest.count(quote) % 2:
                closing, rest = quote, rest.partition(quote)[0]
        bare = _STRING.sub("", rest).partition("#")[0]
        depth += bare.count("[") - bare.count("]")


def _parts(dotted: str) -> KeyPath:
    return tuple(part.strip("\"'") for part in re.findall(_KEY, dotted))
