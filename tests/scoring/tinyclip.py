"""A tiny random CLIP and an aesthetic head on it, in the formats of the real ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from safetensors.numpy import save_file
from transformers import CLIPConfig, CLIPModel

from magicapture.packs import Pack, load_pack


def write_roles(folder: Path, *, activation: str = "relu") -> dict[str, Any]:
    """Write clip/ and aesthetic.safetensors; returns their entries of pack.yaml."""
    torch.manual_seed(0)
    tower = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    vision = {**tower, "image_size": 32, "patch_size": 8}
    text = {**tower, "vocab_size": 40, "max_position_embeddings": 16}
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=24)).save_pretrained(folder / "clip")
    generator = np.random.default_rng(0)
    head = {
        "0.weight": generator.normal(size=(8, 24)).astype(np.float16),
        "0.bias": np.full(8, -0.05, np.float16),
        "2.weight": generator.normal(size=(1, 8)).astype(np.float16),
        "2.bias": np.array([5], np.float16),
    }
    save_file(head, folder / "aesthetic.safetensors")
    common = {"licence": "Apache-2.0", "commercial": True}
    return {
        "clip": {"path": "clip", "settings": {"size": 32, "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.25, 0.3]}, **common},
        "aesthetic": {"path": "aesthetic.safetensors", "settings": {"activation": activation}, **common},
    }


def write_pack(folder: Path, *, activation: str = "relu") -> Pack:
    """A pack of these two roles alone."""
    content = {
        "name": "tiny", "version": "1", "description": "test", "resolution": 64, "attention_resolution": 16,
        "roles": write_roles(folder, activation=activation),
    }  # fmt: skip
    (folder / "pack.yaml").write_text(yaml.safe_dump(content))
    return load_pack(folder)
