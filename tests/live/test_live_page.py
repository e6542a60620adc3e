"""The daemon's page in a real browser."""

from __future__ import annotations

import base64
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import vendor
from helpers.browser import Tab, chromium
from helpers.installed import need_program
from helpers.served import Served

for _package in ("uvicorn", "starlette", "websockets"):
    pytest.importorskip(_package, reason="extra live")

RATE_HZ = 360.0
GAP_S = (8.0, 9.5)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def config(port: int, speed: float, **streams: str) -> str:
    text = f'state = "state"\n[page]\nlisten = "127.0.0.1:{port}"\n'
    text += '[sink.log]\nkind = "jsonl"\npath = "segments.jsonl"\n'
    for name, source in streams.items():
        model = "ecg" if source.endswith(".csv") else "speech"
        text += f'[stream.{name}]\nsource = "file:{source}?speed={speed:g}"\nmodel = "{model}"\nsinks = ["log"]\n'
    return text


@pytest.fixture
def heart(tmp_path: Path, ecg: np.ndarray) -> Path:
    """Twenty seconds of the demo's ECG, of which 1.5 s are not there."""
    signal = ecg[: int(20 * RATE_HZ)].astype(str)
    signal[int(GAP_S[0] * RATE_HZ) : int(GAP_S[1] * RATE_HZ)] = ""
    lines = [f"{place / RATE_HZ:.6f},{value}" for place, value in enumerate(signal)]
    path = tmp_path / "heart.csv"
    path.write_text("time (s),MLII (mV)\n" + "\n".join(lines) + "\n")
    return path


class Canvas:
    """The pixels of the trace, and where which moment is."""

    def __init__(self, tab: Tab) -> None:
        found = tab.page.evaluate(
            """() => {
              const box = document.getElementById("trace"), canvas = box.querySelector("canvas");
              const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
              let text = "";
              for (let i = 0; i < pixels.data.length; i += 32768) {
                text += String.fromCharCode(...pixels.data.subarray(i, i + 32768));
              }
              return { rows: canvas.height, data: btoa(text), ...box.dataset };
            }"""
        )
        pixels = np.frombuffer(base64.b64decode(found["data"]), np.uint8)
        self.pixels = pixels.reshape(found["rows"], -1, 4)[..., :3].astype(int)
        self.from_s, self.to_s = float(found["fromS"]), float(found["toS"])
        self.left, self.top = round(float(found["left"])), round(float(found["top"]))
        self.width, self.height = float(found["width"]), round(float(found["height"]))
        self.band = round(float(found["band"]))

    def x(self, seconds: float) -> int:
        return self.left + round((seconds - self.from_s) / (self.to_s - self.from_s) * self.width)

    def share(self, colour: str, begin_s: float, end_s: float, *, band: bool) -> float:
        """How many columns of pixels of a stretch have the colour, in the band of labels or in the trace above it."""
        bottom = self.top + self.height
        rows = slice(bottom - self.band, bottom) if band else slice(self.top, bottom - self.band)
        part = self.pixels[rows, self.x(begin_s) : self.x(end_s)]
        wanted = [int(colour[place : place + 2], 16) for place in (1, 3, 5)]
        return float((np.abs(part - wanted).max(axis=2) < 12).any(axis=0).mean())


def test_known_segments_have_their_colours_at_their_places(
    browser: Any, serve: Callable[..., Served], heart: Path, port: int
) -> None:
    daemon = serve(config(port, 4, heart="heart.csv"))
    daemon.wait_for(lambda: "web.started" in daemon.log.read_text())
    tab = Tab(browser, f"http://127.0.0.1:{port}/")
    tab.until(lambda: "ended" in tab.text("#list"))
    tab.page.select_option("#length", "5")
    tab.until(lambda: float(tab.data("#trace", "to-s") or 0) - float(tab.data("#trace", "from-s")) < 5.5)
    tab.page.wait_for_timeout(700)
    colours = {
        item.get_attribute("data-label"): item.get_attribute("data-colour")
        for item in tab.page.locator("#legend li[data-label]").all()
    }
    assert set(colours) == {"p", "qrs", "t"}
    events = daemon.events()
    seen = {label: 0 for label in colours}
    for end_s in (19.9, 12.0):
        while float(tab.data("#trace", "to-s")) > end_s + 2.5:
            tab.page.click("#back")
            tab.page.wait_for_timeout(120)
        canvas = Canvas(tab)
        segments = [
            e for e in events if e["type"] == "segment" and canvas.from_s < e["start_s"] and e["end_s"] < canvas.to_s
        ]
        for event in segments:
            for label, colour in colours.items():
                share = canvas.share(str(colour), event["start_s"], event["end_s"], band=True)
                assert (share > 0.5) == (label == event["label"]), (event, label, share)
            assert canvas.share(str(colours[event["label"]]), event["start_s"], event["end_s"], band=False) > 0.5, event
            seen[event["label"]] += 1
    assert min(seen.values()) >= 8, seen
    # Nothing was heard in the gap: no line, no label, but hatching all over it.
    canvas = Canvas(tab)
    assert canvas.from_s < GAP_S[0] and GAP_S[1] < canvas.to_s
    for colour in colours.values():
        assert canvas.share(str(colour), GAP_S[0] + 0.02, GAP_S[1] - 0.02, band=True) == 0
    gap = tab.page.evaluate("getComputedStyle(document.documentElement).getPropertyValue('--gap')").strip()
    inside = canvas.share(gap, *GAP_S, band=False)
    assert inside > 0.9, inside
    assert canvas.share(gap, GAP_S[1] + 0.5, canvas.to_s, band=False) < 0.1
    assert not tab.troubles and all(url.split("/")[2] == f"127.0.0.1:{port}" for url in tab.asked)
    tab.close()
    daemon.end()


def test_a_paused_view_stands_and_the_page_comes_back_after_a_restart(
    browser: Any, serve: Callable[..., Served], heart: Path, port: int
) -> None:
    daemon = serve(config(port, 1, heart="heart.csv"))
    daemon.wait_for(lambda: "web.started" in daemon.log.read_text())
    tab = Tab(browser, f"http://127.0.0.1:{port}/")
    tab.until(lambda: float(tab.data("#trace", "to-s") or 0) > 2)
    began_s, draws = time.monotonic(), int(tab.data("#trace", "draws"))
    tab.page.wait_for_timeout(2000)
    per_second = (int(tab.data("#trace", "draws")) - draws) / (time.monotonic() - began_s)
    assert per_second >= 10
    tab.page.keyboard.press("p")
    tab.page.wait_for_timeout(200)
    at_s = float(tab.data("#trace", "to-s"))
    tab.page.wait_for_timeout(600)
    assert float(tab.data("#trace", "to-s")) == at_s and tab.text("#pause") == "Live"
    daemon.end()
    tab.until(lambda: "No connection to the daemon" in tab.text("#lost"))
    daemon = serve()
    tab.until(lambda: tab.text("#link") == "connected" and "live" in tab.text("#list"))
    tab.page.keyboard.press("End")
    before_s = float(tab.data("#trace", "to-s"))
    tab.until(lambda: float(tab.data("#trace", "to-s")) > before_s + 0.5)
    tab.close()


def test_what_came_from_npm_is_what_was_published(tmp_path: Path) -> None:
    need_program("npm", "npm")
    try:
        found = vendor.published(tmp_path)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"npm gives nothing: {error.stderr.strip()[-200:]}")
    for name, content in found.items():
        assert (vendor.VENDOR / name).read_bytes() == content, name
