"""The daemon: opens what a configuration says, keeps it running, and ends it so that the next one can go on."""

from __future__ import annotations

import hashlib
import signal
import threading
import time
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from queue import Empty, SimpleQueue
from types import FrameType
from typing import Any

from tcnstream.errors import SignalError, TcnStreamError
from tcnstream.live.chain import Chain
from tcnstream.live.checkpoints import Checkpoints, Watched
from tcnstream.live.clock import WallClock, iso
from tcnstream.live.comparison import Comparison
from tcnstream.live.config import Config, StreamConfig, read_config
from tcnstream.live.delay import Bins
from tcnstream.live.feed import Feed
from tcnstream.live.hub import Hub
from tcnstream.live.journal import Journal, boot_id
from tcnstream.live.lanes import Lane, LiveWorker, ReplayWorker, Worker
from tcnstream.live.logs import Log
from tcnstream.live.memory import kept_folder, let_go
from tcnstream.live.restart import Left
from tcnstream.live.running import Running
from tcnstream.live.sinks import open_sink
from tcnstream.live.sinks.base import Sink, SinkConfig
from tcnstream.live.sinks.jsonl import JsonlSink
from tcnstream.live.sources import ends, open_source
from tcnstream.live.sources.base import Live, Replay, Wanted
from tcnstream.live.systemd import Systemd
from tcnstream.live.told import StreamFacts
from tcnstream.live.web.server import Web
from tcnstream.live.wording import as_settings
from tcnstream.opened import OpenedModel, open_model
from tcnstream.options import StreamOptions
from tcnstream.pipeline import PipelinePool

_SINKS_END_S = 5.0
_FEEDS_END_S, _LAST_FEEDS_END_S = 5.0, 2.0


