"""Archives: Arrow batches of recordings in, Arrow batches of segments out (extra ``arrow``).

``segment_batches("ecg")`` drops into whatever hands out batches: Spark's ``mapInArrow`` (an iterator of them), Ray
Data's ``map_batches`` (a table), Dask's ``map_partitions`` (a data frame), a pool of processes (a record batch).
"""

from __future__ import annotations

import threading
import warnings
from collections import OrderedDict
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeAlias, Unpack, get_args

import numpy as np

from tcnstream.errors import MissingExtraError, SignalError, StreamError, TcnStreamError
from tcnstream.opened import OpenedModel, open_model
from tcnstream.pipeline import Pipeline, PipelineArguments
from tcnstream.signal.segments import MARKS, Segment
from tcnstream.signal.sources.base import no_samples

try:
    import pyarrow as pa
except ImportError as error:
    raise MissingExtraError("Arrow batches need PyArrow: pip install tcnstream[arrow]") from error

OnError: TypeAlias = Literal["raise", "skip"]

SCHEMA = pa.schema(
    [
        pa.field("id", pa.string()),
        pa.field("start_s", pa.float64()),
        pa.field("end_s", pa.float64()),
        pa.field("label", pa.string()),
        pa.field("probability", pa.float64()),
        *(pa.field(mark, pa.float64()) for mark in MARKS),
    ]
)
"""What comes out: a row a segment, in the order of recordings and of time. The marks (``ventricular``, ``noise``) are
what Segment says, null where the model does not."""

_COLUMNS = ("id", "signal", "rate_hz")

_LISTS = (
    pa.types.is_list,
    pa.types.is_large_list,
    pa.types.is_fixed_size_list,
    pa.types.is_list_view,
    pa.types.is_large_list_view,
)

_MOST_PIPELINES = 16
"""Of as many rates. An archive may have a rate of its own in every recording, and a converter takes megabytes."""


def row_batch(made: Iterable[tuple[str | None, list[Segment]]]) -> pa.RecordBatch:
    """The rows of recordings, each an id (None: it has none) and its segments."""
    rows = [
        (name, each.start_s, each.end_s, each.label, each.probability, *(getattr(each, mark) for mark in MARKS))
        for name, found in made
        for each in found
    ]
    columns = zip(*rows, strict=True) if rows else ((),) * len(SCHEMA)
    return pa.record_batch(
        [pa.array(values, field.type) for values, field in zip(columns, SCHEMA, strict=True)], SCHEMA
    )


def segment_batches(
    model: str | Path, *, on_error: OnError = "raise", **arguments: Unpack[PipelineArguments]
) -> SegmentBatches:
    """A function of a batch with the columns ``id``, ``signal`` (list of numbers) and ``rate_hz``; see SegmentBatches.

    ``model`` and the arguments are those of Pipeline. ``on_error="skip"`` leaves recordings out that cannot be
    segmented, with a warning each. Raises StreamError for another word, for ``rate_hz``, which each recording says, or
    ``segments=False``, and as Pipeline for a model or an argument that cannot be.
    """
    if on_error not in get_args(OnError):
        raise StreamError(f"on_error={on_error!r} is unknown; use {' or '.join(map(repr, get_args(OnError)))}")
    if "rate_hz" in arguments or not arguments.get("segments", True):
        raise StreamError("rate_hz is a column of the batches, and segments are what is made: leave both out")
    made = SegmentBatches(model, on_error, arguments)
    made.check()
    return made


class _Kept(threading.local):
    """What each thread has of its own: a pipeline takes one signal at a time."""

    def __init__(self) -> None:
        self.pipelines: OrderedDict[float, Pipeline] = OrderedDict()


