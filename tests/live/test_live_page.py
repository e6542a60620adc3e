"""The daemon's page in a real browser.

With ``TCNSTREAM_SCREENSHOTS=1`` the pictures of ``tcnstream/docs`` are made anew, of a minute of the demo's recordings.
"""

from __future__ import annotations

import base64
import os
import re
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import vendor
from helpers.browser import DESKTOP, PHONE, Tab, chromium
from helpers.installed import need_program
from helpers.paths import AUDIO, ROOT
from helpers.ports import free_port
from helpers.served import Served

from tcnstream.live.web.routes import PAGE

for _package in ("uvicorn", "starlette", "websockets"):
    pytest.importorskip(_package, reason="extra live")

RATE_HZ = 360.0
GAP_S = (8.0, 9.5)
MAKES_PICTURES = os.environ.get("TCNSTREAM_SCREENSHOTS") == "1"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


def config(port: int, *streams: tuple[str, str, str]) -> str:
    """Streams of a name, a source and a model."""
    text = f'state = "state"\n[page]\nlisten = "127.0.0.1:{port}"\n'
    text += '[sink.log]\nkind = "jsonl"\npath = "segments.jsonl"\n'
    for name, source, model in streams:
        text += f'[stream.{name}]\nsource = "{source}"\nmodel = "{model}"\nsinks = ["log"]\n'
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
    daemon = serve(config(port, ("heart", "file:heart.csv?speed=4", "ecg")))
    daemon.wait_for(lambda: "web.started" in daemon.log.read_text())
    tab = Tab(browser, f"http://127.0.0.1:{port}/")
    tab.until(lambda: "ended" in tab.text("#list"))
    tab.page.select_option("#length", "5")
    tab.until(lambda: float(tab.data("#trace", "to-s") or 0) - float(tab.data("#trace", "from-s")) < 5.5)
    colours = {
        item.get_attribute("data-label"): item.get_attribute("data-colour")
        for item in tab.page.locator("#legend li[data-label]").all()
    }
    assert set(colours) == {"p", "qrs", "t"}
    daemon.wait_for(lambda: daemon.has_written_all_of("heart"))
    events = daemon.events()
    shown = [each for each in events if each["type"] == "segment" and each["start_s"] > 15]
    tab.until(lambda: sum(waves_said(tab).values()) >= len(shown))
    seen = {label: 0 for label in colours}
    for end_s in (19.9, 12.0):
        while float(shown_s := tab.data("#trace", "to-s")) > end_s + 2.5:
            tab.page.click("#back")
            tab.until(lambda shown_s=shown_s: tab.data("#trace", "to-s") != shown_s)
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
    one_looks_back(tab, segments)
    assert not tab.troubles and all(url.split("/")[2] == f"127.0.0.1:{port}" for url in tab.asked)
    tab.close()
    daemon.end()


def waves_said(tab: Tab) -> Counter[str]:
    """How many of each label the words for those who cannot see the trace name."""
    said = str(tab.page.locator("#trace").get_attribute("aria-label"))
    return Counter({label: int(count) for count, label in re.findall(r"(\d+) (p|qrs|t)\b", said)})


def one_looks_back(tab: Tab, segments: list[dict[str, Any]]) -> None:
    """By mouse, by keyboard, by an event; what is seen is said in words too."""

    def shown_s() -> tuple[float, float]:
        tab.settle()
        return float(tab.data("#trace", "from-s")), float(tab.data("#trace", "to-s"))

    before_s = shown_s()[1]
    waves, said = Counter(each["label"] for each in segments), waves_said(tab)
    assert said.keys() == waves.keys() and all(abs(said[label] - waves[label]) <= 1 for label in waves), said
    assert "1 gaps" in str(tab.page.locator("#trace").get_attribute("aria-label"))
    tab.page.locator("#trace").focus()
    tab.page.keyboard.press("ArrowRight")
    assert shown_s()[1] == pytest.approx(before_s + 1.25, abs=0.01)
    tab.page.keyboard.press("+")
    assert np.diff(shown_s())[0] == pytest.approx(2)
    tab.page.keyboard.press("End")
    assert shown_s()[1] == pytest.approx(20, abs=0.1) and tab.text("#pause") == "Pause"
    box = tab.page.locator("#overview").bounding_box()
    x = box["x"] + box["width"] * (1 - 15 / 300)  # fifteen seconds back
    tab.page.mouse.move(box["x"] + box["width"] - 5, box["y"] + 20)
    tab.page.mouse.down()
    tab.page.mouse.move(x, box["y"] + 20, steps=4)
    tab.page.mouse.up()
    middle_s = sum(shown_s()) / 2
    assert abs(middle_s - 5) < 0.5 and tab.text("#pause") == "Live"
    tab.page.select_option("#events-of", "gap")
    tab.settle()
    tab.page.keyboard.press("End")
    tab.until(lambda: "unplugged, 540 frames, reset" in tab.text("#events"))
    tab.page.locator("#events button").first.click()
    from_s, to_s = shown_s()
    assert from_s < GAP_S[1] < to_s


