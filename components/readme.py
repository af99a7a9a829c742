"""READMEs of the components, generated from signature, docstring and metadata.yaml: ``python -m components.readme [--check]``."""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from pathlib import Path

import yaml
from kfp import dsl

from magicapture.artifacts import write_text

FOLDER = Path(__file__).parent


def names() -> list[str]:
    """Every component's name: the folders that hold a component.py."""
    return sorted(path.parent.name for path in FOLDER.glob("*/component.py"))


def load(name: str) -> dsl.base_component.BaseComponent:
    """The component of a folder."""
    return getattr(importlib.import_module(f"components.{name}.component"), name)


def render(name: str) -> str:
    """The README of a component as Markdown."""
    component = load(name)
    spec = component.component_spec
    metadata = yaml.safe_load((FOLDER / name / "metadata.yaml").read_text())
    summary, arguments = _docstring(component.python_func)
    image = spec.implementation.container.image
    lines = [
        f"# {name}",
        "",
        "<!-- Written by `python -m components.readme`; edit component.py or metadata.yaml instead. -->",
        "",
        summary,
        "",
    ]
    for title, ports in (("Inputs", spec.inputs), ("Outputs", spec.outputs)):
        if not ports:
            continue
        lines += [f"## {title}", "", "| name | type | what |", "| --- | --- | --- |"]
        lines += [
            f"| `{port}` | {_type(entry)} | {arguments.get(port, metadata.get('outputs', {}).get(port, ''))} |"
            for port, entry in ports.items()
        ]
        lines.append("")
    kubeflow = metadata["dependencies"]["kubeflow"]
    services = metadata["dependencies"]["external_services"]
    lines += ["## Metadata", "", f"- image: `{image}`", f"- stability: {metadata['stability']}"]
    lines += [f"- needs: {entry['name']} {entry['version']}" for entry in kubeflow]
    lines += [f"- talks to: {entry['name']} {entry['version']}" for entry in services]
    lines += [
        f"- tags: {', '.join(metadata['tags'])}",
        f"- last verified: {metadata['lastVerified']}",
        f"- source: [{metadata['links']['source']}](../../{metadata['links']['source']})",
    ]
    return "\n".join(lines) + "\n"


def stale() -> list[str]:
    """Names of the components whose README is missing or differs from what would be written."""
    return [name for name in names() if not (path := FOLDER / name / "README.md").is_file() or path.read_text() != render(name)]


def _docstring(function: object) -> tuple[str, dict[str, str]]:
    """Summary and the entries of "Args:"."""
    text = inspect.getdoc(function) or ""
    summary, _, arguments = text.partition("Args:")
    entries = re.findall(r"^ +(\w+): (.+(?:\n {8,}.+)*)", arguments, re.MULTILINE)
    return " ".join(summary.split()), {name: " ".join(what.split()) for name, what in entries}


def _type(port: object) -> str:
    text = str(getattr(port, "type", "")).removeprefix("system.").partition("@")[0]
    return f"list of {text}" if getattr(port, "is_artifact_list", False) else text


def main() -> int:
    """Write every README, or with --check say which are stale; returns the exit status."""
    if "--check" in sys.argv[1:]:
        old = stale()
        if old:
            print(f"stale: {', '.join(old)}; run `python -m components.readme`")
        return int(bool(old))
    for name in names():
        write_text(FOLDER / name / "README.md", render(name))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
