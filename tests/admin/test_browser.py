"""The dashboard in Chromium: light, dark and on a phone, with keys of odd names, and when something is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import redis

from flin.testing.process import wait_until
from tests.admin.paged import Paged
from tests.tool import needs_package, needs_tool

pytestmark = pytest.mark.slow

ODD: Final = (
    b"<b>bold</b>", b"<script>window.harmed=1</script>", b'"><img src=x onerror=window.harmed=1>', b"\xe2\x80\xaeevil",
    b"a\nb\tc", b"x" * 300, b"\x00\x07\xff", "😀 и".encode(), b"&amp;", b"{{7*7}}", b"';--", b" ", b"%00", b"__proto__",
)  # fmt: skip


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    chromium, driver = needs_tool("chromium"), needs_tool("chromedriver")
    needs_package("selenium")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options=options, service=Service(driver))
    yield browser
    browser.quit()


def _look(browser: Any, server: Paged, width: int, scheme: str) -> None:
    """Open the page, and wait until it has drawn something."""
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    feature = {"name": "prefers-color-scheme", "value": scheme}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    browser.get(f"http://127.0.0.1:{server.page_port}/")
    drawn = "return [...document.querySelectorAll('polyline')].filter((one) => one.points.length > 1).length"
    wait_until(lambda: browser.execute_script(drawn) >= 4, "the charts")


def _text(browser: Any, selector: str) -> str:
    return str(browser.execute_script(f"return document.querySelector({selector!r}).textContent"))


def test_the_dashboard(browser: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Paged(tmp_path) as server:
        _fill(server)
        grounds = set()
        for width, scheme in ((1280, "light"), (1280, "dark"), (390, "light")):
            _look(browser, server, width, scheme)
            wait_until(lambda: _text(browser, "#state") == "READY", "the server is ready: it may have had no turn")
            assert browser.execute_script("return document.documentElement.scrollWidth") <= width
            grounds.add(browser.execute_script("return getComputedStyle(document.body).backgroundColor"))
            assert browser.get_log("browser") == []
        assert len(grounds) == 2, "light and dark differ"
        _look_at_words(browser)
        monkeypatch.setattr(type(server.store), "read_only_reason", "an fsync failed")
        wait_until(lambda: _text(browser, "#state") == "NOT READY", "the state")
        assert "an fsync failed" in _text(browser, "#findings .bad")
        assert browser.execute_script("return document.title") == "NOT READY · flin"
        top = "return document.querySelector('#findings').getBoundingClientRect().bottom"
        assert browser.execute_script(top) < browser.execute_script(
            "return document.querySelector('#charts').getBoundingClientRect().top"
        )
        monkeypatch.undo()
        wait_until(lambda: _text(browser, "#findings") == "", "nothing is wrong any more")
        assert browser.get_log("browser") == []
    wait_until(lambda: _text(browser, "#state") == "NO ANSWER", "the end of the server")


def _fill(server: Paged) -> None:
    """10,000 keys of odd names, of which the newest stand in the slow log."""
    with redis.Redis(port=server.port, client_name="<i>me</i>") as client:
        client.config_set("slowlog-log-slower-than", 0)
        pipeline = client.pipeline(transaction=False)
        for number in range(10_000):
            pipeline.set(ODD[number % len(ODD)] + b"%d" % number, b"\xff<u>v</u>")
        pipeline.execute()
        client.config_set("slowlog-log-slower-than", -1)
    assert server.engine.stats()["memtables"]["open_entries"] >= 10_000


def _look_at_words(browser: Any) -> None:
    """Names are shown as they are, and none has become anything but text."""
    slow = _text(browser, "#slow")
    for shown in (
        "<b>bold</b>",
        "<script>window.harmed=1</script>",
        "\\u202eevil",
        "a\\u000ab\\u0009c",
        "\\u0000\\u0007\\xff",
    ):
        assert shown in slow, shown
    assert browser.execute_script("return document.querySelectorAll('td *').length") == 0
    assert browser.execute_script("return window.harmed") is None
