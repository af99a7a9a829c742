"""IResNet: the recognition networks that insightface publishes (recognition/arcface_torch), with the tensor names of their files.

A residual network for aligned faces (ArcFace, arXiv 1801.07698, 3.2.2): it keeps 112 px up to the first stage, puts a batch norm before the
first convolution of every block, and flattens the last 7x7 map instead of averaging it, because places matter for identity. For
inference only: the published dropout before ``fc``, which has no weights, is left out.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

#: Architecture -> blocks of each of the four stages.
BLOCKS = {"iresnet18": (2, 2, 2, 2), "iresnet50": (3, 4, 14, 3), "iresnet100": (3, 13, 30, 3)}
DIMENSIONS = 512
_WIDTHS = (64, 128, 256, 512)


class _Block(nn.Module):
    """Two 3x3 convolutions, norms around each, beside the identity; the second one strides."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.prelu = nn.PReLU(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, stride, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        inner = self.prelu(self.bn2(self.conv1(self.bn1(x))))
        return self.downsample(x) + self.bn3(self.conv2(inner))


class IResNet(nn.Module):
    """``blocks`` (of :data:`BLOCKS`) per stage; every stage halves the map and the widths are 64, 128, 256, 512."""

    def __init__(self, blocks: Sequence[int]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, _WIDTHS[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(_WIDTHS[0])
        self.prelu = nn.PReLU(_WIDTHS[0])
        self.layer1, self.layer2, self.layer3, self.layer4 = (
            nn.Sequential(*(_Block(outputs if i else inputs, outputs, 1 if i else 2) for i in range(count)))
            for inputs, outputs, count in zip((_WIDTHS[0], *_WIDTHS[:-1]), _WIDTHS, blocks, strict=True)
        )
        self.bn2 = nn.BatchNorm2d(_WIDTHS[-1])
        self.fc = nn.Linear(_WIDTHS[-1] * 7 * 7, DIMENSIONS)
        # Affine in name only: training freezes its weight at 1, but the files hold it.
        self.features = nn.BatchNorm1d(DIMENSIONS)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, 112, 112) RGB in [-1, 1] -> (B, 512), not normalised."""
        x = self.prelu(self.bn1(self.conv1(x)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.features(self.fc(self.bn2(x).flatten(1)))