class SegmentBatches:
    """Recordings -> segments, each recording from its start to its end; pickled, it is the model's name. Threads may
    share it, as Dask's do.

    Called with a record batch, a table, a pandas data frame or an iterator of record batches it returns the same kind,
    with the columns of SCHEMA. An id that is no text becomes one, null stays null. Raises SignalError naming the
    recording that cannot be segmented, or the column that is missing or of a wrong type.
    """

    def __init__(self, model: str | Path, on_error: OnError, arguments: PipelineArguments) -> None:
        self._model, self._on_error, self._arguments = str(model), on_error, arguments
        self._kept = _Kept()

    def __reduce__(self) -> tuple[Any, ...]:
        return SegmentBatches, (self._model, self._on_error, self._arguments)

    @cached_property
    def _opened(self) -> OpenedModel:
        return open_model(self._model)

    def check(self) -> None:
        """Raises as Pipeline for what would be wrong with every recording."""
        card = self._opened.card
        told: PipelineArguments = {**self._arguments, "rate_hz": 1.0 if card is None else card.rate_hz}
        if told.get("units") is None:
            told["units"] = ""  # nobody knows: each pipeline says itself what it assumes
        self._new_pipeline(told)

    def __call__(self, batch: Any) -> Any:
        if isinstance(batch, pa.RecordBatch):
            return self._segments(batch)
        if isinstance(batch, pa.Table):
            _must_have_columns(batch.schema)
            return pa.Table.from_batches([self._segments(part) for part in batch.to_batches()], SCHEMA)
        if hasattr(batch, "columns"):
            try:
                table = pa.Table.from_pandas(batch[[name for name in _COLUMNS if name in batch]], preserve_index=False)
            except pa.ArrowException as error:
                raise SignalError(f"the data frame is none of recordings: {error}") from error
            return self(table).to_pandas()
        if not isinstance(batch, Iterable):
            raise _no_batch(batch)
        return map(self._segments, batch)

    def _segments(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        if not isinstance(batch, pa.RecordBatch):
            raise _no_batch(batch)
        _must_have_columns(batch.schema)
        made: list[tuple[str | None, list[Segment]]] = []
        for name, signal, rate_hz in zip(*(batch.column(name) for name in _COLUMNS), strict=True):
            try:
                made.append((_text(name.as_py()), self._segment(signal, rate_hz.as_py())))
            except TcnStreamError as error:
                if self._on_error == "raise":
                    raise SignalError(f"recording {name.as_py()}: {error}") from error
                warnings.warn(f"recording {name.as_py()} is left out: {error}", RuntimeWarning, stacklevel=2)
        return row_batch(made)

    def _segment(self, signal: Any, rate_hz: float | None) -> list[Segment]:
        if rate_hz is None or not signal.is_valid:
            raise SignalError("its signal or its rate_hz is null")
        samples = signal.values
        if not len(samples):
            raise no_samples("its signal")
        if samples.null_count:
            raise SignalError("a sample is null; fill it in, or cut the recording there")
        pipeline = self._pipeline(rate_hz)
        pipeline.reset()
        return pipeline.push(np.asarray(samples.to_numpy(zero_copy_only=False))) + pipeline.flush()

    def _pipeline(self, rate_hz: float) -> Pipeline:
        kept = self._kept.pipelines
        if rate_hz not in kept:
            kept[rate_hz] = self._new_pipeline({**self._arguments, "rate_hz": rate_hz})
            if len(kept) > _MOST_PIPELINES:
                kept.popitem(last=False)
        kept.move_to_end(rate_hz)
        return kept[rate_hz]

    def _new_pipeline(self, arguments: PipelineArguments) -> Pipeline:
        told: PipelineArguments = {"card": self._opened.card, **arguments}
        return Pipeline(self._opened.model, **told)


def _no_batch(batch: object) -> SignalError:
    return SignalError(f"recordings come in Arrow batches or data frames, and this is {type(batch).__name__}")


def _must_have_columns(schema: pa.Schema) -> None:
    for name in _COLUMNS:
        if (times := schema.names.count(name)) != 1:
            what = f"{name} more than once" if times else f"and lacks {name}"
            raise SignalError(f"a batch has the columns {', '.join(schema.names)} {what}: give {_COLUMNS}")
    kind = schema.field("signal").type
    if not any(is_list(kind) for is_list in _LISTS) and not pa.types.is_null(kind):
        raise SignalError(f"the column signal is of type {kind}: give a list of numbers for each recording")


def _text(name: object) -> str | None:
    """An id as text; bytes are UTF-8, as engines write text without its type."""
    if isinstance(name, bytes):
        try:
            return name.decode()
        except UnicodeDecodeError:
            raise SignalError("its id is bytes that are no UTF-8: give text or numbers") from None
    return None if name is None else str(name)
