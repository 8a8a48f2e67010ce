"""The residual network of the example: the CIFAR-size family of He et al. 2015, section 4.2.

*Deep Residual Learning for Image Recognition*, https://arxiv.org/abs/1512.03385. A 3x3 convolution, then
three stages of n blocks with 16, 32 and 64 channels (the second and third stage halve rows and columns in
their first block), a global average and one linear layer: 6n + 2 layers with weights. n = 3 gives
ResNet-20.

One thing differs from the paper: where a block changes the shape, the shortcut is a 1x1 convolution
(their option B) and not strided slicing with zero padding (option A). It costs 2,752 parameters and
leaves a graph of Conv, Relu, Add, GlobalAveragePool, Flatten and Gemm only, operators that every Ascend
SoC compiles without a detour.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

CHANNELS = (16, 32, 64)
CLASSES = 10


class ConvNorm(nn.Module):
    """A convolution that keeps, or with its stride divides, rows and columns, and its batch norm.

    Args:
        channels_in: channels of the input.
        channels_out: channels of the output.
        size: rows and columns of the kernel, odd.
        stride: 2 halves rows and columns, 1 keeps them.
    """

    def __init__(self, channels_in: int, channels_out: int, size: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, size, stride, size // 2, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(channels_out)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Map `[N, channels_in, rows, columns]` to `[N, channels_out, rows / stride, columns / stride]`."""
        normed: torch.Tensor = self.norm(self.conv(features))
        return normed

    def fold(self) -> None:
        """Fold the batch norm into the convolution, in place: one operator where there were two.

        Only what evaluation mode computes stays the same; there is no training on from here.
        """
        if isinstance(self.norm, nn.BatchNorm2d):
            self.conv = fuse_conv_bn_eval(self.conv, self.norm)
            self.norm = nn.Identity()


class Block(nn.Module):
    """Two 3x3 convolutions and a shortcut around them.

    Args:
        channels_in: channels of the input.
        channels_out: channels of the output.
        stride: 2 halves rows and columns, 1 keeps them.
    """

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.first = ConvNorm(channels_in, channels_out, 3, stride)
        self.second = ConvNorm(channels_out, channels_out, 3, 1)
        same = stride == 1 and channels_in == channels_out
        self.shortcut = nn.Identity() if same else ConvNorm(channels_in, channels_out, 1, stride)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Map `[N, channels_in, rows, columns]` to `[N, channels_out, rows / stride, columns / stride]`."""
        inner = torch.relu(self.first(features))
        return torch.relu(self.second(inner) + self.shortcut(features))


class ResNet(nn.Module):
    """ResNet of 6n + 2 layers for grey pictures of 32x32.

    Args:
        n: blocks per stage; 3 is ResNet-20.
    """

    def __init__(self, n: int = 3) -> None:
        super().__init__()
        self.stem = ConvNorm(1, CHANNELS[0], 3, 1)
        blocks: list[nn.Module] = []
        channels_in = CHANNELS[0]
        for stage, channels in enumerate(CHANNELS):
            for index in range(n):
                blocks.append(Block(channels_in, channels, stride=2 if stage and not index else 1))
                channels_in = channels
        self.blocks = nn.Sequential(*blocks)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(CHANNELS[-1], CLASSES)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Map float32 `[N, 1, 32, 32]` to logits `[N, 10]`."""
        features = self.blocks(torch.relu(self.stem(image)))
        logits: torch.Tensor = self.head(torch.flatten(self.pool(features), 1))
        return logits

    def fold_norms(self) -> None:
        """Fold every batch norm into the convolution before it, in place."""
        for module in self.modules():
            if isinstance(module, ConvNorm):
                module.fold()
