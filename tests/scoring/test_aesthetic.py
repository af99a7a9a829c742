from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from magicapture.packs import Pack, PackError, load_pack
from magicapture.scoring.aesthetic import AestheticScorer
from tests.scoring.tinyclip import write_pack


def _head(pack: Pack) -> dict[str, np.ndarray]:
    return {name: tensor.astype(np.float32) for name, tensor in load_file(pack.path("aesthetic")).items()}


def test_the_head_is_an_mlp_on_the_embedding(pack: Pack, pictures: list[np.ndarray]) -> None:
    scorer, head = AestheticScorer(pack), _head(pack)
    rows = scorer.encoder.embed(pictures)
    inner = np.maximum(rows @ head["0.weight"].T + head["0.bias"], 0)
    assert (inner == 0).any()  # the activation has something to do
    expected = (inner @ head["2.weight"].T + head["2.bias"])[:, 0]
    assert scorer.score(pictures) == pytest.approx(expected, abs=1e-5)


def test_activation_none_is_linear(tmp_path: Path, pictures: list[np.ndarray]) -> None:
    pack = write_pack(tmp_path, activation="none")
    scorer, head = AestheticScorer(pack), _head(pack)
    rows = scorer.encoder.embed(pictures)
    expected = (rows @ head["0.weight"].T + head["0.bias"]) @ head["2.weight"].T + head["2.bias"]
    assert scorer.score(pictures) == pytest.approx(expected[:, 0], abs=1e-5)


def test_a_head_of_another_clip_is_refused(tmp_path: Path) -> None:
    pack = write_pack(tmp_path)
    head = load_file(pack.path("aesthetic"))
    head["0.weight"] = np.zeros((8, 7), np.float16)
    save_file(head, pack.path("aesthetic"))
    with pytest.raises(PackError, match="CLIP's 24 values"):
        AestheticScorer(load_pack(tmp_path))
