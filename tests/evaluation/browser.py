"""Debian's chromium, driven by Playwright, and what an automatic check can tell of a page's accessibility (WCAG 2.2 AA)."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

Open = Callable[..., Page]

_LEAST_CONTRAST = 4.5
# Texts that are shown, with their colour over the nearest opaque ground; half-transparent grounds in between are laid over one another.
# What stands on a picture counts by its own ground, which is opaque enough: it is measured over both black and white.
_CONTRASTS = """() => {
  const parse = text => { const c = new OffscreenCanvas(1, 1).getContext('2d', {willReadFrequently: true}); c.fillStyle = text;
    c.fillRect(0, 0, 1, 1); const d = c.getImageData(0, 0, 1, 1).data; return [d[0], d[1], d[2], d[3] / 255]; };
  const over = (top, under) => [0, 1, 2].map(i => top[i] * top[3] + under[i] * (1 - top[3]));
  const light = c => { const [r, g, b] = c.slice(0, 3).map(v => v / 255).map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
    return .2126 * r + .7152 * g + .0722 * b; };
  const ratio = (a, b) => { const [x, y] = [light(a), light(b)].sort((p, q) => q - p); return (x + .05) / (y + .05); };
  const open = document.querySelector('dialog[open]'), found = [];
  for (const node of (open || document.body).querySelectorAll('*')) {
    const own = [...node.childNodes].filter(n => n.nodeType === 3 && n.data.trim()).map(n => n.data.trim()).join(' ');
    if (!own || node.matches('script, style, option, title') || !node.checkVisibility({visibilityProperty: true})) continue;
    const style = getComputedStyle(node), grounds = [];
    let at = node, opaque = null;
    for (; at; at = at.parentElement) {
      if (node.namespaceURI.endsWith('svg') && at.namespaceURI.endsWith('svg')) {
        const mark = node.previousElementSibling;  // a number stands on the disc before it
        if (at === node && mark && mark.tagName === 'circle' && node.matches('[text-anchor=middle].on')) {
          opaque = parse(getComputedStyle(mark).fill); break; }
        continue;
      }
      const ground = parse(getComputedStyle(at).backgroundColor);
      if (ground[3] === 1) { opaque = ground; break; }
      if (ground[3] > 0) grounds.unshift(ground);
    }
    const bases = node.matches('.badge, .tag') && grounds.length ? [[0, 0, 0], [255, 255, 255]] : [opaque || [255, 255, 255]];
    for (const base of bases) {
      const ground = grounds.reduce((under, top) => over(top, under), base);
      const ink = over(parse(node.namespaceURI.endsWith('svg') ? style.fill : style.color), ground);
      found.push([own.slice(0, 40), ratio(ink, ground)]);
    }
  }
  return found;
}"""
_NAMED = {"button", "checkbox", "combobox", "image", "img", "link", "slider", "table", "region", "dialog", "navigation"}
_CONTROLS = "a[href], button, input, select, summary, textarea, [tabindex='0']"


def contrasts(page: Page) -> list[tuple[str, float]]:
    """Texts below the least contrast, with theirs; of an open dialog only its own. No text at all fails."""
    found = page.evaluate(_CONTRASTS)
    assert found
    return [(text, round(ratio, 2)) for text, ratio in found if ratio < _LEAST_CONTRAST]


def unnamed(page: Page) -> list[str]:
    """Tags of controls and pictures without an accessible name, from the browser's own accessibility tree."""
    session = page.context.new_cdp_session(page)
    nodes = session.send("Accessibility.getFullAXTree")["nodes"]
    missing = []
    for node in nodes:
        role, name = node.get("role", {}).get("value"), node.get("name", {}).get("value", "")
        if role in _NAMED and not node.get("ignored") and not str(name).strip():
            described = session.send("DOM.describeNode", {"backendNodeId": node["backendDOMNodeId"]})
            missing.append(described["node"]["nodeName"])
    session.detach()
    assert any(node.get("role", {}).get("value") in _NAMED for node in nodes)
    return missing


def unreached(page: Page) -> list[str]:
    """Visible controls that Tab, pressed from the start of the page on, never focuses."""
    wanted = page.evaluate(
        f"[...document.querySelectorAll(\"{_CONTROLS}\")].filter(e => e.checkVisibility() && !e.disabled)"
        ".map((e, i) => { e.dataset.stop = i; return e.tagName + ' ' + e.textContent.trim().slice(0, 20) })"
    )  # fmt: skip
    reached = set()
    for _ in range(len(wanted) + 2):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.dataset.stop ?? ''"))
    return [name for i, name in enumerate(wanted) if str(i) not in reached]


@contextmanager
def chromium() -> Iterator[Browser]:
    """The browser that is installed; Playwright's own is never fetched."""
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.fail("pages are tested in a real browser: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"], timeout=120_000)
        yield browser
        browser.close()
