"""Live ECG from a serial port: a board that prints one number a line, in mV, 360 times a second.

    python ecg_from_serial.py /dev/ttyACM0

Each wave is printed as soon as nothing to come can change it. Ctrl-C, or a port that goes away, ends the signal.
"""

from __future__ import annotations

import sys

import serial

import tcnstream


def show(waves: list[tcnstream.Segment]) -> None:
    for wave in waves:
        print(f"{wave.start_s:8.3f} {wave.end_s:8.3f} {wave.label}", flush=True)


def main(port: str) -> None:
    pipeline = tcnstream.Pipeline("ecg", rate_hz=360, units="mV")
    with serial.Serial(port, 115200, timeout=0.05) as line:
        print(f"listening to {port}", flush=True)
        pending = b""
        try:
            while not line.readline().endswith(b"\n"):
                pass  # the first line may have begun before we listened
            while True:
                pending += line.read(max(1, line.in_waiting))
                *lines, pending = pending.split(b"\n")
                show(pipeline.push([float(text) for text in lines]))
        except (KeyboardInterrupt, OSError):  # a port that went away is an OSError
            show(pipeline.flush())


if __name__ == "__main__":
    main(sys.argv[1])