def draws_often(tab: Tab) -> bool:
    """Ten draws in a second; one in which the browser itself, or the daemon, got no time says nothing."""
    frames = """() => new Promise((done) => {
        let count = 0;
        const end = performance.now() + 1000;
        const next = (now) => now < end ? (count += 1, requestAnimationFrame(next)) : done(count);
        requestAnimationFrame(next);
    })"""
    counts = []
    for _ in range(30):
        before = int(tab.data("#trace", "draws"))
        counts.append(tab.page.evaluate(frames))
        drawn = int(tab.data("#trace", "draws")) - before
        if drawn >= 10:
            return True
    return drawn > 0 and max(counts) < 40


def test_the_page_lives_on_desktops_and_phones_and_after_a_restart(
    browser: Any, serve: Callable[..., Served], heart: Path, port: int, tmp_path: Path
) -> None:
    (tmp_path / "audio.ogg").write_bytes(AUDIO.read_bytes())
    bed = ("bed", "serial:/dev/serial/by-id/usb-ecg?rate=250&units=mV", "ecg")
    streams = [
        ("heart", "file:heart.csv?speed=1&repeat=true", "ecg"),
        ("room", "file:audio.ogg?speed=1&repeat=true", "speech"),
        bed,
    ]
    daemon = serve(config(port, *streams))
    daemon.wait_for(lambda: "web.started" in daemon.log.read_text())
    url = f"http://127.0.0.1:{port}/"
    tab = Tab(browser, url + "#heart", DESKTOP, color_scheme="light")
    tab.until(lambda: float(tab.data("#trace", "to-s") or 0) > 2)
    assert draws_often(tab)
    phone = Tab(browser, url + "#room", PHONE, color_scheme="dark", device_scale_factor=2)

    def row(name: str) -> str:
        return str(tab.page.locator(f"#list tr[data-key={name}]").inner_text())

    tab.until(lambda: "live" in row("heart") and "360 Hz" in row("heart") and "/min" in row("heart"))
    tab.until(lambda: "16 kHz" in row("room") and "retrying" in row("bed") and "cannot be opened" in row("bed"))
    tab.until(lambda: tab.page.title() == "▲ bed – tcnstream")
    assert all(figure in tab.text("#delay-figures") for figure in ("p50", "p99", "worst"))
    assert tab.page.locator("#delay-bars span").count() > 3 and " of 10000" in tab.text("#sinks")
    phone.until(lambda: phone.page.locator("#events tbody tr").count() > 0)
    for each in (tab, phone):
        over = each.page.evaluate("document.scrollingElement.scrollWidth - innerWidth")
        assert over <= 0, over
    assert phone.page.locator("#heart").is_hidden() and "SPEECH" in phone.text("#legend")
    verdict = "{board:'qemu-m4',state:'differs',says:'',frames:900,wrong_frames:3,largest:2,skipped_chunks:0}"
    shows = f"""import('/page/sinks.js').then((sinks) => sinks.showBoard(
        document.getElementById('board'), document.getElementById('board-facts'), {verdict}))"""
    tab.page.evaluate(shows)
    assert "differs" in tab.text("#board") and "900" in tab.text("#board")
    if MAKES_PICTURES:
        phone.page.select_option("#length", "30")
        tab.page.wait_for_timeout(50_000)
        for each, name in ((tab, "page"), (phone, "page_phone")):
            each.page.screenshot(path=ROOT / "tcnstream" / "docs" / f"{name}.png", full_page=each is tab)
    tab.page.keyboard.press("p")
    tab.settle()
    at_s = float(tab.data("#trace", "to-s"))
    tab.settle()
    assert float(tab.data("#trace", "to-s")) == at_s and tab.text("#pause") == "Live"
    daemon.end()
    tab.until(lambda: "No connection to the daemon" in tab.text("#lost") and "unknown" in tab.text("#list"))
    daemon = serve()
    tab.until(lambda: tab.text("#link") == "connected" and "live" in tab.text("#list"))
    assert tab.page.locator("#lost").is_hidden()
    tab.page.keyboard.press("End")
    before_s = float(tab.data("#trace", "to-s"))
    tab.until(lambda: float(tab.data("#trace", "to-s")) > before_s + 0.5)
    for each in (tab, phone):
        assert not each.troubles and all(asked.split("/")[2] == f"127.0.0.1:{port}" for asked in each.asked)
        each.close()


