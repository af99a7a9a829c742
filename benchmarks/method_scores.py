"""What the method's table measures beside the evaluation stage: likeness with its own levels, collapse, stray attention."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.pairs import Pair, levels_of, source_embeddings
from magicapture.config import Config
from magicapture.faces.align import align
from magicapture.faces.analysis import FaceDetector
from magicapture.faces.embed import Embedder
from magicapture.faces.parse import Parser, face_mask
from magicapture.faces.prepared import PreparedItem, PreparedSet
from magicapture.generation.generator import Generator
from magicapture.packs import Pack, load_pack
from magicapture.scoring.clip import ClipEncoder
from magicapture.scoring.likeness import csim, normalised, separable
from magicapture.scoring.style import StyleScorer
from magicapture.training.attention import AttentionMaps
from magicapture.training.prompts import DEFAULT_PROMPT, TOKENS

_MAP_TIME = 0.4  # share of the schedule at which attention is looked at


def world_likeness(pair: Pair, pack: Pack, cosines: Sequence[float | None], strangers: int) -> list[float | None]:
    """Referee cosines scaled by this person's own levels in this look: 0 = matched strangers, 1 = other renders of the person."""
    detector, referee = FaceDetector(pack, "cpu"), Embedder(pack, "referee", "cpu")
    levels = levels_of(pair, source_embeddings(pair, referee), detector, referee, strangers)
    if not separable(levels["genuine"], levels["stranger"]):
        return [None] * len(cosines)
    return [None if s is None else float(normalised(np.array(s), levels["genuine"], levels["stranger"])) for s in cosines]


def collapsed(files: Sequence[Path], prepared: Path, pack: Pack) -> list[float]:
    """1 for each portrait that is a copy instead of a composition, else 0: its face is nearer (referee) to a face of the look than to the
    person's photos, or all but its face is nearer (CLIP) to a photo than to the look."""
    data = PreparedSet.load(prepared)
    images = [np.array(Image.open(file).convert("RGB")) for file in files]
    detector, referee, parser, style = FaceDetector(pack, "cpu"), Embedder(pack, "referee", "cpu"), Parser(pack, "cpu"), StyleScorer(pack)
    faces = [next(iter(detector.detect(image)), None) for image in images]
    hidden = [
        np.zeros(image.shape[:2], bool) if face is None else face_mask(parser.parse(image), face.box)
        for image, face in zip(images, faces, strict=True)
    ]
    surroundings = {
        name: _nearest_around(style.encoder, images, hidden, items) for name, items in (("photo", data.source), ("look", data.reference))
    }
    crops = {
        name: referee.embed(np.stack([align(item.image(), item.keypoints) for item in items if item.keypoints is not None]))
        for name, items in (("photo", data.source), ("look", [item for item in data.reference if item.keypoints is not None]))
        if any(item.keypoints is not None for item in items)
    }
    result = []
    for i, face in enumerate(faces):
        copy = surroundings["photo"][i] > surroundings["look"][i]
        if face is not None and "look" in crops:
            row = referee.embed(align(images[i], face.keypoints)[None])
            copy |= (row @ crops["look"].T).max() > float(csim(row, crops["photo"])[0])
        result.append(float(copy))
    return result


def _nearest_around(
    encoder: ClipEncoder, images: Sequence[np.ndarray], hidden: Sequence[np.ndarray], items: Sequence[PreparedItem]
) -> np.ndarray:
    """(n,): cosine of each picture to the nearest of ``items``, faces hidden in both."""
    parsings = [item.parsing() for item in items]
    faces = [np.zeros(p.shape, bool) if item.box is None else face_mask(p, item.box) for p, item in zip(parsings, items, strict=True)]
    return (encoder.embed(images, hidden) @ encoder.embed([item.image() for item in items], faces).T).max(1)


@torch.no_grad()
def stray_attention(adapter: Path, prepared: Path, config: Config) -> list[float]:
    """Share of each token's attention that lies outside of its region, a value a token and picture of the look, 0 to 1.

    The pictures are noised to 0.4 T by a fixed seed and predicted under the composed prompt; regions and layers are those of
    Attention Refocusing (paper, eq. 8): [V1] belongs on the face, [V2] on the rest.
    """
    backbone = Generator(adapter, config).backbone
    items = [item for item in PreparedSet.load(prepared).reference if item.keypoints is not None]
    if not items:
        return []
    images = torch.from_numpy(np.stack([item.image() for item in items])).permute(0, 3, 1, 2).contiguous() / 127.5 - 1
    latents = backbone.encode_images(images)
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(0)).to(latents.device)
    timesteps = torch.full((len(items),), round(_MAP_TIME * len(backbone.schedule.alphas_cumprod)), device=latents.device)
    prompts = [DEFAULT_PROMPT] * len(items)
    attention = AttentionMaps(backbone.unet, load_pack(config.pack).attention_resolution)
    with attention.recording():
        backbone.predict(backbone.schedule.add_noise(latents, noise, timesteps), timesteps, backbone.encode_prompts(prompts))
    maps = attention.of(torch.stack([backbone.token_positions(prompts, token) for token in TOKENS], dim=1)).mean(dim=2).cpu()
    face = torch.from_numpy(np.stack([item.mask() for item in items])).float()[:, None]
    face = (torch.nn.functional.interpolate(face, size=maps.shape[-2:], mode="nearest") > 0.5).float()[:, 0]
    outside = torch.stack([(maps[:, 0] * (1 - face)).sum((1, 2)), (maps[:, 1] * face).sum((1, 2))], 1) / maps.sum((2, 3))
    return outside.flatten().tolist()
