from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from magicapture import adapters
from magicapture.artifacts import writing
from magicapture.backbones import load_backbone
from magicapture.config import Config, load_config
from magicapture.packs import Pack
from tests.adapters.conftest import tune
from tests.backbones.tinysd import write_pack

DESCRIPTIONS = {"source": "a person with light skin , long hair", "reference": "in the beach style"}


def write_adapter(out: Path, pack: Pack, descriptions: dict[str, Any] | None, tokens: tuple[str, ...] = ("[V1]", "[V2]")) -> Path:
    """An ``adapter/1`` as tuning writes it, with random weights that do something."""
    backbone = tune(load_backbone(pack), tokens=tokens)
    with writing(out, "adapter/1") as draft:
        adapters.save(draft.path, backbone)
        (draft.path / "samples").mkdir()
        (draft.path / "samples/step-00040-0.png").write_bytes(b"sample")
        (draft.path / "attention").mkdir()
        (draft.path / "attention/source-v1.png").write_bytes(b"map")
        (draft.path / "curves.jsonl").write_text('{"step": 1}\n')
        draft.content = {
            "pack": pack.name,
            "pack_digest": pack.digest(),
            "diffusion_digest": pack.digest("diffusion"),
            "lora": {"rank": 4, "alpha": 2.0},
            "best_step": 40,
            "best_hash": adapters.tensor_hash(adapters.tensors(backbone)),
            "descriptions": descriptions,
            "seed": 3,
        }
    return out


@pytest.fixture(scope="session")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Pack:
    return write_pack(tmp_path_factory.mktemp("tinysd"))


@pytest.fixture(scope="session")
def adapter(tmp_path_factory: pytest.TempPathFactory, pack: Pack) -> Path:
    return write_adapter(tmp_path_factory.mktemp("adapters") / "adapter", pack, DESCRIPTIONS)


@pytest.fixture(scope="session")
def config(pack: Pack) -> Config:
    knobs = {"steps": 3, "sampler": "euler_ancestral", "guidance": 3.0, "batch": 3, "seeds": [1, 2, 3], "prompts": ["a [V1] in [V2]"]}
    return load_config({"pack": str(pack.folder), "device": "cpu", "generation": knobs, "evaluation": {"baseline_images": 2}})
