"""A microphone as a Recording that ends when it is told to (package ``sounddevice``, library PortAudio)."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Iterator
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

import numpy as np

from tcnstream.errors import SignalError
from tcnstream.signal.sources.base import Channels, Chunk, Listening, LiveKind, ReadOptions, Recording, choose_channels

PREFIX = "mic:"
CHUNK_S = 0.05
_LOOK_S = 0.2
"""How often a wait for a device looks up."""

_SILENT_S = 10.0
"""A device that gives nothing for so long is gone."""


def open_microphone(
    name: str,
    *,
    channels: Channels = 1,
    rate_hz: float | None = None,
    preferred_hz: float | None = None,
    stop: Callable[[], bool] = lambda: False,
    overflowed: Callable[[], None] = lambda: None,
) -> Recording:
    """Opens an input device by name, part of a name or number; the default one if ``name`` is empty.

    It records at ``rate_hz``; else at ``preferred_hz`` if the device has that, else at the device's own rate. It
    listens from the first chunk on and ends once ``stop()`` is true, asked after every CHUNK_S of signal.
    ``overflowed()`` is called for every chunk before which the computer was too slow and samples were lost. Raises
    SignalError that lists the devices if there is none of that name.
    """
    sounddevice = _sounddevice()
    device: str | int | None = int(name) if name.isdecimal() else name or None
    try:
        facts = sounddevice.query_devices(device, "input")
    except (ValueError, sounddevice.PortAudioError) as error:
        raise SignalError(_no_device(sounddevice, name, error)) from error
    source = f"microphone {facts['name']}"
    available = tuple(str(number) for number in range(int(facts["max_input_channels"])))
    chosen = choose_channels(available, channels, source)
    opened: dict[str, Any] = {"device": facts["index"], "channels": max(chosen) + 1, "dtype": "float32"}
    rate = rate_hz or float(facts["default_samplerate"])
    if rate_hz is None and preferred_hz is not None and _takes(sounddevice, opened, preferred_hz):
        rate = preferred_hz

    def chunks() -> Iterator[Chunk]:
        block = max(1, math.ceil(CHUNK_S * rate))
        device = _Device(lambda: sounddevice.InputStream(samplerate=rate, latency="high", **opened), block)
        heard = False
        try:
            while not stop():
                answer = device.read(stop)
                if answer is None:
                    return
                samples, lost = answer
                if lost:
                    overflowed()
                heard = True
                yield np.ascontiguousarray(samples[:, chosen], np.float32)
        except sounddevice.PortAudioError as error:
            if heard:
                raise SignalError(f"the {source} was lost while it was recorded ({error}): connect it again") from error
            raise SignalError(
                f"the {source} cannot be recorded at {rate:g} Hz: {error}; try another with rate_hz="
            ) from error
        except _SilentError:
            raise SignalError(f"the {source} has given nothing for {_SILENT_S:g} s: is it still connected?") from None
        finally:
            device.close()

    names = tuple(available[number] for number in chosen)
    return Recording(source, rate, "", names, available, None, chunks())


class _SilentError(Exception):
    """A device gives nothing any more."""


class _Device:
    """An input stream that is opened, read and closed in a thread of its own, a block whenever one is asked for.

    A read that hangs then hangs there, and whoever waits hears Ctrl-C.
    """

    def __init__(self, open_stream: Callable[[], Any], block: int) -> None:
        self._open_stream, self._block = open_stream, block
        self._asked: SimpleQueue[bool] = SimpleQueue()
        self._answers: SimpleQueue[tuple[Any, bool] | BaseException] = SimpleQueue()
        self._thread = Thread(target=self._run, daemon=True)  # one that hangs must not keep the process

    def read(self, stop: Callable[[], bool]) -> tuple[Any, bool] | None:
        """The next block and whether samples were lost before it; None where ``stop()`` comes true first."""
        if not self._thread.is_alive():
            self._thread.start()
        self._asked.put(True)
        for _ in range(round(_SILENT_S / _LOOK_S)):
            try:
                answer = self._answers.get(timeout=_LOOK_S)
            except Empty:
                if stop():
                    return None
                continue
            if isinstance(answer, BaseException):
                raise answer
            return answer
        raise _SilentError

    def close(self) -> None:
        self._asked.put(False)
        if self._thread.is_alive():
            self._thread.join(_LOOK_S)

    def _run(self) -> None:
        try:
            with self._open_stream() as stream:
                while self._asked.get():
                    self._answers.put(stream.read(self._block))
        except BaseException as error:
            self._answers.put(error)


def _sounddevice() -> Any:
    try:
        return importlib.import_module("sounddevice")
    except ImportError as error:
        raise SignalError(f"a microphone takes the package sounddevice ({error}): pip install sounddevice") from error
    except OSError as error:
        # The package is there and the library that it loads is not.
        raise SignalError(
            f"a microphone takes the library PortAudio ({error}): install it, on Debian apt-get install libportaudio2"
        ) from error


def _takes(sounddevice: Any, opened: dict[str, Any], rate_hz: float) -> bool:
    try:
        sounddevice.check_input_settings(samplerate=rate_hz, **opened)
    except (ValueError, sounddevice.PortAudioError):
        return False
    return True


def _no_device(sounddevice: Any, name: str, error: Exception) -> str:
    try:
        devices = [device for device in sounddevice.query_devices() if device["max_input_channels"] > 0]
    except sounddevice.PortAudioError:
        devices = []
    if not devices:
        return f"there is no microphone here ({error}): connect one, or give a recording"
    listed = "; ".join(f"{device['index']}: {device['name']}" for device in devices)
    if not name:
        return f"there is no default microphone ({error}): choose one with mic:NAME or mic:NUMBER of {listed}"
    return f"there is no one microphone {name!r} ({error}): choose mic:NAME or mic:NUMBER of {listed}"


def _by_name(name: str, channels: Channels, options: ReadOptions, listening: Listening) -> Recording:
    return open_microphone(
        name.removeprefix(PREFIX),
        channels=channels,
        rate_hz=options.rate_hz,
        preferred_hz=listening.preferred_hz,
        stop=listening.stop,
        overflowed=listening.overflowed,
    )


KIND = LiveKind(
    says="mic: or mic:NAME for a microphone",
    is_named=lambda name: name.startswith(PREFIX),
    open=_by_name,
    ends_by_itself=False,
)