def test_beats_of_ventricular_origin_are_marked(
    browser: Any, serve: Callable[..., Served], heart: Path, port: int
) -> None:
    daemon = serve(config(port, ("heart", "file:heart.csv?speed=8", "ecg_beats")))
    daemon.wait_for(lambda: "web.started" in daemon.log.read_text())
    tab = Tab(browser, f"http://127.0.0.1:{port}/")
    tab.until(lambda: "ended" in tab.text("#list"))
    daemon.wait_for(lambda: daemon.has_written_all_of("heart"))

    def written() -> list[str]:
        """Newest first."""
        beats = [e for e in daemon.events() if e["type"] == "segment" and e["label"] == "qrs"]
        return ["QRS?" if e["noise"] > 0.5 else "QRS V" if e["ventricular"] > 0.5 else "QRS" for e in beats[::-1]]

    def shown() -> list[str]:
        names = tab.page.locator("#events tr[data-type=segment] td:nth-child(2)").all_inner_texts()
        return [name for name in names if name.startswith("QRS")]

    tab.until(lambda: len(shown()) > 20 and shown() == written()[: len(shown())])
    assert 3 <= written().count("QRS V") < len(written())
    # In a window of 10 s a QRS has no room for its name; the V stands there all the same.
    tab.page.evaluate(
        "() => { window.drawn = []; const was = CanvasRenderingContext2D.prototype.fillText;"
        " CanvasRenderingContext2D.prototype.fillText = function (text, ...at) { drawn.push(text);"
        " return was.call(this, text, ...at); }; }"
    )

    def moved() -> bool:
        tab.page.keyboard.press("ArrowLeft")
        tab.settle()
        return "V" in tab.page.evaluate("drawn")

    tab.until(moved)
    tab.close()


def test_the_page_asks_for_the_word(browser: Any, serve: Callable[..., Served], heart: Path, port: int) -> None:
    word = "correct-horse-battery-staple"
    heart.with_name("token").write_text(word)
    text = config(port, ("heart", "file:heart.csv?speed=1", "ecg"))
    daemon = serve(text.replace("\n[sink", '\ntoken_file = "token"\n[sink', 1))
    daemon.wait_for(lambda: "web.started" in daemon.log.read_text())
    tab = Tab(browser, f"http://127.0.0.1:{port}/")
    for said, shows in (("wrong", "That is not the word."), (word, "Streams")):
        tab.page.fill("#word", said)
        tab.page.keyboard.press("Enter")
        tab.until(lambda shows=shows: shows in tab.text("body"))
    tab.until(lambda: tab.text("#link") == "connected")
    assert word not in "".join(tab.asked) and word not in daemon.log.read_text()
    tab.close()


# What people with each kind of colour vision see, in linear light (Machado, Oliveira and Fernandes 2009, severity 1).
VISION = {
    "any": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def linear(colour: str) -> np.ndarray:
    value = np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)]) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def lab(light: np.ndarray) -> np.ndarray:
    x, y, z = np.cbrt(np.clip(XYZ @ light, 0, None) / XYZ.sum(axis=1))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("ground", ("light", "dark"))
def test_colours_are_told_apart_with_any_colour_vision(ground: str) -> None:
    sheets = (PAGE / "style.css").read_text().split("@media (prefers-color-scheme: dark)")
    found = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", sheets[ground == "dark"].split("*/")[-1]))
    luminance = {name: float((XYZ @ linear(colour))[1]) for name, colour in found.items()}

    def contrast(one: str, other: str) -> float:
        low, high = sorted((luminance[one], luminance[other]))
        return (high + 0.05) / (low + 0.05)

    for name in ("ink", "quiet", "accent", "good", "warn", "bad"):
        assert contrast(name, "paper") >= 4.5, name  # WCAG 2.2, text
    for name in ("label-0", "label-1", "label-2", "trace", "gap"):
        assert contrast(name, "paper") >= 3, name  # and graphics
    for name, seen in VISION.items():
        # Six times what a trained eye tells apart (a distance of 2.3); patterns and letters are there beside.
        labels = [lab(np.array(seen) @ linear(found[f"label-{number}"])) for number in range(3)]
        apart = min(float(np.linalg.norm(one - other)) for one, other in combinations(labels, 2))
        assert apart > 15, (name, apart)


def test_what_came_from_npm_is_what_was_published(tmp_path: Path) -> None:
    need_program("npm", "npm")
    try:
        found = vendor.published(tmp_path)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"npm gives nothing: {error.stderr.strip()[-200:]}")
    for name, content in found.items():
        assert (vendor.VENDOR / name).read_bytes() == content, name
