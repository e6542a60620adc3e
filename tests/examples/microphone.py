"""Speech, music or neither, from the default microphone.

    python microphone.py

Each segment is printed as soon as it is certain. Ctrl-C ends the signal. On Linux sounddevice needs the library
PortAudio (Debian: apt-get install libportaudio2).
"""

from __future__ import annotations

import sounddevice

import tcnstream

RATE_HZ = 16000


def show(segments: list[tcnstream.Segment]) -> None:
    for segment in segments:
        print(f"{segment.start_s:7.2f} {segment.end_s:7.2f} {segment.label} {segment.probability:.2f}", flush=True)


def main() -> None:
    pipeline = tcnstream.Pipeline("speech", rate_hz=RATE_HZ, units="full scale")
    with sounddevice.InputStream(samplerate=RATE_HZ, channels=1, dtype="float32", latency="high") as microphone:
        try:
            while True:
                samples, lost = microphone.read(RATE_HZ // 20)  # (800, 1), between -1 and 1
                if lost:
                    print("this computer was too slow, and samples were lost")
                    show(pipeline.mark_gap(0))  # how many, PortAudio does not say: begin anew
                show(pipeline.push(samples))
        except KeyboardInterrupt:
            show(pipeline.flush())


if __name__ == "__main__":
    main()
