"""The child that hears a microphone: PortAudio's samples to standard output, with their times.

    python -m tcnstream.live.sources.heard NAME RATE_HZ CHANNELS PARENT
    python -m tcnstream.live.sources.heard                          lists what can be heard

It imports little, since a microphone that comes back should be heard soon.
"""

from __future__ import annotations

import importlib
import os
import struct
import sys
import threading
import time
from typing import Any

_HEAD = struct.Struct("<4sdII")
_BLOCK_S = 0.02
_LOOK_S = 0.5


def main(arguments: list[str]) -> int:
    """0 at the end of standard output, 1 with a sentence on standard error."""
    try:
        sounddevice = importlib.import_module("sounddevice")
    except (ImportError, OSError) as error:
        print(f"PortAudio cannot be loaded: {error}; on Debian apt-get install libportaudio2", file=sys.stderr)
        return 1
    if not arguments:
        for device in sounddevice.query_devices():
            if device["max_input_channels"] > 0:
                rate, channels = device["default_samplerate"], device["max_input_channels"]
                print(f"{device['name']}\t{channels} channels, {rate:g} Hz")
        return 0
    name, rate_hz, channels = arguments[0], float(arguments[1]), int(arguments[2])
    threading.Thread(target=_end_with, args=(int(arguments[3]),), daemon=True).start()
    try:
        hear(sounddevice, name, rate_hz, channels)
    except (sounddevice.PortAudioError, ValueError) as error:
        print(f"microphone {name!r}: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        return 0
    return 0


def _end_with(parent: int) -> None:
    """A microphone that gives nothing would keep the child of a parent that was killed for ever."""
    while os.getppid() == parent:
        time.sleep(_LOOK_S)
    os._exit(0)


def hear(sounddevice: Any, name: str, rate_hz: float, channels: int) -> None:
    """For ever."""
    block = max(1, round(rate_hz * _BLOCK_S))
    out = sys.stdout.fileno()
    with sounddevice.InputStream(
        device=name or None, samplerate=rate_hz, channels=channels, dtype="float32", latency="high"
    ) as stream:
        while True:
            fresh = stream.read_available < block
            samples, _ = stream.read(block)
            content = samples.astype("<f4", copy=False).tobytes()
            message = memoryview(_HEAD.pack(b"TCNM", time.monotonic(), len(samples), fresh) + content)
            while message:
                message = message[os.write(out, message) :]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
