"""``live.toml``: which streams there are, what is done with them, and where it goes.

``read_config`` finds every error of a file before anything is opened.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tcnstream.engines.base import ENGINES
from tcnstream.errors import SignalError, TcnStreamError
from tcnstream.live import boards, sinks, sources
from tcnstream.live.address import LOOPBACK, read_address
from tcnstream.live.gaps import MOST_FILLED_S, POLICIES, GapRule, Policy
from tcnstream.live.journal import journal_files
from tcnstream.live.needs import Needs, together
from tcnstream.live.sinks.base import SinkConfig
from tcnstream.live.sources.base import Channels, SourceConfig, Wanted
from tcnstream.live.tables.table import ConfigError, Problems, Table
from tcnstream.live.tables.toml import read_toml
from tcnstream.live.wording import as_settings
from tcnstream.opened import choose_output, open_model
from tcnstream.signal.card import model_files
from tcnstream.signal.outfile import refuse_over
from tcnstream.signal.preprocess import scale

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_SHORTEST_TOKEN = 16


@dataclass(frozen=True)
class StreamConfig:
    """One signal: where it comes from, the model, what a gap does, where events go. ``hop_frames`` is how many samples
    are waited for before the model runs, ``board`` what is compared behind it ("": nothing). ``text`` is the table as
    it was written: equal text is an unchanged stream.
    """

    name: str
    source: SourceConfig
    model: str
    gap: GapRule
    sinks: tuple[str, ...]
    channels: Channels | None
    gain: float
    output: str | None
    engine: str
    hop_frames: int
    board: str
    text: str


@dataclass(frozen=True)
class PageConfig:
    """Where health, metrics and the page are served; None listens nowhere. ``token`` is what one must know, and
    ``hosts`` are the names of this machine that are used beside its own.
    """

    host: str | None = "127.0.0.1"
    port: int = 8080
    token: str | None = field(default=None, repr=False)
    hosts: tuple[str, ...] = ()
    token_file: Path | None = None


@dataclass(frozen=True)
class CheckpointConfig:
    """Seconds between checkpoints, and how large the journal may be (0: as large as it needs)."""

    replayed_s: float = 5.0
    live_s: float = 60.0
    quota_bytes: int = 0


@dataclass(frozen=True)
class Config:
    """All that a file says."""

    path: Path
    state: Path
    page: PageConfig
    streams: Mapping[str, StreamConfig]
    sinks: Mapping[str, SinkConfig]
    checkpoint: CheckpointConfig
    log_format: str

    def needs(self) -> Needs:
        """What all of it takes of the machine."""
        models = [file for stream in self.streams.values() if stream.model for file in model_files(stream.model)]
        token = () if self.page.token_file is None else (self.page.token_file,)
        own = Needs(reads=(*models, *token), writes=(self.state,))
        sources = [stream.source.needs() for stream in self.streams.values()]
        compared = [boards.needs(stream.board) for stream in self.streams.values()]
        return together([own, *sources, *compared, *(sink.needs() for sink in self.sinks.values())])


def read_config(path: Path, *, writes_here: bool = True) -> Config:
    """``writes_here`` False: another user runs it, whose folders need not be there yet.

    Raises ConfigError with all that is wrong, SignalError for a file that is not TOML.
    """
    file = read_toml(path)
    problems = Problems(file, writes_here)
    root = Table(problems, (), file.values)
    folder = path.resolve().parent
    state = folder / root.text("state", "state")
    if writes_here:
        _must_hold_a_journal(state, root)
    page = _page(root.table("page"), folder)
    made = {name: sinks.configure(name, table, folder) for name, table in root.tables("sink").items()}
    known = {name: sink for name, sink in made.items() if sink is not None}
    streams: dict[str, StreamConfig] = {}
    for name, table in root.tables("stream").items():
        stream = _stream(name, table, folder, tuple(made))
        if stream is not None:
            streams[name] = stream
    if not root.raw("stream"):
        root.complain("stream", "is not there: write a table [stream.NAME] for each signal")
    checkpoint = _checkpoint(root.table("checkpoint"))
    log = root.table("log")
    log_format = "text"
    if log is not None:
        log_format = log.one_of("format", ("text", "json"), "text")
        log.finish()
    root.finish()
    _must_not_share_files(known, problems)
    config = Config(path, state, page, streams, known, checkpoint, log_format)
    _must_not_write_what_is_read(config, problems)
    problems.refuse_if_any()
    return config


def _must_hold_a_journal(state: Path, root: Table) -> None:
    there = next(path for path in (state, *state.parents) if path.exists())
    if not there.is_dir():
        root.complain("state", f'= "{state}": {there} is no folder: name a folder, or move that away')
    elif not all(os.access(path, os.W_OK) for path in (there, *journal_files(state)) if path.exists()):
        root.complain("state", f'= "{state}" cannot be written: change its permissions, or name another folder')


def _stream(name: str, table: Table, folder: Path, known_sinks: tuple[str, ...]) -> StreamConfig | None:
    if not _NAME.fullmatch(name):
        table.problems.add(table.path, "is no name of a stream: use letters, digits, - and _, 64 at most")
    source = sources.configure(table, folder)
    model = table.text("model", needed="name a shipped model, a card or a .tflite file")
    if model:
        model = _model(model, table, folder)
    gap = table.table("gap")
    rule = GapRule()
    if gap is not None:
        policy: Policy = gap.one_of("policy", POLICIES, "reset")  # type: ignore[assignment]
        limit_s = gap.seconds("limit", 0.0, most=MOST_FILLED_S)
        if policy != "reset" and limit_s <= 0 and "limit" not in gap:
            gap.problems.add(gap.path, f'has policy = "{policy}" and no limit: say up to which length, such as "40 ms"')
        rule = GapRule(policy, limit_s)
        gap.finish()
    names = table.texts("sinks")
    for place, sink in enumerate(names):
        if sink in names[:place]:
            table.complain("sinks", f'= "{sink}" is there twice: name every sink once')
        if sink not in known_sinks:
            allowed = f"is none of {', '.join(known_sinks)}" if known_sinks else "is not there"
            table.complain("sinks", f'= "{sink}" {allowed}: write a table [sink.{sink}]')
    stream = None
    chosen = table.texts("channels") or None
    gain = table.number("gain", 1.0)
    if source is not None and model:
        _must_fit(model, source, chosen, gain, table)
    output = table.text("output") or None
    if output is not None and model:
        _must_have_output(model, output, table)
    engine = table.one_of("engine", ("auto", *ENGINES), "auto")
    hop = table.whole("hop", 1, least=1)
    board = table.text("board")
    if board and (problem := boards.provider().problem(board)):
        table.complain("board", f'= "{board}": {problem}')
    if source is not None:
        text = table.written(without="sinks")  # where it goes may change under it
        stream = StreamConfig(name, source, model, rule, names, chosen, gain, output, engine, hop, board, text)
    table.finish()
    return stream


def _model(model: str, table: Table, folder: Path) -> str:
    """A shipped name, or a path from the configuration's folder."""
    here = folder / model
    found = str(here) if here.is_file() else model
    try:
        model_files(found)
    except SignalError as error:
        table.complain("model", f'= "{model}": {error}')
        return ""
    return found


