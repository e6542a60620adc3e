"""Lab Streaming Layer and BrainFlow: a real outlet, and BrainFlow's synthetic board."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from helpers.paths import ECG
from helpers.served import Served

pytestmark = pytest.mark.slow

LOG = '[sink.log]\nkind = "jsonl"\npath = "segments.jsonl"\n'

OUTLET = """
import sys, time
import numpy as np, pylsl
x = np.loadtxt(sys.argv[1], comments="#", skiprows=4)
outlet = pylsl.StreamOutlet(pylsl.StreamInfo(sys.argv[2], "ECG", 1, 360, "float32", sys.argv[2]))
began, sent = time.monotonic(), 0
while True:
    outlet.push_chunk([[float(v)] for v in x[sent % 20000 : sent % 20000 + 18]])
    sent += 18
    time.sleep(max(0, began + sent / 360 - time.monotonic()))
"""


@pytest.fixture
def this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """LSL that looks no farther than this machine."""
    pytest.importorskip("pylsl")
    config = tmp_path / "lsl_api.cfg"
    config.write_text("[multicast]\nResolveScope = machine\n[lab]\nKnownPeers = {127.0.0.1}\n")
    return {"LSLAPICFG": str(config)}


@pytest.fixture
def outlet(this_machine: dict[str, str]) -> Iterator[Callable[[str], subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []

    def start(name: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", OUTLET, str(ECG), name]
        started.append(subprocess.Popen(command, env=os.environ | this_machine, stderr=subprocess.DEVNULL))
        return started[-1]

    yield start
    for each in started:
        each.kill()
        each.wait()


def test_an_outlet_that_ends_is_looked_for_again(
    serve: Callable[..., Served], outlet: Callable[[str], subprocess.Popen[bytes]], this_machine: dict[str, str]
) -> None:
    first = outlet("tcnstream-test")
    served = serve(
        f'[stream.lab]\nsource = "lsl:tcnstream-test?rate=360&units=mV"\nmodel = "ecg"\nsinks = ["log"]\n{LOG}',
        env=this_machine,
    )
    served.wait_for(lambda: [e for e in served.events() if e["type"] == "beat"])
    first.kill()
    served.wait_for(lambda: [e for e in served.events() if e["label"] == "down"])
    outlet("tcnstream-test")
    gap = served.wait_for(lambda: [e for e in served.events() if e["type"] == "gap"])[0]
    assert gap["reason"] == "unplugged" and gap["frames"] > 100
    served.wait_for(lambda: [e for e in served.events() if e["type"] == "segment" and e["epoch"] == 1])
    assert served.end() == 0


def test_the_synthetic_board_is_streamed_without_a_gap(serve: Callable[..., Served]) -> None:
    pytest.importorskip("brainflow")
    text = '[page]\nlisten = "127.0.0.1:0"\n[stream.board]\nsource = "brainflow:SYNTHETIC_BOARD"\nmodel = "ecg"\n'
    served = serve(f'{text}sinks = ["log"]\n{LOG}')
    served.wait_for(lambda: "web.started" in served.log.read_text())
    served.wait_for(lambda: served.health()["streams"]["board"]["next_frame"] > 750)
    assert served.end() == 0
    assert not [e for e in served.events() if e["type"] == "gap"], served.log.read_text()
    served = serve(None)
    served.wait_for(lambda: [e for e in served.events() if e.get("reason") == "restart"])
    assert served.end() == 0
