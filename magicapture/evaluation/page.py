"""HTML pages of one file: inline CSS, script and SVG, pictures as data URIs; nothing is asked of the network."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from magicapture.artifacts import page_tag

_ENVIRONMENT = Environment(
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    loader=FileSystemLoader(Path(__file__).with_name("pages")),
)
_ENVIRONMENT.filters["sections"] = re.compile(r'<section id="([a-z-]+)"').findall  # for the contents


def render(template: str, subjects: Mapping[str, Sequence[str]] | None = None, **values: Any) -> str:
    """The page of a template in ``pages/``, with `made`, the time of now, beside `values`.

    `subjects`: whose pictures are in it (``artifacts.subjects_of``), which its head tells `magicapture purge`.
    """
    made = time.strftime("%d %B %Y, %H:%M UTC", time.gmtime())
    return _ENVIRONMENT.get_template(template).render(**values, tag=page_tag(subjects or {}), made=made)
