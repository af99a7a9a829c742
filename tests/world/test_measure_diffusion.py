from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from magicapture.backbones import load_backbone
from magicapture.packs import Pack
from magicapture.world import attributes, diffusion_data, measure_diffusion
from magicapture.world.looks import LOOKS
from magicapture.world.measure_diffusion import frechet, held_out_captions, nearest, psnr, sample, vae_scores


def test_psnr() -> None:
    picture = np.full((1, 4, 4, 3), 100, np.uint8)
    assert psnr(picture + np.uint8(10), picture) == pytest.approx(28.13, abs=0.01)
    assert psnr(picture[:, :2, 0] + np.uint8(1), picture[:, :2, 0]) == pytest.approx(48.13, abs=0.01)


def test_frechet_distance_of_gaussians() -> None:
    """|m1 - m2|^2 + sum (s1 - s2)^2 for covariances with common axes; rotated, so that they are not diagonal."""
    rng = np.random.default_rng(0)
    turn = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    noise = rng.standard_normal((20_000, 3))
    noise -= noise.mean(0)
    noise = noise @ np.linalg.inv(np.linalg.cholesky(np.cov(noise.T))).T  # exactly white
    first, second = np.array([1.0, 2.0, 0.5]), np.array([1.5, 0.7, 0.0])
    a, b = noise * first @ turn, (noise[::-1] * second + [2.0, 0, -1]) @ turn
    assert frechet(a, b) == pytest.approx(5 + ((first - second) ** 2).sum(), rel=1e-6)
    assert frechet(a, a) == pytest.approx(0, abs=1e-9)


def test_frechet_distance_of_covariances_without_common_axes() -> None:
    """tr(A) + tr(B) - 2 tr (A B)^1/2, where of 2 x 2 matrices tr (AB)^1/2 = (tr AB + 2 (det AB)^1/2)^1/2."""
    rng = np.random.default_rng(1)
    a, b = (rng.standard_normal((50, 2)) @ rng.standard_normal((2, 2)) for _ in range(2))
    one, two = np.cov(a.T), np.cov(b.T)
    shared = np.sqrt(np.trace(one @ two) + 2 * np.sqrt(np.linalg.det(one @ two)))
    wanted = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(one) + np.trace(two) - 2 * shared
    assert frechet(a, b) == pytest.approx(wanted)


def test_the_nearest_training_picture_is_the_planted_one() -> None:
    rng = np.random.default_rng(2)
    training = rng.integers(0, 256, (1100, 8, 8, 3), np.uint8)
    copy, mirrored = training[1050], training[3, :, ::-1]
    close = np.clip(training[600].astype(int) + 4, 0, 255).astype(np.uint8)
    found, distances = nearest(np.stack([copy, mirrored, close]), training)
    assert (found[0] == copy).all() and (found[1] == mirrored).all() and (found[2] == training[600]).all()
    assert distances[:2] == pytest.approx([0, 0], abs=0.1)
    assert distances[2] == pytest.approx(np.sqrt(((close.astype(float) - training[600]) ** 2).mean()), abs=0.05)


def test_held_out_captions_name_what_the_renders_show() -> None:
    drawn = held_out_captions(len(LOOKS))
    assert drawn.images.shape == (len(LOOKS), 64, 64, 3)
    look = list(attributes.LABELS).index("look")
    assert [attributes.LABELS["look"][i] for i in drawn.labels[:, look]] == list(LOOKS)
    assert drawn.named[:, look].all()
    others = held_out_captions(2, len(LOOKS))
    assert not any((image == drawn.images).all((1, 2, 3)).any() for image in others.images)
    assert (held_out_captions(2, len(LOOKS)).images == others.images).all()


def test_samples_depend_on_their_own_prompt_and_seed(pack: Pack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure_diffusion, "STEPS", 2)
    backbone = load_backbone(pack)
    three = sample(backbone, ["a photo of a person", "a photo of a person", "a portrait"], [1, 2, 1])
    assert three.shape == (3, 64, 64, 3) and three.dtype == np.uint8
    assert (three[0] != three[1]).any() and (three[0] != three[2]).any()
    alone = sample(backbone, ["a photo of a person"], [2])
    assert np.abs(alone[0].astype(int) - three[1]).max() <= 2


def test_the_autoencoder_is_measured_on_whole_pictures_and_faces(pack: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of an autoencoder that knows nothing. An object has a mask and no face: it counts for the whole only."""
    monkeypatch.setattr(diffusion_data, "SHARD", 4)
    pictures = measure_diffusion.held_out_pictures(tmp_path)
    skin = list(attributes.LABELS).index("skin")

    def scores(faces: np.ndarray, skins: list[int]) -> dict[str, float]:
        labels = np.array(pictures.labels)
        labels[:, skin] = skins
        monkeypatch.setattr(measure_diffusion, "held_out_pictures", lambda _: replace(pictures, faces=faces, labels=labels))
        return vae_scores(pack, tmp_path)

    everything = np.ones(pictures.faces.shape, bool)
    whole = scores(everything, [0, 1, 2, 3])
    assert whole["psnr_face"] == pytest.approx(whole["psnr"]) and 0 < whole["psnr"] < 30 and -1 < whole["ssim"] < 0.9
    each = [scores(everything, [0 if i == row else -1 for i in range(4)])["psnr_face"] for row in range(4)]
    assert np.mean(each) == pytest.approx(whole["psnr"]) and len(set(each)) == 4
