"""A stream in asyncio: a TCP server that takes float32 samples (ECG, mV, 360 a second) and answers JSON Lines.

    python asyncio_server.py 7001
    nc -N localhost 7001 < samples.f32

Every connection has a Pipeline of its own. A push of some samples takes well under a millisecond, so it runs in the
event loop; for large chunks or networks use ``await asyncio.to_thread(pipeline.push, samples)``.
"""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import asdict

import numpy as np

import tcnstream


async def segment(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    pipeline = tcnstream.Pipeline("ecg", rate_hz=360, units="mV")
    pending = b""
    while received := await reader.read(4096):
        pending += received
        whole = len(pending) // 4 * 4  # a packet may end in the middle of a sample
        samples, pending = np.frombuffer(pending[:whole], "<f4"), pending[whole:]
        await answer(writer, pipeline.push(samples))
    await answer(writer, pipeline.flush())
    writer.close()


async def answer(writer: asyncio.StreamWriter, waves: list[tcnstream.Segment]) -> None:
    for wave in waves:
        writer.write(json.dumps(asdict(wave)).encode() + b"\n")
    await writer.drain()


async def main(port: int) -> None:
    server = await asyncio.start_server(segment, "127.0.0.1", port)
    print(f"listening on port {server.sockets[0].getsockname()[1]}", flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