def _must_fit(model: str, source: SourceConfig, chosen: Channels | None, gain: float, table: Table) -> None:
    """The unit of the source is one of the model's, as far as both say it."""
    try:
        opened = open_model(model)
    except TcnStreamError as error:
        table.complain("model", f'= "{model}": {error}')
        return
    try:
        units = source.units_for(Wanted.by(opened, chosen))
        scale(f"stream.{table.path[-1]}", units, "" if opened.card is None else opened.card.units, gain)
    except (TcnStreamError, OSError) as error:
        if gain == 0:
            table.complain("gain", "= 0 leaves nothing of the signal: give another")
        else:
            table.complain("source", f'= "{source.uri}": {as_settings(str(error))}')


def _must_have_output(model: str, output: str, table: Table) -> None:
    try:
        choose_output(open_model(model), output)
    except TcnStreamError as error:
        table.complain("output", f'= "{output}": {error}')


def _page(table: Table | None, folder: Path) -> PageConfig:
    if table is None:
        return PageConfig(host=None)
    is_off = table.raw("listen") == "off"
    address = None if is_off else read_address(table, "listen", "127.0.0.1:8080", ", or off")
    token_file = table.text("token_file")
    hosts = tuple(name.lower() for name in table.texts("hosts"))
    table.finish()
    if address is None:
        return PageConfig(host=None)
    host, port = address
    if host not in LOOPBACK and not token_file:
        table.complain(
            "listen", f'= "{table.raw("listen")}" is beyond this machine: a token_file is required, or 127.0.0.1:{port}'
        )
    token = _token(token_file, table, folder) if token_file else None
    return PageConfig(host, port, token, hosts, folder / token_file if token_file else None)


def _token(name: str, table: Table, folder: Path) -> str | None:
    """The word that the page asks for."""
    path = folder / name
    try:
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        table.complain("token_file", f'= "{name}" cannot be read: write a long random word into {path}')
        return None
    if len(token) < _SHORTEST_TOKEN or not token.isascii() or not token.isprintable() or " " in token:
        table.complain(
            "token_file",
            f'= "{name}" holds no word of {_SHORTEST_TOKEN} letters or more: write one into {path}',
        )
        return None
    return token


def _checkpoint(table: Table | None) -> CheckpointConfig:
    usual = CheckpointConfig()
    if table is None:
        return usual
    made = CheckpointConfig(
        table.seconds("replayed", usual.replayed_s, above=0.0),
        table.seconds("live", usual.live_s, above=0.0),
        table.size_bytes("quota", usual.quota_bytes),
    )
    table.finish()
    return made


def _must_not_share_files(made: Mapping[str, SinkConfig], problems: Problems) -> None:
    seen: dict[object, str] = {}
    for name, sink in made.items():
        for path in sink.files():
            facts = path.stat() if path.is_file() else None
            same = path.resolve() if facts is None else (facts.st_dev, facts.st_ino)
            if same in seen:
                problems.add(("sink", name, "path"), f'= "{path}" is written by sink.{seen[same]} too: name another')
            seen[same] = name


def _must_not_write_what_is_read(config: Config, problems: Problems) -> None:
    read = (config.path, *config.needs().reads, *journal_files(config.state))
    for name, sink in config.sinks.items():
        try:
            for path in sink.may_replace():
                refuse_over(path, read)
        except SignalError as error:
            given = problems.file.values["sink"][name].get("path", "")
            problems.add(("sink", name, "path"), f'= "{given}": {error}')


__all__ = ["CheckpointConfig", "Config", "ConfigError", "PageConfig", "StreamConfig", "read_config"]
