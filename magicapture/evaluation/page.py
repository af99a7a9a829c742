"""HTML pages of one file: inline CSS, script and SVG, pictures as data URIs; nothing is asked of the network."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

_ENVIRONMENT = Environment(
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    loader=FileSystemLoader(Path(__file__).with_name("pages")),
)
_ENVIRONMENT.filters["sections"] = re.compile(r'<section id="([a-z-]+)"').findall  # for the contents


def render(template: str, **values: Any) -> str:
    """The page of a template in ``pages/``, with `made`, the time of now, beside `values`."""
    return _ENVIRONMENT.get_template(template).render(**values, made=time.strftime("%d %B %Y, %H:%M UTC", time.gmtime()))
