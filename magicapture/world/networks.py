"""The small networks of the mini pack: face detector, parser, upscaler, restorer, CLIP, aesthetic head, ViT (recognisers: backbones)."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPVisionConfig, ViTConfig, ViTModel

from magicapture.backbones.recogniser import ConvNorm
from magicapture.faces.classes import PARSING_CLASSES
from magicapture.world.architecture import RESOLUTION, TEXT_LENGTH
from magicapture.world.tokenizer import build_tokenizer

STRIDES = (8, 16, 32)
ANCHORS = 2
CLIP_MEAN, CLIP_STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
CLIP_WIDTH = 128
STRUCTURE_MEAN, STRUCTURE_STD = CLIP_MEAN, CLIP_STD
STRUCTURE_WIDTH, STRUCTURE_PATCH = 96, 4


class Detector(nn.Module):
    """SCRFD's outputs from a small feature pyramid: 2 anchors a cell at strides 8, 16, 32 (format: insightface)."""

    def __init__(self, norm: bool = True) -> None:
        super().__init__()
        width = 64
        self.stem = nn.Sequential(ConvNorm(3, 16, 3, 2, norm=norm), ConvNorm(16, 32, 3, 2, norm=norm), ConvNorm(32, 32, 3, norm=norm))
        self.down = nn.ModuleList(
            nn.Sequential(ConvNorm(i, o, 3, 2, norm=norm), ConvNorm(o, o, 3, norm=norm), ConvNorm(o, o, 3, norm=norm))
            for i, o in ((32, 64), (64, 96), (96, 128))
        )
        self.side = nn.ModuleList(ConvNorm(i, width, 1, norm=norm) for i in (64, 96, 128))
        self.smooth = nn.ModuleList(ConvNorm(width, width, 3, norm=norm) for _ in STRIDES)
        # SCRFD's way back up: where a lip ends is seen at stride 4, also when the face is answered for at stride 32.
        self.rise = nn.ModuleList(nn.Conv2d(i, width, 3, 2, padding=1) for i in (32, width, width))
        for way in self.rise:
            nn.init.zeros_(way.weight)  # type: ignore[arg-type]
            nn.init.zeros_(way.bias)  # type: ignore[arg-type]
        self.head = nn.ModuleList(nn.Conv2d(width, ANCHORS * 5, 3, padding=1) for _ in STRIDES)
        # Key points are wanted to a few hundredths of a face: they get layers of their own.
        self.points = nn.ModuleList(
            nn.Sequential(*(ConvNorm(width, width, norm=norm) for _ in range(2)), nn.Conv2d(width, ANCHORS * 10, 3, padding=1))
            for _ in STRIDES
        )
        for head in (*self.head, *(tower[-1] for tower in self.points)):
            nn.init.normal_(head.weight, 0, 0.01)  # type: ignore[arg-type]
            nn.init.zeros_(head.bias)  # type: ignore[arg-type]
        for head in self.head:
            head.bias.data[:ANCHORS] = -4.0  # type: ignore[index, union-attr]  # faces are rare among cells

    def logits(self, x: Tensor) -> list[Tensor]:
        """Per stride (B, cells x 2, 15): score logit, box distances (4), key point offsets (10), in stride units."""
        maps, stem = [], self.stem(x)
        features = stem
        for down in self.down:
            features = down(features)
            maps.append(features)
        top = None
        levels: list[Tensor] = []
        for side, smooth, features in zip(reversed(self.side), reversed(self.smooth), reversed(maps), strict=True):
            merged = side(features)
            if top is not None:
                merged = merged + F.interpolate(top, scale_factor=2.0, mode="nearest")
            top = merged
            levels.insert(0, smooth(merged))
        below = stem
        for i, way in enumerate(self.rise):
            below = levels[i] = levels[i] + way(below)
        rows = []
        for head, tower, level in zip(self.head, self.points, levels, strict=True):
            out = torch.cat([head(level), tower(level)], 1)
            # channels: 2 scores, 2 x 4 distances, 2 x 10 offsets -> rows ordered y, x, anchor
            flat = out.flatten(2).transpose(1, 2)
            score, box, points = flat.split([ANCHORS, 4 * ANCHORS, 10 * ANCHORS], 2)
            count = flat.shape[1] * ANCHORS
            parts = [part.reshape(-1, count, size) for part, size in ((score, 1), (box, 4), (points, 10))]
            rows.append(torch.cat([parts[0], F.softplus(parts[1]), parts[2]], 2))
        return rows

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """(1, 3, H, W), H and W multiples of 32, RGB (x - 127.5) / 128 -> 9 tensors: scores, boxes, key points of each stride."""
        rows = self.logits(x)
        parts = [[row[0, :, :1].sigmoid(), row[0, :, 1:5], row[0, :, 5:]] for row in rows]
        return tuple(level[kind] for kind in range(3) for level in parts)


