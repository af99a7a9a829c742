from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from magicapture import stages
from magicapture.backbones import Backbone
from magicapture.backbones.recogniser import load_recogniser
from magicapture.faces.align import align, crop_matrix
from magicapture.faces.prepared import PreparedSet
from magicapture.packs import Pack, load_pack
from magicapture.training.identity import FaceIdentity, aligned, embed_person
from magicapture.world.samples import write_samples
from tests.training.tinymodel import keypoints


class Patch(nn.Module):
    """A recogniser that sees the mean colour of a coarse grid."""

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        return nn.functional.avg_pool2d(crops, 28).flatten(1)


def smooth(size: int, seed: int = 0) -> np.ndarray:
    coarse = torch.rand((1, 3, 5, 5), generator=torch.Generator().manual_seed(seed))
    image = nn.functional.interpolate(coarse, size=(size, size), mode="bicubic", align_corners=True)[0].clamp(0, 1)
    return (image.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)


def tensor(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(image).permute(2, 0, 1)[None].float() / 127.5 - 1


@pytest.mark.parametrize("centre", [(32, 32), (20, 40), (60, 10)])
@pytest.mark.parametrize("turn", [0.0, 0.3])
def test_alignment_equals_the_one_that_faces_are_embedded_with(centre: tuple[float, float], turn: float) -> None:
    image = smooth(64)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    points = ((keypoints((0, 0), 18) @ rotation.T) + centre).astype(np.float32)
    expected = align(image, points).astype(np.float32)
    found = aligned(tensor(image), torch.from_numpy(crop_matrix(points)[None]), torch.zeros(1, 2))
    difference = np.abs(((found[0].permute(1, 2, 0).numpy() + 1) * 127.5) - expected)
    assert difference.mean() < 0.7 and np.percentile(difference, 99) < 4  # OpenCV places samples in steps of 1/32 px


@pytest.mark.parametrize("times", [3, 5, 6.5])  # the face is so many times larger than its crop: not reduced, by 2, by 3
def test_large_faces_are_averaged_before_they_are_sampled_as_in_preprocessing(times: float) -> None:
    size = 800  # which 3 does not divide
    noise = np.random.default_rng(0).integers(0, 256, (size, size, 3)).astype(np.uint8)  # what aliases most
    large, small = keypoints((410, 390), 35.2 * times), keypoints((300, 500), 30)
    transforms = torch.from_numpy(np.stack([crop_matrix(points) for points in (large, small)]).astype(np.float32))
    found = aligned(tensor(noise).expand(2, -1, -1, -1), transforms, torch.zeros(2, 2))
    for row, points in enumerate((large, small)):
        difference = np.abs((found[row].permute(1, 2, 0).numpy() + 1) * 127.5 - align(noise, points).astype(np.float32))
        assert difference.mean() < 1.5 and difference.max() < 12  # OpenCV places samples in steps of 1/32 px


def test_alignment_of_a_part_equals_alignment_of_the_whole() -> None:
    image = tensor(smooth(64))
    transform = torch.from_numpy(crop_matrix(keypoints((34, 36), 10))[None])
    whole = aligned(image, transform, torch.zeros(1, 2))
    part = aligned(image[:, :, 10:60, 12:60], transform, torch.tensor([[12, 10]]))
    torch.testing.assert_close(part, whole, rtol=0, atol=1e-4)


def test_alignment_is_differentiable_and_only_where_it_looks() -> None:
    image = tensor(smooth(64)).requires_grad_()
    aligned(image, torch.from_numpy(crop_matrix(keypoints((40, 40), 8))[None]), torch.zeros(1, 2)).sum().backward()
    assert image.grad is not None
    assert image.grad[..., 40, 40].abs().min() > 0 and image.grad[..., :10, :10].abs().max() == 0


@pytest.fixture
def identity(backbone: Backbone, pack: Pack) -> FaceIdentity:
    return FaceIdentity(backbone, load_recogniser(pack), torch.arange(128.0), 0.8)


def test_the_term_is_one_minus_cosine_of_the_decoded_face(identity: FaceIdentity) -> None:
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn((2, 4, 16, 16), generator=generator) * 0.2
    points = torch.from_numpy(np.stack([keypoints(), keypoints((14, 17))]))
    pictures = ((identity.backbone.decode(latents).clamp(-1, 1) + 1) * 127.5).permute(0, 2, 3, 1).round().byte().numpy()
    crops = np.stack([align(picture, point) for picture, point in zip(pictures, points.numpy(), strict=True)])
    embeddings = identity.recogniser(torch.from_numpy(crops).permute(0, 3, 1, 2).float() / 127.5 - 1)
    expected = 1 - nn.functional.cosine_similarity(embeddings, torch.arange(128.0)[None])
    torch.testing.assert_close(identity(latents, points), expected, rtol=0, atol=0.01)


def test_rows_count_only_up_to_the_limit_and_with_a_face_and_the_weight_makes_the_mean_unbiased(identity: FaceIdentity) -> None:
    timesteps = torch.arange(1000)
    points = torch.from_numpy(keypoints()).expand(1000, 5, 2).clone()
    points[::2] = torch.nan
    counted, weight = identity.counted(timesteps, points)
    assert counted.nonzero().flatten().tolist() == list(range(1, 800, 2))
    assert weight == pytest.approx(1000 / 800)
    counted, weight = identity.counted(timesteps, torch.from_numpy(keypoints()).expand(1000, 5, 2))
    assert counted.float().mean() * weight == pytest.approx(1)  # eq. 7 draws t only below T'


def test_only_the_region_is_decoded_where_that_agrees(backbone: Backbone) -> None:
    # Group norms see the whole picture; without them a decoder of convolutions agrees exactly once the margin covers its reach.
    for name, module in list(backbone.vae.decoder.named_modules()):
        if isinstance(module, nn.GroupNorm):
            parent, _, leaf = name.rpartition(".")
            setattr(backbone.vae.decoder.get_submodule(parent), leaf, nn.Identity())
    identity = FaceIdentity(backbone, Patch(), torch.randn(48, generator=torch.Generator().manual_seed(0)), 0.8)
    latents = torch.randn((2, 4, 16, 16), generator=torch.Generator().manual_seed(1)) * 0.3
    points = torch.from_numpy(np.stack([keypoints((10, 10), 3), keypoints((11, 10), 3)]))
    whole = identity(latents, points)
    margin = identity.measure_region(latents, points)
    assert margin is not None
    part, _ = backbone.decode_region(latents, torch.tensor([[6.0, 6, 14, 14]] * 2))
    assert part.shape[-1] < backbone.resolution
    torch.testing.assert_close(identity(latents, points), whole, rtol=0, atol=0.02)


def test_the_person_is_what_preprocessing_stored_where_the_network_is_the_same(tmp_path: Path) -> None:
    write_samples(tmp_path / "data", count=2, size=128)
    prepared = PreparedSet.load(stages.preprocess(tmp_path / "data" / "person", tmp_path / "data" / "look", tmp_path / "prepared", "mini"))
    found = embed_person(load_recogniser(load_pack("mini")), prepared.source)
    stored = prepared.embeddings("recogniser", "source")
    assert len(stored) == 2 and found.shape == (128,)
    np.testing.assert_allclose(found.numpy(), stored.mean(axis=0), rtol=0, atol=1e-3)
