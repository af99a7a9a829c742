"""Training of the autoencoder: its loss, and a decoder that learns on while latents stay as they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from magicapture.world import autoencoder, diffusion_data
from magicapture.world.diffusion_data import Pictures


def test_similarity_is_that_of_scikit_image() -> None:
    rng = np.random.default_rng(1)
    a = rng.uniform(-1, 1, (20, 24, 3)).astype(np.float32)
    b = np.clip(a + rng.normal(0, 0.3, a.shape), -1, 1).astype(np.float32)
    ours = autoencoder.similarity(*(torch.from_numpy(x).permute(2, 0, 1)[None] for x in (a, b))).mean()
    assert float(ours) == pytest.approx(structural_similarity(a, b, channel_axis=2, data_range=2), abs=1e-5)


def test_a_decoder_learns_on_and_no_latent_moves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diffusion_data, "SHARD", 40)
    autoencoder.train_vae(tmp_path, steps=2, shards=1, batch=2)
    before = autoencoder.trained_vae(tmp_path)
    autoencoder.train_decoder(tmp_path, steps=2, shards=1, batch=2)
    after = autoencoder.trained_vae(tmp_path)
    assert autoencoder.encoder_key(before) == autoencoder.encoder_key(after)
    assert before.config.scaling_factor == after.config.scaling_factor
    pixels = autoencoder.to_pixels(Pictures.load(tmp_path / "pictures").images[:2])
    with torch.no_grad():
        latents = before.encode(pixels).latent_dist.mean
        assert torch.equal(latents, after.encode(pixels).latent_dist.mean)
        assert not torch.equal(before.decode(latents).sample, after.decode(latents).sample)
    # An encoder that is trained on makes its old decoder worthless: the autoencoder's own is used, until the decoder is trained anew.
    autoencoder.train_vae(tmp_path, steps=3, shards=1, batch=2)
    anew = autoencoder.trained_vae(tmp_path)
    assert autoencoder.encoder_key(anew) != autoencoder.encoder_key(after)
    weights = dict(after.decoder.named_parameters())
    assert any(not torch.equal(p, weights[name]) for name, p in anew.decoder.named_parameters())
    autoencoder.train_decoder(tmp_path, steps=1, shards=1, batch=2)
    assert (tmp_path / "decoder" / "encoder").read_text() == autoencoder.encoder_key(anew)
