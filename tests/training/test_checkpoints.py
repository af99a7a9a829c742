from __future__ import annotations

import errno
import fcntl
import logging
import os
import resource
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest
import torch

import magicapture
from magicapture.training.checkpoints import Checkpoint, CheckpointFolder, code_hash, optimiser_tensors, restore_optimiser


def checkpoint(step: int) -> Checkpoint:
    return Checkpoint(
        step,
        {"weights": {"a": torch.full((3,), float(step))}, "optimiser": {"0.step": torch.tensor(float(step))}},
        {"curves": [{"total": 0.1}]},
    )


def test_the_last_two_are_kept_and_the_newest_is_read(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    assert folder.latest() is None and folder.path() is None
    for step in (2, 4, 10):
        folder.write(checkpoint(step))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-000004", "step-000010"]
    assert {path.suffix for path in tmp_path.rglob("*") if path.is_file()} == {".safetensors", ".json"}  # nothing pickled
    found = folder.latest()
    assert found is not None and found.step == 10 and found.notes == {"curves": [{"total": 0.1}]}
    assert torch.equal(found.tensors["weights"]["a"], torch.full((3,), 10.0))
    assert found.tensors["optimiser"]["0.step"].shape == ()


@pytest.mark.parametrize("damage", ["truncate", "flip", "lose", "state"])
def test_a_damaged_newest_falls_back_to_the_one_before(tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    folder = CheckpointFolder(tmp_path)
    folder.write(checkpoint(2))
    newest = folder.write(checkpoint(4))
    file = newest / ("state.json" if damage == "state" else "weights.safetensors")
    data = bytearray(file.read_bytes())
    if damage == "lose":
        file.unlink()
    elif damage == "flip":
        data[-1] ^= 1
        file.write_bytes(data)
    else:
        file.write_bytes(data[: len(data) // 2])
    with caplog.at_level(logging.WARNING):
        found = folder.latest()
    assert found is not None and found.step == 2
    assert "damaged" in caplog.text and "step-000004" in caplog.text


def test_what_a_killed_writer_left_is_not_read_and_is_cleared(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    folder.write(checkpoint(2))
    left = tmp_path / ".writing-x"
    left.mkdir()
    (left / "weights.safetensors").write_bytes(b"half")
    found = folder.latest()
    assert found is not None and found.step == 2 and not left.exists()


def test_a_process_that_died_holds_nothing(tmp_path: Path) -> None:
    code = "import sys, time; from pathlib import Path; from magicapture.training.checkpoints import CheckpointFolder\n"
    code += "with CheckpointFolder(Path(sys.argv[1])).held():\n    print('held', flush=True)\n    time.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", code, tmp_path], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        with open(tmp_path / ".lock", "wb") as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        other.kill()
    with CheckpointFolder(tmp_path).held():
        pass
    assert not (tmp_path / ".lock").exists()


def test_where_nothing_can_be_locked_it_is_said_and_trained_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with CheckpointFolder(tmp_path).held():
        assert f"{tmp_path} cannot be locked (No locks available)" in caplog.text


def test_an_optimiser_goes_on_exactly() -> None:
    def made() -> tuple[torch.nn.Parameter, torch.optim.AdamW]:
        parameter = torch.nn.Parameter(torch.linspace(-1, 1, 5))
        return parameter, torch.optim.AdamW([parameter], lr=0.1, fused=True)

    def train(parameter: torch.nn.Parameter, optimiser: torch.optim.AdamW, steps: range) -> None:
        for step in steps:
            optimiser.zero_grad()
            (parameter.square() * (step + 1)).sum().backward()
            optimiser.step()

    whole, optimiser = made()
    train(whole, optimiser, range(6))
    first, optimiser = made()
    train(first, optimiser, range(3))
    second, fresh = made()
    with torch.no_grad():
        second.copy_(first)
    restore_optimiser(fresh, optimiser_tensors(optimiser))
    train(second, fresh, range(3, 6))
    assert torch.equal(second, whole)


def test_of_a_checkpoint_that_cannot_be_written_nothing_is_left(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    folder.write(checkpoint(2))
    with pytest.raises(TypeError):
        folder.write(Checkpoint(4, checkpoint(4).tensors, {"not JSON": object()}))
    assert [path.name for path in tmp_path.iterdir()] == ["step-000002"]
    found = folder.latest()
    assert found is not None and found.step == 2


def test_a_disk_that_is_full_is_named_and_nothing_is_left(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, before[1]))
    try:
        with pytest.raises(OSError) as caught:
            CheckpointFolder(tmp_path).write(Checkpoint(1, {"weights": {"a": torch.zeros(1 << 20)}}))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.errno == errno.EFBIG and list(tmp_path.iterdir()) == []


def test_writing_copies_no_tensors(tmp_path: Path) -> None:
    """A whole model's and its optimiser's would fill the memory once more."""
    size = 8 << 20
    tracemalloc.start()
    try:
        CheckpointFolder(tmp_path).write(Checkpoint(1, {"weights": {"a": torch.zeros(size // 4)}}))
        assert tracemalloc.get_traced_memory()[1] < size / 2
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("room", ["training", "adapters", "backbones", "faces", "scoring"])
def test_other_code_that_trains_or_chooses_is_another_lineage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: str) -> None:
    monkeypatch.setattr(magicapture, "__file__", str(tmp_path / "__init__.py"))
    (tmp_path / room).mkdir()
    (tmp_path / room / "part.py").write_text("a = 1")
    before = code_hash.__wrapped__()
    (tmp_path / room / "part.py").write_text("a = 2")
    assert code_hash.__wrapped__() != before
