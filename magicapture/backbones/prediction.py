"""Does the UNet predict what its scheduler's configuration says? A wrong word there trains and samples noise, without any error."""

from __future__ import annotations

from pathlib import Path

import torch
from torch.nn import functional

from magicapture.backbones.backbone import Backbone
from magicapture.backbones.errors import BackboneError

KNOWN = ("epsilon", "v_prediction")
#: Side in cells of the probed latents: enough for a UNet of any family, a second of work at most.
_SIDE = 32


def echoes(backbone: Backbone) -> tuple[float, float]:
    """Cosine of the UNet's prediction to its input, noise on a grey picture (latents of 0), at the last step and at a quarter of them.

    Of what a trained UNet predicts this follows from the definitions. At the last step the input is all but noise: epsilon is the
    input (cosine near 1), v is all but minus the clean picture, which noise says nothing of (near 0). At a quarter both are mostly noise.
    """
    steps = len(backbone.schedule.alphas_cumprod)
    timesteps = torch.tensor([steps - 1, steps // 4], device=backbone.device)
    side = min(_SIDE, backbone.latent_size)
    noise = torch.randn(1, backbone.latent_channels, side, side, generator=torch.Generator().manual_seed(0)).to(backbone.device)
    noise = noise.expand(2, -1, -1, -1)
    noisy = backbone.schedule.add_noise(torch.zeros_like(noise), noise, timesteps)
    with torch.no_grad():
        prediction = backbone.predict(noisy, timesteps, backbone.encode_prompts([""]).repeated(2))
    last, quarter = functional.cosine_similarity(prediction.flatten(1), noisy.flatten(1)).tolist()
    return last, quarter


def check_prediction_type(backbone: Backbone, folder: Path) -> None:
    """Raise BackboneError for a prediction type that is unknown, or that the UNet contradicts.

    A UNet that answers like neither kind (random weights, say) contradicts nothing: nothing is refused on a guess.
    """
    stated = backbone.prediction_type
    file = folder / "scheduler" / "scheduler_config.json"
    if stated not in KNOWN:
        raise BackboneError(f"{file}: prediction_type {stated!r}; MagiCapture trains and samples models of {' and '.join(KNOWN)}")
    last, quarter = echoes(backbone)
    found = "epsilon" if last > 0.9 else "v_prediction" if last < 0.5 < quarter else stated
    if found != stated:
        raise BackboneError(
            f"{file} says prediction_type {stated!r}, but the UNet predicts {found!r} (cosine of prediction and noise: {last:.2f} at the "
            f"last step, {quarter:.2f} at a quarter of the steps); training would go wrong without an error: write "
            f'"prediction_type": "{found}" there and the file\'s new sha256 in pack.yaml, or fetch the model again'
        )
