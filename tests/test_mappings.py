"""Mappings of knobs: from files, and by the annotations of their models."""

from __future__ import annotations

from pathlib import Path

import pytest

from magicapture.config import Config
from magicapture.mappings import ConfigError, read_mapping, section_of


def test_a_mapping_is_read_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("tuning: {steps: 7}\n")
    (tmp_path / "empty.yaml").write_text("# nothing yet\n")
    assert read_mapping(tmp_path / "a.yaml") == {"tuning": {"steps": 7}}
    assert read_mapping(tmp_path / "empty.yaml") == {}


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"a: [", "is not valid YAML: while parsing"),
        (b"\xff\xd8\xff\xe0", "is not valid YAML: 'utf-8' codec"),
        (b"- a\n", "expected a mapping of names to values, got list"),
        (b"[]", "expected a mapping of names to values, got list"),
        (b"false", "expected a mapping of names to values, got bool"),
        (None, "cannot be read (No such file or directory); expected a YAML file"),
    ],
)
def test_what_is_none_is_said_in_one_line(tmp_path: Path, data: bytes | None, said: str) -> None:
    file = tmp_path / "a.yaml"
    if data is not None:
        file.write_bytes(data)
    with pytest.raises(ConfigError) as caught:
        read_mapping(file)
    assert str(file) in str(caught.value) and said in str(caught.value) and "\n" not in str(caught.value)


def test_sections_are_told_from_knobs() -> None:
    found = {name: section_of(field.annotation) for name, field in Config.model_fields.items()}
    assert found["pack"] is None and found["device"] is None
    assert found["tuning"] is type(Config().tuning)
