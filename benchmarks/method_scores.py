"""What the method's table measures beside the evaluation stage: likeness with its own levels, collapse, stray attention."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.pairs import Pair, levels_of, source_embeddings
from magicapture.config import Config
from magicapture.evaluation.measure import Measurer, face_masks
from magicapture.faces.align import align
from magicapture.faces.analysis import FaceDetector
from magicapture.faces.embed import Embedder
from magicapture.faces.prepared import PreparedItem, PreparedSet
from magicapture.generation.generator import Generator
from magicapture.packs import Pack, load_pack
from magicapture.scoring.clip import ClipEncoder
from magicapture.scoring.likeness import csim, normalised, separable
from magicapture.training.attention import AttentionMaps
from magicapture.training.validation import token_maps


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
    measurer = Measurer(pack, PreparedSet.load(prepared))
    photos, looks = measurer.prepared.source, measurer.prepared.reference
    images = [np.array(Image.open(file).convert("RGB")) for file in files]
    faces, hidden, _ = measurer.find(images)
    to_photo, to_look = (_nearest_around(measurer.style.encoder, images, hidden, items) for items in (photos, looks))
    referee = measurer.embedders["referee"]
    crops = [align(item.image(), item.keypoints) for item in looks if item.keypoints is not None]
    others = referee.embed(np.stack(crops)) if crops else None
    result = []
    for i, found in enumerate(faces):
        copy = to_photo[i] > to_look[i]
        if found and others is not None:
            row = referee.embed(align(images[i], found[0].keypoints)[None])
            copy |= (row @ others.T).max() > float(csim(row, measurer.sources["referee"])[0])
        result.append(float(copy))
    return result


def _nearest_around(
    encoder: ClipEncoder, images: Sequence[np.ndarray], hidden: Sequence[np.ndarray], items: Sequence[PreparedItem]
) -> np.ndarray:
    """(n,): cosine of each picture to the nearest of ``items``, faces hidden in both."""
    return (encoder.embed(images, hidden) @ encoder.embed([item.image() for item in items], face_masks(items)).T).max(1)


def stray_attention(adapter: Path, prepared: Path, config: Config) -> list[float]:
    """Share of each token's attention that lies outside of its region, a value a token and picture of the look, 0 to 1.

    The pictures are noised to 0.4 T by a fixed seed and predicted under the composed prompt; regions and layers are those of
    Attention Refocusing (paper, eq. 8): [V1] belongs on the face, [V2] on the rest.
    """
    backbone = Generator(adapter, config).backbone
    items = [item for item in PreparedSet.load(prepared).reference if item.keypoints is not None]
    if not items:
        return []
    attention = AttentionMaps(backbone.unet, load_pack(config.pack).attention_resolution)
    maps = token_maps(backbone, attention, [item.image() for item in items])
    face = torch.from_numpy(np.stack([item.mask() for item in items])).float()[:, None]
    face = (torch.nn.functional.interpolate(face, size=maps.shape[-2:], mode="nearest") > 0.5).float()[:, 0]
    outside = torch.stack([(maps[:, 0] * (1 - face)).sum((1, 2)), (maps[:, 1] * face).sum((1, 2))], 1) / maps.sum((2, 3))
    return outside.flatten().tolist()
