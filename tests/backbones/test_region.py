"""Regions: cut and decoded where that agrees with the whole, else the whole."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from magicapture.backbones import Backbone, Region

SCALE = 4
LATENTS = torch.randn(2, 4, 32, 32, generator=torch.Generator().manual_seed(0))
BOXES = torch.tensor([[40.0, 50.0, 70.0, 81.0], [2.0, 60.0, 30.0, 90.0]])


def _local() -> nn.Module:
    """A decoder that sees three cells around each of its own."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        layers = [
            nn.Conv2d(4, 8, 3, padding=1),
            nn.Tanh(),
            nn.Conv2d(8, 8, 3, padding=1),
            nn.Upsample(scale_factor=SCALE),
            nn.Conv2d(8, 3, 3, padding=1),
        ]
    return nn.Sequential(*layers).requires_grad_(False)


def _global(latents: Tensor) -> Tensor:
    """A decoder whose answer everywhere depends on the mean of all it is given."""
    picture = functional.interpolate(latents[:, :3], scale_factor=SCALE)
    return torch.tanh(40 * (picture * latents.mean(dim=(1, 2, 3), keepdim=True)))


def _face(pictures: Tensor, offsets: Tensor, row: int) -> Tensor:
    """The pixels (1, D) of one row's box, wherever the part lies in the picture."""
    (left, top, *_), (x, y) = BOXES[row].long().tolist(), offsets[0].tolist()
    assert len(pictures) == 1  # as many at once as there are looks would not fit into memory
    return pictures[:, :, top - y : top - y + 28, left - x : left - x + 28].flatten(1)


def _faces(pictures: Tensor, offsets: Tensor) -> Tensor:
    return torch.cat([_face(*each, row) for row, each in enumerate(zip(pictures.split(1), offsets.split(1), strict=True))])


def test_a_local_decoder_gets_the_smallest_margin_that_agrees() -> None:
    decode = _local()
    region = Region.measure(LATENTS, BOXES, decode, SCALE, _face)
    assert region.margin == 2 and region.agreement[0][1] >= 0.99
    part, offsets = region.decode(LATENTS, BOXES, decode, SCALE)
    assert part.shape[-1] < 128 and offsets.shape == (2, 2)
    whole, zero = Region().decode(LATENTS, BOXES, decode, SCALE)
    assert whole.shape == (2, 3, 128, 128) and zero.tolist() == [[0, 0], [0, 0]]
    # three cells suffice for this decoder: with more margin the faces are exact
    wide, corner = Region(4).decode(LATENTS, BOXES, decode, SCALE)
    assert torch.allclose(_faces(wide, corner), _faces(whole, zero), atol=1e-5)


def test_a_global_decoder_is_decoded_whole() -> None:
    region = Region.measure(LATENTS, BOXES, _global, SCALE, _face)
    assert region.margin is None
    assert [margin for margin, _ in region.agreement] == [2, 4, 8] and all(cosine < 0.99 for _, cosine in region.agreement)
    assert region.decode(LATENTS, BOXES, _global, SCALE)[0].shape == (2, 3, 128, 128)


def test_windows_have_one_size_and_stay_inside() -> None:
    boxes = torch.tensor([[-5.0, 100.0, 20.0, 140.0], [90.0, -3.0, 128.0, 20.0]])
    (height, width), corner = Region(3).windows(LATENTS, boxes, SCALE)
    assert (corner >= 0).all() and (corner + torch.tensor([width, height]) <= 32).all()
    for (x, y), box in zip(corner.tolist(), boxes.clamp(0, 128).tolist(), strict=True):
        assert x * SCALE <= box[0] and y * SCALE <= box[1] and (x + width) * SCALE >= box[2] and (y + height) * SCALE >= box[3]


def test_boxes_that_fill_the_picture_are_not_cut() -> None:
    region = Region.measure(
        LATENTS, torch.tensor([[0.0, 0.0, 128.0, 128.0]] * 2), _local(), SCALE, lambda pictures, offsets, row: pictures.flatten(1)
    )
    assert region == Region(None, ())


def test_the_backbone_decodes_whole_until_measured_and_passes_gradients(backbone: Backbone) -> None:
    latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(2)).requires_grad_()
    box = torch.tensor([[14.0, 14.0, 18.0, 18.0]])
    whole, offsets = backbone.decode_region(latents, box)
    assert torch.equal(whole, backbone.decode(latents)) and offsets.tolist() == [[0, 0]]

    def embed(pictures: Tensor, offsets: Tensor, row: int) -> Tensor:
        x, y = offsets[0].tolist()
        return pictures[:, :, 14 - y : 18 - y, 14 - x : 18 - x].flatten(1)

    region = backbone.measure_region(latents, box, embed, least=-1.0)
    assert region.margin == 2 and backbone.region is region
    part, offsets = backbone.decode_region(latents, box)
    assert part.shape == (1, 3, 24, 24) and offsets.tolist() == [[4, 4]]
    part.square().sum().backward()
    assert latents.grad is not None
    inside = torch.zeros(8, 8, dtype=torch.bool)
    inside[1:7, 1:7] = True
    assert (latents.grad[0, :, inside] != 0).all() and (latents.grad[0, :, ~inside] == 0).all()