class Daemon:
    """``once`` ends when all sources have; ``run`` returns when the work is done or a signal asks for the end.
    ``started`` is called with the address of the page, or with None, when all runs.
    """

    def __init__(
        self, config: Config, log: Log, once: bool = False, started: Callable[[str | None], None] = lambda _: None
    ) -> None:
        self.config, self.log, self._once, self._started = config, log, once, started
        self.hub = Hub()
        self.wall = WallClock()
        self.running: dict[str, Running] = {}
        self.began_s = time.monotonic()
        self._workers: list[Worker] = []
        self._models: dict[str, OpenedModel] = {}
        self._pools: dict[tuple[object, ...], PipelinePool] = {}
        # Numbers of signals, and _WOKEN. A signal handler may put one in at any moment: Event.set() would wait for
        # a lock that the main thread holds itself, now and then.
        self._news: SimpleQueue[int] = SimpleQueue()
        self._is_to_end = False
        self._systemd = Systemd()
        self._live_workers: dict[str, LiveWorker] = {}

    def run(self, *, then_ends: bool = False) -> None:
        """Raises SignalError where it cannot begin, and at the end of ``once`` where not all is written.

        ``then_ends`` says that the process ends behind it: a second SIGTERM then changes nothing of how.
        """
        previous = {number: signal.signal(number, self._signalled) for number in _SIGNALS}
        try:
            self._begin()
            try:
                self._wait()
            finally:
                self._stop()
        finally:
            for number, handler in previous.items():
                signal.signal(number, signal.SIG_IGN if then_ends else handler)
        failed = [running.lane.failed for running in self.running.values() if running.lane.failed]
        if self._once:
            failed += [lacks for sink in self.hub.sinks.values() if (lacks := sink.lacks())]
            failed += [self.checkpoints.trouble] if self.checkpoints.trouble and not failed else []
        if failed:
            raise SignalError("; ".join(failed))

    def _begin(self) -> None:
        self._journal = Journal(self.config.state, self.config.checkpoint.quota_bytes)
        self._kept = kept_folder(self.config.state)
        self._left = Left(self._journal.streams(), same_boot=self._journal.boot() == boot_id())
        self.checkpoints = Checkpoints(self._journal, self.hub.sinks, self.config.checkpoint, self.log)
        sources = {name: self._open(stream) for name, stream in self.config.streams.items()}
        self._web = None if self.config.page.host is None else Web(self.config.page, self, self.log)
        for name, sink in self.config.sinks.items():
            self.hub.sinks[name] = self._opened_sink(sink)
        self._recover_files()
        self._start(self._make(sources))
        self.checkpoints.start()
        if self._web is not None:
            self._web.start()
        self.log.info("daemon.started", streams=len(self.running))
        self._systemd.ready(f"{len(self.running)} streams")
        self._started(None if self._web is None else self._web.address)

    def is_well(self) -> dict[str, str]:
        """What is wrong, by place; empty where all is well. What a disk has too little room for is wrong too."""
        wrong = self.stuck()
        if self.checkpoints.trouble:
            wrong["journal"] = self.checkpoints.trouble
        for name, sink in list(self.hub.sinks.items()):
            if trouble := sink.disk_trouble:
                wrong[f"sink.{name}"] = f"it cannot write, and tries again: {trouble}"
        return wrong

    def stuck(self) -> dict[str, str]:
        """What only another start could mend, by place: the watchdog is not fed then."""
        wrong: dict[str, str] = {}
        for name, running in list(self.running.items()):
            if trouble := running.trouble():
                wrong[f"stream.{name}"] = trouble
        for name, sink in list(self.hub.sinks.items()):
            if not sink.is_alive():
                wrong[f"sink.{name}"] = "its thread is gone"
        if self._web is not None and not self._web.is_alive():
            wrong["page"] = "its thread is gone"
        if not self.checkpoints.is_alive():
            wrong["journal"] = "its thread is gone"
        return wrong

    def _wait(self) -> None:
        while not (self._once and all(running.is_over for running in self.running.values())):
            try:
                number = self._news.get(timeout=1.0)
            except Empty:
                number = _WOKEN
            if self._is_to_end:
                return
            if number == signal.SIGHUP:
                self._reload()
            self._tick()

    def _tick(self) -> None:
        """Once a second, and when something woke the main thread."""
        if self._systemd.watchdog_s and not self.stuck():
            self._systemd.feed(f"{len(self.running)} streams")
        for name in self.running:
            self._show_state(name)

    def _signalled(self, number: int, frame: FrameType | None) -> None:
        if number != signal.SIGHUP:
            self._is_to_end = True  # whatever is to be read again before
        self._news.put(number)

    def _wake(self) -> None:
        self._news.put(_WOKEN)

    def _reload(self) -> None:
        """Reads the file again. A wrong one changes nothing; streams whose table is unchanged run on untouched."""
        self._systemd.reloading()
        before = self.config
        try:
            config = read_config(before.path)
            if config.state != before.state or config.page != before.page:
                raise SignalError(f"{before.path.name}: state and [page] change with a restart of the daemon alone")
            if self._once and any(not ends(s.source) for s in config.streams.values()):
                raise SignalError(f"{before.path.name} has a source without an end, and the daemon runs --once")
            changed = self._apply(config)
        except (TcnStreamError, OSError) as error:
            for problem in str(error).splitlines():
                self.log.info("config.wrong", error=problem)
            if self.config is not before:
                self._apply(before)
            self._systemd.ready("the configuration is wrong; what ran before runs on")
            return
        self.log.info("config.read", streams=len(self.running), changed=changed)
        self._systemd.ready(f"{len(self.running)} streams")

    def _apply(self, config: Config) -> int:
        """From what runs to what ``config`` says; how many streams begin."""
        texts = {name: running.config.text for name, running in self.running.items()}
        new = {name: stream for name, stream in config.streams.items() if stream.text != texts.get(name)}
        sources = {name: self._open(stream) for name, stream in new.items()}
        self.config = config
        self._end_streams([name for name in texts if name in new or name not in config.streams])
        self._systemd.feed("reads its configuration")
        self._left = Left(self._journal.streams(), same_boot=True)
        made = self._make(sources)
        try:
            self._change_sinks()
        except BaseException:
            self._unmake(made)
            raise
        self._systemd.feed("reads its configuration")
        self._start(made)
        return len(new)

    def _end_streams(self, names: Sequence[str]) -> None:
        """Their last checkpoint is there for whoever goes on with them."""
        ending = {name: self.running.pop(name) for name in names}
        _stop_feeds(ending.values(), _FEEDS_END_S)
        for running in ending.values():
            with running.worker.still():
                running.worker.remove(running.lane)
        for running in ending.values():
            running.leave_board()
        self.checkpoints.end([running.lane for running in ending.values()])
        for name, running in ending.items():
            self._leave_pool(running)
            self.hub.forget(name)
        self._workers = [each for each in self._workers if not each.is_idle]
        ids = {id(worker) for worker in self._workers}
        self._pools = {key: pool for key, pool in self._pools.items() if key[0] in ids}

    def _leave_pool(self, running: Running) -> None:
        with running.worker.still():
            running.lane.pool.leave(running.lane.number)

    def _change_sinks(self) -> None:
        """Chains stand still while a sink is exchanged, so that no event falls between."""
        with ExitStack() as still:
            for worker in self._workers:
                still.enter_context(worker.still())
            before = {name: sink.config for name, sink in self.hub.sinks.items()}
            try:
                self._exchange_sinks(self.config.sinks)
            except (TcnStreamError, OSError):
                self._exchange_sinks(before)
                raise
            for name, running in self.running.items():
                running.config = running.lane.chain.config = self.config.streams[name]
                running.lane.is_kept = any(self.hub.sinks[sink].wants_samples for sink in running.config.sinks)

    def _exchange_sinks(self, wanted: Mapping[str, SinkConfig]) -> None:
        gone = [name for name, sink in self.hub.sinks.items() if wanted.get(name) != sink.config]
        stopped = {name: self.hub.sinks.pop(name) for name in gone}
        _stop_sinks(stopped.values())
        for name, config in wanted.items():
            if name in self.hub.sinks:
                continue
            sink = self._opened_sink(config)
            sink.start()
            if name in stopped and stopped[name].config.kind == config.kind:
                sink.put(stopped[name].left(), may_wait=True)
            for stream, running in self.running.items():
                if name in self.config.streams[stream].sinks:
                    sink.state_changed(stream, running.state())
            self.hub.sinks[name] = sink

    # Opening -----------------------------------------------------------------------------------------------------

    def _open(self, stream: StreamConfig) -> Replay | Live:
        opened = self._models.get(stream.model)
        if opened is None:
            opened = self._models[stream.model] = open_model(stream.model)
        try:
            return open_source(stream.source, Wanted.by(opened, stream.channels))
        except SignalError as error:
            raise SignalError(f"stream.{stream.name}: {as_settings(str(error))}") from error

    def _opened_sink(self, config: SinkConfig) -> Sink:
        """Not started yet."""
        sink = open_sink(config, self.log)
        if sink.sends:
            sink.resume(self._journal.outbox(config.name), self._kept / f"{config.name}.outbox")
        if isinstance(sink, JsonlSink):
            sink.keep_at(self._kept / f"{config.name}.lines")
        return sink

    def _recover_files(self) -> None:
        for sink in self.hub.sinks.values():
            if isinstance(sink, JsonlSink):
                self._left.recover(sink, self.config.streams, self.log)
            sink.start()

    def _make(self, sources: Mapping[str, Replay | Live]) -> list[Running]:
        """Streams that do not run yet, with their sources: all of them, or none. They do not move before ``_start``."""
        made: list[Running] = []
        try:
            self._make_each(sources, made)
        except BaseException:
            self._unmake(made)
            raise
        return made

    def _unmake(self, made: Sequence[Running]) -> None:
        for running in made:
            with running.worker.still():
                running.worker.remove(running.lane)
            running.leave_board()
            self._leave_pool(running)

    def _start(self, made: Sequence[Running]) -> None:
        for running in made:
            running.lane.is_kept = any(self.hub.sinks[sink].wants_samples for sink in running.config.sinks)
        self.checkpoints.watch([Watched(each.lane, each.worker, each.identity) for each in made])
        for worker in {id(each.worker): each.worker for each in made}.values():
            if worker not in self._workers:
                self._workers.append(worker)
                worker.start()
        for running in made:
            if running.feed is not None:
                running.feed.start()
        # Who asks how they are is told of streams that move.
        self.running |= {running.config.name: running for running in made}
        for running in made:
            self._show_state(running.config.name)

    def _make_each(self, sources: Mapping[str, Replay | Live], made: list[Running]) -> None:
        replays = {name: source for name, source in sources.items() if isinstance(source, Replay)}
        for names in self._side_by_side(replays):
            together = ReplayWorker(self.hub, f"replay {names[0]}", self._failed, self._wake)
            for name in names:
                running = self._running(name, replays[name], together)
                together.add(running.lane, replays[name])
                made.append(running)
        for name, source in sources.items():
            if isinstance(source, Live):
                model = self.config.streams[name].model
                live = self._live_workers.get(model)
                if live is None:
                    live = self._live_workers[model] = LiveWorker(self.hub, f"live {model}", self._failed, self._wake)
                running = self._running(name, source, live)
                running.feed = self._feed(name, source, running.lane, live)
                made.append(running)

    def _side_by_side(self, replays: Mapping[str, Replay]) -> list[list[str]]:
        """Replays that share a file sink, and whether they keep a pace, share a worker: one order of events."""
        groups: list[tuple[set[object], list[str]]] = []
        for name, replay in replays.items():
            paced = replay.speed != float("inf")
            ties: set[object] = {(sink, paced) for sink in self.config.streams[name].sinks} or {name}
            touching = [group for group in groups if group[0] & ties]
            groups = [group for group in groups if not group[0] & ties]
            for other in touching:
                ties |= other[0]
            groups.append((ties, [*(each for _, names in touching for each in names), name]))
        return [sorted(names, key=list(replays).index) for _, names in groups]

    def _running(self, name: str, source: Replay | Live, worker: Worker) -> Running:
        stream = self.config.streams[name]
        opened = self._models[stream.model]
        pool, number = self._place(stream, source, worker)
        stamp = _Stamp()
        chain = Chain(stream, pool[number], stamp, replayed=isinstance(source, Replay), units=source.units)
        if isinstance(source, Replay) and source.start_unix_s is not None:
            start_s, chain_hz = source.start_unix_s, chain.rate_hz
            stamp.of = lambda frame: iso(start_s + frame / chain_hz)
        facts = (stream.text, source.identity if isinstance(source, Replay) else "", opened.model.file.sha256)
        identity = hashlib.sha256(repr(facts).encode()).hexdigest()[:32]
        self._left.restore(chain, identity, self.log)
        if chain.replayed and chain.ended:
            says = f"it was played to its end before: remove {self.config.state} to begin anew"
            self.log.info("stream.played", stream=name, says=says)
        board = None
        if stream.board:
            try:
                board = Comparison(stream.board, chain, self.log, lambda: self._show_state(name))
            except TcnStreamError as error:
                with worker.still():
                    pool.leave(number)
                raise SignalError(f"stream.{name}.board: {error}") from error
        return Running(stream, opened, identity, Lane(chain, pool, number, board=board), worker)

    def _place(self, stream: StreamConfig, source: Replay | Live, worker: Worker) -> tuple[PipelinePool, int]:
        """A pool of the worker's whose lanes are pushed as this stream is, and the stream's lane in it."""
        if source.rate_hz is None and isinstance(source, Replay):
            raise SignalError(f"stream.{stream.name}: {stream.source.uri} does not say its sample rate: add ?rate=HZ")
        key: tuple[object, ...] = (
            id(worker),
            stream.model,
            source.rate_hz,
            source.units,
            stream.gain,
            stream.output,
            stream.engine,
            stream.name if stream.board else "",  # what a board follows is pushed alone
        )
        if key in self._pools:
            pool = self._pools[key]
            with worker.still():
                return pool, pool.join()
        opened = self._models[stream.model]
        try:
            with warnings.catch_warnings(record=True) as assumed:
                warnings.simplefilter("always")
                pool = self._pools[key] = PipelinePool(
                    opened.model,
                    1,
                    card=opened.card,
                    rate_hz=source.rate_hz,
                    units=source.units or None,
                    gain=stream.gain,
                    output=stream.output,
                    options=StreamOptions(stream.engine),
                )
        except TcnStreamError as error:
            raise SignalError(f"stream.{stream.name}: {as_settings(str(error))}") from error
        for warning in assumed:
            self.log.warn("stream.assumed", stream=stream.name, what=str(warning.message))
        return pool, 0

    def _feed(self, name: str, source: Live, lane: Lane, worker: LiveWorker) -> Feed:
        chain = lane.chain
        feed = Feed(
            name,
            source,
            worker.add(lane),
            self._models[chain.config.model].channels,
            chain.rate_hz,
            self.wall,
            self.log,
            lambda: self._show_state(name),
            self._left.since(chain),
        )
        stamp = chain.stamp
        assert isinstance(stamp, _Stamp)
        stamp.of = feed.utc
        chain.synchronised = lambda: self.wall.synchronised
        return feed

    # Running and ending ------------------------------------------------------------------------------------------

    def _failed(self, lane: Lane, error: Exception) -> None:
        self.log.error("stream.failed", stream=lane.chain.config.name, error=str(error))
        self._show_state(lane.chain.config.name)

    def _show_state(self, name: str) -> None:
        running = self.running.get(name)
        if running is not None:
            self.hub.set_state(name, running.config.sinks, running.state())

    def states(self) -> dict[str, Mapping[str, Any]]:
        """What is known of each stream."""
        return {name: running.state() for name, running in list(self.running.items())}

    def streams(self) -> dict[str, StreamFacts]:
        """What does not change of each stream."""
        return {name: running.facts() for name, running in list(self.running.items())}

    def delays(self) -> dict[str, Bins]:
        """How long events of each stream took."""
        return {name: running.lane.delay.bins() for name, running in list(self.running.items())}

    def _stop(self) -> None:
        self._systemd.stopping()
        if self._web is not None:
            self._web.stop()
        _stop_feeds(self.running.values(), _LAST_FEEDS_END_S)
        for worker in self._workers:
            worker.stop()
        for running in self.running.values():
            running.leave_board()
        self.checkpoints.stop()
        _stop_sinks(self.hub.sinks.values())
        let_go(self._kept, self.config.state)
        self.log.info("daemon.ended")


class _Stamp:
    """The time of day of frames, once somebody knows it."""

    def __init__(self) -> None:
        self.of = _unknown

    def __call__(self, frame: int) -> str | None:
        return self.of(frame)


def _stop_feeds(ending: Collection[Running], timeout_s: float) -> None:
    feeds = [running.feed for running in ending if running.feed is not None]
    for feed in feeds:
        feed.stop_flag.set()
    until_s = time.monotonic() + timeout_s
    for feed in feeds:
        feed.stop(max(0.0, until_s - time.monotonic()))


def _stop_sinks(sinks: Collection[Sink]) -> None:
    """All at the same time: one that is stuck takes no time of the others."""
    ends = [threading.Thread(target=sink.stop, args=(_SINKS_END_S,), daemon=True) for sink in sinks]
    for end in ends:
        end.start()
    for end in ends:
        end.join()


def _unknown(frame: int) -> str | None:
    return None


_WOKEN = 0  # no signal has this number
_SIGNALS: Sequence[int] = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
