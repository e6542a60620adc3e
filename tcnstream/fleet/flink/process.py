"""TcnProcess, which Flink calls with each message, and the options that such a job wants."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import astuple, fields
from operator import attrgetter
from typing import Any, Literal, TypeAlias, Unpack, get_args

import numpy as np

from tcnstream.errors import MissingExtraError, StreamError, TcnStreamError
from tcnstream.fleet.keyed import Counts, FramesRow, Keyed, KeyedArguments, SegmentRow
from tcnstream.live.blocks import Samples

try:
    from pyflink.common import Configuration, Types
    from pyflink.common import Row as FlinkRow
    from pyflink.datastream import KeyedProcessFunction
    from pyflink.datastream.state import ValueStateDescriptor
except ImportError as error:
    raise MissingExtraError("this needs PyFlink, on Python 3.11 or 3.12: pip install tcnstream[flink]") from error

OnError: TypeAlias = Literal["raise", "drop"]
Message: TypeAlias = Callable[[Any], tuple[int, Samples]]

SEGMENTS = Types.ROW_NAMED(
    [field.name for field in fields(SegmentRow)],
    [
        *(Types.STRING(), Types.LONG(), Types.LONG()),
        *(
            Types.DOUBLE(),
            Types.DOUBLE(),
            Types.STRING(),
            Types.DOUBLE(),
            Types.DOUBLE(),
            Types.DOUBLE(),
            Types.DOUBLE(),
        ),
    ],
)
"""Rows of ``emit="segments"``; (key, epoch, number) is their identity."""

FRAMES = Types.ROW_NAMED(
    ["key", "epoch", "first_frame", "count", "frames"],
    [Types.STRING(), Types.LONG(), Types.LONG(), Types.INT(), Types.PRIMITIVE_ARRAY(Types.BYTE())],
)
"""Rows of ``emit="frames"``: ``count`` frames as little-endian float32; (key, epoch, first_frame) is their identity."""

_values = attrgetter(*(field.name for field in fields(SegmentRow)))

_LOG = logging.getLogger(__name__)
_NEVER_MS = 0
_AT_THE_END_MS = 1 << 62
"""Event time gets here when all input has ended, or the job is stopped with --drain."""
_TIME_BYTES = 8


def last_two(message: Any) -> tuple[int, Samples]:
    """(sequence number, samples) of a message that ends with them: bytes are little-endian float32, else numbers."""
    *_, seq, samples = message
    if isinstance(samples, bytes | bytearray | memoryview):
        return seq, np.frombuffer(samples, "<f4")
    return seq, np.asarray(samples, np.float32)


class TcnProcess(KeyedProcessFunction):  # type: ignore[misc]  # PyFlink has no types
    """A model as the function of ``key_by(...).process(...)``.

    ``model`` and the arguments behind it are those of ``Keyed``. ``idle_s``: a key without a message for so long is
    ended, which flushes what waits; its next message begins a new epoch. All keys end with the input. ``message`` takes
    (sequence number, samples) from an element; left out, they are its last two fields. ``on_error="drop"`` leaves out a
    message that cannot be taken (NaN, another number of channels), with a line in the log and a count, where an error
    would fail the job, and after its restart again. Rows have the type ``output_type``; keys are strings there.

    Flink's metrics have ``tcnstream.duplicates``, ``.gaps``, ``.rebuilt``, ``.doubted`` and ``.refused``.

    Raises StreamError for a bad argument, at once, and in the worker what ``Keyed`` raises.
    """

    def __init__(
        self,
        model: str,
        *,
        idle_s: float | None = None,
        message: Message = last_two,
        on_error: OnError = "raise",
        **arguments: Unpack[KeyedArguments],
    ) -> None:
        if idle_s is not None and not idle_s > 0:
            raise StreamError(f"idle_s={idle_s!r}; give seconds above 0, or nothing where keys never end")
        if on_error not in get_args(OnError):
            raise StreamError(f"on_error={on_error!r} is unknown; use {' or '.join(map(repr, get_args(OnError)))}")
        Keyed(model, **arguments)
        self._drops = on_error == "drop"
        self._model, self._arguments, self._message = model, arguments, message
        self._idle_ms = None if idle_s is None else max(1, round(idle_s * 1000))
        self.output_type = FRAMES if arguments.get("emit") == "frames" else SEGMENTS

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "output_type"}

    def open(self, runtime_context: Any) -> None:
        self._keyed = Keyed(self._model, **self._arguments)
        # The byte-array type fails on a state that is not there yet, in thread mode.
        self._state = runtime_context.get_state(ValueStateDescriptor("tcnstream", Types.PICKLED_BYTE_ARRAY()))
        group = runtime_context.get_metrics_group().add_group("tcnstream")
        self._counters = [group.counter(field.name) for field in fields(Counts)]
        self._counted = astuple(self._keyed.counts)
        self._refused = group.counter("refused")

    def process_element(self, value: Any, ctx: Any) -> Iterator[FlinkRow]:
        key = ctx.get_current_key()
        before = self._state.value()
        try:
            after, rows = self._keyed.step(key, _state_of(before), [self._message(value)])
        except (TcnStreamError, ValueError, TypeError) as error:
            if not self._drops:
                raise
            _LOG.warning("key %s: a message is left out: %s", key, error)
            self._refused.inc()
            return
        now_ms = time.time_ns() // 1_000_000  # Flink's processing time, without a call into Java
        if before is None or _seen_ms(before) == _NEVER_MS:
            timers = ctx.timer_service()
            timers.register_event_time_timer(_AT_THE_END_MS)
            if self._idle_ms is not None:
                timers.register_processing_time_timer(now_ms + self._idle_ms)
        self._keep(now_ms, after)
        yield from map(_row, rows)

    def on_timer(self, timestamp: int, ctx: Any) -> Iterator[FlinkRow]:
        before = self._state.value()
        if before is None or _seen_ms(before) == _NEVER_MS:
            return
        due_ms = _seen_ms(before) + (self._idle_ms or 0)
        if timestamp < due_ms:
            # One timer a key, which looks again, is cheaper than one a message.
            ctx.timer_service().register_processing_time_timer(due_ms)
            return
        after, rows = self._keyed.end(ctx.get_current_key(), _state_of(before))
        self._keep(_NEVER_MS, after)
        yield from map(_row, rows)

    def _keep(self, seen_ms: int, state: bytes) -> None:
        self._state.update(seen_ms.to_bytes(_TIME_BYTES, "little") + state)
        counts = self._keyed.counts
        counted = counts.duplicates, counts.gaps, counts.rebuilt, counts.doubted
        if counted != self._counted:
            for counter, now, before in zip(self._counters, counted, self._counted, strict=True):
                counter.inc(now - before)
            self._counted = counted


def _state_of(kept: bytes | None) -> bytes | None:
    return None if kept is None else bytes(kept[_TIME_BYTES:])


def _seen_ms(kept: bytes) -> int:
    return int.from_bytes(kept[:_TIME_BYTES], "little")


def _row(row: SegmentRow | FramesRow) -> FlinkRow:
    if isinstance(row, SegmentRow):
        key, *rest = _values(row)
        return FlinkRow(str(key), *rest)
    frames = np.ascontiguousarray(row.frames, "<f4")
    return FlinkRow(str(row.key), row.epoch, row.first_frame, len(frames), frames.tobytes())


def configure(configuration: Configuration, *, checkpoints: str | None = None, interval_s: float = 10) -> Configuration:
    """The options that a job with TcnProcess wants, put into ``configuration``, which is returned.

    Python in the task manager's own process (thread mode), which takes a third of process mode's time; one slot per
    task manager, since one process has one Python lock. ``checkpoints`` is the address of a folder or object store,
    where the state goes every ``interval_s`` seconds, exactly once; after a failure the job goes on from there, again
    and again, with a pause that grows.
    """
    said = {
        "python.execution-mode": "thread",
        "python.executable": sys.executable,
        "python.client.executable": sys.executable,
        "taskmanager.numberOfTaskSlots": "1",
        "pipeline.max-parallelism": "128",
    }
    if checkpoints is not None:
        said |= {
            "execution.checkpointing.dir": checkpoints,
            "execution.checkpointing.interval": f"{round(interval_s * 1000)} ms",
            "execution.checkpointing.mode": "EXACTLY_ONCE",
            "execution.checkpointing.externalized-checkpoint-retention": "RETAIN_ON_CANCELLATION",
            "restart-strategy.type": "exponential-delay",
        }
    # The Python inside of Java knows nothing of a virtual environment.
    said["python.pythonpath"] = os.pathsep.join(dict.fromkeys(path for path in sys.path if os.path.isdir(path)))
    for name, value in said.items():
        configuration.set_string(name, value)
    return configuration
