"""The terms of MagiCapture's objective (paper, eqs. 4 to 8; for objects its supplement) as pure functions; each returns one value a row.

Every row is normalised by itself, so that a row's loss and gradient do not depend on what else is in the batch
(the original code rescales the whole batch once per row). Masks are binary after nearest resizing; an empty mask gives 0.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

PREDICTION_TYPES = ("epsilon", "v_prediction")


def _full(values: Tensor) -> Tensor:
    """At least float32: half precision loses the small differences the losses are made of."""
    return values if values.dtype == torch.float64 else values.float()


def resized_mask(mask: Tensor, size: tuple[int, int]) -> Tensor:
    """Mask (batch, 1, H, W) in [0, 1], or bool, resized to ``size`` by nearest neighbour: float32 of exactly 0 and 1 (cut at 0.5)."""
    mask = mask.float()
    if tuple(mask.shape[-2:]) != tuple(size):
        mask = F.interpolate(mask, size=size, mode="nearest-exact")
    return (mask > 0.5).float()


def masked_reconstruction(prediction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Squared error inside the mask, per masked element (paper, eqs. 4 to 6).

    Args:
        prediction: (batch, channels, h, w), the network's output.
        target: same shape, what it should be (noise, or velocity for v-prediction).
        mask: (batch, 1, H, W); 1 where the error counts.

    Returns:
        (batch,): sum over masked elements and channels / (masked elements x channels); 0 for an empty mask.
    """
    if prediction.shape != target.shape or mask.shape[:2] != (prediction.shape[0], 1):
        raise ValueError(
            f"prediction {tuple(prediction.shape)}, target {tuple(target.shape)} and mask {tuple(mask.shape)} do not belong together; "
            "expected (batch, channels, h, w) twice and (batch, 1, H, W)"
        )
    mask = resized_mask(mask, (prediction.shape[-2], prediction.shape[-1]))
    error = ((_full(prediction) - _full(target)).square() * mask).sum(dim=(1, 2, 3))
    return error / (mask.sum(dim=(1, 2, 3)) * prediction.shape[1]).clamp(min=1)


def attention_refocusing(maps: Tensor, mask: Tensor) -> Tensor:
    """Attention of one special token outside its region (paper, eq. 8): ``mean((S(A_k) - M)^2 (1 - M))``.

    Each map is scaled and squared by itself, and only then averaged (the original code averages the heads first). Inside the mask
    attention stays free. A flat map (range within rounding) is 0, not 0/0.

    Args:
        maps: (batch, maps, h, w), the token's column of the softmax in every layer and head.
        mask: (batch, 1, H, W); 1 where the token may look.

    Returns:
        (batch,) in [0, 1], a mean over maps and all pixels; 0 for an empty mask (nowhere to look is no information about where).
    """
    if maps.ndim != 4 or mask.shape[:2] != (maps.shape[0], 1):
        raise ValueError(
            f"maps {tuple(maps.shape)} and mask {tuple(mask.shape)} do not belong together; "
            "expected (batch, maps, h, w) and (batch, 1, H, W)"
        )
    maps = _full(maps)
    mask = resized_mask(mask, (maps.shape[-2], maps.shape[-1]))
    low, high = maps.amin(dim=(2, 3), keepdim=True), maps.amax(dim=(2, 3), keepdim=True)
    span = high - low
    flat = span <= 8 * torch.finfo(maps.dtype).eps * torch.maximum(high.abs(), low.abs())
    scaled = torch.where(flat, torch.zeros_like(maps), (maps - low) / torch.where(flat, torch.ones_like(span), span))
    outside = (scaled.square() * (1 - mask)).mean(dim=(1, 2, 3))
    return torch.where(mask.sum(dim=(1, 2, 3)) > 0, outside, torch.zeros_like(outside))


def identity(estimate: Tensor, source: Tensor) -> Tensor:
    """1 - cosine of face embeddings (paper, eq. 7): (batch, dim) and (batch, dim) -> (batch,) in [0, 2]."""
    return 1 - F.cosine_similarity(_full(estimate), _full(source), dim=-1)


def self_similarity(keys: Tensor, source_keys: Tensor) -> Tensor:
    """How differently two pictures are built (Splice, arXiv 2201.00424): squared difference of their keys' cosine self-similarities.

    Args:
        keys: (batch, patches, width) of the estimate, in the order of the picture's cells.
        source_keys: same shape, of the picture whose structure is to be kept.

    Returns:
        (batch,) in [0, 4], the mean over all pairs of patches. What a patch looks like does not count, only which patches are alike.

    Raises ValueError for other shapes.
    """
    _check_keys(keys, source_keys)
    return (_cosines(keys, keys) - _cosines(source_keys, source_keys)).square().mean(dim=(1, 2))


def patch_contrast(keys: Tensor, source_keys: Tensor, temperature: float = 0.07) -> Tensor:
    """InfoNCE over patches (CUT, arXiv 2007.15651): each of the estimate's patches has to be told where it lies in the source picture.

    The source's key at the same place is the positive, those at its other places are the negatives; shapes and errors as in
    :func:`self_similarity`. ``temperature`` divides the cosines (CUT 0.07).

    Returns:
        (batch,) >= 0, the mean over the estimate's patches; log(patches) where the source's keys are all alike.
    """
    _check_keys(keys, source_keys)
    logits = _cosines(keys, source_keys) / temperature
    return (logits.logsumexp(dim=2) - logits.diagonal(dim1=1, dim2=2)).mean(dim=1)


def appearance(cls: Tensor, reference_cls: Tensor) -> Tensor:
    """Mean squared distance of [CLS] tokens (Splice): (batch, width) twice -> (batch,) >= 0.

    Squared, so that the distance to the mean of several looks pulls as the mean of the distances to each does.
    """
    return (_full(cls) - _full(reference_cls)).square().mean(dim=-1)


def _check_keys(keys: Tensor, source_keys: Tensor) -> None:
    if keys.ndim != 3 or keys.shape != source_keys.shape:
        raise ValueError(f"keys {tuple(keys.shape)} and {tuple(source_keys.shape)}: expected (batch, patches, width) twice")


def _cosines(a: Tensor, b: Tensor) -> Tensor:
    """(batch, patches, width) twice -> (batch, patches, patches)."""
    return F.normalize(_full(a), dim=-1) @ F.normalize(_full(b), dim=-1).transpose(1, 2)


def predicted_clean(noisy: Tensor, prediction: Tensor, alpha_cumprod: Tensor, prediction_type: str) -> Tensor:
    """Tweedie's estimate of the clean latent (batch, channels, h, w) from one prediction.

    ``epsilon``: ``(z_t - sqrt(1 - a) eps) / sqrt(a)``; ``v_prediction``: ``sqrt(a) z_t - sqrt(1 - a) v``, with ``a`` =
    ``alpha_cumprod`` (batch,) at each row's timestep. Raises ValueError for another prediction type.
    """
    alpha = _full(alpha_cumprod).view(-1, 1, 1, 1)
    noisy, prediction = _full(noisy), _full(prediction)
    if prediction_type == "epsilon":
        return (noisy - (1 - alpha).sqrt() * prediction) / alpha.sqrt()
    if prediction_type == "v_prediction":
        return alpha.sqrt() * noisy - (1 - alpha).sqrt() * prediction
    raise ValueError(
        f"prediction type {prediction_type!r}: expected one of {', '.join(PREDICTION_TYPES)} (the scheduler's prediction_type)"
    )
