"""The report in a real browser, on a phone's and on a desktop's screen."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="module")
def browser() -> Iterator[webdriver.Chrome]:
    program = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    driver = shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.fail("the report is tested in a real browser: apt-get install chromium chromium-driver")
    options = Options()
    options.binary_location = program
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    made = webdriver.Chrome(options=options, service=Service(driver))
    yield made
    made.quit()


def _open(browser: webdriver.Chrome, page: Path, width: int, theme: str = "light") -> None:
    size = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": theme}]})
    browser.get_log("browser"), browser.get_log("performance")
    browser.get(page.as_uri())


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_nothing_is_wider_than_the_screen(browser: webdriver.Chrome, page: Path, width: int) -> None:
    _open(browser, page, width)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    outside = browser.execute_script(
        "return [...document.querySelectorAll('body *')].filter(e => { const r = e.getBoundingClientRect();"
        " return r.width && (r.right > innerWidth + 1 || r.left < -1) }).map(e => e.tagName + '.' + e.className)"
    )
    assert outside == []


def test_all_pictures_are_loaded_and_seen(browser: webdriver.Chrome, page: Path) -> None:
    _open(browser, page, 390)
    sizes = browser.execute_script("return [...document.images].map(i => [i.complete, i.naturalWidth, i.getBoundingClientRect().width])")
    assert len(sizes) > 50
    assert all(complete and natural > 0 and shown >= 40 for complete, natural, shown in sizes)


def test_no_request_and_no_complaint(browser: webdriver.Chrome, page: Path) -> None:
    _open(browser, page, 390)
    assert browser.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
    assert [url for url in asked if not url.startswith("data:")] == [page.as_uri()]


def test_text_is_readable_in_both_themes(browser: webdriver.Chrome, page: Path) -> None:
    grounds = []
    for theme in ("light", "dark"):
        _open(browser, page, 390, theme)
        ink, soft, ground = browser.execute_script(
            "const c = (s, p) => getComputedStyle(document.querySelector(s))[p];"
            "return [c('h1', 'color'), c('figcaption', 'color'), c('body', 'backgroundColor')]"
        )
        assert _contrast(ink, ground) > 7 and _contrast(soft, ground) > 4.5
        grounds.append(_luminance(ground))
        assert browser.execute_script("return parseFloat(getComputedStyle(document.querySelector('figcaption')).fontSize)") >= 13
    assert grounds[0] > 0.8 and grounds[1] < 0.1


def test_the_slider_moves_the_edge(browser: webdriver.Chrome, page: Path) -> None:
    _open(browser, page, 390)
    shown = browser.execute_script(
        "const i = document.querySelector('.slider input'), s = () => getComputedStyle(i.parentNode.querySelector('.top')).clipPath;"
        "const before = s(); i.value = 80; i.dispatchEvent(new Event('input')); return [before, s()]"
    )
    assert shown[0] != shown[1]
    assert browser.execute_script("return document.querySelector('.slider').style.getPropertyValue('--at')") == "80%"


def test_portraits_come_first_and_large(browser: webdriver.Chrome, page: Path) -> None:
    _open(browser, page, 390)
    top, width = browser.execute_script(
        "const r = document.querySelector('.gallery img').getBoundingClientRect(); return [r.top + scrollY, r.width]"
    )
    assert top < 844 and width > 340


def _luminance(colour: str) -> float:
    channels = [int(part) / 255 for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]
    red, green, blue = (c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _contrast(first: str, second: str) -> float:
    high, low = sorted((_luminance(first), _luminance(second)), reverse=True)
    return (high + 0.05) / (low + 0.05)