class FaceParser(nn.Module):
    """U-Net: (B, 3, 128, 128) normalised RGB -> logits (B, 19, 128, 128).

    Works at half size and ends in a pixel shuffle, whose classes are then moved to the edges of the picture itself: brows and earrings
    are two or three pixels thin.
    """

    def __init__(self, norm: bool = True) -> None:
        super().__init__()
        widths = (32, 48, 96, 128)
        self.stem = nn.Sequential(ConvNorm(3, widths[0], 5, 2, norm=norm), ConvNorm(widths[0], widths[0], norm=norm))
        self.down = nn.ModuleList(nn.Sequential(ConvNorm(i, o, 3, 2, norm=norm), ConvNorm(o, o, norm=norm)) for i, o in pairwise(widths))
        self.side = nn.ModuleList(ConvNorm(i + o, o, 1, norm=norm) for i, o in zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.up = nn.ModuleList(ConvNorm(o, o, norm=norm) for o in widths[-2::-1])
        classes = len(PARSING_CLASSES)
        self.last = nn.Conv2d(widths[0], 4 * classes, 3, padding=1)
        self.detail = nn.Conv2d(3, 12, 3, padding=1)
        self.join, self.move = nn.Conv2d(12 + classes, 24, 3, padding=1), nn.Conv2d(24, classes, 3, padding=1)
        nn.init.zeros_(self.move.weight)
        nn.init.zeros_(self.move.bias)  # type: ignore[arg-type]

    def forward(self, image: Tensor) -> Tensor:
        x = self.stem(image)
        skips = []
        for down in self.down:
            skips.append(x)
            x = down(x)
        for side, up, skip in zip(self.side, self.up, reversed(skips), strict=True):
            x = up(side(torch.cat([F.interpolate(x, scale_factor=2.0, mode="nearest"), skip], 1)))
        rough = F.pixel_shuffle(self.last(x), 2)
        seen = torch.cat([F.leaky_relu(self.detail(image), 0.1), rough], 1)
        return rough + self.move(F.leaky_relu(self.join(seen), 0.1))


class _Plain(nn.Module):
    """Two convolutions beside the identity, without norm, which would take away the brightness a picture must keep."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(width, width, 3, padding=1), nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.leaky_relu(self.first(x), 0.1))


class Upscaler(nn.Module):
    """x4: (B, 3, H, W) RGB in 0..1 -> (B, 3, 4H, 4W) in 0..1; a residual on the bilinear enlargement.

    Half of the blocks see the picture at half size, so that a pixel knows which feature of the face it lies in.
    """

    SCALE = 4

    def __init__(self, width: int = 48, blocks: int = 4) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, width, 3, padding=1)
        self.fine = nn.Sequential(*(_Plain(width) for _ in range(blocks)))
        self.down = nn.Conv2d(width, 2 * width, 4, 2, 1)
        self.coarse = nn.Sequential(*(_Plain(2 * width) for _ in range(blocks)))
        self.up = nn.Conv2d(2 * width, 4 * width, 1)
        self.join = nn.Sequential(*(_Plain(width) for _ in range(2)))
        self.last = nn.Conv2d(width, 3 * self.SCALE**2, 3, padding=1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        features = self.fine(self.first(x - 0.5))
        wide = F.pixel_shuffle(self.up(self.coarse(self.down(features))), 2)
        residual = F.pixel_shuffle(self.last(self.join(features + wide)), self.SCALE)
        enlarged = F.interpolate(x, scale_factor=float(self.SCALE), mode="bilinear", align_corners=False)
        return (enlarged + residual).clamp(0, 1)


class Restorer(nn.Module):
    """(B, 3, 128, 128) RGB in [-1, 1], aligned face, and ``weight`` (fidelity, 0..1) -> input + (1 - weight) x residual."""

    def __init__(self, norm: bool = True) -> None:
        super().__init__()
        width = 24
        self.first = ConvNorm(12, width, norm=False)
        self.down = nn.ModuleList(ConvNorm(i, o, 3, 2, norm=norm) for i, o in ((width, 2 * width), (2 * width, 4 * width)))
        self.deep = nn.Sequential(*(_Plain(4 * width) for _ in range(4)))
        self.up = nn.ModuleList(ConvNorm(i + o, o, norm=norm) for i, o in ((4 * width, 2 * width), (2 * width, width)))
        self.last = nn.Conv2d(width, 12, 3, padding=1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, weight: Tensor) -> Tensor:
        skips = [self.first(F.pixel_unshuffle(x, 2))]
        for down in self.down:
            skips.append(down(skips[-1]))
        features = self.deep(skips.pop())
        for up in self.up:
            features = up(torch.cat([F.interpolate(features, scale_factor=2.0, mode="nearest"), skips.pop()], 1))
        residual = F.pixel_shuffle(self.last(features), 2)
        return (x + (1 - weight).to(x.dtype) * residual).clamp(-1, 1)


def build_clip(folder: Path) -> CLIPModel:
    """A small CLIPModel (64 px, patches of 8; both sides project to 128) for the world's tokenizer, which is written to ``folder``."""
    tokenizer = build_tokenizer(folder, TEXT_LENGTH)
    text = CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=CLIP_WIDTH, intermediate_size=4 * CLIP_WIDTH, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=TEXT_LENGTH, bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id, projection_dim=CLIP_WIDTH,
    )  # fmt: skip
    vision = CLIPVisionConfig(
        hidden_size=CLIP_WIDTH,
        intermediate_size=4 * CLIP_WIDTH,
        num_hidden_layers=4,
        num_attention_heads=4,
        image_size=RESOLUTION,
        patch_size=8,
        projection_dim=CLIP_WIDTH,
    )
    return CLIPModel(CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=CLIP_WIDTH))


def build_aesthetic() -> nn.Sequential:
    """(n, 128) unit embeddings -> (n, 1) quality, about 1 to 10."""
    return nn.Sequential(nn.Linear(CLIP_WIDTH, 64), nn.ReLU(), nn.Linear(64, 1))


def build_structure() -> ViTModel:
    """A small ViT (64 px, 16 x 16 patches of 4 px): 0.5 million parameters, keys and [CLS] of 96 numbers."""
    config = ViTConfig(
        hidden_size=STRUCTURE_WIDTH, intermediate_size=4 * STRUCTURE_WIDTH, num_hidden_layers=4, num_attention_heads=4,
        image_size=RESOLUTION, patch_size=STRUCTURE_PATCH, layer_norm_eps=1e-6,
    )  # fmt: skip
    return ViTModel(config, add_pooling_layer=False)
