"""A pack whose diffusion model is tiny and random but of the real classes, and a prepared set that goes with it."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import yaml
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel

from magicapture.backbones.recogniser import FaceNet
from magicapture.faces import prepared
from magicapture.faces.align import ARCFACE
from magicapture.world.tokenizer import build_tokenizer
from tests import tinyfamilies
from tests.faces import tinypack

RESOLUTION = 32
WIDTH = 16


def build_diffusion(folder: Path, prediction_type: str) -> None:
    """32 px -> latents of 16x16x4; cross-attention at 16x16 and 8x8; a word-level CLIP."""
    torch.manual_seed(0)
    vae = AutoencoderKL(
        block_out_channels=(8, 16), latent_channels=4,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
        layers_per_block=1, norm_num_groups=2, sample_size=RESOLUTION, mid_block_add_attention=False,
    )  # fmt: skip
    unet = UNet2DConditionModel(
        sample_size=16, in_channels=4, out_channels=4, block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4,
        down_block_types=("CrossAttnDownBlock2D",) * 2, up_block_types=("CrossAttnUpBlock2D",) * 2,
        cross_attention_dim=WIDTH, attention_head_dim=2,
    )  # fmt: skip
    tokenizer = build_tokenizer(folder / "tokenizer", 32)
    start, end = tokenizer.bos_token_id, tokenizer.eos_token_id
    text = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer), hidden_size=WIDTH, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
            max_position_embeddings=32,
            bos_token_id=start, eos_token_id=end, pad_token_id=end, projection_dim=WIDTH,
        )
    )  # fmt: skip
    schedule = DDPMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", prediction_type=prediction_type, clip_sample=False
    )
    for name, part in (("vae", vae), ("unet", unet), ("text_encoder", text), ("scheduler", schedule)):
        part.save_pretrained(folder / name)
    (folder / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')


def build_pack(folder: Path, prediction_type: str = "v_prediction", family: str | None = None) -> Path:
    """The tiny ONNX models of the faces' tests, a tiny diffusion model (of another family, if named), and a random torch recogniser."""
    tinypack.build(folder)
    if family is None:
        build_diffusion(folder / "diffusion", prediction_type)
    else:
        tinyfamilies.write_family(folder / "diffusion", family)
    torch.manual_seed(1)
    save_file(FaceNet("plain", norm=False).state_dict(), folder / "recogniser.safetensors")
    pack = yaml.safe_load((folder / "pack.yaml").read_text())
    diffusion = {
        str(path.relative_to(folder / "diffusion")): _sha(path) for path in sorted((folder / "diffusion").rglob("*")) if path.is_file()
    }
    about = {"licence": "Apache-2.0", "commercial": True}
    pack["roles"]["diffusion"] = {"path": "diffusion", "sha256": diffusion, **about}
    pack["roles"]["recogniser_torch"] = {
        "path": "recogniser.safetensors", "sha256": {"recogniser.safetensors": _sha(folder / "recogniser.safetensors")},
        "settings": {"architecture": "plain"}, **about,
    }  # fmt: skip
    pack |= {"resolution": RESOLUTION, "attention_resolution": 8}
    (folder / "pack.yaml").write_text(yaml.safe_dump(pack))
    return folder


def keypoints(centre: tuple[float, float] = (16, 16), width: float = 9.0) -> np.ndarray:
    """Five points of an upright face, eyes ``width`` px apart."""
    return ((ARCFACE - ARCFACE.mean(axis=0)) * (width / 35.2) + centre).astype(np.float32)


def picture(name: str, seed: int, face: bool = True) -> prepared.Picture:
    """A random smooth picture with an elliptic face mask."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(0, 255, (4, 4, 3))
    image = np.kron(coarse, np.ones((8, 8, 1))).astype(np.uint8)
    ys, xs = np.mgrid[:RESOLUTION, :RESOLUTION]
    centre = (14 + seed % 3, 15 + seed % 2)
    mask = ((xs - centre[0]) / 8) ** 2 + ((ys - centre[1]) / 10) ** 2 < 1
    if not face:
        return prepared.Picture(name, image, np.zeros(mask.shape, np.uint8), np.zeros(mask.shape, bool))
    box = np.array([centre[0] - 8, centre[1] - 10, centre[0] + 8, centre[1] + 10], np.float32)
    return prepared.Picture(name, image, mask.astype(np.uint8), mask, keypoints(centre), box, 0.9, 50.0, name)


def build_prepared(out: Path, faceless: int = 0) -> Path:
    """Three source photos, three looks (the last ``faceless`` without a face), random embeddings of the tiny pack's widths."""
    rng = np.random.default_rng(5)

    def unit(rows: int, width: int) -> np.ndarray:
        array = rng.normal(size=(rows, width)).astype(np.float32)
        return array / np.linalg.norm(array, axis=1, keepdims=True)

    return prepared.write(
        out,
        resolution=RESOLUTION,
        source=[picture(f"s{i}", i) for i in range(3)],
        reference=[picture(f"r{i}", 10 + i, face=i < 3 - faceless) for i in range(3)],
        embeddings={"source.recogniser": unit(3, 128), "source.judge": unit(3, 4)},
        descriptions={"source": "a person with light skin", "reference": ""},
    )


def build_several(out: Path, faces: bool = True) -> Path:
    """Two subjects, "ann" of one photo and "bob" of three, and two looks, "gala" and "noir"; things instead of people where asked."""

    def of(concept: str, count: int, first: int) -> list[prepared.Picture]:
        return [replace(picture(f"{concept}/{i}", first + i, faces), concept=concept) for i in range(count)]

    rows = np.eye(4, 128, dtype=np.float32) if faces else np.zeros((0, 0), np.float32)
    return prepared.write(
        out, resolution=RESOLUTION, source=[*of("ann", 1, 50), *of("bob", 3, 60)], reference=[*of("gala", 2, 70), *of("noir", 2, 80)],
        embeddings={"source.recogniser": rows, "source.judge": rows[:, :4]}, descriptions={"source:ann": "a person with light skin"},
    )  # fmt: skip


def build_objects(out: Path) -> Path:
    """Two photos of a thing and two looks, without a face anywhere."""
    photos, looks = ([picture(f"{name}{i}", first + i, face=False) for i in range(2)] for name, first in (("s", 30), ("r", 40)))
    inside = picture("mask", 0).mask
    empty = np.zeros((0, 0), np.float32)
    return prepared.write(
        out, resolution=RESOLUTION, source=[replace(photo, mask=inside) for photo in photos], reference=looks,
        embeddings={"source.recogniser": empty, "source.judge": empty}, descriptions={"source": "a round vase", "reference": ""},
    )  # fmt: skip


def _sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
