"""SignalFilter: a fixed kernel as a stream, with up- and downsampling; SignalConv1D's definition without Keras."""

from __future__ import annotations

import copy
import hashlib
import math
import struct
from fractions import Fraction
from numbers import Real
from typing import Any

import numpy as np
import numpy.typing as npt

from tcnstream.compiler.timing import timings
from tcnstream.engines.base import ENGINES
from tcnstream.engines.choose import make_executor
from tcnstream.errors import ModelError, StreamError
from tcnstream.filters.plan import filter_plan
from tcnstream.filters.polyphase import PADDINGS, align, choice, flag, whole
from tcnstream.spec import TensorSpec
from tcnstream.stream import Stream, as_array

Frames = npt.NDArray[np.float32]

_SNAPSHOT = struct.Struct("<8sI")
_SNAPSHOT_MAGIC = b"TCNFILT\n"
_MOST_CHANNELS = 1 << 16


class SignalFilter:
    """Upsample by zeros, convolve or correlate with a fixed kernel, downsample; frame by frame, in float32.

    ``kernel`` is (support,), the same for every channel, or (support, channels, filters): then output channel f sums
    over the channels, and with ``channel_separable`` output channel ``c * filters + f`` filters channel c. Its centre
    is at ``support // 2``. The signal is (n, channels), or an array of numbers (n,): what the first chunk is, unless
    ``channels`` or a kernel of three axes says how many there are.

    Arguments and result are those of ``tcnstream.zoo.SignalConv1D``: the concatenation of all that ``push`` and
    ``flush`` return is that layer's output for the whole signal, whatever the chunks. With ``same_zeros`` (zeros
    outside of the signal) and ``same_reflect`` output frame j stands at input frame ``j * strides_down / strides_up``
    and there are ceil(n * strides_up / strides_down) of them; ``valid`` gives what needs nothing from outside.

    ``rate`` is output frames per input frame, ``delay`` the input frames by which an output frame trails. ``rate_hz``
    is the input's sample rate, for ``delay_s`` and ``times``. ``engine`` as for ``Model.stream``. Raises
    ModelError for arguments that make no filter, EngineError where the engine is not installed.
    """

    def __init__(
        self,
        kernel: npt.ArrayLike,
        *,
        channels: int | None = None,
        strides_up: int = 1,
        strides_down: int = 1,
        padding: str = "same_zeros",
        corr: bool = False,
        extra_pad_end: bool | None = None,
        channel_separable: bool = False,
        bias: npt.ArrayLike | None = None,
        rate_hz: float | None = None,
        engine: str = "auto",
    ) -> None:
        me = type(self).__name__
        up, down = whole(me, "strides_up", strides_up), whole(me, "strides_down", strides_down)
        choice(me, "padding", padding, PADDINGS)
        self.kernel = _numbers(me, "kernel", kernel)
        if self.kernel.ndim not in (1, 3) or not self.kernel.size:
            raise ModelError(
                f"{me}: a kernel of shape {self.kernel.shape}; (support,) or (support, channels, filters) is needed."
            )
        self.channels = None if channels is None else whole(me, "channels", channels)
        self._as_first_chunk = channels is None and self.kernel.ndim == 1
        if self.kernel.ndim == 3:
            if self.channels not in (None, self.kernel.shape[1]):
                raise ModelError(f"{me}: channels = {self.channels}, and the kernel is for {self.kernel.shape[1]}.")
            self.channels = self.kernel.shape[1]
        self._separable = flag(me, "channel_separable", channel_separable) or self.kernel.ndim == 1
        self._bias = None if bias is None else _numbers(me, "bias", bias)
        self._alignment = align(
            len(self.kernel),
            corr=flag(me, "corr", corr),
            strides_down=down,
            strides_up=up,
            padding=padding,
            extra_pad_end=None if extra_pad_end is None else flag(me, "extra_pad_end", extra_pad_end),
        )
        if engine not in ("auto", *ENGINES):
            raise StreamError(f"engine={engine!r} is unknown; use 'auto' or one of {', '.join(map(repr, ENGINES))}")
        self._engine = engine
        self.rate_hz = rate_hz
        self._stream = self._opened(self.channels)
        self.rate, self.delay = self._stream.outputs[0].rate, self._stream.outputs[0].delay

    def another(self) -> SignalFilter:
        """A filter with the same arguments, at its start; the two share what was compiled."""
        twin = copy.copy(self)
        twin._stream = self._stream.another()
        return twin

    def _opened(self, channels: int | None) -> Stream:
        """A new stream for so many channels (None: numbers)."""
        kernel, alignment = self.kernel, self._alignment
        if kernel.ndim == 1:
            kernel = np.broadcast_to(kernel[:, None, None], (len(kernel), channels or 1, 1))
        out = kernel.shape[2] * (kernel.shape[1] if self._separable else 1)
        if self._bias is not None and self._bias.shape != (out,):
            raise ModelError(f"{type(self).__name__}: bias has shape {self._bias.shape}; ({out},) is needed here.")
        plan = filter_plan(alignment, kernel, self._bias, self._separable)
        (timing,) = (t for o in plan.outputs if (t := timings(plan)[o]) is not None)
        facts = repr((kernel.shape, self._bias is None, alignment, self._separable, channels))
        digest = hashlib.sha256(facts.encode())
        digest.update(self.kernel.tobytes())
        digest.update(b"" if self._bias is None else self._bias.tobytes())
        identity = f"filter/{digest.hexdigest()[:16]}"
        real = np.dtype(np.float32)
        source = TensorSpec("signal", (kernel.shape[1],), real, None, Fraction(1))
        made = TensorSpec("filtered", (out,), real, None, timing.rate, timing.delay, alignment.offset)
        return Stream(make_executor(self._engine, plan), (source,), (made,), identity, self.rate_hz)

    @classmethod
    def resampler(
        cls, up: int, down: int, *, zero_crossings: int = 10, beta: float = 5.0, **options: Any
    ) -> SignalFilter:
        """From one rate to ``up / down`` of it, through a windowed sinc that passes what both rates can hold.

        The kernel has ``zero_crossings`` on either side (more of them: a steeper edge, as much more delay) under a
        Kaiser window of shape ``beta`` (larger: less passes beyond the edge). With the defaults the result is that of
        ``scipy.signal.resample_poly``. ``options`` as for the constructor.
        """
        up, down = whole(cls.__name__, "up", up), whole(cls.__name__, "down", down)
        if not isinstance(beta, Real) or not 0 <= beta < math.inf:
            raise ModelError(f"{cls.__name__}: beta = {beta!r}; it should be a number from 0 on.")
        common = math.gcd(up, down)
        up, down = up // common, down // common
        kernel = up * low_pass(max(up, down), whole(cls.__name__, "zero_crossings", zero_crossings), beta)
        return cls(kernel, strides_up=up, strides_down=down, **options)

    @classmethod
    def decimator(cls, factor: int, *, zero_crossings: int = 10, beta: float = 5.0, **options: Any) -> SignalFilter:
        """Every ``factor``-th frame behind an anti-alias filter, ``resampler(1, factor)``.

        For a factor of 2 that is a half-band filter: every other weight beside the centre is 0.
        """
        return cls.resampler(1, factor, zero_crossings=zero_crossings, beta=beta, **options)

    @property
    def delay_s(self) -> float:
        """``delay`` in seconds; StreamError without ``rate_hz``."""
        if self.rate_hz is None:
            raise StreamError("the filter does not know its input's rate: give rate_hz")
        return self.delay / self.rate_hz

    @property
    def engine(self) -> str:
        """The name of the engine that computes."""
        return self._stream.engine

    @property
    def frames_in(self) -> int:
        """Input frames pushed since the start or the last reset."""
        return self._stream.frames_in

    @property
    def state_bytes(self) -> int:
        """Bytes that the filter remembers right now."""
        return self._stream.state_bytes

    def frames_out(self, frames_in: int) -> int:
        """How many frames a whole signal of so many gives, both edges included."""
        return self._alignment.frames(frames_in)

    def push(self, chunk: npt.ArrayLike) -> Frames:
        """Take in frames, (n, channels) or (n,), any real numbers; return the frames that they make possible.

        Raises StreamError for another shape than the signal's, and after ``flush``; the filter is then as before.
        """
        frames = as_array(chunk)
        if frames.dtype.kind not in "fiu":
            raise StreamError(f"the filter takes real numbers and got {frames.dtype}; convert the chunk")
        if self._as_first_chunk and self.frames_in == 0 and frames.ndim in (1, 2):
            self._become(frames.shape[1] if frames.ndim == 2 else None)
        if self.channels is None:
            if frames.ndim != 1:
                raise StreamError(f"the filter takes chunks of shape (n,) and got {frames.shape}")
            frames = frames[:, None]
        if frames.dtype != np.float32:
            with np.errstate(over="ignore"):  # beyond float32 is infinity
                frames = frames.astype(np.float32)
        return self._framed(self._stream.push(frames))

    def _become(self, channels: int | None) -> None:
        self._stream.push(np.zeros((0, self.channels or 1), np.float32))  # raises if the signal is over
        if channels == 0:
            raise StreamError("the filter takes chunks of shape (n, channels) and got one without channels")
        if channels != self.channels:
            self._stream, self.channels = self._opened(channels), channels

    def flush(self) -> Frames:
        """End the signal: what stands beyond its end arrives, and the last frames come out.

        Raises StreamError if the signal has ended already, or is shorter than its reflection.
        """
        return self._framed(self._stream.flush())

    def times(self, frames: npt.ArrayLike | range, *, rate_hz: float | None = None) -> npt.NDArray[np.float64]:
        """Seconds on the input's clock at which output frames stand; as ``Stream.times``."""
        returned = np.asarray(frames)
        if self.channels is None and returned.ndim == 1 and returned.dtype.kind == "f":
            returned = returned[:, None]
        return self._stream.times(returned, rate_hz=rate_hz)

    def reset(self) -> None:
        """Back to the start: the next frame pushed is the first one of a new signal."""
        self._stream.reset()

    def snapshot(self) -> bytes:
        """All that the filter remembers, for ``restore`` in any process and engine."""
        return _SNAPSHOT.pack(_SNAPSHOT_MAGIC, self.channels or 0) + self._stream.snapshot()

    def restore(self, blob: bytes) -> None:
        """Continue where ``snapshot`` was taken; StreamError for one that is damaged or of another filter."""
        if not isinstance(blob, bytes | bytearray | memoryview):
            raise StreamError(f"a snapshot is bytes and this is {type(blob).__name__}; pass what snapshot() returned")
        magic, channels = _SNAPSHOT.unpack_from(blob) if len(blob) >= _SNAPSHOT.size else (b"", 0)
        if magic != _SNAPSHOT_MAGIC or channels > _MOST_CHANNELS:
            raise StreamError("this is no snapshot of a SignalFilter, or a damaged one")
        stream, channels = self._stream, channels or None
        if channels != self.channels:
            if not self._as_first_chunk:
                raise StreamError(
                    f"the snapshot is of a filter with {channels} channels, and this one has {self.channels}"
                )
            stream = self._opened(channels)
        stream.restore(blob[_SNAPSHOT.size :])
        self._stream, self.channels = stream, channels

    def _framed(self, frames: Any) -> Frames:
        made: Frames = frames[:, 0] if self.channels is None else frames
        return made


def low_pass(period: int, zero_crossings: int, beta: float) -> npt.NDArray[np.float64]:
    """A sinc that crosses zero every ``period`` frames, under a Kaiser window, with a gain of 1 at 0 Hz.

    Its edge is at 1 / ``period`` of half the sample rate; it has ``2 * period * zero_crossings + 1`` weights, one for a
    period of 1. (Oppenheim and Schafer, Discrete-Time Signal Processing, 7.5.)
    """
    half = period * zero_crossings if period > 1 else 0
    kernel = np.sinc(np.arange(-half, half + 1) / period) * np.kaiser(2 * half + 1, beta)
    weights: npt.NDArray[np.float64] = kernel / kernel.sum()
    return weights


def _numbers(me: str, name: str, values: npt.ArrayLike) -> Frames:
    try:
        numbers = np.asarray(values)
        if numbers.dtype.kind not in "fiu" or not np.isfinite(numbers).all():
            raise ValueError
    except (TypeError, ValueError):
        raise ModelError(f"{me}: {name} should be an array of finite numbers.") from None
    return numbers.astype(np.float32)
