from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from magicapture import exits
from magicapture.faces import runtime
from magicapture.packs import Pack, PackError


def test_runs_on_one_thread(tiny_pack: Pack) -> None:
    session = runtime.session(tiny_pack.path("upscaler"))
    assert session.get_providers() == [runtime.CPU]
    assert session.get_session_options().intra_op_num_threads == 1
    (out,) = session.run(None, {"input": np.full((1, 3, 4, 5), 0.25, np.float32)})
    assert out.shape == (1, 3, 16, 20) and np.allclose(out, 0.25, atol=1e-6)


def test_a_large_network_has_the_threads_that_are_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    large = tmp_path / "large.onnx"
    with open(large, "wb") as file:
        file.truncate(runtime.SMALL)
    for told, count in (("3", 3), ("4,2", 4), ("", os.cpu_count())):
        monkeypatch.setenv("OMP_NUM_THREADS", told)
        assert runtime.threads_for(large) == count
    (tmp_path / "small.onnx").write_bytes(b"x")
    assert runtime.threads_for(tmp_path / "small.onnx") == 1


@pytest.mark.skipif(runtime.CUDA in onnxruntime.get_available_providers(), reason="this onnxruntime has CUDA")
def test_cuda_is_never_silently_replaced(tiny_pack: Pack) -> None:
    with pytest.raises(RuntimeError, match=r"device: cuda was asked for.*set device: cpu"):
        runtime.session(tiny_pack.path("upscaler"), "cuda")
    assert runtime.session(tiny_pack.path("upscaler"), "auto").get_providers() == [runtime.CPU]
    with pytest.raises(runtime.DeviceError, match="runs on") as caught:
        runtime.check(runtime.session(tiny_pack.path("upscaler")), "cuda")
    assert "set device: cpu" in (exits.explain(caught.value) or "")


def test_corrupt_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "upscaler.onnx"
    path.write_bytes(b"not a graph")
    with pytest.raises(PackError, match=r"upscaler.onnx is not a usable ONNX model.*packs verify"):
        runtime.session(path)


def test_no_torch_is_imported() -> None:
    """The images of the CPU stages hold none."""
    code = "import sys, magicapture.references, magicapture.postprocessing, magicapture.faces.prepared; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(runtime.__file__).parents[2]).returncode == 0
