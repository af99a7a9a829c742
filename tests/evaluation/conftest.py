from __future__ import annotations

from pathlib import Path

import pytest

from magicapture.artifacts import read_manifest
from magicapture.evaluation import report
from magicapture.faces.prepared import PreparedSet
from magicapture.packs import Pack
from magicapture.world.people import Person
from tests.evaluation import artifacts


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
