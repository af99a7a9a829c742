"""Face recognition networks in torch: three architectures of their own, and a pack's recogniser as a differentiable module.

All take aligned crops (B, 3, 112, 112) RGB in [-1, 1] and return embeddings (B, D), not normalised. The first layer of their own averages
2x2 px: what they judge is 64 px large when it is made, so that nothing is lost and three quarters of the arithmetic is saved.
The published ones are in ``iresnet``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from magicapture.backbones.iresnet import BLOCKS, IResNet
from magicapture.packs import Pack, PackError

DIMENSIONS = 128
INPUT = 112


def aligned(pictures: Tensor, transforms: Tensor, offsets: Tensor, size: int = INPUT) -> Tensor:
    """Faces in the recogniser's framing, differentiable in the pictures; equals ``faces.align.align`` up to rounding.

    Args:
        pictures: (B, 3, H, W) in [-1, 1], parts of the whole pictures.
        transforms: (B, 2, 3) similarities from the whole picture's pixel grid to the crop's (``faces.align.crop_matrix``).
        offsets: (B, 2) px (x, y), where each part's top left corner lies in its whole picture.
        size: side of the crop in px.

    Returns:
        (B, 3, size, size); black (-1) outside of the part.
    """
    height, width = pictures.shape[-2:]
    reductions = [int(0.5 / float(transform[:, 0].norm())) for transform in transforms]
    transforms = transforms.to(pictures.device, torch.float32)
    inverse = torch.linalg.inv(transforms[:, :, :2])
    line = torch.arange(size, dtype=torch.float32, device=pictures.device)
    cells = torch.stack(torch.meshgrid(line, line, indexing="xy"), dim=-1).view(1, -1, 2)
    points = (cells - transforms[:, None, :, 2]) @ inverse.transpose(1, 2) - offsets.to(pictures.device, torch.float32)[:, None]
    # Integer coordinates are pixel centres (as in OpenCV); grid_sample's -1 and 1 are the outer edges.
    grid = ((2 * points + 1) / points.new_tensor([width, height]) - 1).view(-1, size, size, 2)
    crops = []
    for picture, reduce, where in zip(pictures.split(1), reductions, grid.split(1), strict=True):
        picture = picture.float() + 1
        if reduce > 1:  # as faces.align.warp: strong reductions are averaged first, not aliased
            picture = _areas(height, reduce, picture.device) @ picture @ _areas(width, reduce, picture.device).T
        crops.append(F.grid_sample(picture, where, mode="bilinear", padding_mode="zeros", align_corners=False))
    return torch.cat(crops) - 1


def _areas(size: int, reduce: int, device: torch.device) -> Tensor:
    """(smaller size, ``size``): how much of each px a px of a ``reduce`` times smaller picture averages, by area as cv2.INTER_AREA does.

    (torch's mode "area" takes in whole pixels, which is another picture where the sizes do not divide: 1024 by 3.)
    """
    small = max(1, round(size / reduce))
    edges, px = torch.arange(small + 1, device=device) * (size / small), torch.arange(size, device=device)
    overlap = torch.minimum(edges[1:, None], px + 1) - torch.maximum(edges[:-1, None], px)
    return overlap.clamp(min=0) * (small / size)


class ConvNorm(nn.Module):
    """Convolution, batch norm and (unless ``act`` is false) a leaky ReLU; ``fold`` merges the norm into the weights."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1, act: bool = True, norm: bool = True
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=not norm)
        self.norm: nn.Module = nn.BatchNorm2d(outputs) if norm else nn.Identity()
        self.act: nn.Module = nn.LeakyReLU(0.1) if act else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.norm(self.conv(x)))

    def fold(self) -> None:
        """Merge the norm's running statistics into the convolution (evaluation only from then on)."""
        if isinstance(self.norm, nn.BatchNorm2d):
            self.conv, self.norm = fuse_conv_bn_eval(self.conv.eval(), self.norm.eval()), nn.Identity()


class Head(nn.Module):
    """Flattened map -> embedding; places matter for identity, so nothing is pooled away. ``fold`` as in ConvNorm."""

    def __init__(self, inputs: int, norm: bool = True) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, DIMENSIONS, bias=not norm)
        self.norm: nn.Module = nn.BatchNorm1d(DIMENSIONS, affine=False) if norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.linear(x.flatten(1)))

    def fold(self) -> None:
        """Merge the norm into the linear layer."""
        if isinstance(self.norm, nn.BatchNorm1d):
            scale = torch.rsqrt(self.norm.running_var + self.norm.eps)  # type: ignore[operator]
            folded = nn.Linear(self.linear.in_features, DIMENSIONS)
            folded.weight.data = self.linear.weight.data * scale[:, None]
            folded.bias.data = -self.norm.running_mean * scale  # type: ignore[operator]
            self.linear, self.norm = folded, nn.Identity()


class _Residual(nn.Module):
    """Two 3x3 convolutions beside the identity."""

    def __init__(self, width: int, norm: bool) -> None:
        super().__init__()
        self.first, self.second = ConvNorm(width, width, norm=norm), ConvNorm(width, width, act=False, norm=norm)
        self.act = nn.LeakyReLU(0.1)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(x + self.second(self.first(x)))


class _Dense(nn.Module):
    """``layers`` 3x3 convolutions, each seeing everything before it and adding ``growth`` channels."""

    def __init__(self, width: int, growth: int, layers: int, norm: bool) -> None:
        super().__init__()
        self.layers = nn.ModuleList(ConvNorm(width + i * growth, growth, norm=norm) for i in range(layers))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = torch.cat([x, layer(x)], 1)
        return x


