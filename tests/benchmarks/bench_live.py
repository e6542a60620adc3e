"""What the daemon costs and how exact it is, against what it must reach.

    python tests/benchmarks/bench_live.py cpu streams latency snapshot day memory kills counters disk

Without a name all of them, which takes some minutes. CPU is that of this process beyond a bare loop that reads the same
source, in one run. A machine with other work gives other figures: run it alone.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import tcnstream
from tcnstream.live.blocks import Block
from tcnstream.live.chain import Chain
from tcnstream.live.checkpoints import Checkpoints, Watched
from tcnstream.live.config import CheckpointConfig, read_config
from tcnstream.live.hub import Hub
from tcnstream.live.journal import Journal
from tcnstream.live.lanes import Lane, LiveWorker
from tcnstream.live.logs import Log
from tcnstream.live.metrics import resident_bytes
from tcnstream.live.sinks import open_sink
from tcnstream.pipeline import PipelinePool
from tcnstream.signal.sources import open_recording

SHIPPED = Path(tcnstream.__file__).parent / "data"
ROOT = Path(__file__).parents[2]
ECG_HZ = 250.0


def signal_of(name: str) -> np.ndarray:
    pieces = open_recording(SHIPPED / name).chunks
    return np.concatenate([piece for piece in pieces if isinstance(piece, np.ndarray)])


def configuration(folder: Path, stream: str, more: str = "") -> Path:
    path = folder / "live.toml"
    path.write_text(
        f'{stream}\nsinks = ["log"]\n[sink.log]\nkind = "jsonl"\npath = "segments.jsonl"\n{more}', encoding="utf-8"
    )
    return path


def chains(folder: Path, model: str, rate_hz: float, units: str, lanes: int) -> tuple[Hub, LiveWorker, list[Lane]]:
    """Lanes of one worker with a JSON Lines sink, fed by hand."""
    np.save(folder / "none.npy", np.zeros(10, np.float32))
    config = read_config(
        configuration(folder, f'[stream.s]\nsource = "file:none.npy?rate={rate_hz:g}&units={units}"\nmodel = "{model}"')
    )
    hub = Hub()
    hub.sinks["log"] = open_sink(config.sinks["log"], Log())
    hub.sinks["log"].start()
    pool = PipelinePool(model, lanes, rate_hz=rate_hz, units=units)
    worker = LiveWorker(hub, "bench", lambda lane, error: None, lambda: None)
    stream = config.streams["s"]
    made = [Lane(Chain(stream, pool[k], lambda frame: None, replayed=False, units=units), pool, k) for k in pool.lanes]
    return hub, worker, made


def cost_of_a_core(folder: Path, model: str, name: str, rate_hz: float, units: str, hop: int, seconds: float) -> float:
    """Percent of one core that the chain takes beyond a loop that only cuts the signal."""
    x = np.tile(signal_of(name), (10, 1))[: round(seconds * rate_hz)]
    hub, worker, (lane,) = chains(folder, model, rate_hz, units, 1)

    def run(work: Callable[[Block], None]) -> float:
        began = time.process_time()
        for at in range(0, len(x) - hop + 1, hop):
            work(Block(at, x[at : at + hop], 0.0))
        return time.process_time() - began

    bare = run(lambda block: None)
    whole = run(lambda block: worker.step([(lane, block)]))
    hub.sinks["log"].stop(10)
    return 100 * (whole - bare) / (len(x) / rate_hz)


def cpu(folder: Path) -> None:
    for hop, must in ((1, 0.8), (10, 0.3)):
        percent = cost_of_a_core(folder, "ecg", "ecg.csv", ECG_HZ, "mV", hop, 80)
        report(f"one ECG stream, hop {hop}, of one core", f"{percent:.2f} %", f"<= {must} %")
    percent = cost_of_a_core(folder, "speech", "audio.ogg", 16000.0, "", 160, 60)
    report("speech, 10 ms hop", f"{percent:.2f} %", "<= 1 %")


def streams(folder: Path) -> None:
    lanes, hop = 500, 10
    hub, worker, made = chains(folder, "ecg", ECG_HZ, "mV", lanes)
    x = signal_of("ecg.csv")[: 250 * 8]
    began = time.process_time()
    for at in range(0, len(x), hop):
        worker.step([(lane, Block(at, x[at : at + hop], 0.0)) for lane in made])
    used_s = time.process_time() - began
    hub.sinks["log"].stop(10)
    report("ECG streams in real time on one core, hop 10", f"{lanes * 8 / used_s:.0f}", "1000 (500 at least)")


def latency(folder: Path) -> None:
    """From the arrival of the sample that makes an event final until it is handed to the sink, at real-time pace."""
    hub, worker, (lane,) = chains(folder, "ecg", ECG_HZ, "mV", 1)
    handed: list[float] = []
    intake = worker.add(lane)
    hub.sinks["log"].put = lambda events, may_wait: handed.append(time.monotonic() - arrived[0])  # type: ignore[method-assign]
    x, arrived = signal_of("ecg.csv"), [0.0]
    worker.start()
    late: list[float] = []
    began = time.monotonic()
    for at in range(250 * 40):
        due = began + at / ECG_HZ
        time.sleep(max(0.0, due - time.monotonic()))
        arrived[0] = time.monotonic()
        late.append(arrived[0] - due)
        intake.put(Block(at, x[at : at + 1], arrived[0]))
    worker.stop()
    for name, values, must in (("handed to the sink", handed, "5 and 20 ms"), ("a bare timer loop", late, "-")):
        p99, p999 = np.quantile(values, [0.99, 0.999]) * 1e3
        report(f"{name}, p99 and p99.9 of {len(values)}", f"{p99:.2f} and {p999:.2f} ms", must)


def snapshot(folder: Path) -> None:
    hub, worker, (lane,) = chains(folder, "ecg", ECG_HZ, "mV", 1)
    lane.chain.replayed = True
    journal = Journal(folder / "state")
    checkpoints = Checkpoints(journal, hub.sinks, CheckpointConfig(), Log())
    watched = Watched(lane, worker, "bench")
    worker.step([(lane, Block(0, signal_of("ecg.csv")[:5000], 0.0))])
    checkpoints.watch([watched])
    began = time.process_time()
    for _ in range(200):
        checkpoints.checkpoint([watched])
    report("snapshot and commit, CPU", f"{(time.process_time() - began) / 200 * 1e3:.2f} ms", "<= 0.5 ms")
    hub.sinks["log"].stop(5)


def day(folder: Path) -> None:
    """24 h of signal: memory after the first tenth, and frames that did not come through."""
    hub, worker, (lane,) = chains(folder, "ecg", ECG_HZ, "mV", 1)
    x = signal_of("ecg.csv")
    frames, at, warm = round(24 * 3600 * ECG_HZ), 0, 0
    began = time.monotonic()
    while at < frames:
        begin = at % (len(x) - 1000)
        worker.step([(lane, Block(at, x[begin : begin + 1000], 0.0))])
        at += 1000
        while hub.sinks["log"].waiting() > 5000:
            time.sleep(0.01)
        if not warm and at >= frames // 10:
            warm = resident_bytes()
    hub.sinks["log"].stop(60)
    took_s = time.monotonic() - began
    grown = (resident_bytes() - warm) / 2**20
    report("24 h of signal: times real time", f"{24 * 3600 / took_s:.0f}", ">= 100")
    report("24 h of signal: growth, frames lost", f"{grown:.2f} MiB, {at - lane.chain.next_frame}", "< 1 MiB, 0")


def memory(folder: Path) -> None:
    text = f'[page]\nlisten = "127.0.0.1:0"\n[stream.s]\nsource = "file:{SHIPPED / "ecg.csv"}?speed=1"\nmodel = "ecg"'
    path = configuration(folder, text)
    child = subprocess.Popen([sys.executable, "-m", "tcnstream", "serve", str(path)], stderr=subprocess.DEVNULL)
    time.sleep(15)
    status = Path(f"/proc/{child.pid}/status").read_text()
    child.terminate()
    child.wait()
    kib = int(status.partition("VmRSS:")[2].split()[0])
    report("resident memory, one stream and the page", f"{kib / 1024:.0f} MiB", "<= 80 MiB")


def kills(folder: Path) -> None:
    np.save(folder / "ecg.npy", signal_of("ecg.csv")[:7200, 0])
    path = configuration(
        folder,
        '[stream.s]\nsource = "file:ecg.npy?rate=360&units=mV&speed=40"\nmodel = "ecg"',
        '[checkpoint]\nreplayed = "80 ms"\n',
    )
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    for how, count in (("random", 200), ("steps", 200)):
        command = [sys.executable, "-m", "helpers.killing", str(path), str(folder / "segments.jsonl"), how, str(count)]
        facts = json.loads(subprocess.run(command, capture_output=True, text=True, check=True, env=env).stdout)
        report(f"kill -9, {how}: outputs that differ, of {facts['killed']} kills", str(facts["differed"]), "0")


def counters(folder: Path) -> None:
    """The same signal from frame 0 on and from just below 2^31, 2^32 and 2^53 on."""
    x = signal_of("ecg.csv")[:8000]
    answers = []
    for base in (0, 2**31 - 3000, 2**32 - 3000, 2**53 - 3000):
        _, _, (lane,) = chains(folder, "ecg", ECG_HZ, "mV", 1)
        lane.chain.begin_at(base, 0, 0)
        for at in range(0, len(x), 100):
            lane.chain.push(Block(base + at, x[at : at + 100], 0.0))
        lane.chain.end()
        answers.append([(e.type, e.frame - base, e.label, e.probability, e.seq) for e in lane.chain.take()])
    same = all(answer == answers[0] for answer in answers[1:])
    report(f"frame counters from 2^31, 2^32, 2^53 on: {len(answers[0])} events changed", "no" if same else "YES", "no")


def disk(folder: Path) -> None:
    """Live streams for four and a half minutes: bytes that each process wrote, and of its lines, for a day.

    The shipped minute has 104 beats a minute at its own 360 Hz, and 72 where it is played at 250 Hz. What is written at
    once after a start is over when the measurement begins; three checkpoints lie within.
    """
    from helpers.sensor import Sensor

    lines = [f"{value:.3f}\n".encode() for value in signal_of("ecg.csv")[:, 0]]
    beats = 'events = ["beat", "gap", "clock", "status"]\n'
    served = []
    for name, rate, chosen in (("72 beats a minute", 250, ""), ("104", 360, ""), ("104, beats alone", 360, beats)):
        place = folder / name
        place.mkdir()
        sensor = Sensor(place / "port", float(rate), lambda n: lines[n % len(lines)], burst=rate // 20)
        stream = f'[stream.s]\nsource = "serial:{place / "port"}?rate={rate}&units=mV"\nmodel = "ecg"'
        command = [sys.executable, "-m", "tcnstream", "serve", str(configuration(place, stream, chosen))]
        served.append((name, sensor, subprocess.Popen(command, stderr=subprocess.DEVNULL)))
    written: dict[str, list[tuple[int, int]]] = {name: [] for name, *_ in served}
    for wait_s in (95.0, 180.0):
        time.sleep(wait_s)
        for name, _, child in served:
            facts = Path(f"/proc/{child.pid}/io").read_text()
            count = int(facts.partition("\nwrite_bytes: ")[2].split()[0])
            written[name].append((count, (folder / name / "segments.jsonl").stat().st_size))
    for name, sensor, child in served:
        child.terminate()
        child.wait()
        sensor.close()
        (before, few), (after, many) = written[name]
        all_mb, lines_mb = ((b - a) * 480 / 1e6 for a, b in ((before, after), (few, many)))
        report(f"disk writes of one live ECG stream, {name}", f"{all_mb:.0f} MB/day", "<= 100 MB/day")
        report("    lines among them", f"{lines_mb:.0f} MB/day", "-")


def report(what: str, measured: str, must: str) -> None:
    print(f"{what:64} {measured:>22}   {must}", flush=True)


ALL = {each.__name__: each for each in (cpu, streams, latency, snapshot, day, memory, kills, counters, disk)}


def main() -> None:
    sys.path.insert(0, str(ROOT / "tests"))
    print(f"{'what':64} {'measured':>22}   must")
    for name in sys.argv[1:] or ALL:
        with tempfile.TemporaryDirectory() as folder:
            ALL[name](Path(folder))


if __name__ == "__main__":
    main()
