from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, ViewportSize

from magicapture.artifacts import read_manifest
from magicapture.evaluation import report
from magicapture.faces.prepared import PreparedSet
from magicapture.packs import Pack
from magicapture.world.people import Person
from tests.evaluation import artifacts
from tests.evaluation.browser import Open, chromium


@pytest.fixture(scope="session")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Pack:
    return artifacts.marker_pack(tmp_path_factory.mktemp("marker-pack"))


@pytest.fixture(scope="session")
def marker_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return artifacts.marker_prepared(tmp_path_factory.mktemp("marker") / "prepared")


@pytest.fixture(scope="session")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A prepared set of a rendered person and portraits of them, with everything a report can show."""
    folder = tmp_path_factory.mktemp("rendered")
    person = Person.sample(7)
    return artifacts.rendered_prepared(folder / "prepared", person), artifacts.rendered_portraits(folder / "portraits", person)


@pytest.fixture(scope="session")
def page(rendered: tuple[Path, Path], pack: Pack, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of it as a file."""
    prepared, portraits = rendered
    html = report.render(
        images=portraits,
        manifest=read_manifest(portraits, "portraits"),
        prepared=PreparedSet.load(prepared),
        result=artifacts.rendered_result(portraits),
        config=artifacts.config(pack),
        pack=pack,
        lineage="cafe0123cafe0123",
    )
    file = tmp_path_factory.mktemp("page") / "report.html"
    file.write_text(html)
    return file


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Open]:
    """Opens a page (file, width in px, colour scheme); whatever the browser complains of fails the test."""
    opened: list[BrowserContext] = []
    complaints: list[str] = []

    def open_(file: Path, width: int, scheme: Any = "light", *, script: bool = True, before: Callable[[Page], None] | None = None) -> Page:
        size: ViewportSize = {"width": width, "height": 844}
        opened.append(browser.new_context(viewport=size, color_scheme=scheme, java_script_enabled=script, has_touch=width < 600))
        page = opened[-1].new_page()
        page.set_default_timeout(60_000)
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        if before:
            before(page)
        page.goto(file.as_uri())
        return page

    yield open_
    for context in opened:
        context.close()
    assert complaints == []
