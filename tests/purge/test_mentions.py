"""A name in what nothing proves to be the person's."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from magicapture.purge.mentions import mentions
from magicapture.purge.traces import TEXT


def test_a_tensor_files_whole_header_is_read_however_long_the_file(tmp_path: Path) -> None:
    tensors = {"w": np.frombuffer(b"zoraida ", np.float32)}  # in the numbers it is nobody's name
    save_file(tensors, tmp_path / "none.safetensors")
    save_file(tensors, tmp_path / "long.safetensors", {"a": "x" * 9000, "b": "of zoraida"})
    save_file(tensors, tmp_path / "large.safetensors", {"b": "of zoraida"})
    os.truncate(tmp_path / "large.safetensors", TEXT + 1)
    assert mentions("zoraida", [tmp_path]) == [(tmp_path / "large.safetensors", "text"), (tmp_path / "long.safetensors", "text")]


def test_text_is_read_and_what_is_none_is_not(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x" * 9000 + " Zoraida rang")
    (tmp_path / "picture.bin").write_bytes(b"\0 zoraida")
    (tmp_path / "zoraida.bin").write_bytes(b"\0")
    assert mentions("zoraida", [tmp_path]) == [(tmp_path / "notes.txt", "text"), (tmp_path / "zoraida.bin", "name")]
