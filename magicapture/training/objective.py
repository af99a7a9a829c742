"""One step's objective: one pass of the UNet over all rows, and every term from that prediction (paper, eqs. 9 and 10)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from magicapture.backbones import Backbone
from magicapture.faces.concepts import REFERENCE_TOKEN, SOURCE_TOKEN, TOKENS
from magicapture.training import losses
from magicapture.training.attention import AttentionMaps, side_positions
from magicapture.training.data import Batch
from magicapture.training.identity import FaceIdentity
from magicapture.training.structure import Structure

STRUCTURE_TERMS = ("structure", "contrast", "appearance")


def terms(
    backbone: Backbone,
    batch: Batch,
    attention: AttentionMaps | None,
    identity: FaceIdentity | None,
    masked: bool = True,
    structure: Structure | None = None,
) -> dict[str, Tensor]:
    """The unweighted terms of eq. 10 (scalars) from one prediction for all rows of the batch.

    "source", "reference", "composed": masked reconstruction, mean over the kind's rows (eqs. 4 to 6; of whole pictures unless
    ``masked``); "prior": reconstruction of the untuned model's pictures (DreamBooth); "identity": eq. 7 against each row's own subject,
    mean over the composed rows; "attention": eq. 8, mean over the rows that name a concept; "structure", "contrast", "appearance": of
    objects, mean over the composed rows, which then show source photos and are not reconstructed (paper's supplement). Terms without rows
    or instrument are absent.
    """
    schedule = backbone.schedule
    noisy = schedule.add_noise(batch.clean, batch.noise, batch.timesteps)
    text = backbone.encode_prompts(batch.prompts)
    if attention is None:
        prediction = backbone.predict(noisy, batch.timesteps, text)
    else:
        with attention.recording():
            prediction = backbone.predict(noisy, batch.timesteps, text)

    velocity = backbone.prediction_type == "v_prediction"
    target = schedule.get_velocity(batch.clean, batch.noise, batch.timesteps) if velocity else batch.noise
    errors = losses.masked_reconstruction(prediction, target, regions(batch) if masked else torch.ones_like(batch.face))
    held = "composed" if structure is not None else None  # to its source photo and the looks, not to its own latent
    result = {kind: errors[batch.rows(kind)].mean() for kind in dict.fromkeys(batch.kinds) if kind != held}
    if identity is not None:
        result["identity"] = _identity(identity, batch, noisy, prediction)
    if attention is not None:
        result["attention"] = _attention(backbone, attention, batch, held)
        attention.release()
    if structure is not None:
        result |= _structure(structure, batch, noisy, prediction)
    return result


def regions(batch: Batch) -> Tensor:
    """Where reconstruction counts, (rows, 1, H, W): the face in source rows, all but the face in the others (prior rows have none)."""
    source = torch.tensor([kind == "source" for kind in batch.kinds], device=batch.face.device).view(-1, 1, 1, 1)
    return torch.where(source, batch.face, 1 - batch.face)


def total(parts: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """The weighted sum of the terms; a term without a weight counts once."""
    return torch.stack([weights.get(name, 1.0) * value for name, value in parts.items()]).sum()


def _identity(identity: FaceIdentity, batch: Batch, noisy: Tensor, prediction: Tensor) -> Tensor:
    composed = batch.rows("composed")
    counted, weight = identity.counted(batch.timesteps[composed], batch.keypoints[composed])
    rows = [row for row, counts in zip(composed, counted.tolist(), strict=True) if counts]
    if not rows:
        return prediction.new_zeros(())
    clean = _estimate(identity.backbone, batch, rows, noisy, prediction)
    return weight * identity(clean, batch.keypoints[rows], [batch.subjects[row] for row in rows]).sum() / len(composed)


def _structure(structure: Structure, batch: Batch, noisy: Tensor, prediction: Tensor) -> dict[str, Tensor]:
    composed = batch.rows("composed")
    counted, weight = structure.counted(batch.timesteps[composed])
    rows = [row for row, counts in zip(composed, counted.tolist(), strict=True) if counts]
    if not rows:
        return {name: prediction.new_zeros(()) for name in STRUCTURE_TERMS}
    clean = _estimate(structure.backbone, batch, rows, noisy, prediction)
    parts = structure(clean, batch.clean[rows], [batch.looks[row] for row in rows])
    return {name: weight * values.sum() / len(composed) for name, values in parts.items()}


def _estimate(backbone: Backbone, batch: Batch, rows: list[int], noisy: Tensor, prediction: Tensor) -> Tensor:
    """The clean latents (rows, C, h, w) that the prediction implies."""
    alphas = backbone.schedule.alphas_cumprod.to(prediction.device)[batch.timesteps[rows]]
    return losses.predicted_clean(noisy[rows], prediction[rows], alphas, backbone.prediction_type)


def _attention(backbone: Backbone, attention: AttentionMaps, batch: Batch, held: str | None) -> Tensor:
    """Of each row the mean over its special tokens: its subject's held to the face, its look's to the rest; free in rows of kind ``held``.

    An object's texture is the look's, so that [V2] has to look at the object too.
    """
    positions = side_positions(backbone, batch.prompts)
    maps = attention.of(positions)
    rest = 1 - batch.face
    rest[batch.rows(held) if held else []] = 1
    masks = {SOURCE_TOKEN: batch.face, REFERENCE_TOKEN: rest}
    stray = torch.stack([losses.attention_refocusing(maps[:, i], masks[token]) for i, token in enumerate(TOKENS)], dim=1)
    present = positions.any(dim=-1)
    rows = (stray * present).sum(dim=1) / present.sum(dim=1).clamp(min=1)
    return rows.sum() / present.any(dim=1).sum().clamp(min=1)
