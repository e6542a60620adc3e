"""A real browser: Debian's Chromium, driven by playwright, under the page's own Content-Security-Policy."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

DESKTOP, PHONE = (1280, 900), (390, 844)
LIMIT_S = 90.0

# The page draws in its own frames, and says in words what it shows every half second at most.
_FRAMES_OF_0_7_S = """() => new Promise((done) => {
    const end = performance.now() + 700;
    const next = (now) => requestAnimationFrame(now < end ? next : done);
    requestAnimationFrame(next);
})"""


@contextmanager
def chromium() -> Iterator[Any]:
    """The browser; skips the test where it or playwright is not installed."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("there is no chromium here: apt-get install chromium libatomic1")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        pytest.skip("there is no playwright here: pip install playwright")
    with sync_playwright() as playwright:
        # A machine that tests may run as root, where Chromium's own sandbox does not start.
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


class Tab:
    """A tab that shows a daemon's page; ``asked`` is every address that it asked for, ``troubles`` what it said."""

    def __init__(self, browser: Any, url: str, size: tuple[int, int] = DESKTOP, **more: Any) -> None:
        self.context = browser.new_context(viewport={"width": size[0], "height": size[1]}, **more)
        self.context.set_default_timeout(LIMIT_S * 1000)
        self.page = self.context.new_page()
        self.asked: list[str] = []
        self.troubles: list[str] = []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("websocket", lambda socket: self.asked.append(socket.url))
        self.page.on("pageerror", lambda error: self.troubles.append(str(error)))
        self.page.on("console", self._heard)
        self.page.goto(url)

    def _heard(self, message: Any) -> None:
        if message.type == "error" and not any(known in message.text for known in ("WebSocket connection", "401 ")):
            self.troubles.append(message.text)

    def until(self, holds: Callable[[], Any]) -> Any:
        """Polls: ``wait_for_function`` needs ``eval``, which the policy forbids."""
        until_s = time.monotonic() + LIMIT_S
        while not (found := holds()):
            assert time.monotonic() < until_s, (self.troubles, self.page.locator("body").inner_text())
            self.page.wait_for_timeout(50)
        return found

    def settle(self) -> None:
        """Until all that was asked of the page is drawn and said, however slow it is."""
        self.page.evaluate(_FRAMES_OF_0_7_S)

    def text(self, selector: str) -> str:
        return str(self.page.locator(selector).inner_text())

    def data(self, selector: str, name: str) -> str:
        return str(self.page.locator(selector).get_attribute(f"data-{name}") or "")

    def close(self) -> None:
        self.context.close()
