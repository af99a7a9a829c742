"""A tiny random ViTModel as the role ``structure`` of a pack."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
import yaml
from transformers import ViTConfig, ViTModel


def build(seed: int = 0) -> ViTModel:
    """16 px, patches of 4: 16 keys of 12 numbers; two layers."""
    torch.manual_seed(seed)
    config = ViTConfig(
        hidden_size=12, num_hidden_layers=2, num_attention_heads=3, intermediate_size=24, image_size=16, patch_size=4, layer_norm_eps=1e-6
    )
    return ViTModel(config, add_pooling_layer=False)


def add_role(folder: Path, **settings: Any) -> Path:
    """Write the role into the pack in ``folder``."""
    build().save_pretrained(folder / "structure")
    content = yaml.safe_load((folder / "pack.yaml").read_text())
    files = sorted(path for path in (folder / "structure").iterdir())
    content["roles"]["structure"] = {
        "path": "structure", "licence": "Apache-2.0", "commercial": True, "settings": {"size": 16, **settings},
        "sha256": {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files},
    }  # fmt: skip
    (folder / "pack.yaml").write_text(yaml.safe_dump(content))
    return folder