def _residual(norm: bool) -> nn.Sequential:
    return nn.Sequential(
        ConvNorm(3, 32, 3, 2, norm=norm), _Residual(32, norm),
        ConvNorm(32, 64, 3, 2, norm=norm), _Residual(64, norm), _Residual(64, norm),
        ConvNorm(64, 128, 3, 2, norm=norm), _Residual(128, norm), _Residual(128, norm),
        ConvNorm(128, 48, 1, norm=norm), Head(48 * 49, norm),
    )  # fmt: skip


def _dense(norm: bool) -> nn.Sequential:
    return nn.Sequential(
        ConvNorm(3, 32, 5, 2, norm=norm), _Dense(32, 16, 2, norm),
        ConvNorm(64, 64, 3, 2, norm=norm), _Dense(64, 32, 4, norm),
        ConvNorm(192, 96, 3, 2, norm=norm), _Dense(96, 48, 4, norm),
        ConvNorm(288, 48, 1, norm=norm), Head(48 * 49, norm),
    )  # fmt: skip


def _plain(norm: bool) -> nn.Sequential:
    return nn.Sequential(
        ConvNorm(3, 24, 3, norm=norm), nn.MaxPool2d(2),
        ConvNorm(24, 48, 3, norm=norm), nn.MaxPool2d(2),
        ConvNorm(48, 80, 3, norm=norm), ConvNorm(80, 80, 3, norm=norm), nn.MaxPool2d(2),
        ConvNorm(80, 128, 3, norm=norm), ConvNorm(128, 128, 3, norm=norm),
        ConvNorm(128, 48, 1, norm=norm), Head(48 * 49, norm),
    )  # fmt: skip


_BODIES = {"residual": _residual, "dense": _dense, "plain": _plain}


class FaceNet(nn.Module):
    """A recogniser of architecture "residual", "dense" or "plain".

    ``norm`` false builds the folded form, whose weights a pack holds.
    """

    def __init__(self, architecture: str, norm: bool = True) -> None:
        super().__init__()
        self.architecture = architecture
        self.pool = nn.AvgPool2d(2)
        self.body = _BODIES[architecture](norm)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, 112, 112) in [-1, 1] -> (B, 128)."""
        return self.body(self.pool(x))


def fold(model: nn.Module) -> nn.Module:
    """Merge every batch norm below ``model`` into the layer before it, in place; returns ``model`` in evaluation mode."""
    for module in model.eval().modules():
        if isinstance(module, ConvNorm | Head):
            module.fold()
    return model


#: ``settings.architecture`` of a pack's recogniser for torch -> how the network is built that its file fills.
ARCHITECTURES: dict[str, Callable[[], nn.Module]] = {
    **{name: partial(FaceNet, name, norm=False) for name in _BODIES},
    **{name: partial(IResNet, blocks) for name, blocks in BLOCKS.items()},
}


def empty(architecture: str) -> nn.Module:
    """A network of :data:`ARCHITECTURES` without weights (on torch's device "meta")."""
    with torch.device("meta"):
        return ARCHITECTURES[architecture]()


def misfits(model: nn.Module, tensors: Mapping[str, Tensor]) -> str:
    """What of the tensors does not fit the model's names, shapes and floating point; "" when all does. Lists a few of each."""
    # Batch norms count their batches, for training only: files leave that out.
    expected = {name: tuple(value.shape) for name, value in model.state_dict().items() if not name.endswith("num_batches_tracked")}
    given = {name: tuple(value.shape) for name, value in tensors.items()}
    found = {
        "missing": [f"{name} {shape}" for name, shape in expected.items() if name not in given],
        "unknown": [f"{name} {shape}" for name, shape in given.items() if name not in expected],
        "of another shape": [
            f"{name} {given[name]}, expected {shape}" for name, shape in expected.items() if given.get(name, shape) != shape
        ],
        "not floating point": [f"{name} {value.dtype}" for name, value in tensors.items() if not value.is_floating_point()],
    }
    return "; ".join(f"{len(names)} {what}: {', '.join(names[:3])}{', ...' * (len(names) > 3)}" for what, names in found.items() if names)


def load_recogniser(pack: Pack, network: str = "recogniser") -> nn.Module:
    """The torch weights of the pack's role ``network`` (role ``<network>_torch``): frozen, differentiable in its input, fp32.

    Maps (B, 3, 112, 112) RGB in [-1, 1] to (B, D). Raises PackError for a role the pack lacks, and when file and architecture (the role's
    ``settings.architecture``, a name of :data:`ARCHITECTURES`) do not fit.
    """
    name = f"{network}_torch"
    role = pack.role(name)
    architecture = role.settings.get("architecture")
    if architecture not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise PackError(
            f"pack {pack.name!r}: {name} has settings.architecture {architecture!r}; expected one of {known}: correct pack.yaml"
        )
    path, model = pack.path(name), empty(architecture)
    try:
        tensors = load_file(path)
    except Exception as error:  # the library's exceptions share no public base
        raise PackError(f"pack {pack.name!r}: {role.path} is not a safetensors file ({error}); {pack.remedy(name)}") from error
    wrong = misfits(model, tensors)
    if wrong:
        raise PackError(f"pack {pack.name!r}: {role.path} does not hold a {architecture!r} recogniser ({wrong}); {pack.remedy(name)}")
    model.load_state_dict({key: value.float() for key, value in tensors.items()}, assign=True)
    return model.eval().requires_grad_(False)
