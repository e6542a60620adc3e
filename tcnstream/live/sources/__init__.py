"""Sources of the daemon: one registry, one module a kind, each named by a URI such as ``serial:/dev/ttyACM0?rate=250``.

A new kind is a module with a ``KIND`` and its entry below; ``tcnstream sources`` and refusals follow.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from urllib.parse import parse_qsl, unquote

from tcnstream.live.sources import brainflow, file, lsl, microphone, serial, standard_input, tcp
from tcnstream.live.sources.base import Found, Live, Replay, SourceConfig, SourceKind, Wanted
from tcnstream.live.tables.table import Problems, Table
from tcnstream.live.tables.toml import KeyPath

SOURCE_KINDS: tuple[SourceKind, ...] = (
    file.KIND,
    standard_input.KIND,
    tcp.KIND,
    microphone.KIND,
    serial.KIND,
    lsl.KIND,
    brainflow.KIND,
)


def kind_named(scheme: str) -> SourceKind:
    """The kind of a SourceConfig."""
    return next(kind for kind in SOURCE_KINDS if kind.scheme == scheme)


def ends(config: SourceConfig) -> bool:
    """Whether there is an end to wait for."""
    return kind_named(config.kind).ends and not config.goes_on


def configure(stream: Table, folder: Path) -> SourceConfig | None:
    """The source of a stream's table: a URI, or a table with ``kind`` and ``name`` and the same options.

    Notes what is wrong with it and then gives None.
    """
    given = stream.raw("source")
    path: KeyPath = (*stream.path, "source")
    if isinstance(given, dict):
        scheme, name = str(given.get("kind", "")), str(given.get("name", ""))
        options = Table(
            stream.problems, path, {k: v for k, v in given.items() if k not in ("kind", "name")}, outer=stream
        )
        uri = f"{scheme}:{name}"
    elif isinstance(given, str) and "\0" not in given:
        uri = given
        scheme, after = ("-", given.removeprefix("-")) if given.startswith("-") else _scheme(given)
        name, _, query = after.partition("?")
        pairs = dict(parse_qsl(query, keep_blank_values=True))
        options = Table(stream.problems, path, pairs, of_text=True, outer=stream)
        name = unquote(name)
    else:
        stream.complain("source", "is not given: name a source such as serial:/dev/ttyACM0?rate=250")
        return None
    kinds = {kind.scheme: kind for kind in SOURCE_KINDS}
    if scheme not in kinds:
        near = difflib.get_close_matches(scheme, kinds, 1, cutoff=0.5)
        hint = f", did you mean {near[0]}?" if near else f": {', '.join(kind.says for kind in SOURCE_KINDS)}"
        stream.complain("source", f'= "{uri}" is of no kind that is known{hint}')
        return None
    config = kinds[scheme].configure(uri, name, options, folder)
    options.finish()
    return config


def open_source(config: SourceConfig, wanted: Wanted) -> Replay | Live:
    """Raises SignalError for what can never work; a live source that is not there yet is no error."""
    return kind_named(config.kind).open(config, wanted)


def find_sources() -> list[Found]:
    """All that is connected and can be named."""
    return [found for kind in SOURCE_KINDS for found in kind.find()]


def _scheme(uri: str) -> tuple[str, str]:
    scheme, colon, rest = uri.partition(":")
    return (scheme, rest) if colon else ("", uri)


__all__ = [
    "SOURCE_KINDS",
    "Found",
    "Live",
    "Problems",
    "Replay",
    "SourceConfig",
    "Wanted",
    "configure",
    "ends",
    "find_sources",
    "kind_named",
    "open_source",
]
